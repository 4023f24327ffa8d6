-- SPDX-License-Identifier: GPL-2.0-or-later
-- Starting and stopping: the events and their order, what can go wrong, libvirt's news, and what is made up for after the daemon was away.

local fake_core = require('spec.support.fake_core')

local STARTED, SUSPENDED, RESUMED, STOPPED = 2, 3, 4, 5

local world, app, hooks, fault

local function done(run, ...)
  local ok, result = world:task(run, ...)
  if not ok then error(result.class and result.class .. ': ' .. result.message or result.message, 2) end
  return result
end

local function refused(run, ...)
  local ok, err = world:task(run, ...)
  return not ok and err.class or nil
end

local function names()
  local list = {}
  for i, event in ipairs(world.events) do list[i] = (world.core.name(event.subject) or '') .. ' ' .. event.event end
  world.events = {}
  return list
end

local function add(name)
  local qube = done(function() return app:add_new_vm { class = 'StandaloneVM', name = name, label = 'red' } end)
  names()
  return qube
end

before_each(function()
  fault = nil
  world = fake_core.new {
    scripts = 'scripts',
    virt = function(_, operation)
      if operation == fault then error({ class = 'LibvirtError', message = 'no luck' }, 0) end
    end,
  }
  world:load()
  app, hooks = world.app, world.environment.core_hooks
end)

local DOMAIN = { 'q property-reset:xid', 'q property-reset:stubdom_xid', 'q property-reset:start_time' }

describe('a start', function()
  it('tells of every step', function()
    local qube = add('q')
    done(function() qube:start() end)
    assert.equal('Running', qube.power)
    assert.same({
      'q domain-pre-start', 'q domain-pre-spawn', DOMAIN[1], DOMAIN[2], DOMAIN[3], 'q domain-spawn', 'q domain-qdb-create',
      'q domain-pre-unpaused', 'q domain-unpaused', 'q domain-start',
    }, names())
    done(function() qube:start() end)
    assert.same({}, names())
  end)

  it('starts the netvm first', function()
    local net, qube = add('net'), add('q')
    done(function()
      net.provides_network = true
      qube.netvm = net
    end)
    done(function() qube:start() end)
    assert.is_true(net:is_running())
  end)

  it('that fails is told of, and leaves the qube halted', function()
    local qube = add('q')
    for _, step in ipairs { 'define', 'create', 'resume' } do
      fault = step
      assert.equal('LibvirtError', refused(function() qube:start() end))
      assert.is_true(qube:is_halted())
      local told = false
      for _, name in ipairs(names()) do told = told or name == 'q domain-start-failed' end
      assert.is_true(told, step)
    end
  end)

  it('can be prohibited', function()
    local qube = add('q')
    done(function() qube.features['prohibit-start'] = 'broken' end)
    names()
    assert.equal('QubesException', refused(function() qube:start() end))
    assert.same({ 'q domain-start-failed' }, names())
  end)
end)

describe('a stop', function()
  local qube

  before_each(function()
    qube = add('q')
    done(function() qube:start() end)
    names()
  end)

  it('is told of once, whoever hears of it first', function()
    done(function() qube:shutdown { wait = true } end)
    done(hooks.lifecycle, qube, STOPPED, 0, -1)
    assert.same({ 'q domain-pre-shutdown', 'q domain-stopped', DOMAIN[1], DOMAIN[2], DOMAIN[3], 'q domain-shutdown' }, names())
    done(function() qube:start() end)
    names()
    done(hooks.lifecycle, qube, STOPPED, 0, -1)
    done(function() qube:start() end)
    assert.equal('q domain-shutdown', names()[5])
  end)

  it('is refused when the qube is halted, paused or needed', function()
    done(function() qube:pause() end)
    assert.equal('QubesVMNotRunningError', refused(function() qube:shutdown() end))
    done(function() qube:kill() end)
    assert.equal('QubesVMNotStartedError', refused(function() qube:kill() end))
    assert.equal('QubesVMNotStartedError', refused(function() qube:shutdown() end))
    assert.equal('QubesVMNotRunningError', refused(function() qube:pause() end))
    assert.equal('QubesVMNotPausedError', refused(function() qube:unpause() end))
  end)

  it('that takes too long is an error', function()
    local plain = world.core.virt
    world.core.virt = function(target, operation, ...) return operation == 'shutdown' and 0 or plain(target, operation, ...) end
    assert.equal('QubesVMShutdownTimeoutError', refused(function() qube:shutdown { wait = true, timeout = 5 } end))
    assert.same({ 'q domain-pre-shutdown', 'q domain-shutdown-failed' }, names())
  end)

  it('of a netvm waits for those that are connected', function()
    local client = add('client')
    done(function()
      qube.provides_network = true
      client.netvm = qube
      client:start()
    end)
    assert.equal('QubesVMInUseError', refused(function() qube:shutdown() end))
    done(function() qube:shutdown { force = true } end)
  end)

  it('removes a disposable', function()
    done(function() qube.template_for_dispvms = true end)
    local disposable = done(function() return app:create_disposable(qube) end)
    done(function() disposable:start() end)
    names()
    done(function() disposable:kill() end)
    assert.is_true(world.core.removed(disposable))
    local seen = names()
    assert.equal(disposable.name .. ' domain-shutdown', seen[#seen - 2]) -- told before the qube goes
    assert.same({ ' domain-pre-delete', ' domain-delete' }, { seen[#seen - 1], seen[#seen] })
  end)
end)

describe("libvirt's news", function()
  it('of pausing are told unless the daemon paused while starting', function()
    local qube = add('q')
    done(function() qube:start() end)
    names()
    done(hooks.lifecycle, qube, RESUMED, 0, 1) -- the end of the daemon's own start
    assert.same({}, names())
    done(hooks.lifecycle, qube, SUSPENDED, 0, 1)
    done(hooks.lifecycle, qube, RESUMED, 0, 1)
    assert.same({ 'q domain-paused', 'q domain-unpaused' }, names())
  end)

  it('of a domain that somebody else started count too', function()
    local qube = add('q')
    done(hooks.lifecycle, qube, STARTED, 0, 9)
    assert.equal('Running', qube.power)
    assert.equal(9, qube.xid)
    done(hooks.lifecycle, qube, STOPPED, 0, -1)
    assert.equal('q domain-shutdown', names()[5])
  end)

  it('that were missed are made up for when the connection stands again', function()
    local qube, other = add('q'), add('other')
    done(function() qube:start() end)
    names()
    done(hooks.connected, { { uuid = other.uuid, name = 'other', state = 1, domain_id = 4 } })
    assert.equal('Halted', qube.power)
    assert.equal('Running', other.power)
    assert.equal('q domain-shutdown', names()[5])
    done(hooks.connected, {})
    assert.equal('Halted', other.power)
  end)
end)
