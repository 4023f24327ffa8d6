-- SPDX-License-Identifier: GPL-2.0-or-later
-- What rules cost: a call that one denies, a call while 1,000 judge other events, one that 100 judge, and a list that one filters.

local api = require 'api'
local measure = require 'measure'
local process = require 'process'
local reads = require 'reads'
local report = require 'report'

local SIZE, LIST_SIZE, RULES, OWN_RULES = 10, 1000, 1000, 100
local CONNECTIONS = 16
local MORE_SECONDS, MORE_ROUNDS = 2, 2 -- than other reads get: a goal of three per cent needs them

local rules = {}

local DENY = [[
on('admin-permission:admin.vm.feature.Get', function(src, event, info)
  deny('no')
end)
]]

local FILTER = [[
on('admin-permission:admin.vm.List', function(src, event, info)
  return function(qube) return not qube.tags['bench-hidden'] end
end)
]]

local FILTER_LIST = [[
on('admin-permission:admin.vm.List', function(src, event, info)
  return filter_list(function(qubes)
    local kept = {}
    for _, qube in ipairs(qubes) do
      if not qube.tags['bench-hidden'] then kept[#kept + 1] = qube end
    end
    return kept
  end)
end)
]]

-- Real events, none of which a property.Get fires. (It does ask the rules of admin.vm.List, whether the caller may see the
-- qube.)
local OTHERS = {
  'admin.vm.Stats', 'admin.vm.Remove', 'admin.vm.property.Set', 'admin.vm.property.Reset', 'admin.vm.property.List',
  'admin.vm.feature.Set', 'admin.vm.feature.Remove', 'admin.vm.feature.List', 'admin.vm.tag.Set', 'admin.vm.tag.Remove',
  'admin.vm.tag.List', 'admin.vm.Start', 'admin.vm.Shutdown', 'admin.vm.Kill', 'admin.vm.Pause', 'admin.vm.Unpause',
  'admin.label.Create', 'admin.label.Remove', 'admin.property.Set', 'admin.property.Reset',
}

-- A hundred rules that each look at something of the caller and of the called qube.
local function own_rules()
  local line = "on('admin-permission:admin.vm.property.Get', function(src, event, info) "
    .. "if src.tags['bench-guest-%d'] and info.arg ~= 'label' and info.dest.tags.vault then deny('no') end end)"
  local lines = {}
  for index = 1, OWN_RULES do lines[index] = line:format(index) end
  return table.concat(lines, '\n') .. '\n'
end

local function many_rules()
  local lines = {}
  for index = 1, RULES do
    lines[index] = ("on('admin-permission:%s', function(src) if src.tags['bench-guest-%d'] then deny('no') end end)"):format(
      OTHERS[(index - 1) % #OTHERS + 1], index)
  end
  return table.concat(lines, '\n') .. '\n'
end

-- An estate of its own with one file of rules.
local function estate_with(bench, name, size, text)
  local acl = process.make_directory(bench.root .. '/acl-' .. name)
  process.write_file(acl .. '/50-bench.lua', text)
  return bench.estate(size, name, acl)
end

local function denied(bench, what)
  local target = estate_with(bench, 'denied', SIZE, DENY)
  local method = { method = 'admin.vm.feature.Get', arg = 'bench-feature', each = true }
  local answer = api.call(target.socket, { method = method.method, arg = method.arg, src = bench.src, dest = 'bench1' })
  local text, class = api.describe(answer)
  if answer ~= '' and class ~= 'PermissionDenied' then
    error(('expected a denial, not %s'):format(text), 0)
  end
  reads.beside_bare(bench, what, target, method, nil,
    class and { expect_exception = class } or { expect_empty = true })
end

-- Ours with rules beside ours without. goal: { added_us = }, of processor time for each call, or { ratio = }, of it without rules and with.
local function with_and_without(bench, what, with, without, job, goal)
  local function contestant(target)
    return {
      pid = target.pid,
      job = function()
        return setmetatable({ socket = target.socket, dest_list = job.each and target.list or nil }, { __index = job })
      end,
    }
  end
  local longer = measure.longer(bench, MORE_SECONDS, MORE_ROUNDS)
  local ours, other = table.unpack(measure.alternate(longer, { contestant(with), contestant(without) }, true))
  local ratio, low, high = measure.ratio(ours, other)
  local added, by_cpu = ours.cpu_us - other.cpu_us, other.cpu_us / ours.cpu_us
  report.add {
    what = what, result = ('%.2f of no rules'):format(ratio), ours = ours, other = other, other_name = 'no rules',
    note = ('%.2f to %.2f; %.2f by CPU time, %.0f µs more'):format(low, high, by_cpu, added),
    value = goal.added_us and added or by_cpu, goal = goal.added_us and { below = goal.added_us } or { at_least = goal.ratio },
  }
end

local function on_get(bench, what, name, text, goal)
  with_and_without(bench, what, estate_with(bench, name, SIZE, text), bench.estate(SIZE), {
    method = 'admin.vm.property.Get', arg = 'label', src = bench.src, connections = CONNECTIONS, each = true,
  }, goal)
end

local function filtered(bench, what, name, text)
  with_and_without(bench, what, estate_with(bench, name, LIST_SIZE, text), bench.estate(LIST_SIZE), {
    method = 'admin.vm.List', src = bench.src, connections = CONNECTIONS,
  }, { added_us = 1000 })
end

function rules.run(bench)
  bench.line('denied feature.Get, 10 qubes', function(what) denied(bench, what) end)
  bench.line('property.Get, 1,000 rules on other events', function(what) on_get(bench, what, 'rules', many_rules(), { ratio = 0.97 }) end)
  bench.line('property.Get, 100 rules on it', function(what) on_get(bench, what, 'own-rules', own_rules(), { added_us = 100 }) end)
  bench.line('vm.List, 1,000 qubes, a filter for each', function(what) filtered(bench, what, 'filter', FILTER) end)
  bench.line('vm.List, 1,000 qubes, a filter of the list', function(what) filtered(bench, what, 'filter-list', FILTER_LIST) end)
end

return rules
