-- SPDX-License-Identifier: GPL-2.0-or-later
-- Disposables: made of a template or of the caller's default one, named by name or uuid, like their template, and gone after their shutdown, also
-- when the daemon was not there to see it.

local daemon = require('spec.support.daemon')

local RULES = [[
on('admin-permission:admin.vm.CreateDisposable', function(src, event, info)
  if src.name == 'guest' and info.dispvm_template ~= none and info.dispvm_template.tags.vault then deny() end
end)
on('admin-permission:admin.vm.List', function(src)
  if src.name == 'blind' then return function(qube) return qube.name == 'blind' end end
end)
]]

describe('disposables', function()
  local d

  before_each(function()
    d = daemon.start { acl = { ['10-rules.lua'] = RULES } }
    d:estate { 'base', 'plain', 'guest', 'blind' }
    d:ok('admin.vm.property.Set', 'base', 'template_for_dispvms', 'True')
  end)

  after_each(function() d:kill() end)

  local function class_of(src, dest, arg, payload)
    local answer = d:call(src, 'admin.vm.CreateDisposable', dest, arg, payload)
    return answer.class or answer.kind
  end

  local function exists(name)
    return d:call('dom0', 'admin.vm.List', name).kind == 'ok'
  end

  local function gone(name)
    return daemon.run_until(function()
      daemon.sleep(0.02)
      return not exists(name)
    end, 5)
  end

  it('are made of a template, and answered by name or uuid', function()
    local name = d:ok('admin.vm.CreateDisposable', 'base')
    assert.truthy(name:find('^disp%d+$'))
    assert.equal('default=False type=int ' .. name:sub(5), d:ok('admin.vm.property.Get', name, 'dispid'))
    assert.equal('default=False type=bool True', d:ok('admin.vm.property.Get', name, 'auto_cleanup'))
    assert.equal('default=False type=vm base', d:ok('admin.vm.property.Get', name, 'template'))
    assert.truthy(d:ok('admin.vm.List', name):find('^' .. name .. ' class=DispVM state=Halted uuid='))
    local uuid = d:ok('admin.vm.CreateDisposable', 'base', '', 'uuid')
    assert.truthy(uuid:find('^uuid:%x+%-%x+%-%x+%-%x+%-%x+$'))
    assert.truthy(d:ok('admin.vm.List', uuid):find(' uuid=' .. uuid:sub(6), 1, true))
    for _, payload in ipairs { 'UUID', 'uuid ', 'name', 'uuid\0', '\xff' } do assert.equal('ProtocolError', class_of('dom0', 'base', '', payload)) end
    assert.equal('PermissionDenied', class_of('dom0', 'base', 'other'))
  end)

  it('are made for dom0 as the destination of the default template of the caller', function()
    assert.equal('QubesException', class_of('dom0', 'dom0'))
    assert.equal('QubesException', class_of('plain', 'dom0'))
    d:ok('admin.vm.property.Set', 'plain', 'default_dispvm', 'base')
    local made = d:call('plain', 'admin.vm.CreateDisposable', 'dom0')
    assert.equal('ok', made.kind)
    assert.truthy(d:ok('admin.vm.tag.List', made.body):find('\ndisp-created-by-plain\n', 1, true))
    assert.equal('QubesException', class_of('dom0', 'dom0'))
    d:ok('admin.property.Set', 'dom0', 'default_dispvm', 'base')
    assert.equal('ok', class_of('dom0', 'dom0'))
  end)

  it('come from no qube that lends itself to none', function()
    for _, dest in ipairs { 'plain', 'fedora' } do assert.equal('QubesException', class_of('dom0', dest)) end
    assert.equal('QubesVMNotFoundError', class_of('dom0', 'nobody'))
    local before = d:ok('admin.vm.List')
    assert.equal('QubesException', class_of('dom0', 'plain', '', 'uuid'))
    assert.equal(before, d:ok('admin.vm.List'))
  end)

  it('are subject to rules, which see the template', function()
    assert.equal('ok', class_of('guest', 'base'))
    d:ok('admin.vm.tag.Set', 'base', 'vault')
    assert.equal('PermissionDenied', class_of('guest', 'base'))
    d:ok('admin.property.Set', 'dom0', 'default_dispvm', 'base')
    assert.equal('PermissionDenied', class_of('guest', 'dom0'))
    assert.equal(class_of('blind', 'nobody'), class_of('blind', 'base'))
    assert.falsy((d:call('blind', 'admin.vm.CreateDisposable', 'base').message or ''):find('template', 1, true))
  end)

  it('begin as their template is', function()
    d:ok('admin.vm.property.Set', 'base', 'memory', '321')
    d:ok('admin.vm.property.Set', 'base', 'label', 'green')
    d:ok('admin.vm.feature.Set', 'base', 'colour', 'blue')
    d:ok('admin.vm.feature.Set', 'base', 'preload-dispvm-delay', '5')
    d:ok('admin.vm.tag.Set', 'base', 'kept')
    local name = d:ok('admin.vm.CreateDisposable', 'base')
    assert.equal('default=False type=int 321', d:ok('admin.vm.property.Get', name, 'memory'))
    assert.equal('default=False type=label green', d:ok('admin.vm.property.Get', name, 'label'))
    assert.equal('blue', d:ok('admin.vm.feature.Get', name, 'colour'))
    assert.equal('QubesFeatureNotFoundError', d:call('dom0', 'admin.vm.feature.Get', name, 'preload-dispvm-delay').class)
    assert.equal('1', d:ok('admin.vm.tag.Get', name, 'kept'))
    assert.equal('default=True type=vm base', d:ok('admin.vm.property.Get', name, 'default_dispvm'))
  end)

  it('go after their shutdown, however they end', function()
    for _, ending in ipairs { 'Kill', 'Shutdown' } do
      local name = d:ok('admin.vm.CreateDisposable', 'base')
      local stream = d:subscribe()
      d:ok('admin.vm.Start', name)
      d:ok('admin.vm.' .. ending, name)
      assert.truthy(gone(name), ending)
      assert.truthy(stream:wait('domain-delete'), ending)
      stream:close()
    end
    assert.falsy(d:ok('admin.vm.List'):find('disp', 1, true))
  end)

  it('stay after their shutdown without auto_cleanup', function()
    d:ok('admin.vm.Create.DispVM', 'dom0', 'base', 'name=named label=red')
    d:ok('admin.vm.Start', 'named')
    d:ok('admin.vm.Kill', 'named')
    daemon.sleep(0.2)
    assert.truthy(exists('named'))
    assert.equal('default=True type=bool True', d:ok('admin.vm.property.Get', 'named', 'include_in_backups'))
  end)

  it('go when they ended while the daemon was down', function()
    local name = d:ok('admin.vm.CreateDisposable', 'base')
    local unused = d:ok('admin.vm.CreateDisposable', 'base')
    d:ok('admin.vm.Create.DispVM', 'dom0', 'base', 'name=named label=red')
    d:ok('admin.vm.Start', name)
    d:ok('admin.vm.Start', 'named')
    d:kill_only() -- and with it the domains, which the test driver keeps in the process
    d = daemon.start { directory = d.directory }
    assert.truthy(gone(name))
    assert.truthy(exists('named'))
    assert.truthy(exists(unused)) -- never started, so nobody has used it yet
    assert.equal('ok', d:call('dom0', 'admin.vm.Remove', unused).kind)
  end)

  it('hold their template, and free it', function()
    local name = d:ok('admin.vm.CreateDisposable', 'base')
    assert.equal('QubesVMInUseError', d:call('dom0', 'admin.vm.Remove', 'base').class)
    assert.equal('QubesVMInUseError', d:call('dom0', 'admin.vm.property.Set', 'base', 'template_for_dispvms', 'False').class)
    d:ok('admin.vm.Start', name)
    d:ok('admin.vm.Kill', name)
    assert.truthy(gone(name))
    d:ok('admin.vm.property.Set', 'base', 'template_for_dispvms', 'False')
    assert.equal('QubesException', class_of('dom0', 'base'))
    d:ok('admin.vm.Remove', 'base')
  end)
end)
