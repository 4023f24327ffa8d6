-- SPDX-License-Identifier: GPL-2.0-or-later
-- Law 8: a reload is a new generation as a whole, or none. No call is lost, none is judged by a mix, and streams are asked anew.

local uv = require('luv')
local daemon = require('spec.support.daemon')

-- A method whose answer shows its generation twice, with a wait between; and one that writes after a wait.
local METHODS = [[
local MARK = 'scripts-1'
method('admin.spec.Slow', {
  dest = 'any', arg = 'optional', payload = 'none', scope = 'local', read = true, doc = 'Waits.',
}, function(call)
  if call.arg == 'late' then core.sleep(0.4) end
  call:permission {}
  core.sleep(0.4)
  return MARK
end)
method('admin.spec.Mark', { dest = 'any', arg = 'none', payload = 'none', scope = 'local', read = true, doc = 'x' }, function(call)
  call:permission {}
  return MARK
end)
method('admin.spec.SlowWrite', { dest = 'any', arg = 'required', payload = 'none', scope = 'local', write = true, doc = 'x' }, function(call)
  call:permission {}
  core.sleep(0.4)
  call.dest.tags[call.arg] = true
end)
]]

-- A rule that says which generation it is of.
local function first(mark)
  return ("on('admin-permission:admin.vm.feature.Get', function(src, event, info) if info.arg == 'mark' then pcall(deny, '%s') end end)"):format(mark)
end

local CONSOLE = { socket = 'qubesd.console.sock' }

describe('a reload', function()
  local d

  setup(function()
    d = daemon.start { extra_scripts = { ['api/spec_reload.lua'] = METHODS }, acl = { ['10-a.lua'] = first('generation A') } }
    d:estate { 'guest', 'target' }
  end)

  teardown(function() d:stop() end)

  before_each(function() daemon.sleep(0.25) end) -- inotify's reload of what the test before wrote

  local function number()
    return assert(tonumber(d:ok('internal.Status', 'dom0', '', '', CONSOLE):match('"generation": (%d+)')))
  end

  local function mark()
    return d:call('guest', 'admin.vm.feature.Get', 'target', 'mark').message
  end

  it('answers with the new generation\'s number and digest', function()
    local before = number()
    local answer = d:reload()
    local generation, digest = answer.body:match('^generation=(%d+) digest=(%x+)\n$')
    assert.equal(before + 1, tonumber(generation))
    assert.equal(64, #digest)
    assert.equal(digest, d:reload().body:match('digest=(%x+)')) -- of the same files
    d:write_rule('11-more.lua', '-- more')
    assert.not_equal(digest, d:reload().body:match('digest=(%x+)'))
    d:remove_rule('11-more.lua')
    assert.equal(digest, d:reload().body:match('digest=(%x+)'))
  end)

  it('is asked for by SIGHUP', function()
    local before = number()
    uv.kill(d.pid, 'sighup')
    assert.is_true(daemon.run_until(function() return number() == before + 1 end, 5))
  end)

  it('follows a change by itself; a burst is one', function()
    local before = number()
    for i = 1, 30 do d:write_rule(('2%d-burst.lua'):format(i % 10), '-- ' .. i) end
    d:write_rule('10-a.lua', first('generation burst'))
    assert.is_true(daemon.run_until(function() return mark() == 'generation burst' end, 5))
    daemon.sleep(0.4)
    assert.equal(before + 1, number())
    for i = 0, 9 do d:remove_rule(('2%d-burst.lua'):format(i)) end
    assert.is_true(daemon.run_until(function() return number() > before + 1 end, 5))
    daemon.sleep(0.4)
    assert.equal(before + 2, number())
  end)

  it('does not follow files that are no rules', function()
    local before = number()
    for _, name in ipairs { 'README', 'note.txt', '10-a.lua~', '.hidden.lua' } do d:write_rule(name, 'not Lua (') end
    daemon.sleep(0.4)
    assert.is_true(number() <= before + 1)
    assert.equal('ok', d:reload().kind)
    for _, name in ipairs { 'README', 'note.txt', '10-a.lua~', '.hidden.lua' } do d:remove_rule(name) end
  end)

  it('of a broken file leaves the old generation, with one clear line', function()
    d:set_rule('10-a.lua', first('generation B'))
    daemon.sleep(0.3)
    local before, log = number(), #d.log
    d:write_rule('10-a.lua', '\n\n\nlocal x = = 1')
    assert.is_true(daemon.run_until(function() return d.log:find('not reloaded', log, true) end, 5) ~= nil)
    local _, lines = d.log:sub(log):gsub('acl%.d/10%-a%.lua:4:[^\n]*\n', '')
    assert.equal(1, lines)
    assert.equal('generation B', mark())
    assert.equal(before, number())
    local answer = d:reload()
    assert.equal('QubesException', answer.class)
    assert.truthy(answer.message:find('acl.d/10-a.lua:4:', 1, true))
    d:set_rule('10-a.lua', first('generation C'))
    assert.equal('generation C', mark())
  end)

  -- Two rules that keep one tag each, which is the same in one generation: two of different generations would leave none.
  local function pair(round)
    return ([[
      local function keeps(tag) return tag == 'round-%d' end
      on('admin-permission:admin.vm.tag.List', function() return keeps end)
      on('admin-permission:admin.vm.tag.*', function(src, event, info) if event:find('List$') then return filter_list(function(tags)
        local kept = {}
        for _, tag in ipairs(tags) do if keeps(tag) then kept[#kept + 1] = tag end end
        return kept
      end) end end)]]):format(round)
  end

  it('loses no call and mixes no generations, while files break and change', function()
    local ROUNDS, TAGS = 12, 13
    for round = 0, TAGS - 1 do d:ok('admin.vm.tag.Set', 'target', 'round-' .. round) end
    d:set_rule('10-a.lua', pair(0))
    local pending, seen = {}, {}
    -- However slow the machine is, new rounds come until calls of three generations have been answered; the last of a dozen is no broken one.
    local function settled()
      for _, call in ipairs(pending) do if not call.ended then return false end end
      return true
    end
    local generations, judged, round, stop = 0, 0, 0, uv.hrtime() + 60e9
    repeat
      round = round + 1
      d:write_rule('10-a.lua', round % 3 == 1 and 'syntax error (' or pair(round % TAGS))
      uv.kill(d.pid, 'sighup')
      for _ = 1, 20 do pending[#pending + 1] = d:begin('guest', 'admin.vm.tag.List', 'target') end
      daemon.sleep(0.01)
      if round % ROUNDS == 0 then
        assert.is_true(daemon.run_until(settled, 20))
        for index = judged + 1, #pending do
          local answer = pending[index].result()
          assert.equal('ok', answer.kind)
          local tag = answer.body:match('^round%-(%d+)\n$')
          assert.truthy(tag, answer.body)
          if not seen[tag] then seen[tag], generations = true, generations + 1 end
        end
        judged = #pending
      end
    until round % ROUNDS == 0 and generations >= 3 or uv.hrtime() > stop
    assert.is_true(generations >= 3, 'calls of three generations')
    d:set_rule('10-a.lua', first('generation A'))
  end)

  it('lets calls in flight end in their own generation', function()
    d:ok('admin.vm.tag.List', 'target')
    local slow, write = d:begin('guest', 'admin.spec.Slow', 'target'), d:begin('dom0', 'admin.spec.SlowWrite', 'target', 'slow')
    local late = d:begin('guest', 'admin.spec.Slow', 'target', 'late')
    daemon.sleep(0.05)
    local path = d.directory .. '/scripts/api/spec_reload.lua'
    local file = assert(io.open(path, 'w'))
    file:write((METHODS:gsub('scripts%-1', 'scripts-2')))
    file:close()
    d:set_rule('10-a.lua', "on('admin-permission:admin.spec.Slow*', function() deny('new rules') end)")
    assert.equal('scripts-2', d:ok('admin.spec.Mark', 'target'))
    assert.equal('new rules', d:call('guest', 'admin.spec.Slow', 'target').message)
    assert.is_true(daemon.run_until(function() return slow.ended and write.ended and late.ended end, 5))
    assert.equal('scripts-1', slow.result().body)
    assert.equal('ok', write.result().kind)
    assert.equal('scripts-1', late.result().body)
    assert.equal('1', d:ok('admin.vm.tag.Get', 'target', 'slow'))
    d:set_rule('10-a.lua', first('generation A'))
  end)

  it('takes methods away and brings others', function()
    local path = d.directory .. '/scripts/api/spec_other.lua'
    local file = assert(io.open(path, 'w'))
    file:write("method('admin.spec.New', { dest = 'any', arg = 'none', payload = 'none', scope = 'local', read = true, doc = 'x' }, "
      .. "function(call) call:permission {} return 'new' end)")
    file:close()
    d:reload()
    assert.equal('new', d:ok('admin.spec.New', 'target'))
    os.remove(path)
    d:reload()
    assert.equal('ProtocolError', d:call('dom0', 'admin.spec.New', 'target').class)
  end)

  it('ends a stream that is no longer permitted', function()
    local events, others = d:subscribe('guest'), d:subscribe('dom0')
    d:set_rule('20-events.lua', "on('admin-permission:admin.Events', function(src) if src.name == 'guest' then deny('no') end end)")
    assert.is_true(daemon.run_until(function() return events.ended end, 5))
    d:ok('admin.vm.tag.Set', 'target', 'after-revocation')
    assert.truthy(others:wait('domain-tag-add:after-revocation'))
    assert.is_nil(events.buffer:find('after-revocation', 1, true))
    assert.is_false(others.ended)
    d:remove_rule('20-events.lua')
    d:reload()
    others:close()
    events:close()
  end)

  it('gives a stream the new filters, also for events of calls of the old generation', function()
    local events = d:subscribe('guest')
    d:ok('admin.vm.tag.Set', 'target', 'before-filter')
    assert.truthy(events:wait('domain-tag-add:before-filter'))
    local slow = d:begin('dom0', 'admin.spec.SlowWrite', 'target', 'by-old-generation')
    daemon.sleep(0.05)
    d:set_rule('20-events.lua', [[on('admin-permission:admin.Events', function(src)
      if src.name == 'guest' then return function(subject, event) return event:sub(1, 7) ~= 'domain-' or subject == src end end
    end)]])
    d:ok('admin.vm.tag.Set', 'target', 'filtered')
    assert.is_true(daemon.run_until(function() return slow.ended end, 5))
    d:ok('admin.vm.tag.Set', 'guest', 'passes')
    assert.truthy(daemon.run_until(function() return events.buffer:find('passes', 1, true) end, 5))
    assert.is_nil(events.buffer:find('filtered', 1, true))
    assert.is_nil(events.buffer:find('by-old-generation', 1, true))
    d:remove_rule('20-events.lua')
    d:reload()
    d:ok('admin.vm.tag.Set', 'target', 'unfiltered')
    assert.truthy(events:wait('domain-tag-add:unfiltered'))
    events:close()
  end)

  it('hides a qube from a stream, also what a call of the old generation does to it', function()
    local events = d:subscribe('guest')
    local slow = d:begin('dom0', 'admin.spec.SlowWrite', 'target', 'unseen')
    daemon.sleep(0.05)
    d:set_rule('20-hide.lua', "on('admin-permission:admin.vm.List', function(src) if src.name == 'guest' then return function(q) return q == src end end end)")
    assert.is_true(daemon.run_until(function() return slow.ended end, 5))
    d:ok('admin.vm.tag.Set', 'guest', 'own')
    assert.truthy(daemon.run_until(function() return events.buffer:find('domain-tag-add:own', 1, true) end, 5))
    assert.is_nil(events.buffer:find('unseen', 1, true))
    assert.is_nil(events.buffer:find('target', 1, true))
    events:close()
    d:remove_rule('20-hide.lua')
    d:reload()
  end)
end)
