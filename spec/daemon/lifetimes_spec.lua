-- SPDX-License-Identifier: GPL-2.0-or-later
-- What a script keeps of a call or of a qube beyond its life is dead: using it is an error, never data and never a crash.

local cjson = require('cjson')
local daemon = require('spec.support.daemon')

local METHODS = [[
local kept = {}
local function declare(name, handler, filters, arg)
  method('admin.spec.' .. name, {
    dest = 'any', arg = arg or 'none', payload = 'optional', scope = 'local', read = true, write = true, filters = filters, doc = 'x',
  }, handler)
end
declare('Keep', function(call, u)
  kept.call, kept.untrusted, kept.dest = call, u, call.dest
  kept.permission, kept.features = call.permission, call.dest.features
  call:permission {}
end)
local uses = {
  permission = function(call) call:permission {} end,
  filter = function(call) call:filter({ 'x' }, {}) end,
  filter_as = function(call) call:filter_as('admin.vm.feature.Get', { 'x' }, {}) end,
  visible = function(call) call:visible(app.domains.dom0) end,
  qube = function(call) call:qube('dom0') end,
  send_event = function(call) call:send_event(app, 'late', {}) end,
  subscribe = function(call) call:subscribe {} end,
  enforce = function(call) call:enforce(true) end,
  source = function(call) return call.src.name end,
  destination = function(call) return call.dest.name end,
  argument = function(call) return call.arg end,
  method = function(call) return call.method end,
  foreign_self = function() kept.permission(kept.untrusted, {}) end,
  foreign_table = function() kept.permission({}, {}) end,
  foreign_qube = function() kept.permission(kept.dest, {}) end,
  validator_on_call = function() core.validate.ascii(kept.call) end,
  validator_on_qube = function() core.validate.ascii(kept.dest) end,
  untrusted = function() return kept.untrusted:ascii() end,
}
for name, use in pairs(uses) do
  declare('Use.' .. name, function(call) call:permission {} use(kept.call) return 'used' end)
  declare('Task.' .. name, function(call)
    call:permission {}
    core.spawn(function() use(kept.call) core.log('error', 'USED ' .. name) end)
  end)
end
local removed = {
  set = function(q) core.set(q, 'feature', 'x', '1') end,
  feature = function(q) q.features.x = '1' end,
  tag = function(q) q.tags.x = true end,
  property = function(q) q.memory = 300 end,
  add_to_property = function(q) app.domains.guest.guivm = q end,
  virt = function(q) core.virt(q, 'create') end,
  start = function(q) q:start() end,
  delete = function(q) core.delete_qube(q) end,
}
for name, use in pairs(removed) do
  declare('Removed.' .. name, function(call) call:permission {} use(kept.dest) return 'used' end)
end
declare('Removed.look', function(call)
  call:permission {}
  return ('%s %s %s'):format(kept.dest.name, tostring(core.removed(kept.dest)), tostring(core.qube(kept.dest.name)))
end)
]]

describe('what outlives', function()
  local d

  setup(function()
    d = daemon.start { extra_scripts = { ['api/spec_lifetimes.lua'] = METHODS } }
    d:estate { 'guest', 'target' }
  end)

  teardown(function() d:stop() end)

  for name in METHODS:match('local uses = {(.-)\n}'):gmatch('\n  ([%w_]+) = function') do
    it('its call is dead: ' .. name, function()
      d:ok('admin.spec.Keep', 'target', '', 'MARK')
      assert.equal('', d:raw(daemon.request('guest', 'admin.spec.Use.' .. name, 'target')))
      d:ok('admin.spec.Task.' .. name, 'target')
      daemon.sleep(0.02)
      assert.is_nil(d.log:find('USED', 1, true))
      assert.is_nil(d.log:find('MARK', 1, true))
      assert.is_true(d:is_alive())
    end)
  end

  it('its qube can be looked at, but not changed', function()
    d:ok('admin.vm.Create.AppVM', 'dom0', '', 'name=gone label=red')
    d:ok('admin.spec.Keep', 'gone')
    d:ok('admin.vm.Remove', 'gone')
    assert.equal('gone true nil', d:ok('admin.spec.Removed.look', 'target'))
    local before = d:ok('admin.vm.List') .. d:ok('admin.vm.property.GetAll', 'guest')
    for name in METHODS:match('local removed = {(.-)\n}'):gmatch('\n  ([%w_]+) = function') do
      assert.not_equal('ok', d:call('dom0', 'admin.spec.Removed.' .. name, 'target').kind, name)
      assert.is_true(d:is_alive())
    end
    assert.equal(before, d:ok('admin.vm.List') .. d:ok('admin.vm.property.GetAll', 'guest'))
    d:ok('admin.vm.Create.AppVM', 'dom0', '', 'name=gone label=red') -- another one of the name is another one
    assert.equal('gone true gone', d:ok('admin.spec.Removed.look', 'target'))
  end)

  it('a reload is dead as well', function()
    d:ok('admin.spec.Keep', 'target', '', 'MARK')
    d:reload()
    assert.equal('', d:raw(daemon.request('dom0', 'admin.spec.Use.destination', 'target'))) -- nothing was kept
    assert.is_true(d:is_alive())
  end)
end)

describe('a qube that is chosen while its removal waits for libvirt', function()
  local d

  setup(function()
    d = daemon.start { binary = 'qubesd-testing', env = { QD_TEST_VIRT_BLOCK = 'undefine:*:3' } }
    d:estate { 'gate', 'work' }
  end)

  teardown(function() d:stop() end)

  it('stays', function()
    local function jobs()
      return cjson.decode(d:ok('internal.Status', 'dom0', '', '', { socket = 'qubesd.internal.sock' })).virt_jobs
    end
    d:ok('admin.vm.property.Set', 'gate', 'provides_network', 'True')
    local before = jobs()
    local removal = d:begin('dom0', 'admin.vm.Remove', 'gate')
    assert.truthy(daemon.run_until(function() return jobs() > before end, 10))
    d:ok('admin.vm.property.Set', 'work', 'netvm', 'gate')
    assert.is_nil(removal.result())
    assert.truthy(daemon.run_until(removal.result, 20))
    assert.equal('QubesVMInUseError', removal.result().class)
    assert.equal('default=False type=vm gate', d:ok('admin.vm.property.Get', 'work', 'netvm'))
  end)
end)
