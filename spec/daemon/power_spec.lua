-- SPDX-License-Identifier: GPL-2.0-or-later
-- Starting, pausing and stopping qubes on libvirt's embedded driver: states, events, and errors in wrong states. And `core.wait`.

local daemon = require('spec.support.daemon')

local METHODS = [[
method('admin.spec.Wait', { dest = 'any', arg = 'required', payload = 'none', scope = 'local', read = true, doc = 'x' }, function(call)
  call:permission {}
  local changed = core.wait(call.dest, tonumber(call.arg))
  return tostring(changed) .. ' ' .. call.dest.power
end)
]]

describe('a qube', function()
  local d, events

  setup(function()
    d = daemon.start { extra_scripts = { ['api/spec_wait.lua'] = METHODS } }
    d:estate { 'work', 'other' }
  end)

  teardown(function() d:stop() end)

  before_each(function() events = d:subscribe('dom0', 'work') end)

  after_each(function()
    events:close()
    d:call('dom0', 'admin.vm.Kill', 'work')
  end)

  local function state()
    local of_list = d:ok('admin.vm.List', 'work'):match('state=(%S+)')
    local current = d:ok('admin.vm.CurrentState', 'work'):match('power_state=(%S+)')
    assert.equal(of_list, current)
    return current
  end

  local function names(last)
    assert.truthy(daemon.run_until(function() return events.buffer:find(last, 1, true) end, 5), last)
    local list = {}
    for _, event in ipairs(events:take(0)) do
      assert.is_true(event.subject == 'work' or event.name == 'connection-established')
      if event.name:find('^domain%-') then list[#list + 1] = event.name end
    end
    return list
  end

  local function refused(method, class)
    local before = state()
    assert.equal(class, d:call('dom0', 'admin.vm.' .. method, 'work').class, method)
    assert.equal(before, state())
  end

  local STARTED = { 'domain-pre-start', 'domain-pre-spawn', 'domain-spawn', 'domain-qdb-create', 'domain-pre-unpaused', 'domain-unpaused', 'domain-start' }

  it('starts', function()
    assert.equal('Halted', state())
    assert.equal('', d:ok('admin.vm.Start', 'work'))
    assert.equal('Running', state())
    assert.same(STARTED, names('domain-start\0'))
    assert.truthy(d:ok('admin.vm.CurrentState', 'work'):match('^mem=[1-9]%d* mem_static_max=%d+ cputime=%d+ power_state=Running$'))
    assert.equal('', d:ok('admin.vm.Start', 'work')) -- it runs already
    d:ok('admin.vm.tag.Set', 'work', 'last')
    assert.same({ 'domain-tag-add:last' }, names('last'))
    d:ok('admin.vm.tag.Remove', 'work', 'last')
  end)

  it('pauses and goes on', function()
    d:ok('admin.vm.Start', 'work')
    names('domain-start\0')
    d:ok('admin.vm.Pause', 'work')
    assert.is_true(daemon.run_until(function() return state() == 'Paused' end, 5))
    assert.same({ 'domain-pre-paused', 'domain-paused' }, names('domain-paused\0'))
    refused('Pause', 'QubesException') -- libvirt's words: it is paused already
    d:ok('admin.vm.Unpause', 'work')
    assert.equal('Running', state())
    assert.same({ 'domain-pre-paused', 'domain-pre-unpaused', 'domain-unpaused' }, names('domain-unpaused\0')) -- the first announces what was refused
    refused('Unpause', 'QubesVMNotPausedError')
  end)

  it('shuts down', function()
    d:ok('admin.vm.Start', 'work')
    names('domain-start\0')
    d:ok('admin.vm.Shutdown', 'work', 'wait')
    assert.equal('Halted', state())
    assert.same({ 'domain-pre-shutdown', 'domain-stopped', 'domain-shutdown' }, names('domain-shutdown\0'))
    refused('Shutdown', 'QubesVMNotStartedError')
  end)

  it('is killed', function()
    d:ok('admin.vm.Start', 'work')
    names('domain-start\0')
    d:ok('admin.vm.Kill', 'work')
    assert.equal('Halted', state())
    assert.same({ 'domain-stopped', 'domain-shutdown' }, names('domain-shutdown\0')) -- each once
    d:ok('admin.vm.tag.Set', 'work', 'last')
    assert.same({ 'domain-tag-add:last' }, names('last'))
    d:ok('admin.vm.tag.Remove', 'work', 'last')
    refused('Kill', 'QubesVMNotStartedError')
  end)

  it('refuses what does not go while it is halted', function()
    refused('Pause', 'QubesVMNotRunningError')
    refused('Unpause', 'QubesVMNotPausedError')
    refused('Shutdown', 'QubesVMNotStartedError')
    refused('Kill', 'QubesVMNotStartedError')
    refused('Suspend', 'QubesVMNotRunningError')
    assert.equal('ProtocolError', d:call('dom0', 'admin.vm.Shutdown', 'work', 'now').class)
  end)

  it('is not removed while it runs, and may be afterwards', function()
    d:ok('admin.vm.Start', 'other')
    assert.equal('QubesVMNotHaltedError', d:call('dom0', 'admin.vm.Remove', 'other').class)
    d:ok('admin.vm.Kill', 'other')
    d:ok('admin.vm.Remove', 'other')
    assert.equal('QubesVMNotFoundError', d:call('dom0', 'admin.vm.CurrentState', 'other').class)
    d:ok('admin.vm.Create.AppVM', 'dom0', '', 'name=other label=red')
  end)

  it('that must not start does not', function()
    d:ok('admin.vm.feature.Set', 'work', 'prohibit-start', 'not today')
    local answer = d:call('dom0', 'admin.vm.Start', 'work')
    assert.equal('QubesException', answer.class)
    assert.truthy(answer.message:find('not today', 1, true))
    assert.equal('Halted', state())
    assert.truthy(events:wait('domain-start-failed'))
    d:ok('admin.vm.feature.Remove', 'work', 'prohibit-start')
  end)

  it('starts its netvm first', function()
    d:ok('admin.vm.property.Set', 'other', 'provides_network', 'True')
    d:ok('admin.vm.property.Set', 'work', 'netvm', 'other')
    d:ok('admin.vm.Start', 'work')
    assert.equal('Running', d:ok('admin.vm.CurrentState', 'other'):match('power_state=(%S+)'))
    assert.equal('exception', d:call('dom0', 'admin.vm.Shutdown', 'other').kind) -- work needs it
    assert.equal('Running', d:ok('admin.vm.CurrentState', 'other'):match('power_state=(%S+)'))
    d:ok('admin.vm.Kill', 'work')
    d:ok('admin.vm.Shutdown', 'other', 'wait')
    d:ok('admin.vm.property.Set', 'work', 'netvm', '')
  end)

  it('started by many at once starts once', function()
    local calls = {}
    for i = 1, 10 do calls[i] = d:begin('dom0', 'admin.vm.Start', 'work') end
    assert.is_true(daemon.run_until(function()
      for _, call in ipairs(calls) do if not call.ended then return false end end
      return true
    end, 10))
    for _, call in ipairs(calls) do assert.equal('ok', call.result().kind) end
    d:ok('admin.vm.tag.Set', 'work', 'last')
    local started = 0
    for _, name in ipairs(names('domain-tag-add:last')) do started = started + (name == 'domain-start' and 1 or 0) end
    assert.equal(1, started)
    d:ok('admin.vm.tag.Remove', 'work', 'last')
  end)

  it('can be waited for', function()
    assert.equal('false Halted', d:ok('admin.spec.Wait', 'work', '0.05'))
    local waiting, more = d:begin('dom0', 'admin.spec.Wait', 'work', '10'), d:begin('dom0', 'admin.spec.Wait', 'work', '10')
    local elsewhere = d:begin('dom0', 'admin.spec.Wait', 'other', '0.3')
    daemon.sleep(0.05)
    d:ok('admin.vm.Start', 'work')
    assert.is_true(daemon.run_until(function() return waiting.ended and more.ended and elsewhere.ended end, 5))
    assert.equal('true ', waiting.result().body:sub(1, 5))
    assert.equal('true ', more.result().body:sub(1, 5))
    assert.equal('false Halted', elsewhere.result().body)
  end)
end)
