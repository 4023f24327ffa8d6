-- SPDX-License-Identifier: GPL-2.0-or-later
-- The daemon as a service: signals, a clean stop whatever clients do, systemd's sockets and its questions.

local uv = require('luv')
local daemon = require('spec.support.daemon')
local service = require('spec.support.service')

local d

after_each(function()
  if d then d:kill() end
  d = nil
end)

-- Sends a signal; the exit status and the seconds until then.
local function stop(signal)
  local began = uv.hrtime()
  uv.kill(d.pid, signal or 'sigterm')
  local code = daemon.run_until(function() return d.exit_code end, 40)
  return code, (uv.hrtime() - began) / 1e9
end

describe('a stop', function()
  it('is clean on SIGTERM and SIGINT', function()
    for _, signal in ipairs { 'sigterm', 'sigint' } do
      d = daemon.start()
      assert.equal(0, (stop(signal)))
      assert.truthy(d.log:find('stopping', 1, true))
      assert.is_nil(d.log:find('handles are still open', 1, true))
      d:kill()
    end
  end)

  it('is clean at any moment of the start', function()
    for step = 0, 12 do
      d = daemon.start { wait = false }
      daemon.sleep(0.01 * step)
      if not d.log:find('%S') then -- not even its handlers of signals may be there
        daemon.run_until(function() return d.log:find('%S') end, 10)
      end
      local code = stop()
      assert.equal(0, code, ('after %d ms: %s'):format(10 * step, d.log))
      d:kill()
    end
  end)

  it('does not wait for clients that send nothing, or only subscribe', function()
    d = daemon.start()
    d:estate { 'work' }
    local stream, deaf, silent = d:subscribe(), d:subscribe('dom0', 'dom0', { read = false }), uv.new_pipe()
    silent:connect(d:socket())
    for round = 1, 1000 do d:ok('admin.vm.feature.Set', 'work', 'f', ('v'):rep(300) .. round) end -- more than the socket of the deaf one holds
    local code, seconds = stop()
    for _, each in ipairs { stream, deaf, silent } do each:close() end
    assert.equal(0, code, d.log)
    assert.is_true(seconds < 5, ('it took %.1f s'):format(seconds))
  end)

  it('does not wait for a client that does not read its long answer', function()
    d = daemon.start()
    local names, internal = {}, { socket = 'qubesd.internal.sock' }
    for i = 1, 900 do names[i] = 'qube' .. i .. ('x'):rep(20) end
    d:estate(names)
    assert.is_true(#d:ok('internal.GetSystemInfo', 'dom0', '', '', internal) > 250000) -- more than a socket holds
    local pipe = uv.new_pipe()
    pipe:connect(d:socket('qubesd.internal.sock'), function()
      pipe:write(daemon.request('dom0', 'internal.GetSystemInfo', 'dom0'))
      pipe:shutdown()
    end)
    daemon.sleep(0.3)
    local code, seconds = stop()
    pipe:close()
    assert.equal(0, code, d.log)
    assert.is_true(seconds < 5, ('it took %.1f s'):format(seconds))
  end)
end)

describe('systemd', function()
  it('is told of the start, a reload, a failed reload and the stop', function()
    local directory = daemon.temporary_directory()
    local told = service.listen(directory .. '/notify')
    finally(function() told:close() end)
    d = daemon.start { directory = directory, env = { NOTIFY_SOCKET = directory .. '/notify' } }
    assert.is_true(told:wait('READY=1\nSTATUS=Generation 1]'), told.text)
    assert.equal(0, told:count('WATCHDOG=1', 1, 1.2)) -- nobody asked for it
    uv.kill(d.pid, 'sighup')
    assert.is_true(told:wait('[RELOADING=1\nMONOTONIC_USEC='), told.text)
    assert.is_true(told:wait('READY=1\nSTATUS=Generation 2]'), told.text)
    d:write_rule('10-bad.lua', 'on(')
    assert.is_true(told:wait('STATUS=Generation 2; the last reload failed: '), told.text)
    assert.equal(3, told:count('READY=1', 3))
    assert.equal(0, told:count('STOPPING=1', 1, 0.1))
    assert.equal(0, (stop()))
    assert.is_true(told:wait('[STOPPING=1]'), told.text)
    assert.is_nil(told.text:find('STOPPING=1.*READY=1'), told.text)
  end)

  it('is not told READY after STOPPING', function()
    local directory = daemon.temporary_directory()
    local told = service.listen(directory .. '/notify')
    finally(function() told:close() end)
    d = daemon.start { directory = directory, env = { NOTIFY_SOCKET = directory .. '/notify' } }
    uv.kill(d.pid, 'sighup')
    told:wait('RELOADING=1')
    assert.equal(0, (stop()))
    assert.is_true(told:wait('[STOPPING=1]'), told.text)
    daemon.sleep(0.1)
    assert.is_nil(told.text:find('STOPPING=1.*READY=1'), told.text)
  end)

  it('hears the watchdog, twice as often as it asks for', function()
    for microseconds, expected in pairs { ['3000000'] = 2, ['400000'] = 8 } do
      local directory = daemon.temporary_directory()
      local told = service.listen(directory .. '/notify')
      d = daemon.start { directory = directory, env = { NOTIFY_SOCKET = directory .. '/notify', WATCHDOG_USEC = microseconds } }
      local count = told:count('WATCHDOG=1', expected, 2.6)
      local text = told.text
      told:close()
      assert.is_true(count >= expected, microseconds .. ': ' .. text)
      assert.equal(0, (stop()))
      d:kill()
    end
  end)

  it('may make the sockets', function()
    d = service.start(service.ACTIVATE, { env = { QD_LISTEN = 'qubesd.sock qubesd.misc.sock qubesd.internal.sock' } })
    d:ok('admin.vm.List')
    d:ok('internal.Status', 'dom0', '', '', { socket = 'qubesd.internal.sock' })
    d:ok('admin.vm.List', 'dom0', '', '', { socket = 'qubesd.console.sock' }) -- this one is the daemon's own
    assert.equal(0, (stop()))
    assert.truthy(uv.fs_stat(d:socket('qubesd.sock')), 'a socket of systemd was removed')
    assert.is_nil(uv.fs_stat(d:socket('qubesd.console.sock')))
  end)
end)
