-- SPDX-License-Identifier: GPL-2.0-or-later
-- property.Get, feature.Get and vm.List on estates of four sizes, beside a bare libuv server that sends the same bytes.

local api = require 'api'
local daemon = require 'daemon'
local measure = require 'measure'
local report = require 'report'

local SIZES = { 10, 100, 1000, 10000 }
local CONNECTIONS = 16

local reads = {}

local METHODS = {
  { name = 'property.Get', method = 'admin.vm.property.Get', arg = 'label', each = true, goal = function() return 0.7 end },
  { name = 'feature.Get', method = 'admin.vm.feature.Get', arg = daemon.FEATURE, each = true, goal = function() return 0.7 end },
  { name = 'vm.List', method = 'admin.vm.List', goal = function(size) return size == 1000 and 0.3 or nil end },
}

-- One line: a method beside the bare server. right: options of bench-load that say what our answer must be; by default the
-- bytes of the first one. Returns the summary of ours.
function reads.beside_bare(bench, what, target, method, goal, right)
  local first = api.call(target.socket, {
    method = method.method, arg = method.arg, src = bench.src, dest = method.each and 'bench1' or 'dom0',
  })
  if not right and first:sub(1, 2) ~= '0\0' then
    error(('%s: %s'):format(method.method, (api.describe(first))), 0)
  end
  local bare = measure.start_bare(bench, what, first)
  local job = {
    method = method.method, arg = method.arg, src = bench.src, dest_list = method.each and target.list or nil,
    connections = CONNECTIONS,
  }
  local function at(socket, expectation)
    return function()
      return setmetatable({
        socket = socket, expect_file = expectation.expect_file, expect_exception = expectation.expect_exception,
        expect_empty = expectation.expect_empty,
      }, { __index = job })
    end
  end
  local ours, theirs = table.unpack(measure.alternate(bench, {
    { pid = target.pid, job = at(target.socket, right or bare) },
    { pid = bare.pid, job = at(bare.socket, bare) },
  }, true))
  measure.stop_bare(bare)
  local ratio, low, high = measure.ratio(ours, theirs)
  report.add {
    what = what, result = ('%.2f of bare'):format(ratio), value = ratio, goal = goal and { at_least = goal },
    note = ('%.2f to %.2f; %.2f by CPU time'):format(low, high, theirs.cpu_us / ours.cpu_us),
    ours = ours, other = theirs, other_name = 'bare',
  }
  return ours
end

function reads.run(bench)
  for _, method in ipairs(METHODS) do
    for _, size in ipairs(SIZES) do
      local what = ('%s, %s qubes'):format(method.name, report.number(size))
      bench.line(what, function()
        reads.beside_bare(bench, what, bench.estate(size), method, method.goal(size))
      end)
    end
  end
end

return reads
