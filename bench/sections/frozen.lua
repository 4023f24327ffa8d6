-- SPDX-License-Identifier: GPL-2.0-or-later
-- Reads while more qubes are frozen in libvirt than it can have workers, beside a daemon on which nothing is (law 7). Both are qubesd-testing, whose libvirt
-- calls can be told to hang.

local api = require 'api'
local daemon = require 'daemon'
local measure = require 'measure'
local process = require 'process'
local report = require 'report'

local SIZE = 100
local FROZEN = 40 -- more than WORKERS
local WORKERS = 32 -- QD_VIRT_WORKERS_MAX
local HELP_SECONDS = 60 -- for the last of the workers to be started: a few each QD_VIRT_PATIENCE_MS
local CONNECTIONS = 4
local GOAL = 2
local VARIANT = { program = 'qubesd-testing', env = { QD_TEST_VIRT_BLOCK = 'create:bench*:3600' } }

local METHODS = {
  { name = 'property.Get', method = 'admin.vm.property.Get', arg = 'label', each = true },
  { name = 'vm.List', method = 'admin.vm.List' },
  { name = 'CurrentState of the frozen', method = 'admin.vm.CurrentState', dest = 'bench1' },
}

local frozen = {}

local function stuck(target)
  return daemon.status(target).virt_workers >= WORKERS
end

-- Starts qubes that never come up. Their answers, errors at the deadline, are of no interest.
local function freeze(target)
  for index = 1, FROZEN do
    api.begin(target.socket, { method = 'admin.vm.Start', dest = 'bench' .. index }, function() end)
  end
  if not process.wait_until(function() return stuck(target) end, HELP_SECONDS) then
    error(('only %d workers of libvirt are frozen'):format(daemon.status(target).virt_workers), 0)
  end
end

local function compare(bench, what, method, free, target)
  local function at(side)
    return {
      pid = side.pid,
      job = function()
        return {
          socket = side.socket, method = method.method, arg = method.arg, src = bench.src, dest = method.dest,
          dest_list = method.each and side.list or nil, connections = CONNECTIONS,
        }
      end,
    }
  end
  local during, before = table.unpack(measure.alternate(bench, { at(target), at(free) }, true))
  if not stuck(target) then
    error('libvirt is not frozen any more', 0)
  end
  local ratio, low, high = measure.ratio(during, before, 'p99s')
  report.add {
    what = what, result = ('%.2f of the p99'):format(ratio), value = ratio, goal = { at_most = GOAL },
    note = ('%.2f to %.2f; %.2f of the rate'):format(low, high, (measure.ratio(during, before))),
    ours = during, other = before, other_name = 'nothing frozen',
  }
end

function frozen.run(bench)
  local free, target
  for _, method in ipairs(METHODS) do
    local what = ('%s, %d of %d qubes frozen'):format(method.name, FROZEN, SIZE)
    bench.line(what, function()
      if not target then
        free, target = bench.estate(SIZE, 'free', nil, VARIANT), bench.estate(SIZE, 'frozen', nil, VARIANT)
        freeze(target)
      end
      compare(bench, what, method, free, target)
    end)
  end
  if target then
    bench.release('free')
    bench.release('frozen')
  end
end

return frozen
