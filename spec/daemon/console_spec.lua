-- SPDX-License-Identifier: GPL-2.0-or-later
-- Law 5: dom0 can always get out. The console's socket is outside the rules; a daemon that starts with broken rules denies everything until they are
-- repaired, and needs no restart then.

local uv = require('luv')
local daemon = require('spec.support.daemon')

local CONSOLE = { socket = 'qubesd.console.sock' }
local DENIES_ALL = "on('*', function() deny('everything') end)"
local FAILS = "on('admin-permission:*', function() error('broken') end)"
local HIDES_ALL = "on('admin-permission:admin.vm.List', function() return function() return false end end)"

describe('the console', function()
  local d

  setup(function()
    d = daemon.start {}
    d:estate { 'guest' }
  end)

  teardown(function() d:stop() end)

  after_each(function()
    d:remove_rule('10-rule.lua')
    assert.equal('ok', d:reload().kind)
  end)

  it('has a socket that is its owner\'s alone', function()
    local status = assert(uv.fs_stat(d:socket('qubesd.console.sock')))
    assert.equal(tonumber('600', 8), status.mode & tonumber('777', 8))
    assert.equal(uv.getuid(), status.uid)
    for _, name in ipairs { 'qubesd.sock', 'qubesd.internal.sock', 'qubesd.misc.sock' } do
      assert.equal(tonumber('660', 8), assert(uv.fs_stat(d:socket(name))).mode & tonumber('777', 8))
    end
  end)

  -- Where the rules fail, no qube can be seen either.
  for title, rule in pairs { ['denies everything to everybody'] = DENIES_ALL, ['fails whenever it is asked'] = FAILS } do
    it('is served where a rule ' .. title, function()
      d:set_rule('10-rule.lua', rule)
      for _, src in ipairs { 'dom0', 'guest' } do
        for _, call in ipairs { { 'admin.vm.List', 'dom0' }, { 'admin.vm.property.Get', 'guest', 'memory' }, { 'admin.vm.feature.Set', 'guest', 'x', '1' } } do
          local unseen = rule == FAILS and call[2] ~= 'dom0' and call[2] ~= src
          assert.equal(unseen and 'QubesVMNotFoundError' or 'PermissionDenied', d:call(src, table.unpack(call)).class)
        end
      end
      assert.equal('PermissionDenied', d:call('dom0', 'internal.Reload', 'dom0', '', '', { socket = 'qubesd.internal.sock' }).class)
      assert.equal('', d:ok('admin.vm.feature.Set', 'guest', 'x', '1', CONSOLE))
      assert.equal('1', d:ok('admin.vm.feature.Get', 'guest', 'x', '', CONSOLE))
      assert.truthy(d:ok('admin.vm.List', 'dom0', '', '', CONSOLE):find('guest', 1, true))
      assert.truthy(d:ok('internal.Status', 'dom0', '', '', CONSOLE):find('generation', 1, true))
      d:ok('admin.vm.feature.Remove', 'guest', 'x', '', CONSOLE)
    end)
  end

  it('sees what a rule hides from everybody', function()
    d:set_rule('10-rule.lua', HIDES_ALL)
    assert.equal('', d:ok('admin.vm.List'))
    assert.equal('QubesVMNotFoundError', d:call('dom0', 'admin.vm.property.Get', 'guest', 'memory').class)
    assert.truthy(d:ok('admin.vm.List', 'dom0', '', '', CONSOLE):find('guest', 1, true))
    assert.truthy(d:ok('admin.vm.property.Get', 'guest', 'memory', '', CONSOLE))
  end)

  it('gets events where rules deny them, and goes on doing so after a reload', function()
    local events = d:subscribe('dom0', 'dom0', CONSOLE)
    d:set_rule('10-rule.lua', DENIES_ALL)
    d:ok('admin.vm.tag.Set', 'guest', 'seen', '', CONSOLE)
    assert.truthy(events:wait('domain-tag-add:seen'))
    d:ok('admin.vm.tag.Remove', 'guest', 'seen', '', CONSOLE)
    events:close()
  end)

  it('keeps declarations and framing, which are no rules', function()
    assert.equal('ProtocolError', d:call('dom0', 'admin.vm.tag.List', 'guest', 'argument', '', CONSOLE).class)
    assert.equal('ProtocolError', d:call('dom0', 'admin.vm.NoSuch', 'guest', '', '', CONSOLE).class)
    assert.equal('', d:raw('rubbish', CONSOLE))
  end)
end)

describe('a daemon that starts with broken rules', function()
  for title, rule in pairs {
    ['a syntax error'] = 'on(\n',
    ['an error'] = "error('at load')",
    ['an event that is none'] = "on('domain-start', function() end)",
    ['a loop'] = 'while true do end',
    ['too much memory'] = "local s = 'x' while true do s = s .. s end",
  } do
    it('denies everything until they load: ' .. title, function()
      local d = daemon.start { acl = { ['10-broken.lua'] = rule, ['20-fine.lua'] = "on('admin-permission:*', function() end)" } }
      assert.is_true(d:logged('acl.d/10-broken.lua'))
      for _, method in ipairs { 'admin.vm.List', 'admin.vmclass.List', 'admin.Events', 'admin.label.List' } do
        local answer = d:call('dom0', method, 'dom0')
        assert.equal('PermissionDenied', answer.class, method)
        assert.equal('the rules do not permit this call', answer.message)
      end
      assert.truthy(d:ok('admin.vm.List', 'dom0', '', '', CONSOLE):find('dom0 ', 1, true))
      d:ok('admin.vm.Create.TemplateVM', 'dom0', '', 'name=rescue label=red', CONSOLE)
      assert.equal('QubesException', d:reload().class)
      assert.equal('PermissionDenied', d:call('dom0', 'admin.vm.List', 'dom0').class)
      d:write_rule('10-broken.lua', '-- repaired')
      assert.is_true(daemon.run_until(function() return d:call('dom0', 'admin.vm.List', 'dom0').kind == 'ok' end, 5))
      assert.truthy(d:ok('admin.vm.List'):find('rescue', 1, true))
      d:stop()
    end)
  end

  it('does not start without scripts that load', function()
    local ok, problem = pcall(daemon.start, { extra_scripts = { ['api/spec_broken.lua'] = '\n\nlocal x = = 1' } })
    assert.is_false(ok)
    assert.truthy(problem:find('scripts/api/spec_broken.lua:3:', 1, true), problem)
  end)
end)
