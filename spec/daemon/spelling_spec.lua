-- SPDX-License-Identifier: GPL-2.0-or-later
-- Law 10: mgmt. is admin. A rule written for either name judges the calls of both.

local daemon = require('spec.support.daemon')

describe('a rule and a call', function()
  local d

  setup(function()
    d = daemon.start {}
    d:estate { 'guest', 'target' }
  end)

  teardown(function() d:stop() end)

  local function rule(pattern)
    d:set_rule('10-rule.lua', ("on('%s', function(src, event, info) if src.name == 'guest' then deny(event) end end)"):format(pattern))
  end

  local both = { 'admin.vm.List', 'mgmt.vm.List' }

  for _, pattern in ipairs { 'admin-permission:admin.vm.List', 'mgmt-permission:mgmt.vm.List', 'admin-permission:mgmt.vm.List',
    'mgmt-permission:admin.vm.List', 'admin-permission:*', 'mgmt-permission:*', 'admin-permission:admin.*', 'mgmt-permission:mgmt.*',
    'admin-permission:mgmt.*', 'mgmt-permission:admin.*', '*', 'm*', 'a*', '*List', 'mgmt-permission:????.vm.List', '*-permission:mgmt.vm.List',
    'admin-permission:*.vm.List', 'mgmt-permission:m*.List', '?????-permission:admin.vm.L*t' } do
    it('meet, whatever their spelling: ' .. pattern, function()
      rule(pattern)
      for _, method in ipairs(both) do
        local answer = d:call('guest', method, 'dom0')
        assert.equal('PermissionDenied', answer.class, method)
        assert.equal('admin-permission:admin.vm.List', answer.message) -- one event name
        assert.equal('ok', d:call('dom0', method, 'dom0').kind)
      end
    end)
  end

  it('do not meet: another method', function()
    rule('admin-permission:admin.vm.Start')
    for _, method in ipairs(both) do assert.equal('ok', d:call('guest', method, 'dom0').kind) end
  end)

  it('of a name that is no method of admin. stay apart', function()
    assert.has_error(function() rule('admin-permission:mgmt.example.Echo') end)
    rule('mgmt-permission:example.Echo')
    assert.equal('PermissionDenied', d:call('guest', 'example.Echo', 'dom0', '', 'Hello, you').class)
  end)

  it('do the same to the model', function()
    rule('admin-permission:admin.vm.Start')
    assert.equal('ok', d:call('dom0', 'mgmt.vm.feature.Set', 'target', 'old-name', '1').kind)
    assert.equal('1', d:ok('admin.vm.feature.Get', 'target', 'old-name'))
    assert.equal('1', d:ok('mgmt.vm.feature.Get', 'target', 'old-name'))
    assert.equal('ProtocolError', d:call('dom0', 'mgmt.mgmt.vm.List', 'dom0').class)
    assert.equal('ProtocolError', d:call('dom0', 'mgmt.', 'dom0').class)
    assert.equal('ProtocolError', d:call('dom0', 'mgmt', 'dom0').class)
    assert.equal('ProtocolError', d:call('dom0', 'MGMT.vm.List', 'dom0').class)
    assert.equal('ProtocolError', d:call('dom0', 'mgmt.example.Echo', 'dom0', '', 'Hello, you').class)
    assert.equal('ProtocolError', d:call('dom0', 'vm.List', 'dom0').class)
  end)

  it('filter alike, also what is visible', function()
    d:set_rule('10-rule.lua', "on('mgmt-permission:mgmt.vm.List', function(src) if src.name == 'guest' then return function(q) return q == src end end end)")
    for _, method in ipairs(both) do
      local answer = d:call('guest', method, 'dom0')
      assert.truthy(answer.body:find('guest ', 1, true))
      assert.falsy(answer.body:find('target', 1, true))
    end
    assert.equal('QubesVMNotFoundError', d:call('guest', 'mgmt.vm.feature.List', 'target').class)
  end)

  for _, pattern in ipairs { 'domain-start', 'x*', 'admin.vm.List', 'property-set:*', 'admin-permissions:*', 'b?min-permission:*', '', 'mgmt-permission',
    'admin-permission', 'qubes-permission:admin.vm.List' } do
    it('are refused at load where no permission could match: ' .. pattern, function()
      local before = d:ok('internal.Status', 'dom0', '', '', { socket = 'qubesd.console.sock' }):match('"digest": "(%x+)"')
      d:write_rule('10-rule.lua', ("\non('%s', function() end)"):format(pattern))
      local answer = d:reload()
      assert.equal('QubesException', answer.class)
      assert.truthy(answer.message:find('acl.d/10-rule.lua:2:', 1, true), answer.message)
      local after = d:ok('internal.Status', 'dom0', '', '', { socket = 'qubesd.console.sock' }):match('"digest": "(%x+)"')
      assert.equal(before, after)
    end)
  end
end)
