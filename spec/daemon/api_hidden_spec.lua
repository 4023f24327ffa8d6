-- SPDX-License-Identifier: GPL-2.0-or-later
-- Law 1, method by method: what a rule hides from a caller shows in no answer, neither by name nor by what follows from it.

local daemon = require('spec.support.daemon')

local HIDES = [[
on('admin-permission:admin.vm.List', function(src)
  if src.name == 'guest' then return function(qube) return qube.tags.shared == true end end
end)
on('admin-permission:admin.vm.property.Get', function(src, event, info)
  if src.name == 'guest' and info.arg == 'memory' then deny() end
end)
]]

describe('a qube that a rule hides from the caller', function()
  local d

  setup(function()
    d = daemon.start { acl = { ['10-hide.lua'] = HIDES } }
    d:estate { 'guest', 'shown', 'secret', 'net', 'provider' }
    d:ok('admin.vm.property.Set', 'provider', 'provides_network', 'True')
    d:ok('admin.vm.property.Set', 'secret', 'netvm', 'provider')
    d:ok('admin.vm.tag.Set', 'provider', 'shared')
    d:ok('admin.vm.property.Set', 'net', 'provides_network', 'True')
    d:ok('admin.vm.property.Set', 'shown', 'netvm', 'net')
    d:ok('admin.vm.property.Set', 'shown', 'guivm', 'secret')
    d:ok('admin.property.Set', 'dom0', 'clockvm', 'secret')
    d:ok('admin.vm.feature.Set', 'net', 'of-netvm', '1')
    d:ok('admin.vm.feature.Set', 'fedora', 'of-template', '1')
    d:ok('admin.vm.tag.Set', 'shown', 'shared')
    d:ok('admin.label.Create', 'dom0', 'pink', '0xff00ff')
    d:ok('admin.vm.property.Set', 'secret', 'label', 'pink')
  end)

  teardown(function() d:stop() end)

  local function guest(method, dest, arg, payload)
    local answer = d:call('guest', method, dest, arg, payload)
    local told = answer.body or answer.message
    assert.is_nil(told:find('secret', 1, true) and not (payload or arg or dest):find('secret', 1, true) and told)
    return answer
  end

  -- The same call, once with the name of the hidden qube and once with one that nobody has, is answered with the same bytes.
  local function same_as_nobody(method, call)
    local function try(name)
      local answer = d:call('guest', method, call(name))
      return (answer.class or 'OK') .. ' ' .. (answer.body or answer.message):gsub(name, 'NAME')
    end
    assert.equal(try('nobody'), try('secret'))
  end

  it('reads as none where a property has it', function()
    assert.equal('default=False type=vm ', guest('admin.vm.property.Get', 'shown', 'guivm').body)
    assert.equal('default=False type=vm ', guest('admin.property.Get', 'dom0', 'clockvm').body)
    assert.equal('default=False type=vm ', guest('admin.vm.property.Get', 'shown', 'template').body)
    assert.equal('default=False type=vm secret', d:ok('admin.vm.property.Get', 'shown', 'guivm'))
    guest('admin.property.GetAll')
  end)

  it('gives no address away as a netvm', function()
    local all = guest('admin.vm.property.GetAll', 'shown').body
    assert.truthy(all:find('netvm default=False type=vm \n', 1, true))
    for _, name in ipairs { 'ip', 'visible_ip', 'visible_gateway', 'visible_netmask', 'dns' } do
      assert.truthy(all:find('\n' .. name .. ' default=True type=str \n', 1, true), name)
      assert.equal('default=True type=str ', guest('admin.vm.property.Get', 'shown', name).body)
    end
    assert.falsy(d:ok('admin.vm.property.Get', 'shown', 'visible_gateway') == 'default=True type=str ')
  end)

  it('is no value that a property can be set to', function()
    same_as_nobody('admin.vm.property.Set', function(name) return 'shown', 'netvm', name end)
    same_as_nobody('admin.property.Set', function(name) return 'dom0', 'clockvm', name end)
  end)

  it('is no destination, and no template', function()
    for _, method in ipairs { 'admin.vm.List', 'admin.vm.Start', 'admin.vm.Remove', 'admin.vm.CurrentState', 'admin.vm.tag.List', 'admin.Events' } do
      same_as_nobody(method, function(name) return name end)
    end
    same_as_nobody('admin.vm.Create.AppVM', function(name) return 'dom0', name, 'name=new label=red' end)
  end)

  it('ends the search for a feature', function()
    assert.equal('QubesFeatureNotFoundError', guest('admin.vm.feature.CheckWithNetvm', 'shown', 'of-netvm').class)
    assert.equal('QubesFeatureNotFoundError', guest('admin.vm.feature.CheckWithTemplate', 'shown', 'of-template').class)
    assert.equal('1', d:ok('admin.vm.feature.CheckWithNetvm', 'shown', 'of-netvm'))
  end)

  it('is named by no tag', function()
    assert.truthy(d:ok('admin.vm.tag.List', 'shown'):find('guivm-secret', 1, true))
    assert.equal('audiovm-dom0\ncreated-by-dom0\nshared\n', guest('admin.vm.tag.List', 'shown').body)
    same_as_nobody('admin.vm.tag.Get', function(name) return 'shown', 'guivm-' .. name end)
    same_as_nobody('admin.vm.tag.Remove', function(name) return 'shown', 'audiovm-' .. name end)
  end)

  it('refuses as a rule would, where it stands against a change', function()
    assert.equal('PermissionDenied', guest('admin.vm.Create.AppVM', 'dom0', '', 'name=secret label=red').class)
    assert.equal('PermissionDenied', guest('admin.label.Remove', 'dom0', 'pink').class)
    assert.equal('QubesVMInUseError', d:call('dom0', 'admin.vm.Remove', 'provider').class)
    assert.equal('QubesLabelInUseError', d:call('dom0', 'admin.label.Remove', 'dom0', 'pink').class)
  end)

  it('can not have its template removed by who may not know of it, whether it has one or not', function()
    d:ok('admin.vm.Create.TemplateVM', 'dom0', '', 'name=unused label=black')
    d:ok('admin.vm.tag.Set', 'unused', 'shared')
    assert.equal('PermissionDenied', guest('admin.vm.Remove', 'unused').class)
  end)

  it('does not stand in the way of a removal: it is disconnected', function()
    assert.equal('ok', guest('admin.vm.Remove', 'provider').kind)
    assert.equal('default=False type=vm ', d:ok('admin.vm.property.Get', 'secret', 'netvm'))
    assert.truthy(d.log:find('secret loses its netvm, for a caller that may not know of it', 1, true))
  end)

  it('leaves a list of properties to be judged element by element', function()
    assert.falsy(guest('admin.vm.property.GetAll', 'shown').body:find('\nmemory ', 1, true))
    assert.truthy(guest('admin.vm.property.List', 'shown').body:find('\nmemory\n', 1, true))
  end)
end)
