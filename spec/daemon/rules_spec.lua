-- SPDX-License-Identifier: GPL-2.0-or-later
-- Law 4: rules fail closed. Whatever is wrong with a rule, the call is denied; any denial denies, filters intersect, and the order of files is nothing.

local daemon = require('spec.support.daemon')

-- Asked for admin.vm.feature.Get by the argument; for admin.vm.tag.List by the feature `attack` of the destination.
local RULES = [[
local rules, filters = {}, {}

function rules.errs() error('secret-internals') end
function rules.errs_nil() error() end
function rules.errs_table() error({ class = 'QubesException', message = 'secret-internals' }) end
function rules.errs_function() error(function() while true do end end) end
function rules.calls_nil() return nothing_of_this_name() end
function rules.returns_number() return 42 end
function rules.returns_true() return true end
function rules.returns_false() return false end
function rules.returns_string() return 'yes' end
function rules.returns_junk() return { 1, 'two', {} } end
function rules.returns_empty() return {} end
function rules.returns_filter() return function() return true end end -- the method takes none
function rules.returns_qube(src) return src end
function rules.denies() deny('the reason of the rule') end
function rules.denies_silently() deny() end
function rules.denies_in_pcall() pcall(deny, 'the reason of the rule') end
function rules.denies_in_xpcall() xpcall(deny, function() return 'fine' end, 'the reason of the rule') end
function rules.denies_and_returns() pcall(deny, 'the reason of the rule') return nil end
function rules.denies_and_errs() pcall(deny, 'the reason of the rule') error('secret-internals') end
function rules.denies_badly() deny({}) end
function rules.errs_in_pcall() pcall(error, 'secret-internals') end -- handled: permitted
function rules.registers() on('admin-permission:*', function() end) end

function filters.number() return function() return 1 end end
function filters.string() return function() return 'yes' end end
function filters.table() return function() return {} end end
function filters.errs() return function() error('secret-internals') end end
function filters.denies() return function() deny('the reason of the filter') end end
function filters.denies_in_pcall() return function() pcall(deny, 'the reason of the filter') return true end end
function filters.list_number() return filter_list(function() return 42 end) end
function filters.list_nil() return filter_list(function() end) end
function filters.list_true() return filter_list(function() return true end) end
function filters.list_foreign() return filter_list(function() return { 'foreign' } end) end
function filters.list_appends() return filter_list(function(items) items[#items + 1] = 'foreign' return items end) end
function filters.list_errs() return filter_list(function() error('secret-internals') end) end
function filters.list_of_nothing() return filter_list(42) end
function filters.array_with_junk() return { function() return true end, 42 } end
function filters.nested() return { { function() return true end } } end
function filters.nothing() return function() end end
function filters.list_mutates() return filter_list(function(items) for i = 1, #items do items[i] = nil end return {} end) end
function filters.list_twice() return filter_list(function(items) return { items[1], items[1], items[1] } end) end
function filters.list_backwards() return filter_list(function(items) return { items[3], items[1] } end) end
function filters.both()
  return { function(tag) return tag ~= 'one' end, filter_list(function(items) return { items[1], items[2] } end) }
end

on('admin-permission:admin.vm.feature.Get', function(src, event, info)
  if src.name == 'guest' and rules[info.arg] then return rules[info.arg](src) end
end)
on('admin-permission:admin.vm.tag.List', function(src, event, info)
  local name = info.dest.features.attack
  if src.name == 'guest' and name then return filters[name]() end
end)
]]

local GENERIC = 'the rules do not permit this call'

describe('a rule that is wrong', function()
  local d

  setup(function()
    d = daemon.start { acl = { ['10-rules.lua'] = RULES } }
    d:estate { 'guest', 'target' }
    for _, tag in ipairs { 'one', 'three', 'two' } do d:ok('admin.vm.tag.Set', 'target', tag) end
  end)

  teardown(function() d:stop() end)

  local function get(name)
    return d:call('guest', 'admin.vm.feature.Get', 'target', name)
  end

  local function list(name)
    d:ok('admin.vm.feature.Set', 'target', 'attack', name)
    return d:call('guest', 'admin.vm.tag.List', 'target')
  end

  local function denied(message, answer)
    assert.equal('PermissionDenied', answer.class)
    assert.equal(message, answer.message)
    assert.equal('', answer.trace)
  end

  for _, name in ipairs { 'errs', 'errs_nil', 'errs_table', 'errs_function', 'calls_nil', 'returns_number', 'returns_true', 'returns_false', 'returns_string',
    'returns_junk', 'returns_empty', 'returns_filter', 'returns_qube', 'denies_silently', 'denies_badly', 'registers' } do
    it('denies, and tells nothing of itself: ' .. name, function() denied(GENERIC, get(name)) end)
  end

  for _, name in ipairs { 'denies', 'denies_in_pcall', 'denies_in_xpcall', 'denies_and_returns', 'denies_and_errs' } do
    it('denies with its reason: ' .. name, function() denied('the reason of the rule', get(name)) end)
  end

  it('may handle an error of its own', function()
    assert.equal('QubesFeatureNotFoundError', get('errs_in_pcall').class)
  end)

  for _, name in ipairs { 'number', 'string', 'table', 'errs', 'list_number', 'list_nil', 'list_true', 'list_foreign', 'list_appends', 'list_errs',
    'list_of_nothing', 'array_with_junk', 'nested' } do
    it('denies as a filter: ' .. name, function() denied(GENERIC, list(name)) end)
  end

  it('denies with its reason from a filter, also one that hides it', function()
    denied('the reason of the filter', list('denies'))
    denied('the reason of the filter', list('denies_in_pcall'))
  end)

  it('filters', function()
    local function tags(name) return list(name).body:gsub('[%w-]*dom0\n', '') end
    assert.equal('', (tags('nothing')))
    assert.equal('', (tags('list_mutates')))
    assert.equal(1, select(2, list('list_twice').body:gsub('\n', '')))
    assert.equal(2, select(2, list('list_backwards').body:gsub('\n', '')))
    local all = d:ok('admin.vm.tag.List', 'target')
    assert.equal(all:match('^[^\n]*\n'), list('list_twice').body)
    assert.falsy(list('both').body:find('one', 1, true))
    assert.equal(all, d:ok('admin.vm.tag.List', 'target')) -- nobody else's list was changed
  end)
end)

describe('rules of several files', function()
  local d

  setup(function()
    d = daemon.start {}
    d:estate { 'guest', 'target' }
    for _, tag in ipairs { 'one', 'three', 'two' } do d:ok('admin.vm.tag.Set', 'target', tag) end
  end)

  teardown(function() d:stop() end)

  local PERMITS = "on('admin-permission:admin.vm.tag.*', function() end)"
  local DENIES = "on('admin-permission:admin.vm.tag.*', function(src) if src.name == 'guest' then deny('no') end end)"

  local function filter(kept)
    return ("on('admin-permission:admin.vm.tag.List', function(src) if src.name == 'guest' then return function(tag) return (%s) == true end end end)")
      :format(kept)
  end

  local function with(first, second)
    d:set_rule('20-first.lua', first)
    d:set_rule('80-second.lua', second)
    return d:call('guest', 'admin.vm.tag.List', 'target')
  end

  it('deny when any of them denies, in whichever order', function()
    assert.equal('no', with(PERMITS, DENIES).message)
    assert.equal('no', with(DENIES, PERMITS).message)
    assert.equal('PermissionDenied', with(filter('true'), DENIES).class)
    assert.equal('PermissionDenied', with("on('admin-permission:admin.vm.tag.List', function() error() end)", PERMITS).class)
    assert.equal('ok', with(PERMITS, PERMITS).kind)
  end)

  it('give the items that all filters let pass, in whichever order', function()
    local some, others = filter("tag == 'one' or tag == 'two'"), filter("tag == 'two' or tag == 'three'")
    assert.equal('two\n', with(some, others).body)
    assert.equal('two\n', with(others, some).body)
    assert.equal('', with(filter("tag == 'one'"), filter("tag == 'two'")).body)
  end)

  it('are all asked when an earlier one had nothing to say', function()
    d:set_rule('50-silent.lua', "on('admin-permission:*', function() end)")
    assert.equal('one\n', with(PERMITS, filter("tag == 'one'")).body)
    d:remove_rule('50-silent.lua')
  end)
end)

-- A rule that is never asked permits what it was written to refuse.
describe('a rule on a method that there is none of', function()
  local d

  setup(function() d = daemon.start {} end)
  teardown(function() d:stop() end)

  local function refused(pattern)
    return d:refused_rule('10-a.lua', ("\non('%s', function() deny() end)"):format(pattern))
  end

  it('does not load, and the nearest name is offered', function()
    for name, meant in pairs {
      ['admin.vm.Strat'] = 'admin.vm.Start', ['admin.vm.Lis'] = 'admin.vm.List', ['admin.vm.list'] = 'admin.vm.List',
      ['mgmt.vm.propertySet'] = 'admin.vm.property.Set', ['vm.List'] = 'admin.vm.List', ['qubes.NotifyTool'] = 'qubes.NotifyTools',
    } do
      local message = refused('admin-permission:' .. name)
      assert.truthy(message:find('acl.d/10-a.lua:2: there is no method', 1, true), message)
      assert.truthy(message:find(('did you mean %s?'):format(meant), 1, true), message)
    end
  end)

  it('does not load, with wildcards', function()
    for _, pattern in ipairs { 'admin-permission:admin.vm.List?', 'admin-permission:*.vm.Strat', 'mgmt-permission:admin.wm.*', '*zz' } do
      local message = refused(pattern)
      assert.truthy(message:find('acl.d/10-a.lua:2: there is no method that', 1, true), message)
    end
  end)

  it('loads where the Admin API has it and the daemon does not yet', function()
    for _, event in ipairs {
      'admin-permission:admin.vm.volume.Import', 'admin-permission:mgmt.pool.Add', 'mgmt-permission:admin.vm.device.usb.*',
      'admin-permission:admin.backup.?xecute', '*-permission:admin.pool.*',
    } do
      d:set_rule('10-a.lua', ("on('%s', function() deny() end)"):format(event))
      assert.truthy(d.log:find('waits for it', 1, true))
    end
  end)

  it('leaves the daemon locked when it is there at the start', function()
    d:stop()
    d = daemon.start { acl = { ['10-a.lua'] = "on('admin-permission:admin.vm.Strat', function() deny() end)" } }
    assert.equal('PermissionDenied', d:call('dom0', 'admin.vm.List').class)
    assert.truthy(d.log:find('there is no method admin.vm.Strat', 1, true))
  end)
end)
