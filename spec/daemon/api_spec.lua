-- SPDX-License-Identifier: GPL-2.0-or-later
-- Methods that no recorded trace covers: power, state, statistics, disposables, the daemon's own methods, and what qubes tell.

local daemon = require('spec.support.daemon')

describe('the API', function()
  local d

  setup(function()
    d = daemon.start()
    d:estate { 'work', 'other' }
  end)

  teardown(function() d:stop() end)

  local function class_of(method, dest, arg, payload, options)
    local answer = d:call('dom0', method, dest, arg, payload, options)
    return answer.class or answer.kind
  end

  local function state(dest)
    return d:ok('admin.vm.CurrentState', dest):match('power_state=(%S+)$')
  end

  it('answers example.Echo as documented', function()
    assert.equal('Hello, world', d:ok('example.Echo', 'dom0', '', 'Hello, world'))
    assert.equal('1', d:ok('admin.vm.feature.Get', 'dom0', 'example-echo-fired'))
    assert.equal('ProtocolError', class_of('example.Echo', 'dom0', '', 'Bye'))
    assert.equal('ProtocolError', class_of('example.Echo', 'dom0', '', ''))
    assert.equal('ProtocolError', class_of('example.Echo', 'work', '', 'Hello, world'))
  end)

  it('starts, pauses and stops a qube', function()
    assert.equal('mem=0 mem_static_max=0 cputime=0 power_state=Halted', d:ok('admin.vm.CurrentState', 'work'))
    local steps = {
      { 'Start', 'Running' }, { 'Start', 'Running' }, { 'Pause', 'Paused' }, { 'Unpause', 'Running' }, { 'Kill', 'Halted' }, { 'Start', 'Running' },
    }
    for _, step in ipairs(steps) do
      d:ok('admin.vm.' .. step[1], 'work')
      assert.equal(step[2], state('work'))
    end
    assert.truthy(d:ok('admin.vm.CurrentState', 'work'):find('^mem=[1-9]%d* '))
    assert.equal('QubesVMNotPausedError', class_of('admin.vm.Unpause', 'work'))
    d:ok('admin.vm.Shutdown', 'work', 'force+wait')
    assert.equal('Halted', state('work'))
    assert.equal('QubesVMNotStartedError', class_of('admin.vm.Kill', 'work'))
  end)

  it('takes force and wait as arguments of a shutdown, and nothing else', function()
    for _, arg in ipairs { 'wait+', '+', 'fast', 'wait+fast', 'Force' } do
      assert.equal('ProtocolError', class_of('admin.vm.Shutdown', 'work', arg))
    end
    for _, arg in ipairs { '', 'wait', 'force', 'force+wait', 'wait+force' } do
      assert.equal('QubesVMNotStartedError', class_of('admin.vm.Shutdown', 'work', arg))
    end
  end)

  it('leaves dom0 alone', function()
    assert.equal('QubesVMNotHaltedError', class_of('admin.vm.Start', 'dom0'))
    for _, method in ipairs { 'Shutdown', 'Kill', 'Pause', 'Unpause', 'Suspend', 'Resume' } do
      assert.equal('QubesVMError', class_of('admin.vm.' .. method, 'dom0'))
    end
    assert.equal('QubesVMInUseError', class_of('admin.vm.Remove', 'dom0'))
  end)

  it('sends statistics of running qubes only', function()
    d:ok('admin.property.Set', 'dom0', 'stats_interval', '1')
    assert.equal('QubesVMNotRunningError', class_of('admin.vm.Stats', 'other'))
    d:ok('admin.vm.Start', 'work')
    local stream = d:begin('dom0', 'admin.vm.Stats', 'dom0')
    daemon.run_until(function() return #table.concat(stream.parts) > 600 end, 5)
    stream.close()
    local sent = table.concat(stream.parts)
    assert.equal('1\0\0connection-established\0\0', sent:sub(1, 27))
    for _, name in ipairs { 'memory_kb', 'memory_assigned_total', 'memory_with_swap_used', 'cpu_time', 'cpu_usage', 'online_vcpus' } do
      assert.truthy(sent:find('1%zwork%zvm%-stats%z.*' .. name .. '%z%d+%z'), name)
    end
    assert.falsy(sent:find('\0other\0', 1, true))
    d:ok('admin.vm.Kill', 'work')
  end)

  it('makes disposables of a template for them', function()
    assert.equal('QubesException', class_of('admin.vm.CreateDisposable', 'other'))
    d:ok('admin.vm.property.Set', 'other', 'template_for_dispvms', 'True')
    local name = d:ok('admin.vm.CreateDisposable', 'other')
    assert.truthy(name:find('^disp%d+$'))
    assert.equal('default=False type=vm other', d:ok('admin.vm.property.Get', name, 'template'))
    assert.truthy(d:ok('admin.vm.tag.List', name):find('disp-created-by-dom0\n', 1, true))
    local uuid = d:ok('admin.vm.CreateDisposable', 'other', '', 'uuid')
    assert.truthy(d:ok('admin.vm.List', uuid):find(' uuid=' .. uuid:sub(6), 1, true))
    assert.equal('ProtocolError', class_of('admin.vm.CreateDisposable', 'other', '', 'name'))
    assert.equal('PermissionDenied', class_of('admin.vm.CreateDisposable', 'other', 'now'))
    assert.equal('QubesException', class_of('admin.vm.CreateDisposable', 'dom0'))
    d:ok('admin.property.Set', 'dom0', 'default_dispvm', 'other')
    assert.truthy(d:ok('admin.vm.CreateDisposable', 'dom0'):find('^disp%d+$'))
  end)

  it('keeps notes, without what may not be shown', function()
    assert.equal('', d:ok('admin.vm.notes.Get', 'work'))
    d:ok('admin.vm.notes.Set', 'work', '', 'zażółć\t\27[1mgęślą\n\u{202e}jaźń')
    assert.equal('zażółć\t_[1mgęślą\n_jaźń', d:ok('admin.vm.notes.Get', 'work'))
    assert.equal('ProtocolError', class_of('admin.vm.notes.Set', 'work', '', '\xff\xfe'))
    assert.equal('ProtocolError', class_of('admin.vm.notes.Get', 'dom0'))
    d:ok('admin.vm.notes.Set', 'work', '', '')
    assert.equal('', d:ok('admin.vm.notes.Get', 'work'))
  end)

  it('suspends for the night, and wakes what ran', function()
    d:ok('admin.vm.Start', 'work')
    d:ok('admin.vm.Start', 'other')
    d:ok('admin.vm.Pause', 'other')
    local internal = { socket = 'qubesd.internal.sock' }
    d:ok('internal.SuspendPre', 'dom0', '', '', internal)
    assert.not_equal('Running', state('work'))
    d:ok('internal.SuspendPost', 'dom0', '', '', internal)
    assert.equal('Running', state('work'))
    assert.equal('Paused', state('other'))
    d:ok('admin.vm.Kill', 'work')
    d:ok('admin.vm.Kill', 'other')
  end)

  it('notes in a template that a qube of it sees updates', function()
    local misc = { socket = 'qubesd.misc.sock' }
    local function tell(payload)
      local answer = d:call('work', 'qubes.NotifyUpdates', 'dom0', '', payload, misc)
      return answer.class or answer.kind
    end
    assert.equal('ok', tell('0'))
    assert.equal('QubesFeatureNotFoundError', class_of('admin.vm.feature.Get', 'fedora', 'updates-available'))
    assert.equal('ok', tell(' 12\n'))
    assert.equal('1', d:ok('admin.vm.feature.Get', 'fedora', 'updates-available'))
    assert.truthy(d:ok('admin.vm.feature.Get', 'fedora', 'last-updates-check'):find('^%d%d%d%d%-%d%d%-%d%d %d%d:%d%d:%d%d$'))
    for _, payload in ipairs { '', '-1', '1.5', 'x', '1 2' } do
      assert.equal('ProtocolError', tell(payload))
    end
  end)

  it('tells of itself, and of the qubes, on the internal socket only', function()
    local internal = { socket = 'qubesd.internal.sock' }
    for _, method in ipairs { 'internal.Status', 'internal.GetSystemInfo', 'internal.Reload' } do
      assert.equal('ProtocolError', class_of(method, 'dom0'))
    end
    assert.truthy(d:ok('internal.Status', 'dom0', '', '', internal):find('"virt_connected": true', 1, true))
    assert.truthy(d:ok('internal.GetSystemInfo', 'dom0', '', '', internal):find('"work": {"type": "AppVM", "label": "0xcc0000"', 1, true))
    assert.truthy(d:ok('internal.Reload', 'dom0', '', '', internal):find('^generation=%d+ digest=%x+\n$'))
  end)

  it('names file and line of what does not load', function()
    d:write_rule('10-broken.lua', 'on(\n')
    local answer = d:reload()
    d:remove_rule('10-broken.lua')
    assert.equal('QubesException', answer.class)
    assert.truthy(answer.message:find('acl.d/10-broken.lua:', 1, true))
    assert.equal('ok', d:reload().kind)
  end)
end)
