-- SPDX-License-Identifier: GPL-2.0-or-later
-- limit{…} of rules: who calls more often than it may is refused, by count and not by chance, and nobody else notices. The clock is the daemon's own,
-- shifted by a file, and its rates are so low that what passes meanwhile gives nothing.

local json = require('cjson')
local daemon = require('spec.support.daemon')
local new_clock = require('spec.support.clock')

local CONSOLE = { socket = 'qubesd.console.sock' }
local SLOW = 0.001 -- calls a second: none comes back while a spec runs

describe('a limit', function()
  local d, clock

  setup(function()
    clock = new_clock()
    d = daemon.start { binary = 'qubesd-testing', env = clock.env }
    d:estate { 'work', 'guest', 'other', 'vault' }
    d:ok('admin.vm.tag.Set', 'guest', 'guest')
  end)

  teardown(function()
    d:stop()
    clock:remove()
  end)

  before_each(function()
    for _, name in ipairs { '10-limit.lua', '20-more.lua' } do d:remove_rule(name) end
    assert.equal('ok', d:reload().kind)
  end)

  local function status()
    return d:ok('internal.Status', 'dom0', '', '', CONSOLE)
  end

  local function count(name)
    return assert(tonumber(status():match(('"%s": (%%d+)'):format(name))))
  end

  -- How many of `calls` calls are let through; the others must be refused with the words.
  local function passed(calls, src, method, dest, words, arg)
    local good = 0
    for _ = 1, calls do
      local answer = d:call(src, method, dest or 'dom0', arg)
      if answer.class == 'QubesException' then
        assert.equal(words or 'over the limit of 0.001 calls a second', answer.message)
      else
        good = good + 1
      end
    end
    return good
  end

  it('lets the burst through and refuses the rest, clearly', function()
    d:set_rule('10-limit.lua', ("limit { src = 'work', method = 'admin.*', rate = %g, burst = 5 }"):format(SLOW))
    local limited, denied = count('limited'), count('denied')
    assert.equal(5, passed(20, 'work', 'admin.vm.List'))
    assert.equal(limited + 15, count('limited'))
    assert.equal(denied, count('denied'))
    assert.truthy(status():find('"limits": [{"at": "acl.d/10-limit.lua:1", "limited": 15}]', 1, true))
    assert.equal(20, passed(20, 'other', 'admin.vm.List'))
  end)

  it('is named by an explanation, which uses nothing up', function()
    d:set_rule('10-limit.lua', ("\nlimit { src = 'work', method = 'admin.vm.List', rate = %g, burst = 2 }"):format(SLOW))
    local function explain()
      return json.decode(d:ok('console.Explain', 'dom0', '', json.encode { source = 'work', method = 'admin.vm.List' }, CONSOLE))
    end
    for _ = 1, 5 do assert.equal('permitted', explain().verdict) end
    assert.equal(2, passed(3, 'work', 'admin.vm.List'))
    local limited, told = count('limited'), explain()
    assert.equal('exception', told.verdict)
    assert.equal('QubesException', told.class)
    assert.equal('acl.d/10-limit.lua:2', told.place)
    assert.equal('this limit refuses it for now', told.note)
    assert.equal(limited, count('limited'))
  end)

  it('gives its reason, and no more of itself', function()
    d:set_rule('10-limit.lua', "limit { src = 'work', method = 'admin.vm.List', rate = 0.5, burst = 1, reason = '100% of your share' }")
    assert.equal(1, passed(3, 'work', 'admin.vm.List', 'dom0', 'over the limit of 0.5 calls a second: 100%% of your share'))
  end)

  it('has a bucket for each caller', function()
    d:set_rule('10-limit.lua', ("limit { src = '*', method = 'admin.*', rate = %g, burst = 3 }"):format(SLOW))
    for _, src in ipairs { 'work', 'guest', 'other' } do assert.equal(3, passed(6, src, 'admin.vm.List')) end
  end)

  it('is for those with the tag, or of the class, as long as they are so', function()
    d:set_rule('10-limit.lua', ("limit { src = 'tag:guest', method = 'admin.vm.List', rate = %g, burst = 1 }"):format(SLOW))
    assert.equal(5, passed(5, 'work', 'admin.vm.List'))
    assert.equal(1, passed(5, 'guest', 'admin.vm.List'))
    d:ok('admin.vm.tag.Remove', 'guest', 'guest')
    assert.equal(5, passed(5, 'guest', 'admin.vm.List'))
    d:ok('admin.vm.tag.Set', 'guest', 'guest')
    assert.equal(0, passed(5, 'guest', 'admin.vm.List'))
    d:set_rule('10-limit.lua', ("limit { src = 'type:AppVM', method = 'admin.vm.List', rate = %g, burst = 1 }"):format(SLOW))
    assert.equal(1, passed(5, 'work', 'admin.vm.List'))
    assert.equal(5, passed(5, 'fedora', 'admin.vm.List'))
  end)

  it('can not be got round by the other spelling', function()
    for _, pattern in ipairs { 'admin.vm.List', 'mgmt.vm.List', 'mgmt.*', '????.vm.List' } do
      d:set_rule('10-limit.lua', ("limit { src = 'work', method = '%s', rate = %g, burst = 4 }"):format(pattern, SLOW))
      assert.equal(2, passed(2, 'work', 'admin.vm.List'))
      assert.equal(2, passed(5, 'work', 'mgmt.vm.List'))
      assert.equal(0, passed(5, 'work', 'admin.vm.List'))
      assert.equal(3, passed(3, 'work', 'admin.vm.feature.Get', 'other', nil, 'x') + (pattern:find('*', 1, true) and 3 or 0))
    end
  end)

  it('never holds dom0 or the console', function()
    d:set_rule('10-limit.lua', "limit { src = '*', method = '*', rate = 0.001, burst = 1 } limit { src = 'type:AdminVM', method = '*', rate = 0.001 }")
    assert.equal(30, passed(30, 'dom0', 'admin.vm.List'))
    for _ = 1, 10 do assert.equal('ok', d:call('work', 'admin.vm.List', 'dom0', '', '', CONSOLE).kind) end
    assert.equal(1, passed(5, 'work', 'admin.vm.List'))
    d:write_rule('10-limit.lua', "limit { src = 'dom0', method = '*', rate = 1 }")
    assert.truthy(d:reload().message:find('acl.d/10-limit.lua:1: limit: dom0 is never limited', 1, true))
  end)

  it('tells nothing of the destination', function()
    d:set_rule('10-limit.lua', ("limit { src = 'work', method = 'admin.*', rate = %g, burst = 1 }"):format(SLOW) .. [[
      on('admin-permission:admin.vm.List', function(src)
        if src.name == 'work' then return function(qube) return qube.name ~= 'vault' end end
      end)]])
    assert.equal(1, passed(1, 'work', 'admin.vm.List'))
    local refusal = d:raw(daemon.request('work', 'admin.vm.List', 'dom0'))
    assert.truthy(refusal:find('over the limit', 1, true))
    for _, call in ipairs { { 'admin.vm.Start', 'vault' }, { 'admin.vm.Start', 'absent' }, { 'admin.vm.Start', 'other' }, { 'admin.vm.Start', 'uuid:none' },
      { 'admin.vm.NoSuchMethod', 'vault' }, { 'mgmt.vm.Start', 'bad name' }, { 'admin.vm.tag.List', 'vault', 'arg' } } do
      assert.equal(refusal, d:raw(daemon.request('work', call[1], call[2], call[3])), call[1] .. call[2])
    end
  end)

  it('is asked before the rules are', function()
    d:set_rule('10-limit.lua', ("limit { src = 'work', method = 'admin.*', rate = %g, burst = 2 }"):format(SLOW) .. [[
      on('admin-permission:admin.vm.List', function(src) if src.name == 'work' then deny('said the rule') end end)]])
    local before = count('denied')
    assert.equal(2, passed(10, 'work', 'admin.vm.List'))
    assert.equal(before + 2, count('denied'))
  end)

  it('fills again with time, up to the burst', function()
    d:set_rule('10-limit.lua', "limit { src = 'work', method = 'admin.*', rate = 0.01, burst = 5 }")
    local words = 'over the limit of 0.01 calls a second'
    assert.equal(5, passed(8, 'work', 'admin.vm.List', 'dom0', words))
    clock:advance(200)
    assert.equal(2, passed(8, 'work', 'admin.vm.List', 'dom0', words))
    clock:advance(100000)
    assert.equal(5, passed(8, 'work', 'admin.vm.List', 'dom0', words))
    clock:advance(-50000) -- a clock that goes back gives nothing, and takes nothing
    assert.equal(0, passed(3, 'work', 'admin.vm.List', 'dom0', words))
  end)

  it('goes on over a reload, whatever else changes', function()
    local text = ("limit { src = 'work', method = 'admin.*', rate = %g, burst = 5 }"):format(SLOW)
    d:set_rule('10-limit.lua', text)
    assert.equal(3, passed(3, 'work', 'admin.vm.List'))
    assert.equal('ok', d:reload().kind)
    assert.equal(2, passed(9, 'work', 'admin.vm.List'))
    d:remove_rule('10-limit.lua')
    d:set_rule('20-more.lua', '\n-- moved\n' .. text .. " on('admin-permission:admin.vm.Start', function() end)")
    assert.equal(0, passed(9, 'work', 'admin.vm.List'))
    assert.truthy(status():find('"limits": [{"at": "acl.d/20-more.lua:3", "limited": 16}]', 1, true))
    d:write_rule('10-limit.lua', 'broken (')
    assert.equal('exception', d:reload().kind)
    assert.equal(0, passed(9, 'work', 'admin.vm.List'))
    d:remove_rule('10-limit.lua')
    d:set_rule('20-more.lua', (text:gsub('burst = 5', 'burst = 6'))) -- another limit
    assert.equal(6, passed(9, 'work', 'admin.vm.List'))
  end)

  it('that refuses takes nothing of another', function()
    d:set_rule('10-limit.lua', ([[limit { src = 'work', method = 'admin.*', rate = %g, burst = 6 }
      limit { src = 'work', method = 'admin.vm.List', rate = %g, burst = 2 }]]):format(SLOW, SLOW))
    assert.equal(2, passed(20, 'work', 'admin.vm.List'))
    assert.equal(4, passed(20, 'work', 'admin.vm.tag.List', 'other'))
  end)

  it('knows a new qube of an old name as a new one', function()
    d:set_rule('10-limit.lua', ("limit { src = '*', method = 'admin.*', rate = %g, burst = 3 }"):format(SLOW))
    for _ = 1, 3 do
      d:ok('admin.vm.Create.AppVM', 'dom0', '', 'name=brief label=red')
      assert.equal(3, passed(7, 'brief', 'admin.vm.List'))
      d:ok('admin.vm.Remove', 'brief')
    end
  end)

  it('concerns calls, not streams that are open', function()
    d:set_rule('10-limit.lua', ("limit { src = 'work', method = 'admin.*', rate = %g, burst = 1 }"):format(SLOW))
    local stream = d:subscribe('work')
    assert.truthy(stream:wait('connection-established'))
    assert.equal(0, passed(5, 'work', 'admin.vm.List'))
    d:reload()
    d:ok('admin.vm.tag.Set', 'other', 'news')
    assert.truthy(stream:wait('domain-tag-add:news'))
    assert.is_false(stream.ended)
    stream:close()
    assert.equal(0, passed(1, 'work', 'admin.Events'))
  end)

  it('writes one line a second, with the count', function()
    d:set_rule('10-limit.lua', "\nlimit { src = 'work', method = 'admin.vm.List', rate = 0.001, burst = 1 }")
    local from = #d.log
    passed(60, 'work', 'admin.vm.List')
    assert.is_true(daemon.run_until(function()
      local told = 0
      for line, number in d.log:sub(from):gmatch('(limited: work is over [^\n]*) refused: (%d+), by acl%.d/10%-limit%.lua:2') do
        assert.truthy(line)
        told = told + tonumber(number)
      end
      return told == 59
    end, 10))
    local _, lines = d.log:sub(from):gsub('limited: work', '')
    assert.is_true(lines < 20)
  end)

  it('of one qube that floods changes no other\'s answers', function()
    d:set_rule('10-limit.lua', ("limit { src = 'guest', method = 'admin.*', rate = %g, burst = 10 }"):format(SLOW))
    local expected = d:call('other', 'admin.vm.List', 'dom0').body
    local floods = {}
    for round = 1, 20 do
      for _ = 1, 20 do floods[#floods + 1] = d:begin('guest', 'admin.vm.List', 'dom0') end
      assert.equal(expected, d:call('other', 'admin.vm.List', 'dom0').body)
      assert.equal('ok', d:call('other', 'admin.vm.tag.Set', 'work', 'round-' .. round).kind)
    end
    assert.is_true(daemon.run_until(function()
      for _, call in ipairs(floods) do if not call.ended then return false end end
      return true
    end, 30))
    local good = 0
    for _, call in ipairs(floods) do if call.result().kind == 'ok' then good = good + 1 end end
    assert.equal(10, good)
  end)

  for text, words in pairs {
    ["limit { method = 'admin.*', rate = 1 }"] = "limit: 'src' has to be a string",
    ["limit { src = 'work', rate = 1 }"] = "limit: 'method' has to be a string",
    ["limit { src = 'work', method = 'admin.*' }"] = "limit: 'rate' has to be a number",
    ["limit { src = 'work', method = 'admin.*', rate = '5' }"] = "limit: 'rate' has to be a number",
    ["limit { src = 'work', method = 'admin.*', rate = 0 }"] = "limit: 'rate' has to be a number",
    ["limit { src = 'work', method = 'admin.*', rate = 0/0 }"] = "limit: 'rate' has to be a number",
    ["limit { src = 'work', method = 'admin.*', rate = -1 }"] = "limit: 'rate' has to be a number",
    ["limit { src = 'work', method = 'admin.*', rate = 1/0 }"] = "limit: 'rate' has to be a number",
    ["limit { src = 'work', method = 'admin.*', rate = 1, burst = 0.5 }"] = "limit: 'burst' has to be a number",
    ["limit { src = 'work', method = 'admin.*', rate = 1, brust = 5 }"] = "limit has no field 'brust'",
    ["limit { src = 'work', method = 'admin.*', rate = 1, 5 }"] = 'limit: only named fields',
    ["limit { src = 'work', method = 'admin.vm.Strat', rate = 1 }"] = "limit: there is no method 'admin.vm.Strat'",
    ["limit { src = 'no name', method = 'admin.*', rate = 1 }"] = "limit: 'src' is the name of a qube",
    ["limit { src = 'tag:', method = 'admin.*', rate = 1 }"] = "limit: 'src' is the name of a qube",
    ["limit { src = 'type:no such', method = 'admin.*', rate = 1 }"] = "limit: 'src' is the name of a qube",
    ["limit { src = 'a\\0b', method = 'admin.*', rate = 1 }"] = "limit: 'src' has 1 to 200 bytes",
    ["limit('work')"] = 'limit takes a table',
    ['limit(setmetatable and 1 or {})'] = "limit: 'src' has to be a string",
    ["for _ = 1, 2 do limit { src = 'work', method = 'admin.*', rate = 1 } end"] = 'limit: the same one stands elsewhere already',
    ["for i = 1, 65 do limit { src = 'work', method = 'admin.*', rate = i } end"] = 'limit: too many of them',
    ["on('admin-permission:admin.vm.List', 5)"] = 'bad argument',
  } do
    it('that is written wrong does not load: ' .. text, function()
      local message = d:refused_rule('10-limit.lua', '\n' .. text)
      assert.truthy(message:find('acl.d/10-limit.lua:2: ' .. words, 1, true), message)
    end)
  end

  it('is not made by a rule that is asked', function()
    d:set_rule('10-limit.lua', [[on('admin-permission:admin.vm.tag.List', function(src)
      if src.name == 'work' then limit { src = 'other', method = 'admin.*', rate = 1 } end
    end)]])
    assert.equal('PermissionDenied', d:call('work', 'admin.vm.tag.List', 'other').class)
    assert.equal(9, passed(9, 'other', 'admin.vm.List'))
  end)
end)
