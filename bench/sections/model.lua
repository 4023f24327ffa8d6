-- SPDX-License-Identifier: GPL-2.0-or-later
-- What grows with the model: all properties of a qube beside one of them, and internal.GetSystemInfo, which is built once a change, beside a bare server
-- that sends as many bytes.

local measure = require 'measure'
local reads = require 'reads'
local report = require 'report'

local SIZE = 1000
local CONNECTIONS = 16
local TIMES_GOAL, BARE_GOAL = 5, 0.5

local model = {}

local function get_all(bench)
  local target = bench.estate(SIZE)
  local function contestant(method, arg)
    return {
      pid = target.pid,
      job = function()
        return {
          socket = target.socket, method = method, arg = arg, src = bench.src, dest_list = target.list, connections = CONNECTIONS,
        }
      end,
    }
  end
  local one, all = table.unpack(measure.alternate(bench, {
    contestant('admin.vm.property.Get', 'label'), contestant('admin.vm.property.GetAll', nil),
  }, true))
  local times, low, high = measure.ratio(one, all)
  local cpu = all.cpu_us / one.cpu_us
  report.add {
    what = 'property.GetAll of one qube, by rate', result = ('%.1f × property.Get'):format(times), value = times, goal = { at_most = TIMES_GOAL },
    note = ('%.1f to %.1f; kept until the model changes'):format(low, high), ours = all, other = one, other_name = 'Get',
  }
  report.add {
    what = 'property.GetAll of one qube, by CPU time', result = ('%.1f × property.Get'):format(cpu), value = cpu, goal = { at_most = TIMES_GOAL },
  }
end

local function system_info(bench, what)
  local target = bench.estate(SIZE)
  local internal = setmetatable({ socket = target.internal_socket }, { __index = target })
  reads.beside_bare(bench, what, internal, { method = 'internal.GetSystemInfo' }, BARE_GOAL)
end

function model.run(bench)
  bench.line('property.GetAll of one qube', function() get_all(bench) end)
  bench.line('GetSystemInfo, 1,000 qubes', function(what) system_info(bench, what) end)
end

return model
