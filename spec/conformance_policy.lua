-- SPDX-License-Identifier: GPL-2.0-or-later
-- Compares lib/qrexec_policy.lua with recorded decisions of the reference: lua5.4 spec/conformance_policy.lua FILE.jsonl …
-- (../shared/conformance/policy.jsonl; the README beside it says what is in it). Run in the project's root. Exits 1 when anything differs,
-- after showing the first ten differences; 2 when there is nothing to compare.

local cjson = require 'cjson'

local SHOWN = 10

local imported = {}
local function import(name)
  if not imported[name] then
    local environment = setmetatable({ import = import }, { __index = _G })
    imported[name] = assert(loadfile('scripts/lib/' .. name .. '.lua', 't', environment))()
  end
  return imported[name]
end

local qrexec_policy = import('qrexec_policy')

-- The decision in the form in which it is recorded.
local function recorded_form(decision)
  if decision.action == 'allow' then
    return { 'allow', decision.target, decision.user or cjson.null, decision.autostart, decision.line }
  elseif decision.action == 'ask' then
    return { 'ask', decision.targets, decision.default or cjson.null, decision.user or cjson.null, decision.line }
  end
  return { 'deny' }
end

local totals = { policies = 0, same = 0, differ = 0 }

-- Arrays of the same form are encoded the same: cjson keeps their order.
local function compare(place, question, expected, got)
  expected, got = cjson.encode(expected), cjson.encode(got)
  if expected == got then
    totals.same = totals.same + 1
    return
  end
  totals.differ = totals.differ + 1
  if totals.differ <= SHOWN then
    print(('%s: %s\n  expected %s\n  got      %s'):format(place, question, expected, got))
  end
end

-- Where the reference found the error, without its words and without what its in-memory files are called.
local function error_place(text)
  return (text:gsub('%[in%-memory%]', ''):match('^[^:]*:%d+'))
end

-- Asks about all the targets of each call at once.
local function check_targets(place, record, policy, system_info)
  local by_call, calls = {}, {}
  for _, request in ipairs(record.requests) do
    local service, argument, source, target, expected = table.unpack(request)
    local call = table.concat({ service, argument, source }, ' ')
    local group = by_call[call]
    if not group then
      group = { service, argument, source, targets = {}, expected = {} }
      by_call[call] = group
      table.insert(calls, call)
    end
    table.insert(group.targets, target)
    group.expected[target] = expected[1] ~= 'deny' and expected[1] or nil
  end
  for _, call in ipairs(calls) do
    local group = by_call[call]
    local answers = policy:allowed_targets(group[1], group[2], group[3], group.targets, system_info)
    for _, target in ipairs(group.targets) do
      compare(place, ('allowed_targets %s %s'):format(call, target), group.expected[target] or 'deny', answers[target] or 'deny')
    end
  end
end

local function check(place, record)
  totals.policies = totals.policies + 1
  local policy, failure = qrexec_policy.parse(qrexec_policy.memory_loader(record.files), '__main__')
  local expected = record.syntax_error and error_place(record.syntax_error) or 'parses'
  local got = failure and ('%s:%s'):format(failure.file, failure.line) or 'parses'
  compare(place, 'parse', expected, got)
  if not policy then return end
  local system_info = { domains = record.domains }
  for _, request in ipairs(record.requests) do
    local service, argument, source, target, decision = table.unpack(request)
    local call = { service = service, argument = argument, source = source, target = target }
    local question = ('%s%s %s %s'):format(service, argument, source, target)
    compare(place, question, decision, recorded_form(policy:evaluate(call, system_info)))
    compare(place, 'allows ' .. question, decision[1] == 'allow', policy:allows(call, system_info))
  end
  check_targets(place, record, policy, system_info)
end

for _, path in ipairs(arg) do
  local number = 0
  for line in io.lines(path) do
    number = number + 1
    check(('%s:%d'):format(path, number), cjson.decode(line))
  end
end

print(('%d policies, %d comparisons: %d same, %d differ'):format(totals.policies, totals.same + totals.differ, totals.same, totals.differ))
print((totals.policies > 0 and totals.differ == 0 and 'ok' or 'not ok') .. ' 1 - decisions of the qrexec policy')
os.exit(totals.policies == 0 and 2 or totals.differ > 0 and 1 or 0)
