-- SPDX-License-Identifier: GPL-2.0-or-later
-- The daemon on a libvirtd of its own with diskless guests of QEMU: the lifecycle with its events, and a server that dies or hangs.

local uv = require('luv')
local daemon = require('spec.support.daemon')
local libvirtd = require('spec.support.libvirtd')

local GUESTS = { 'one', 'two' }

local function state(d, name)
  return d:ok('admin.vm.CurrentState', name):match('power_state=(%S+)')
end

local function wait_for_state(d, name, wanted, seconds)
  local found
  daemon.run_until(function()
    daemon.sleep(0.02)
    found = state(d, name)
    return found == wanted
  end, seconds or 20)
  return found
end

local missing = libvirtd.missing()

describe('on qemu', function()
  if missing then
    pending('(skipped: ' .. missing .. ')')
    return
  end

  local server, d, stream

  before_each(function()
    server = libvirtd.new()
    server:start()
    d = daemon.start { uri = server.uri, seconds = 60 }
    d:estate(GUESTS)
    for _, name in ipairs(GUESTS) do
      d:ok('admin.vm.property.Set', name, 'memory', '64')
      d:ok('admin.vm.property.Set', name, 'netvm', '')
    end
    stream = d:subscribe()
    stream:take(0.05)
  end)

  after_each(function()
    stream:close()
    server:kill_guests(GUESTS)
    d:kill()
    server:remove()
  end)

  local function expect_events(names)
    for _, name in ipairs(names) do assert.truthy(stream:wait(name, 20), name .. ' was not told') end
  end

  it('a guest lives its life, and its events are told', function()
    d:ok('admin.vm.Start', 'one', '', '', { seconds = 60 })
    assert.equal('Running', state(d, 'one'))
    assert.equal('Halted', state(d, 'two'))
    assert.is_true(server:guest_pid('one') > 0)
    expect_events { 'domain-pre-start', 'domain-pre-spawn', 'domain-spawn', 'domain-unpaused', 'domain-start' }
    d:ok('admin.vm.Pause', 'one')
    assert.equal('Paused', wait_for_state(d, 'one', 'Paused'))
    expect_events { 'domain-pre-paused', 'domain-paused' }
    d:ok('admin.vm.Unpause', 'one')
    assert.equal('Running', wait_for_state(d, 'one', 'Running'))
    expect_events { 'domain-pre-unpaused', 'domain-unpaused' }
    -- There is no system inside that could hear it.
    d:ok('admin.vm.property.Set', 'one', 'shutdown_timeout', '1')
    assert.equal('QubesVMShutdownTimeoutError', d:call('dom0', 'admin.vm.Shutdown', 'one', 'wait', '', { seconds = 30 }).class)
    expect_events { 'domain-pre-shutdown', 'domain-shutdown-failed' }
    assert.equal('Running', state(d, 'one'))
    assert.is_nil(d:call('dom0', 'admin.vm.Remove', 'one').body)
    d:ok('admin.vm.Kill', 'one')
    assert.equal('Halted', state(d, 'one'))
    expect_events { 'domain-shutdown' }
    d:ok('admin.vm.Start', 'one', '', '', { seconds = 60 })
    assert.equal('Running', state(d, 'one'))
    d:ok('admin.vm.Kill', 'one')
    d:ok('admin.vm.Remove', 'one')
    d:stop()
  end)

  it('a guest that dies by itself is known to be halted', function()
    d:ok('admin.vm.Start', 'one', '', '', { seconds = 60 })
    uv.kill(server:guest_pid('one'), 'sigkill')
    assert.equal('Halted', wait_for_state(d, 'one', 'Halted'))
    assert.equal('one', stream:wait('domain-shutdown').subject)
    d:stop()
  end)

  it('a libvirtd that dies stops no reads, and what happens meanwhile is caught up on', function()
    for _, name in ipairs(GUESTS) do d:ok('admin.vm.Start', name, '', '', { seconds = 60 }) end
    stream:take(0.2)
    server:kill()
    assert.truthy(daemon.run_until(function() return d.log:find('libvirt: no connection: ', 1, true) end, 20))
    local pid = server:guest_pid('one')
    assert.is_true(pid > 0)
    uv.kill(pid, 'sigkill')
    -- Nobody can know of it yet. Reads and writes go on; what needs libvirt fails at once.
    assert.truthy(d:ok('admin.vm.List', 'dom0', '', '', { seconds = 2 }):find('one class=AppVM state=Running', 1, true))
    assert.equal('Running', state(d, 'two'))
    d:ok('admin.vm.feature.Set', 'one', 'a', 'b', { seconds = 2 })
    local answer = d:call('dom0', 'admin.vm.Pause', 'two', '', '', { seconds = 2 })
    assert.equal('exception', answer.kind)
    server:start()
    assert.equal('Halted', wait_for_state(d, 'one', 'Halted', 40))
    assert.equal('Running', state(d, 'two'))
    assert.equal('one', stream:wait('domain-shutdown').subject)
    d:ok('admin.vm.Pause', 'two') -- the new connection works, and tells of events
    expect_events { 'domain-paused' }
    assert.equal('Paused', wait_for_state(d, 'two', 'Paused'))
    d:ok('admin.vm.Kill', 'two')
    d:ok('admin.vm.Start', 'one', '', '', { seconds = 60 })
    d:ok('admin.vm.Kill', 'one')
    d:stop()
  end)

  it('a daemon that starts again finds its guests as they are', function()
    for _, name in ipairs(GUESTS) do d:ok('admin.vm.Start', name, '', '', { seconds = 60 }) end
    d:ok('admin.vm.Pause', 'two')
    assert.equal('Paused', wait_for_state(d, 'two', 'Paused'))
    d:kill_only()
    stream:close()
    d = daemon.start { uri = server.uri, directory = d.directory, seconds = 60 }
    stream = d:subscribe()
    assert.equal('Running', state(d, 'one'))
    assert.equal('Paused', state(d, 'two'))
    d:ok('admin.vm.Unpause', 'two')
    for _, name in ipairs(GUESTS) do d:ok('admin.vm.Kill', name) end
    d:stop()
  end)

  it('a libvirtd that hangs does not hold a stop up', function()
    d:ok('admin.vm.Start', 'one', '', '', { seconds = 60 })
    uv.kill(server.pid, 'sigstop')
    local pause = d:begin('dom0', 'admin.vm.Pause', 'one')
    daemon.sleep(0.2)
    d:ok('admin.vm.List', 'dom0', '', '', { seconds = 2 })
    local began = uv.hrtime()
    uv.kill(d.pid, 'sigterm')
    local code = daemon.run_until(function() return d.exit_code end, 20)
    assert.equal(0, code, d.log)
    assert.is_true((uv.hrtime() - began) / 1e9 < 6)
    assert.is_nil(pause.result() and pause.result().body)
    pause.close()
    uv.kill(server.pid, 'sigcont')
  end)
end)
