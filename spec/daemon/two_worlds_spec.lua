-- SPDX-License-Identifier: GPL-2.0-or-later
-- Law 1: two worlds, one with hidden qubes and one without them. A caller from whom they are hidden makes the same random calls in both, of all methods, and
-- gets the same bytes: answers, errors and events. Meanwhile dom0 works on the hidden qubes. QD_DRAWS: how many calls (10,000; fewer with sanitizers).
-- QD_SEED: others than these.
--
-- Not compared, as bytes: numbers that are drawn by chance or by a clock (uuid, start_time, cputime, the name and address of a disposable), and those that are
-- given out in order and so count all qubes (qid and the addresses made of it, xid); docs/acl.md says so.

local daemons = require('spec.support.daemon')
local declared = require('spec.support.declared')
local worlds = require('spec.support.two_worlds')

local CONSOLE = { socket = 'qubesd.console.sock' }
local DRAWS = tonumber(os.getenv('QD_DRAWS')) or (daemons.build_dir:find('sanitizers', 1, true) and 2000 or 10000)
local SEED = tonumber(os.getenv('QD_SEED')) or 20261123
local CALLS_OF_AN_ESTATE = 250
local SETTLE_SECONDS = 10

-- Streams, which have specs of their own below; a reload, which takes long and changes nothing; and what is served to root in dom0 only.
local LEFT_OUT = { ['admin.Events'] = true, ['admin.vm.Stats'] = true, ['internal.Reload'] = true }

local QIDS = [[
method('console.spec.Qids', {
  dest = 'adminvm', arg = 'none', payload = 'none', scope = 'none', read = true, doc = 'For this spec.',
}, function(call)
  call:permission()
  local list = {}
  for qube in app.domains:each() do list[#list + 1] = tostring(qube.qid) end
  return table.concat(list, ' ')
end)
]]

-- ---- one world ----

local World = {}
World.__index = World

local function as_root(d, call)
  return d:call('dom0', call[1], call[2], call[3], call[4], CONSOLE)
end

local function make_world(has_hidden)
  local self = setmetatable({ has_hidden = has_hidden, uuids = {} }, World)
  self.d = daemons.start { acl = { ['10.lua'] = worlds.RULES }, extra_scripts = { ['api/spec.lua'] = declared.SCRIPT .. QIDS } }
  local function make(calls)
    for _, call in ipairs(calls) do
      local answer = as_root(self.d, call)
      assert(answer.kind == 'ok', ('%s %s %s: %s'):format(call[1], call[2], call[3], answer.message))
    end
  end
  make(worlds.BASE)
  self.last_qid = 0
  for qid in self.d:ok('console.spec.Qids', 'dom0', '', '', CONSOLE):gmatch('%d+') do self.last_qid = math.max(self.last_qid, tonumber(qid)) end
  if has_hidden then make(worlds.HIDDEN) end
  for _, call in ipairs(worlds.REFERENCES) do
    make { has_hidden and call or { call[1], call[2], call[3], '' } }
  end
  self.stream = self.d:subscribe('guest', 'dom0')
  return self
end

-- What differs for reasons that are no secret is written the same.
function World:normal(text)
  local last = self.last_qid
  local function number(form) return function(digits) return tonumber(digits) > last and form:format('#') or nil end end
  text = text:gsub('%x%x%x%x%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%x%x%x%x%x%x%x%x', '<uuid>')
  text = text:gsub('disp%d+', 'disp#'):gsub('cputime=%d+', 'cputime=#'):gsub('type=(%a+) %d+%.%d+%f[^%d.]', 'type=%1 <time>')
  text = text:gsub('10%.138%.%d+%.%d+', '10.138.#.#'):gsub('10%.137%.0%.(%d+)', number('10.137.0.%s'))
  text = text:gsub('(%f[%w][%w_]*id default=%a+ type=int) %d+', '%1 #')
  return (text:gsub('00:16:3e:5e:6c:(%x%x)', '00:16:3e:5e:6c:##'):gsub('fd09:24ef:4179::a89:%x+', 'fd09:24ef:4179::a89:#'))
end

local NUMBERS = { start_time = true, qid = true, xid = true, dispid = true, stubdom_xid = true }

-- The bytes of the answer. Names that differ in the two worlds are written symbolically: "@disposable" is the last one that was made for the caller.
function World:call(call)
  local dest = call.dest:gsub('^@disposable$', self.disposable or 'nobody')
  local bytes = self.d:raw(daemons.request('guest', call.method, dest, call.arg, call.payload), { socket = declared.socket_of(call.method) })
  assert(bytes, call.method .. ' has no answer')
  if call.method:match('CreateDisposable$') then self.disposable = bytes:match('^0%z(disp%d+)$') or self.disposable end
  if call.method:match('property%.Get') and NUMBERS[call.arg] then bytes = bytes:gsub('(type=%a+) [%d.]+', '%1 #') end
  local text = self:normal(bytes)
  if not call.method:match('vm%.List$') then return text end
  local lines = {} -- the names of disposables decide on their order
  for line in text:gmatch('[^\n]+') do lines[#lines + 1] = line end
  table.sort(lines)
  return table.concat(lines, '\n')
end

function World:state(name)
  local answer = as_root(self.d, { 'admin.vm.CurrentState', name })
  return answer.kind == 'ok' and answer.body:match('power_state=(%S+)') or 'none'
end

function World:act_in_secret()
  local function netvm_of(name)
    local answer = as_root(self.d, { 'admin.vm.property.Get', name, 'netvm' })
    return answer.kind == 'ok' and answer.body:match('type=vm (.*)$') or ''
  end
  local call = worlds.secret_call(function(name) return self:state(name) == 'Running' end, netvm_of)
  return as_root(self.d, call)
end

-- An event as it can be compared.
function World:normal_event(frame)
  if NUMBERS[frame:match('^1%z[^%z]*%zproperty%-[%w-]+:([%w_]+)%z')] then frame = frame:gsub('oldvalue%z[%d.]+', 'oldvalue|#') end
  return (self:normal(frame):gsub('%z', '|'))
end

-- Events up to now, an array for each subject: those of different qubes can come in any order.
function World:events()
  local by_subject = {}
  for frame in self.stream.buffer:gmatch('1%z.-%z%z') do
    local subject = self:normal(frame:match('^1%z([^%z]*)'))
    by_subject[subject] = by_subject[subject] or {}
    table.insert(by_subject[subject], self:normal_event(frame))
  end
  return by_subject
end

-- The first difference between two of these, or nil.
local function difference(a, b)
  for _, each in ipairs { a, b } do
    for subject in pairs(each) do
      local left, right = a[subject] or {}, b[subject] or {}
      for i = 1, math.max(#left, #right) do
        if left[i] ~= right[i] then
          local function around(list) return table.concat(list, '\n  ', math.max(1, i - 3), math.min(#list, i + 3)) end
          return ('events of %s:\nwithout\n  %s\nwith\n  %s'):format(subject, around(left), around(right))
        end
      end
    end
  end
end

local function first_difference(a, b)
  local at = 1
  while at <= #a and a:byte(at) == b:byte(at) do at = at + 1 end
  local from = math.max(1, at - 60)
  return ('without: …%q…\nwith:    …%q…'):format(a:sub(from, at + 120), b:sub(from, at + 120))
end

-- ---- both ----

describe('a caller from whom qubes are hidden', function()
  local with, without, methods, by_name

  local function begin()
    with, without = make_world(true), make_world(false)
  end

  local function finish()
    for _, world in pairs { with, without } do
      world.stream:close()
      world.d:stop()
    end
    with, without = nil, nil
  end

  setup(function()
    math.randomseed(SEED)
    begin()
    methods, by_name = {}, {}
    for _, method in ipairs(declared.list(with.d)) do
      if not method.name:match('^console%.') and not LEFT_OUT[method.name] then
        methods[#methods + 1] = method
        by_name[method.name] = method
      end
    end
    finish()
  end)

  after_each(finish) -- where a comparison failed

  local function describe_call(number, call)
    return ('seed %d, call %d: %s+%s %s %q\n'):format(SEED, number, call.method, call.arg, call.dest, call.payload)
  end

  -- What a call has set going ends in both before the next one, so that chance does not decide what that finds.
  local function settle(number, call)
    if not call.method:match('%.Start$') and not call.method:match('Shutdown$') and not call.method:match('Kill$') then return end
    local function same() return call.dest:match('^@') or with:state(call.dest) == without:state(call.dest) or call.dest:match('^secret') end
    assert(daemons.run_until(same, SETTLE_SECONDS), describe_call(number, call) .. 'states stay different')
  end

  local function compare_events(number, history)
    local found
    local function same()
      found = difference(without:events(), with:events())
      return not found
    end
    if not daemons.run_until(same, SETTLE_SECONDS) then
      error(('%s\nseed %d, events after call %d:\n%s'):format(found, SEED, number, table.concat(history, '', math.max(1, #history - 30))), 0)
    end
  end

  it('learns nothing of them', function()
    local answered, refused = 0, 0
    for first = 1, DRAWS, CALLS_OF_AN_ESTATE do
      begin()
      local history = {}
      for number = first, math.min(first + CALLS_OF_AN_ESTATE - 1, DRAWS) do
        if math.random(4) == 1 then with:act_in_secret() end
        local call = worlds.call(methods, by_name)
        local expected, got = without:call(call), with:call(call)
        history[#history + 1] = describe_call(number, call)
        if expected ~= got then
          error(('%s\n%s'):format(first_difference(expected, got), table.concat(history, '', math.max(1, #history - 30))), 0)
        end
        if expected:sub(1, 2) == '0\0' then answered = answered + 1 else refused = refused + 1 end
        settle(number, call)
        if number % 25 == 0 then compare_events(number, history) end
      end
      compare_events(first + CALLS_OF_AN_ESTATE - 1, history)
      finish()
    end
    assert.is_true(answered > DRAWS / 10 and refused > DRAWS / 10, ('%d answered, %d refused'):format(answered, refused))
  end)
end)
