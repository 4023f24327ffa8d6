-- SPDX-License-Identifier: GPL-2.0-or-later
-- Law 4: a rule only looks. It changes neither the model, nor the scripts, nor what other rules see; what could load or write code is not there.

local daemon = require('spec.support.daemon')

-- `attacks` return nothing when they went through, so that the call is permitted: only what happened shows whether they did harm.
local RULES = [[
local writes, quiet = {}, {}

function writes.tag(src) src.tags.written = true end
function writes.untag(src, info) info.dest.tags['created-by-dom0'] = nil end
function writes.feature(src, info) info.dest.features.written = '1' end
function writes.unfeature(src, info) info.dest.features.kept = nil end
function writes.property(src, info) info.dest.memory = 999 end
function writes.reset(src, info) info.dest:reset('memory') end
function writes.klass(src) src.klass = 'AdminVM' end
function writes.name(src) src.name = 'dom0' end
function writes.fire(src, info) info.dest:fire('domain-start', {}) end
function writes.start(src, info) info.dest:start() end
function writes.kill(src, info) info.dest:kill() end
function writes.info(src, info) info.x = 1 end
function writes.info_dest(src, info) info.dest = src end
function writes.info_value(src, info) info.arg = 'x' end
function writes.source_arrow(src) local name = src.name; src.netvm = nil end

for name in ([=[coroutine setmetatable getmetatable rawset rawget rawequal rawlen load loadstring dofile loadfile require io os debug package
  collectgarbage _G core app method class on_app raise import print warn core_hooks]=]):gmatch('[%w_]+') do
  writes['no_' .. name] = function() if _ENV[name] == nil then error('not there') end end
end
function writes.no_random() return math.random() end
function writes.no_randomseed() return math.randomseed(1) end
function writes.no_table_move() return table.move({ 1 }, 1, 1, 2) end
function writes.no_string_dump() return ('').dump(function() end) end
function writes.yields() return coroutine.yield() end
function writes.metatable_of_string() local mt = ('').__metatable; mt.__index = nil end

function quiet.string_library() string.find = nil string.format = function() return 'evil' end string.planted = 'planted' end
function quiet.table_library() table.concat = function() return 'evil' end math.floor = nil end
function quiet.environment() planted = 'planted' deny = nil on = nil pairs = nil error = nil end
function quiet.env_upvalue() local _ENV = { planted = 1 } planted = 2 end
function quiet.mutates_through_pairs(src, info) for k, v in pairs(info) do if type(v) == 'table' then v.x = 1 end end end
function quiet.labels(src) local label = src.label label.name = 'blue' label.color = '0x123456' end
function quiet.view(src, info) pcall(function() src.tags[1] = info.dest end) end
function quiet.view_removed(src) pcall(table.remove, src.tags) pcall(table.remove, src.features) end
function quiet.view_inserted(src, info) pcall(table.insert, src.features, 2, info.dest) end
function quiet.definition(src)
  pcall(function()
    local def = src:property_def('memory')
    def.set = function() return 666 end
    def.type, def.default, def.read_only = 'str', 'evil', false
  end)
end
function quiet.hypervisor(src) pcall(function() src:hypervisor().domain_xml = function() return 'evil' end end) end
function quiet.names(src) pcall(function() local names = src:property_names() for i = 1, #names do names[i] = 'evil' end end) end

on('admin-permission:admin.vm.feature.Get', function(src, event, info)
  if src.name ~= 'guest' then return end
  local attack = writes[info.arg] or quiet[info.arg]
  if attack then attack(src, info) end
end)
]]

-- A file that is loaded later, and shares the string library if anything is shared. It says what it sees in its denial.
local WITNESS = [[
on('admin-permission:admin.vm.feature.CheckWithAdminVM', function(src)
  deny(('%s %s %s %s %s'):format(string.planted or 'none', planted or 'none', type(string.find), table.concat({ 'a', 'b' }), src.label.name))
end)
]]

describe('a rule', function()
  local d

  setup(function()
    d = daemon.start { acl = { ['10-sandbox.lua'] = RULES, ['90-witness.lua'] = WITNESS } }
    d:estate { 'guest', 'target' }
    d:ok('admin.vm.feature.Set', 'target', 'kept', '1')
    d:ok('admin.vm.property.Set', 'target', 'memory', '500')
  end)

  teardown(function() d:stop() end)

  local function state()
    local parts = {}
    for _, qube in ipairs { 'guest', 'target', 'dom0' } do
      for _, method in ipairs { 'property.GetAll', 'feature.List', 'tag.List', 'CurrentState' } do
        parts[#parts + 1] = qube == 'dom0' and method == 'CurrentState' and '' or d:ok('admin.vm.' .. method, qube)
      end
    end
    return table.concat(parts, '\n')
  end

  for _, name in ipairs { 'tag', 'untag', 'feature', 'unfeature', 'property', 'reset', 'klass', 'name', 'fire', 'start', 'kill', 'info', 'info_dest',
    'info_value', 'source_arrow' } do
    it('may write nothing: ' .. name, function()
      local before = state()
      local answer = d:call('guest', 'admin.vm.feature.Get', 'target', name)
      assert.equal('PermissionDenied', answer.class)
      assert.equal('the rules do not permit this call', answer.message)
      assert.equal(before, state())
    end)
  end

  it('has nothing that loads or writes code, files or globals', function()
    for name in ([[coroutine setmetatable getmetatable rawset rawget rawequal rawlen load loadstring dofile loadfile require io os debug package
      collectgarbage _G core app method class on_app raise import print warn core_hooks table_move string_dump]]):gmatch('[%w_]+') do
      assert.equal('PermissionDenied', d:call('guest', 'admin.vm.feature.Get', 'target', 'no_' .. name).class, name)
    end
    assert.equal('PermissionDenied', d:call('guest', 'admin.vm.feature.Get', 'target', 'yields').class)
    assert.equal('PermissionDenied', d:call('guest', 'admin.vm.feature.Get', 'target', 'metatable_of_string').class)
  end)

  for _, name in ipairs { 'string_library', 'table_library', 'environment', 'env_upvalue', 'mutates_through_pairs', 'labels', 'view', 'view_removed',
    'view_inserted', 'definition', 'hypervisor', 'names' } do
    it('spoils nothing for others: ' .. name, function()
      d:reload() -- what another one has spoilt is not this one's failure
      local before = state()
      d:call('guest', 'admin.vm.feature.Get', 'target', name)
      assert.equal('none none function ab red', d:call('guest', 'admin.vm.feature.CheckWithAdminVM', 'target', 'x').message)
      assert.equal(before, state())
      -- What the scripts do next is what they always do.
      local after = 'after-' .. name:gsub('_', '-')
      d:ok('admin.vm.tag.Set', 'guest', after)
      assert.equal('1', d:ok('admin.vm.tag.Get', 'guest', after))
      assert.equal('0', d:ok('admin.vm.tag.Get', 'target', after))
      d:ok('admin.vm.feature.Set', 'guest', after, '1')
      assert.equal('1', d:ok('admin.vm.feature.Get', 'guest', after))
      assert.equal('QubesFeatureNotFoundError', d:call('dom0', 'admin.vm.feature.Get', 'target', after).class)
      d:ok('admin.vm.property.Set', 'target', 'memory', '600')
      assert.equal('default=False type=int 600', d:ok('admin.vm.property.Get', 'target', 'memory'))
      d:ok('admin.vm.property.Set', 'target', 'memory', '500')
      d:ok('admin.vm.Start', 'target')
      d:ok('admin.vm.Kill', 'target')
    end)
  end
end)
