-- SPDX-License-Identifier: GPL-2.0-or-later
-- console.Explain: what would become of a call, without making it; and that it agrees with the call in class and message.

local json = require('cjson')
local daemons = require('spec.support.daemon')

local CONSOLE = { socket = 'qubesd.console.sock' }

local RULES = [[
on('admin-permission:admin.vm.List', function(src)
  if not src.tags.guest then return end
  return function(qube) return qube.tags.shared end
end)
on('admin-permission:admin.vm.*', function(src, event, info)
  if info.dest.tags.vault then deny('a vault stays closed') end
end)
on('mgmt-permission:mgmt.vm.Start', function(src, event, info)
  if info.dest.name == 'broken' then error('oops') end
end)
on('admin-permission:admin.vm.feature.Get', function() while true do end end)
on('admin-permission:admin.Events', function(src)
  if src.tags.guest then return function(subject, event) return event ~= 'domain-start' end end
end)
on('admin-permission:admin.vm.tag.List', function(src)
  return { function(tag) return tag ~= 'one' end, filter_list(function(tags) return { tags[1] } end) }
end)
]]

local SCRIPT = [[
local function declare(name, reads, handler)
  method('admin.spec.' .. name, { dest = 'any', arg = 'optional', payload = 'optional', scope = 'local', read = reads, write = not reads, doc = 'x' }, handler)
end
declare('Changes', true, function(call) call:permission() call.dest.features.x = '1' return 'changed' end)
declare('ChangesCaught', true, function(call)
  call:permission()
  pcall(function() call.dest.features.x = '1' end)
  return 'caught'
end)
declare('Waits', true, function(call) call:permission() core.sleep(0.01) return 'waited' end)
declare('WaitsFirst', true, function(call) core.sleep(0.01) call:permission() end)
declare('Spawns', true, function(call) call:permission() core.spawn(function() core.qube(0).features.x = '1' end) end)
declare('Forgets', true, function() return 'forgot' end)
declare('Numbers', true, function(call) call:permission() return 1 end)
declare('Breaks', true, function(call) call:permission() error('broken') end)
declare('Swallows', false, function(call) pcall(call.permission, call) raise('QubesException', 'swallowed') end)
declare('Power', true, function(call) call:permission() core.set_power(call.dest, 'Running', 7) end)
declare('Publishes', true, function(call) call:permission() core.publish(call.dest, 'spec-event', {}) return 'published' end)
]]

describe('console.Explain', function()
  local d

  setup(function()
    d = daemons.start { acl = { ['50.lua'] = RULES }, extra_scripts = { ['api/spec.lua'] = SCRIPT } }
    d:estate { 'work', 'guest', 'shared', 'vault', 'broken' }
    for qube, tag in pairs { guest = 'guest', shared = 'shared', vault = 'vault' } do d:ok('admin.vm.tag.Set', qube, tag) end
  end)

  teardown(function() d:stop() end)

  local function explain(source, method, dest, arg, payload, more)
    local request = { source = source, method = method, dest = dest, arg = arg, payload = payload }
    for key, value in pairs(more or {}) do request[key] = value end
    local answer = d:call('dom0', 'console.Explain', 'dom0', '', json.encode(request), CONSOLE)
    assert.are.equal('ok', answer.kind, answer.message)
    return json.decode(answer.body)
  end

  -- Explains, calls, and compares; the explanation.
  local function same(source, method, dest, arg, payload, options)
    local told = explain(source, method, dest, arg, payload)
    local real = d:call(source, method, dest, arg, payload, options)
    assert.are.equal(real.kind == 'exception' and real.class or nil, told.class)
    assert.are.equal(real.kind == 'exception' and real.message:gsub('%%%%', '%%') or nil, told.message)
    assert.are.equal(real.kind == 'closed', told.verdict == 'closed')
    return told, real
  end

  it('is served on the console\'s socket only', function()
    for _, socket in ipairs { 'qubesd.sock', 'qubesd.internal.sock', 'qubesd.misc.sock' } do
      local answer = d:call('dom0', 'console.Explain', 'dom0', '', '{"source":"work","method":"admin.vm.List"}', { socket = socket })
      assert.are.equal('ProtocolError', answer.class)
    end
  end)

  it('names the rule that denies, its reason and its cost', function()
    local told = same('work', 'admin.vm.Start', 'vault')
    assert.are.equal('denied', told.verdict)
    assert.are.equal('acl.d/50.lua:5', told.place)
    assert.are.equal('a vault stays closed', told.reason)
    assert.are.equal('PermissionDenied', told.class)
    assert.are.equal(1, #told.questions)
    local rules = told.questions[1].rules
    assert.are.equal(1, #rules)
    assert.are.equal('denied', rules[1].said)
    assert.is_true(rules[1].instructions > 2 and rules[1].instructions < 100)
    assert.is_true(rules[1].ns > 0)
  end)

  it('tells a rule that fails from one that denies', function()
    local told = same('work', 'admin.vm.Start', 'broken')
    assert.are.equal('failed', told.verdict)
    assert.truthy(told.reason:find('acl.d/50.lua:9: oops', 1, true))
    assert.are.equal('acl.d/50.lua:8', told.place)
    assert.are.equal('nothing', told.questions[1].rules[1].said)
    assert.are.equal('failed', told.questions[1].rules[2].said)
    assert.are.equal('the rules do not permit this call', told.message)
  end)

  it('ends a rule that loops where the daemon does', function()
    local told = same('work', 'admin.vm.feature.Get', 'work', 'x')
    assert.are.equal('failed', told.verdict)
    assert.are.equal('too many instructions', told.reason)
    local rules = told.questions[1].rules
    assert.is_true(rules[#rules].instructions >= 999900, tostring(rules[#rules].instructions))
  end)

  it('says of each item of a list which filter removed it', function()
    local told, real = same('guest', 'admin.vm.List', 'dom0')
    assert.are.equal('permitted', told.verdict)
    assert.are.equal(real.body, told.body)
    local removed = {}
    for _, item in ipairs(told.questions[1].items) do removed[item.name] = item.removed_by or false end
    assert.are.same({
      broken = 'acl.d/50.lua:1', dom0 = 'acl.d/50.lua:1', fedora = 'acl.d/50.lua:1', guest = 'acl.d/50.lua:1', shared = false,
      vault = 'acl.d/50.lua:1', work = 'acl.d/50.lua:1',
    }, removed)
    assert.are.equal('filter', told.questions[1].rules[1].said)
  end)

  it('takes several filters of one rule, and those of lists, apart', function()
    for _, tag in ipairs { 'one', 'two', 'three' } do d:ok('admin.vm.tag.Set', 'work', tag) end
    local told, real = same('work', 'admin.vm.tag.List', 'work')
    assert.are.equal(real.body, told.body)
    local kept = 0
    for _, item in ipairs(told.questions[1].items) do kept = kept + (item.removed_by and 0 or 1) end
    assert.are.equal(1, kept)
    assert.are.equal('filter_list', told.questions[1].rules[#told.questions[1].rules].said)
  end)

  it('says why a destination is unknown to the caller, which the caller is not told', function()
    local told = same('guest', 'admin.vm.property.Get', 'work', 'label')
    assert.are.equal('exception', told.verdict)
    assert.are.equal('QubesVMNotFoundError', told.class)
    assert.are.same({ 'work', 'acl.d/50.lua:1' }, { told.hidden[1].qube, told.hidden[1].place })
    assert.are.equal('there is a qube work, but guest may not know of it', told.note)
    told = same('guest', 'admin.vm.property.Get', 'nobody', 'label')
    assert.are.equal('there is no qube nobody', told.note)
    assert.are.equal(0, #told.hidden)
    told = same('nobody', 'admin.vm.List', 'dom0')
    assert.are.equal('there is no qube nobody, so it can\'t call anybody', told.note)
  end)

  it('finds hidden qubes inside values', function()
    d:ok('admin.vm.property.Set', 'work', 'provides_network', 'True')
    d:ok('admin.vm.property.Set', 'shared', 'netvm', 'work')
    local told, real = same('guest', 'admin.vm.property.Get', 'shared', 'netvm')
    assert.are.equal(real.body, told.body)
    assert.are.equal('work', told.hidden[1].qube)
  end)

  it('checks what the declaration demands, and the form of the request', function()
    for _, case in ipairs {
      { 'work', 'admin.no.Such', 'dom0' }, { 'work', 'admin.vm.List', 'dom0', 'arg' }, { 'work', 'admin.vm.List', 'dom0', '', 'payload' },
      { 'work', 'admin.vm.tag.Get', 'work' }, { 'work', 'admin.vmclass.List', 'work' }, { 'work', 'admin.vm.tag.Get', 'work', 'ä' },
      { 'work', 'admin.vm.tag.Set', 'work', 'not a tag' }, { 'work', 'admin.vm.List', 'uuid:1' }, { '1', 'admin.vm.List', 'dom0' },
      { 'work', 'mgmt.vm.property.Set', 'work', 'memory', 'much' }, { 'a b', 'admin.vm.List', 'dom0' }, { 'work', 'internal.Status', 'dom0' },
    } do
      local on = case[2]:match('^internal') and { socket = 'qubesd.internal.sock' } or nil
      same(case[1], case[2], case[3], case[4], case[5], on)
    end
    assert.are.equal('closed', explain('work', 'admin.vm.List', 'dom0', (' '):rep(3)).verdict)
    assert.truthy(explain('dom0', 'console.Explain', 'dom0', '', '{}').note:find('methods of the console', 1, true))
  end)

  it('judges a payload that is no text', function()
    local told = explain('work', 'admin.vm.feature.Set', 'shared', 'x', nil, { payload_hex = 'ff00' })
    local real = d:call('work', 'admin.vm.feature.Set', 'shared', 'x', '\xff\0')
    assert.are.equal(real.class, told.class)
    assert.are.equal(real.message, told.message)
  end)

  it('changes nothing, though the method would', function()
    local before = d:ok('internal.Status', 'dom0', '', '', CONSOLE)
    local told = explain('work', 'admin.vm.feature.Set', 'shared', 'x', 'y')
    assert.are.equal('permitted', told.verdict)
    assert.are.equal('what the method itself might refuse is not tried', told.stopped)
    explain('work', 'admin.vm.Start', 'vault')
    local after = d:ok('internal.Status', 'dom0', '', '', CONSOLE)
    local function calls(text) return tonumber(text:match('"calls": (%d+)')) end
    assert.are.equal(calls(before) + 3, calls(after)) -- two explanations and the status, and nothing more
    assert.are.equal(before:match('"denied": (%d+)'), after:match('"denied": (%d+)'))
    assert.is_nil(d:ok('admin.vm.feature.List', 'shared'):find('x', 1, true))
  end)

  it('stops where a method would change, wait or begin something', function()
    local stream = d:subscribe('dom0')
    for name, stopped in pairs {
      Changes = 'it would change something', ChangesCaught = 'it would change something', Waits = 'it would wait', Spawns = 'it would change something',
      Power = 'it would change a power state',
    } do
      local told = explain('work', 'admin.spec.' .. name, 'shared')
      assert.are.equal('permitted', told.verdict, name)
      assert.are.equal(stopped, told.stopped, name)
      assert.is_nil(told.body)
    end
    assert.are.equal('published', explain('work', 'admin.spec.Publishes', 'shared').body)
    assert.are.equal('undecided', explain('work', 'admin.spec.WaitsFirst', 'shared').verdict)
    assert.are.equal('', d:ok('admin.vm.feature.List', 'shared'))
    assert.truthy(d:ok('admin.vm.List', 'shared'):find('state=Halted', 1, true))
    for _, event in ipairs(stream:take(0.2)) do assert.are.equal('connection-established', event.name) end
    stream:close()
  end)

  it('tells what ends as an internal error', function()
    for name, words in pairs { Forgets = 'without having asked permission', Numbers = 'returned a number', Breaks = 'broken' } do
      local told = same('work', 'admin.spec.' .. name, 'shared')
      assert.truthy(told.problem:find(words, 1, true), name)
    end
  end)

  it('keeps the verdict of the rules when the method catches it', function()
    assert.are.equal('permitted', explain('work', 'admin.spec.Swallows', 'shared').verdict)
    d:set_rule('60.lua', "on('admin-permission:admin.spec.Swallows', function() deny('no') end)")
    local told = same('work', 'admin.spec.Swallows', 'shared')
    assert.are.equal('denied', told.verdict)
    assert.are.equal('swallowed', told.message)
    d:remove_rule('60.lua')
    assert.are.equal('ok', d:reload().kind)
  end)

  it('judges one event for a subscriber, and subscribes to nothing', function()
    local function subscribers() return d:ok('internal.Status', 'dom0', '', '', CONSOLE):match('"subscribers": (%d+)') end
    local before = subscribers()
    local told = explain('guest', 'admin.Events', 'dom0', '', '', { subject = 'shared', event = 'domain-start' })
    assert.are.equal('permitted', told.verdict)
    assert.are.same({ { name = 'shared', removed_by = 'acl.d/50.lua:12' } }, told.questions[1].items)
    told = explain('guest', 'admin.Events', 'dom0', '', '', { subject = 'shared', event = 'domain-stopped' })
    assert.are.same({ { name = 'shared' } }, told.questions[1].items)
    told = explain('guest', 'admin.Events', 'dom0', '', '', { subject = 'vault' })
    assert.are.equal('vault', told.hidden[1].qube)
    assert.are.equal(before, subscribers())
  end)

  it('explains while the rules did not load', function()
    local broken = daemons.start { acl = { ['50.lua'] = 'on(' } }
    local answer = broken:call('dom0', 'console.Explain', 'dom0', '', '{"source":"dom0","method":"admin.vm.List"}', CONSOLE)
    local told = json.decode(answer.body)
    assert.are.equal('failed', told.verdict)
    assert.truthy(told.reason:find('acl.d/50.lua:1', 1, true))
    broken:stop()
  end)

  it('refuses a payload that is no request', function()
    for _, payload in ipairs {
      '', '{', '[]', '{"source":1,"method":"x"}', '{"source":"a"}', '{"source":"a","method":"b","other":"c"}', '{"source":"a","method":"b"} x',
      '{"source":"a","source":"a","method":"b"}', '{"source":"\\ud800","method":"b"}', '{"source":"a","method":"b","payload_hex":"f"}', '\xff',
      '{"source":"a","method":"b","payload":"","payload_hex":""}',
    } do
      assert.are.equal('ProtocolError', d:call('dom0', 'console.Explain', 'dom0', '', payload, CONSOLE).class, payload)
    end
  end)
end)
