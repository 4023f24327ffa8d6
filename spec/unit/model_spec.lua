-- SPDX-License-Identifier: GPL-2.0-or-later
-- The classes on a small estate: properties and their events, features, tags, labels, relations, creation and removal.

local fake_core = require('spec.support.fake_core')

local world, env, app

-- Runs as a call; answers the class of what it raised, or nil.
local function refused(run)
  local ok, err = world:task(run)
  if ok then return nil end
  return err.class or error(err.message)
end

local function done(run)
  local ok, result = world:task(run)
  if not ok then error(result.class and result.class .. ': ' .. result.message or result.message, 2) end
  return result
end

-- `SUBJECT EVENT` of everything that happened since the last time.
local function events()
  local list = {}
  for i, event in ipairs(world.events) do
    list[i] = (event.subject == app and '' or world.core.name(event.subject)) .. ' ' .. event.event
  end
  world.events = {}
  return list
end

local function add(request)
  request.label = request.label or 'red'
  return done(function() return app:add_new_vm(request) end)
end

before_each(function()
  world = fake_core.new { scripts = 'scripts' }
  world:load()
  env, app = world.environment, world.app
end)

describe('an empty store', function()
  it('gets dom0, eight labels, pools and a kernel', function()
    local dom0 = app.domains.dom0
    assert.equal('AdminVM', dom0.klass)
    assert.equal(0, dom0.qid)
    assert.equal('Running', dom0.power)
    assert.equal('black', dom0.label.name)
    assert.equal('0x000000', app.labels.black.color)
    assert.equal(8, #world:import('labels').all())
    assert.equal('varlibqubes', app.default_pool)
    assert.equal('6.12.1', app.default_kernel)
  end)
end)

describe('a property', function()
  local template, qube

  before_each(function()
    template = add { class = 'TemplateVM', name = 't' }
    done(function() app.default_template = template end)
    qube = add { class = 'AppVM', name = 'q' }
    events()
  end)

  it('has its default, its value, and its default again', function()
    assert.equal(400, qube.memory)
    assert.is_true(qube:is_default('memory'))
    done(function() qube.memory = 700 end)
    assert.equal(700, qube.memory)
    assert.is_false(qube:is_default('memory'))
    assert.equal(400, qube:get_default('memory'))
    done(function() qube:reset('memory') end)
    assert.equal(400, qube.memory)
  end)

  it('follows its template', function()
    done(function() template.memory = 600 end)
    assert.equal(600, qube.memory)
    assert.same({ 't property-pre-set:memory', 'q property-reset:memory', 't property-set:memory' }, events())
  end)

  it('tells of a change before and after, with both values', function()
    done(function() qube.vcpus = '3' end)
    assert.same({ name = 'vcpus', oldvalue = 2, newvalue = 3 }, world.events[1].info)
    assert.same({ 'q property-pre-set:vcpus', 'q property-set:vcpus' }, events())
    done(function() qube:reset('vcpus') end)
    assert.same({ 'q property-pre-reset:vcpus', 'q property-pre-del:vcpus', 'q property-reset:vcpus', 'q property-del:vcpus' }, events())
  end)

  it('refuses what it can not be, and nothing changes', function()
    assert.equal('QubesPropertyValueError', refused(function() qube.memory = 0 end))
    assert.equal('QubesValueError', refused(function() qube.memory = 'abc' end))
    assert.equal('QubesPropertyValueError', refused(function() qube.xid = 1 end))
    assert.equal('QubesPropertyValueError', refused(function() qube.name = 'other' end))
    assert.equal('QubesPropertyValueError', refused(function() qube.template = 'q' end))
    assert.equal('QubesPropertyValueError', refused(function() qube.template = env.none end))
    assert.equal('QubesPropertyValueError', refused(function() qube.kernel = 'not-there' end))
    assert.equal('QubesNoSuchPropertyError', refused(function() qube.nothing = 1 end))
    assert.equal('QubesLabelNotFoundError', refused(function() qube.label = 'pink' end))
    assert.is_true(qube:is_default('memory'))
    assert.has_error(function() qube.netvm = nil end)
  end)

  it('is serialised as the API wants it', function()
    assert.equal('default=True type=int 400', qube:property_text('memory'))
    assert.equal('default=False type=label red', qube:property_text('label'))
    assert.equal('default=True type=vm ', qube:property_text('netvm'))
    assert.equal('type=bool False', qube:default_text('debug'))
    assert.is_nil(qube:default_text('template'))
    done(function() qube.kernelopts = 'a\\b\nc' end)
    assert.truthy(qube:property_values():find('kernelopts default=False type=str a\\\\b\\nc\n', 1, true))
  end)

  it('has documentation, in every class', function()
    for _, class in ipairs { 'Qubes', 'AdminVM', 'AppVM', 'DispVM', 'RemoteVM', 'StandaloneVM', 'TemplateVM' } do
      for name, def in pairs(world:import('class').resolved[class].properties) do assert.is_true(#def.doc > 8, class .. '.' .. name) end
    end
  end)
end)

describe('features and tags', function()
  local qube

  before_each(function()
    qube = add { class = 'StandaloneVM', name = 'q' }
    events()
  end)

  it('are strings, in the order of their first setting', function()
    done(function()
      qube.features.b = true
      qube.features.a = 1
      qube.features.c = false
      qube.features.b = 'x'
    end)
    local seen = {}
    for name, value in pairs(qube.features) do seen[#seen + 1] = name .. '=' .. value end
    assert.same({ 'b=x', 'a=1', 'c=' }, seen)
  end)

  it('tell of what happens', function()
    done(function()
      qube.features.a = '1'
      qube.features.a = nil
      qube.tags.t = true
      qube.tags.t = true
      qube.tags.t = nil
    end)
    assert.same({
      'q domain-feature-pre-set:a', 'q domain-feature-set:a', 'q domain-feature-pre-delete:a', 'q domain-feature-delete:a',
      'q domain-tag-add:t', 'q domain-tag-delete:t',
    }, events())
    assert.equal('QubesFeatureNotFoundError', refused(function() qube.features.a = nil end))
    assert.equal('QubesTagNotFoundError', refused(function() qube.tags.t = nil end))
    assert.equal('QubesValueError', refused(function() qube.tags['a.b'] = true end))
  end)

  it('give no way to hide a method under a name', function()
    assert.is_nil(qube.features.fire)
    assert.is_nil(qube.tags.fire)
  end)

  it('are checked by extensions', function()
    assert.equal('QubesValueError', refused(function() qube.features['service.'] = '1' end))
    assert.equal('QubesValueError', refused(function() qube.features['vm-config.1'] = '1' end))
    assert.equal('QubesValueError', refused(function() qube.features['custom-persist.a'] = 'relative' end))
    assert.is_nil(qube.features['vm-config.1'])
    done(function() qube.features['service.meminfo-writer'] = '' end)
    assert.equal(0, qube.maxmem)
    assert.is_false(qube:is_default('maxmem'))
  end)
end)

describe('the network', function()
  local net, client

  before_each(function()
    net = add { class = 'StandaloneVM', name = 'net' }
    client = add { class = 'StandaloneVM', name = 'client' }
    done(function() net.provides_network = true end)
    events()
  end)

  it('is no loop', function()
    done(function() client.netvm = net end)
    assert.equal('QubesValueError', refused(function() net.netvm = 'client' end))
    done(function() client.provides_network = true end)
    assert.equal('QubesValueError', refused(function() net.netvm = 'client' end))
    assert.equal('QubesValueError', refused(function() net.netvm = net end))
    assert.equal('QubesPropertyValueError', refused(function() app.default_netvm = net end))
    done(function()
      net.netvm = env.none
      client:reset('netvm')
      app.default_netvm = net
    end)
    assert.equal(net, client.netvm)
  end)

  it('comes from a qube that provides it, and as long as somebody is connected', function()
    assert.equal('QubesValueError', refused(function() net.netvm = 'client' end))
    done(function() client.netvm = net end)
    assert.equal('QubesValueError', refused(function() net.provides_network = false end))
    assert.equal('10.137.0.1', client.visible_gateway)
    assert.equal('255.255.255.255', client.visible_netmask)
    assert.equal('servicevm-red', net.icon)
  end)
end)

describe('a qube', function()
  it('is announced when it is whole', function()
    events()
    add { class = 'StandaloneVM', name = 'q' }
    assert.same({ ' domain-add' }, events())
    assert.is_true(app.domains.q.tags['guivm-dom0'])
  end)

  it('is not there when its creation was refused', function()
    assert.equal('QubesValueError', refused(function() app:add_new_vm { class = 'AppVM', name = 'q', label = 'red' } end))
    assert.equal('QubesLabelNotFoundError', refused(function() app:add_new_vm { class = 'StandaloneVM', name = 'q', label = 'pink' } end))
    assert.equal('QubesValueError', refused(function() app:add_new_vm { class = 'StandaloneVM', name = '1', label = 'red' } end))
    assert.equal('QubesVMAlreadyExistsError', refused(function() app:add_new_vm { class = 'StandaloneVM', name = 'dom0', label = 'red' } end))
    assert.is_nil(app.domains.q)
  end)

  it('is removed when nobody needs it', function()
    local template = add { class = 'TemplateVM', name = 't' }
    local qube = add { class = 'AppVM', name = 'q', template = template }
    events()
    assert.equal('QubesVMInUseError', refused(function() app:remove_vm(template) end))
    assert.same({ ' domain-pre-delete' }, events())
    done(function() app:remove_vm(qube) end)
    assert.same({ ' domain-pre-delete', ' domain-delete' }, events())
    done(function() app:remove_vm(template) end)
    assert.is_nil(app.domains.t)
    assert.equal('QubesVMInUseError', refused(function() app:remove_vm(app.domains.dom0) end))
  end)

  it('inherits what its template is when it is a disposable', function()
    local template = add { class = 'TemplateVM', name = 't' }
    local dvm = add { class = 'AppVM', name = 'dvm', template = template }
    assert.equal('QubesException', refused(function() app:create_disposable(dvm) end))
    done(function()
      dvm.template_for_dispvms = true
      dvm.memory = 555
      dvm.features.x = 'y'
      dvm.tags.mine = true
    end)
    local disposable = done(function() return app:create_disposable(dvm) end)
    assert.equal(('disp%d'):format(disposable.dispid), disposable.name)
    assert.equal(555, disposable.memory)
    assert.equal('y', disposable.features.x)
    assert.is_true(disposable.tags.mine)
    assert.is_true(disposable.auto_cleanup)
    assert.equal(dvm, disposable.default_dispvm)
    assert.equal('QubesVMInUseError', refused(function() dvm.template_for_dispvms = false end))
  end)
end)

describe('on Xen', function()
  it('memory is balanced where the guest takes part in it', function()
    world.host.type = 'Xen'
    local qube = add { class = 'StandaloneVM', name = 'q' }
    assert.equal(4000, qube.maxmem)
    done(function() qube.features.os = 'Linux' end)
    assert.equal(4000, qube.maxmem)
    done(function() qube.virt_mode = 'hvm' end)
    assert.equal(0, qube.maxmem)
    done(function() qube.features.qrexec = '1' end)
    assert.equal(4000, qube.maxmem)
    done(function() qube.features['supported-service.cups'] = '1' end)
    assert.equal(0, qube.maxmem)
  end)

  it('the domain XML is complete and escaped', function()
    world.host.type = 'Xen'
    local qube = add { class = 'StandaloneVM', name = 'q' }
    done(function() qube.kernelopts = 'a="<&>"' end)
    local xml = qube:hypervisor().domain_xml(qube)
    assert.truthy(xml:find('a=&quot;&lt;&amp;&gt;&quot;', 1, true))
    assert.is_nil(xml:find('{', 1, true))
    world.host.type = 'QEMU'
    assert.truthy(qube:hypervisor().domain_xml(qube):find('<domain type="qemu">', 1, true))
  end)
end)

describe('a request of features', function()
  it('is believed as far as it should be', function()
    local qube = add { class = 'StandaloneVM', name = 'q' }
    done(function()
      qube:fire('features-request', { untrusted_features = {
        qrexec = '1', gui = '2', ['os'] = 'Linux', ['os-version'] = '42.1', ['os-eol'] = '2027-13-01', ['supported-service.cups'] = '1',
        ['supported-rpc.qubes.WaitForSession'] = '1', ['anon-timezone'] = '0', ['boot-mode.kernelopts.m'] = 'x', ['boot-mode.name.other'] = 'y',
        ['boot-mode.active'] = 'm', ['service.cups'] = '1',
      } })
    end)
    local seen = {}
    for name, value in pairs(qube.features) do seen[name] = value end
    assert.same({
      qrexec = '1', os = 'Linux', ['os-version'] = '42.1', ['supported-service.cups'] = '1', ['supported-rpc.qubes.WaitForSession'] = '1',
      ['boot-mode.kernelopts.m'] = 'x', ['boot-mode.active'] = 'm',
    }, seen)
    assert.equal('m', qube.bootmode)
  end)
end)
