-- SPDX-License-Identifier: GPL-2.0-or-later
-- Law 3: no answer and no change before permission, whatever a method's author forgot.

local daemon = require('spec.support.daemon')

local METHODS = [[
local function declare(name, handler, filters)
  method('admin.spec.' .. name, {
    dest = 'any', arg = 'none', payload = 'none', scope = 'local', read = true, write = true, filters = filters, doc = 'An attack.',
  }, handler)
end

-- Each writes; a call of `early.NAME` does it before it asks, one of `late.NAME` after, `never.NAME` without asking.
local writes = {
  property = function(call) call.dest.memory = 777 end,
  property_reset = function(call) call.dest:reset('label') end,
  feature = function(call) call.dest.features.written = '1' end,
  feature_removed = function(call) call.dest.features.kept = nil end,
  tag = function(call) call.dest.tags.written = true end,
  tag_removed = function(call) call.dest.tags.kept = nil end,
  set = function(call) core.set(call.dest, 'feature', 'written', '1') end,
  set_of_app = function() core.set(core.app(), 'property', 'stats_interval', 9) end,
  unset = function(call) core.unset(call.dest, 'feature', 'kept') end,
  add_qube = function() core.add_qube { name = 'added', class = 'AppVM' } end,
  add_new_vm = function() app:add_new_vm { class = 'AppVM', name = 'added', label = 'red' } end,
  delete_qube = function() core.delete_qube(core.qube('spare')) end,
  remove_vm = function() app:remove_vm(core.qube('spare')) end,
  virt_define = function(call) core.virt(call.dest, 'define', call.dest:hypervisor().domain_xml(call.dest)) end,
  start = function(call) call.dest:start() end,
  spawn = function(call)
    local dest = call.dest
    core.spawn(function() dest.features.written = '1' end)
  end,
  label = function() app:add_label('written', '0x123456') end,
  pcalled = function(call) pcall(function() call.dest.features.written = '1' end) error('done') end,
}
for name, write in pairs(writes) do
  declare('early.' .. name, function(call) write(call) call:permission {} return 'answered' end)
  declare('early_caught.' .. name, function(call) pcall(write, call) call:permission {} return 'caught' end)
  declare('never.' .. name, function(call) write(call) return 'answered' end)
  declare('late.' .. name, function(call) call:permission {} write(call) return 'answered' end)
end

declare('forgets', function() return 'DATA' end)
declare('forgets_and_yields', function() core.sleep(0.01) return 'DATA' end)
declare('forgets_in_pcall', function(call) pcall(call.permission, nil) return 'DATA' end)
declare('caught_denial', function(call) pcall(call.permission, call, {}) return 'DATA' end)
declare('caught_denial_and_writes', function(call) pcall(call.permission, call, {}) call.dest.features.written = '1' return 'DATA' end)
declare('asks_after_denial', function(call) pcall(call.permission, call, { first = true }) call:permission {} return 'DATA' end)
declare('twice', function(call) call:permission {} call:permission {} return 'DATA' end)
declare('twice_filter', function(call) call:filter({ 'a' }, {}) call:filter({ 'b' }, {}) return 'DATA' end, 'things')
declare('permission_and_filter', function(call) call:permission {} call:filter({ 'b' }, {}) return 'DATA' end, 'things')
declare('yields', function(call) core.sleep(0.05) call:permission {} return 'after a while' end)
declare('sends_early', function(call) call:send_event(app, 'early', { data = 'DATA' }) call:permission {} return 'DATA' end)
declare('sends_only', function(call) call:send_event(app, 'early', { data = 'DATA' }) end)
declare('no_list', function(call) call:permission {} return 'DATA' end, 'things')
declare('filter_undeclared', function(call) call:filter({ 'a' }, {}) return 'DATA' end)
declare('filter_as_early', function(call) call:filter_as('admin.vm.feature.Get', { 'a' }, {}) call:permission {} return 'DATA' end)
declare('filter_as_unknown', function(call) call:permission {} call:filter_as('admin.nothing', { 'a' }, {}) return 'DATA' end)
declare('publishes_early', function(call) call.dest:fire('spec-event', { data = 'DATA' }) call:permission {} return 'DATA' end)
declare('announces_early', function(call) call.dest:fire('spec-pre-event', {}, true) call:permission {} return 'DATA' end)
declare('returns_table', function(call) call:permission {} return { 'DATA' } end)
declare('returns_number', function(call) call:permission {} return 42 end)
declare('returns_boolean', function(call) call:permission {} return true end)
declare('writes_and_fails', function(call) call:permission {} call.dest.features.written = '1' error('DATA') end)
declare('writes_and_raises', function(call) call:permission {} call.dest.features.written = '1' raise('QubesException', 'known') end)
declare('writes_and_returns_table', function(call) call:permission {} call.dest.features.written = '1' return {} end)
]]

local RULES = [[
on('admin-permission:admin.spec.caught_denial*', function(src) deny('no') end)
on('admin-permission:admin.spec.asks_after_denial', function(src, event, info) if info.first then deny('no') end end)
on('admin-permission:admin.spec.no_list', function(src) return function() return true end end)
on('admin-permission:admin.spec.late.*', function(src) if src.name == 'guest' then deny('no') end end)
]]

local WRITES = {}
for name in METHODS:match('local writes = {(.-)\n}\n'):gmatch('\n  ([%w_]+) = function') do WRITES[#WRITES + 1] = name end

describe('before permission', function()
  local d

  setup(function()
    d = daemon.start { extra_scripts = { ['api/spec_permission.lua'] = METHODS }, acl = { ['10-rules.lua'] = RULES } }
    d:estate { 'guest', 'target', 'spare' }
    d:ok('admin.vm.feature.Set', 'target', 'kept', '1')
    d:ok('admin.vm.tag.Set', 'target', 'kept')
  end)

  teardown(function() d:stop() end)

  local function state()
    local parts = { d:ok('admin.vm.List'), d:ok('admin.property.GetAll'), d:ok('admin.label.List') }
    for _, method in ipairs { 'property.GetAll', 'feature.List', 'tag.List' } do parts[#parts + 1] = d:ok('admin.vm.' .. method, 'target') end
    return table.concat(parts, '\n')
  end

  local function bytes(name, src)
    return d:raw(daemon.request(src or 'dom0', 'admin.spec.' .. name, 'target'))
  end

  for _, name in ipairs(WRITES) do
    it('nothing is written: ' .. name, function()
      local before = state()
      assert.equal('', bytes('early.' .. name))
      assert.equal('', bytes('never.' .. name))
      local caught = bytes('early_caught.' .. name)
      assert.is_true(caught == '0\0caught', caught)
      assert.equal('PermissionDenied', daemon.parse(bytes('late.' .. name, 'guest')).class)
      daemon.sleep(0.02) -- for what was spawned
      assert.equal(before, state())
      assert.is_true(d:logged('before permission'))
    end)
  end

  it('those writes work after it', function()
    for _, name in ipairs { 'property', 'feature', 'tag', 'spawn' } do
      local before = state()
      assert.equal('0\0answered', bytes('late.' .. name))
      assert.is_true(daemon.run_until(function() return state() ~= before end, 2), name)
      for _, call in ipairs { { 'property.Reset', 'memory' }, { 'feature.Remove', 'written' }, { 'tag.Remove', 'written' } } do
        d:call('dom0', 'admin.vm.' .. call[1], 'target', call[2])
      end
    end
  end)

  for _, name in ipairs { 'forgets', 'forgets_and_yields', 'forgets_in_pcall', 'caught_denial', 'caught_denial_and_writes', 'twice', 'twice_filter',
    'permission_and_filter', 'sends_early', 'sends_only', 'no_list', 'filter_undeclared', 'filter_as_early', 'filter_as_unknown', 'returns_table',
    'returns_number', 'returns_boolean', 'writes_and_fails', 'writes_and_returns_table' } do
    it('no byte is answered: ' .. name, function()
      local before = state()
      assert.equal('', bytes(name))
      assert.equal(before, state())
    end)
  end

  it('a denial can not be asked away', function()
    assert.equal('', bytes('asks_after_denial'))
  end)

  it('no event is published, also none that announces', function()
    local events = d:subscribe()
    assert.equal('', bytes('publishes_early'))
    assert.equal('', bytes('announces_early'))
    d:ok('admin.vm.tag.Set', 'target', 'witness')
    assert.truthy(daemon.run_until(function() return events.buffer:find('domain-tag-add:witness', 1, true) end, 5))
    assert.is_nil(events.buffer:find('spec', 1, true))
    d:ok('admin.vm.tag.Remove', 'target', 'witness')
    events:close()
  end)

  it('an exception takes back what was written', function()
    local before = state()
    assert.equal('known', d:call('dom0', 'admin.spec.writes_and_raises', 'target').message)
    assert.equal(before, state())
  end)

  it('a method may wait', function()
    assert.equal('0\0after a while', bytes('yields'))
  end)
end)
