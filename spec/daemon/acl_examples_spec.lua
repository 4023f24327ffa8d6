-- SPDX-License-Identifier: GPL-2.0-or-later
-- docs/acl-examples: each file is on the page docs/acl.md, loads, and does what the page says; and none of them is in the way of dom0.

local uv = require('luv')
local daemon = require('spec.support.daemon')
local new_clock = require('spec.support.clock')

local DIRECTORY = 'docs/acl-examples'

local function read(path)
  local file = assert(io.open(path))
  local text = file:read('a')
  file:close()
  return text
end

local function names()
  local list, request = {}, assert(uv.fs_scandir(DIRECTORY))
  for name in function() return uv.fs_scandir_next(request) end do
    if name:match('%.lua$') then list[#list + 1] = name end
  end
  table.sort(list)
  return list
end

-- The names of the events on a stream.
local function event_names(stream)
  local list = {}
  for _, event in ipairs(stream:take(0.3)) do list[#list + 1] = event.name end
  return list
end

describe('docs/acl-examples', function()
  local d

  -- An estate under these examples. sys-net and sys-firewall provide the network.
  local function serve(...)
    d = daemon.start()
    d:estate { 'sys-net', 'sys-firewall', 'work', 'vault', 'mgmt', 'guest', 'monitor', 'sys-gui' }
    for _, name in ipairs { 'sys-net', 'sys-firewall' } do
      d:ok('admin.vm.property.Set', name, 'provides_network', 'True')
      d:ok('admin.vm.property.Set', name, 'netvm', '')
    end
    for _, name in ipairs { ... } do d:write_rule(name .. '.lua', read(('%s/%s.lua'):format(DIRECTORY, name))) end
    local answer = d:reload()
    assert.are.equal('ok', answer.kind, answer.message)
  end

  after_each(function()
    if d then d:stop() end
    d = nil
  end)

  local function permitted(...)
    local answer = d:call(...)
    assert.are.equal('ok', answer.kind, answer.message)
    return answer.body
  end

  local function denied(reason, ...)
    local answer = d:call(...)
    assert.are.same({ 'PermissionDenied', reason or 'the rules do not permit this call' }, { answer.class, answer.message })
  end

  local function unknown(name, ...)
    local answer = d:call(...)
    assert.are.same({ 'QubesVMNotFoundError', ("no such qube: '%s'"):format(name) }, { answer.class, answer.message })
  end

  local function listed(source)
    local list = {}
    for name in permitted(source, 'admin.vm.List'):gmatch('(%S+) class=') do list[#list + 1] = name end
    return list
  end

  it('are on the page as they are in the files', function()
    local page, count = read('docs/acl.md'), 0
    for _, name in ipairs(names()) do
      local rule = read(DIRECTORY .. '/' .. name):match('^%-%-[^\n]*\n%-%-[^\n]*\n\n(.*)$')
      assert.truthy(rule, name .. ' does not begin with two lines of comment')
      assert.truthy(page:find('```lua\n' .. rule .. '```', 1, true), name .. ' is not on the page, or differs there')
      count = count + 1
    end
    assert.is_true(count >= 10)
  end)

  it('are not in the way of dom0, all together', function()
    local all = {}
    for i, name in ipairs(names()) do all[i] = name:gsub('%.lua$', '') end
    serve(table.unpack(all))
    for _, tag in ipairs { 'vault', 'hidden', 'guest' } do d:ok('admin.vm.tag.Set', 'vault', tag) end
    d:ok('admin.vm.property.Set', 'work', 'netvm', 'sys-net')
    d:ok('admin.vm.property.Reset', 'work', 'netvm')
    d:ok('admin.property.Set', 'dom0', 'default_netvm', 'sys-firewall')
    d:ok('admin.vm.property.Set', 'work', 'label', 'blue')
    d:ok('admin.label.Create', 'dom0', 'pink', '0xff00ff')
    d:ok('admin.vm.feature.Set', 'work', 'secret-x', '1')
    assert.are.equal('secret-x\n', d:ok('admin.vm.feature.List', 'work'))
    d:ok('admin.vm.Start', 'vault')
    assert.are.equal(10, #listed('dom0'))
  end)

  it('guest: sees shared qubes, and nothing of others', function()
    serve('guest')
    d:ok('admin.vm.property.Set', 'work', 'netvm', 'sys-net')
    assert.are.equal(10, #listed('guest'))
    d:ok('admin.vm.tag.Set', 'guest', 'guest')
    d:ok('admin.vm.tag.Set', 'work', 'shared')
    assert.are.same({ 'work' }, listed('guest'))
    assert.are.equal(10, #listed('mgmt'))
    unknown('vault', 'guest', 'admin.vm.property.Get', 'vault', 'label')
    unknown('there-is-none', 'guest', 'admin.vm.property.Get', 'there-is-none', 'label')
    assert.are.equal('default=False type=vm ', permitted('guest', 'admin.vm.property.Get', 'work', 'netvm'))
    local stream = d:subscribe('guest')
    stream:take()
    d:ok('admin.vm.feature.Set', 'vault', 'x', '1')
    d:ok('admin.vm.tag.Set', 'work', 'y')
    assert.are.same({ 'domain-tag-add:y' }, event_names(stream))
    stream:close()
  end)

  it('management: sees and manages its own', function()
    serve('management')
    local refusal = 'mgmt manages its own qubes only'
    permitted('mgmt', 'admin.vm.Create.AppVM', 'dom0', '', 'name=mine label=red')
    assert.are.same({ 'mine' }, listed('mgmt'))
    permitted('mgmt', 'admin.vm.property.Set', 'mine', 'memory', '300')
    permitted('mgmt', 'admin.vm.Start', 'mine')
    permitted('mgmt', 'admin.vm.Kill', 'mine')
    unknown('work', 'mgmt', 'admin.vm.Start', 'work')
    denied(refusal, 'mgmt', 'admin.vm.property.Set', 'mgmt', 'memory', '300')
    denied(refusal, 'mgmt', 'admin.property.Set', 'dom0', 'default_netvm', '')
    denied(refusal, 'mgmt', 'admin.label.Create', 'dom0', 'pink', '0xff00ff')
    denied(refusal, 'mgmt', 'admin.vm.feature.Set', 'dom0', 'x', '1')
    local answer = d:call('mgmt', 'admin.vm.property.Set', 'mine', 'netvm', 'sys-net')
    assert.are.equal('QubesPropertyValueError', answer.class)
    permitted('mgmt', 'admin.vm.Remove', 'mine')
    permitted('work', 'admin.vm.property.Set', 'vault', 'memory', '300')
  end)

  it('gui-domain: sees its qubes, starts and stops them, and changes none', function()
    serve('gui-domain')
    local refusal = 'sys-gui looks, starts and stops'
    assert.are.same({}, listed('sys-gui'))
    d:ok('admin.vm.property.Set', 'work', 'guivm', 'sys-gui')
    assert.are.same({ 'work' }, listed('sys-gui'))
    permitted('sys-gui', 'admin.vm.property.Get', 'work', 'label')
    permitted('sys-gui', 'admin.vm.Start', 'work')
    permitted('sys-gui', 'admin.vm.Kill', 'work')
    denied(refusal, 'sys-gui', 'admin.vm.property.Set', 'work', 'label', 'blue')
    denied(refusal, 'sys-gui', 'admin.vm.tag.Set', 'work', 'x')
    unknown('vault', 'sys-gui', 'admin.vm.Start', 'vault')
  end)

  it('vault: is started from dom0 only', function()
    serve('vault')
    permitted('work', 'admin.vm.Start', 'vault')
    d:ok('admin.vm.Kill', 'vault')
    d:ok('admin.vm.tag.Set', 'vault', 'vault')
    denied('a vault is started from dom0 only', 'work', 'admin.vm.Start', 'vault')
    denied('a vault is started from dom0 only', 'work', 'mgmt.vm.Start', 'vault')
    assert.truthy(d:ok('admin.vm.CurrentState', 'vault'):find('power_state=Halted', 1, true))
    permitted('work', 'admin.vm.Start', 'guest')
    d:ok('admin.vm.Start', 'vault')
  end)

  it('netvm: only sys-firewall', function()
    serve('netvm')
    for _, value in ipairs { 'sys-net', 'vault', '' } do
      denied('only sys-firewall', 'mgmt', 'admin.vm.property.Set', 'work', 'netvm', value)
    end
    denied('only sys-firewall', 'mgmt', 'mgmt.vm.property.Set', 'work', 'netvm', 'sys-net')
    denied('only sys-firewall', 'mgmt', 'admin.vm.property.Reset', 'work', 'netvm')
    denied('the network of all qubes is set from dom0', 'mgmt', 'admin.property.Set', 'dom0', 'default_netvm', 'sys-firewall')
    denied('the network of all qubes is set from dom0', 'mgmt', 'admin.property.Reset', 'dom0', 'default_netvm')
    permitted('mgmt', 'admin.vm.property.Set', 'work', 'netvm', 'sys-firewall')
    assert.are.equal('default=False type=vm sys-firewall', permitted('mgmt', 'admin.vm.property.Get', 'work', 'netvm'))
    permitted('mgmt', 'admin.vm.property.Set', 'work', 'memory', '300')
    permitted('mgmt', 'admin.vm.property.Reset', 'work', 'memory')
    permitted('mgmt', 'admin.property.Get', 'dom0', 'default_netvm')
  end)

  it('labels: stay as they are', function()
    serve('labels')
    d:ok('admin.label.Create', 'dom0', 'pink', '0xff00ff')
    denied(nil, 'work', 'admin.label.Create', 'dom0', 'brown', '0x884400')
    denied(nil, 'work', 'admin.label.Remove', 'dom0', 'pink')
    denied(nil, 'work', 'admin.vm.property.Set', 'work', 'label', 'blue')
    denied(nil, 'work', 'admin.vm.property.Reset', 'work', 'label')
    for _, method in ipairs { 'Get', 'Index' } do permitted('work', 'admin.label.' .. method, 'dom0', 'red') end
    permitted('work', 'admin.label.List')
    permitted('work', 'admin.vm.property.Get', 'work', 'label')
    permitted('work', 'admin.vm.property.Set', 'work', 'memory', '300')
  end)

  it('read-only: looks at everything, changes nothing', function()
    serve('read-only')
    d:ok('admin.vm.feature.Set', 'work', 'x', '1')
    permitted('monitor', 'admin.vm.List')
    permitted('monitor', 'admin.vm.CurrentState', 'work')
    permitted('monitor', 'admin.vm.property.Get', 'work', 'label')
    permitted('monitor', 'admin.vm.property.GetAll', 'work')
    permitted('monitor', 'admin.vm.property.GetDefault', 'work', 'memory')
    permitted('monitor', 'admin.vm.property.Help', 'work', 'label')
    permitted('monitor', 'admin.vm.feature.Get', 'work', 'x')
    permitted('monitor', 'admin.label.Index', 'dom0', 'red')
    for _, call in ipairs {
      { 'admin.vm.Start', 'work' }, { 'admin.vm.Kill', 'work' }, { 'admin.vm.Remove', 'work' }, { 'admin.vm.tag.Set', 'work', 'x' },
      { 'admin.vm.property.Set', 'work', 'memory', '300' }, { 'admin.vm.property.Reset', 'work', 'memory' },
      { 'admin.vm.Create.AppVM', 'dom0', '', 'name=new label=red' }, { 'admin.property.Set', 'dom0', 'default_netvm', '' },
      { 'admin.label.Create', 'dom0', 'pink', '0xff00ff' }, { 'admin.vm.feature.Remove', 'work', 'x' },
    } do
      denied('monitor only looks', 'monitor', table.unpack(call))
    end
    permitted('work', 'admin.vm.Start', 'work')
  end)

  it('allow-list: what is listed, and no more', function()
    serve('allow-list')
    for _, name in ipairs { 'backup', 'panel' } do d:ok('admin.vm.Create.AppVM', 'dom0', '', ('name=%s label=red'):format(name)) end
    permitted('panel', 'admin.vm.List')
    permitted('panel', 'admin.vm.Start', 'work')
    denied('not in the list of panel', 'panel', 'admin.vm.Kill', 'work')
    permitted('backup', 'admin.vm.property.Get', 'work', 'label')
    denied('not in the list of backup', 'backup', 'admin.vm.Start', 'work')
    denied('not in the list of work', 'work', 'admin.vm.List')
    denied('not in the list of work', 'work', 'mgmt.vm.List')
    denied('not in the list of work', 'work', 'admin.Events')
  end)

  it('hidden: does not exist', function()
    serve('hidden')
    d:ok('admin.vm.property.Set', 'work', 'netvm', 'sys-net')
    d:ok('admin.vm.tag.Set', 'sys-net', 'hidden')
    local stream = d:subscribe('work')
    stream:take()
    assert.are.equal(9, #listed('work'))
    assert.is_nil(permitted('work', 'admin.vm.List'):find('sys-net', 1, true))
    unknown('sys-net', 'work', 'admin.vm.property.Get', 'sys-net', 'label')
    unknown('sys-net', 'work', 'admin.vm.Start', 'sys-net')
    assert.is_nil(permitted('work', 'admin.vm.property.GetAll', 'work'):find('sys-net', 1, true))
    d:ok('admin.vm.tag.Set', 'sys-net', 'x')
    d:ok('admin.vm.tag.Set', 'vault', 'y')
    assert.are.same({ 'domain-tag-add:y' }, event_names(stream))
    stream:close()
    permitted('sys-net', 'admin.vm.property.Get', 'sys-net', 'label')
    assert.are.equal(10, #listed('sys-net'))
    assert.are.equal('default=False type=vm sys-net', d:ok('admin.vm.property.Get', 'work', 'netvm'))
  end)

  it('tags: those that rules go by are set from dom0', function()
    serve('tags')
    denied('this tag is set from dom0', 'work', 'admin.vm.tag.Set', 'work', 'shared')
    denied('this tag is set from dom0', 'work', 'admin.vm.tag.Remove', 'vault', 'vault')
    denied('this tag is set from dom0', 'work', 'admin.vm.tag.Set', 'vault', 'guivm-work')
    permitted('work', 'admin.vm.tag.Get', 'vault', 'vault')
    permitted('work', 'admin.vm.tag.Set', 'work', 'mine')
    d:ok('admin.vm.tag.Set', 'vault', 'vault')
  end)

  it('events: no news of features', function()
    serve('events')
    local stream, other = d:subscribe('monitor'), d:subscribe('work')
    stream:take()
    other:take()
    d:ok('admin.vm.feature.Set', 'work', 'x', '1')
    d:ok('admin.vm.tag.Set', 'work', 'y')
    assert.are.same({ 'domain-tag-add:y' }, event_names(stream))
    assert.are.same({ 'domain-feature-pre-set:x', 'domain-feature-set:x', 'domain-tag-add:y' }, event_names(other))
    stream:close()
    other:close()
  end)

  it('features: secret ones are for dom0', function()
    serve('features')
    local stream = d:subscribe('work')
    stream:take()
    for _, qube in ipairs { 'work', 'fedora' } do d:ok('admin.vm.feature.Set', qube, 'secret-x', 'the value') end
    d:ok('admin.vm.feature.Set', 'work', 'plain', '1')
    assert.are.equal('plain\n', permitted('work', 'admin.vm.feature.List', 'work'))
    denied(nil, 'work', 'admin.vm.feature.Get', 'work', 'secret-x')
    denied(nil, 'work', 'admin.vm.feature.CheckWithTemplate', 'work', 'secret-x')
    denied(nil, 'work', 'admin.vm.feature.Set', 'work', 'secret-y', '1')
    d:ok('admin.vm.feature.Remove', 'work', 'secret-x')
    assert.are.same({ 'domain-feature-pre-set:plain', 'domain-feature-set:plain' }, event_names(stream))
    stream:close()
    assert.are.equal('the value', d:ok('admin.vm.feature.Get', 'fedora', 'secret-x'))
  end)

  it('office-hours: a panel starts qubes of the office, in time', function()
    local clock = new_clock()
    clock.env.TZ = 'UTC0'
    clock:set(1796212800) -- Wednesday, 2 December 2026, 12:00
    d = daemon.start { binary = 'qubesd-testing', env = clock.env, acl = { ['10.lua'] = read(DIRECTORY .. '/office-hours.lua') } }
    d:estate { 'panel', 'work', 'vault' }
    d:ok('admin.vm.tag.Set', 'work', 'office')
    permitted('panel', 'admin.vm.Start', 'work')
    d:ok('admin.vm.Kill', 'work')
    denied('no grant permits this call', 'panel', 'admin.vm.Start', 'vault')
    clock:advance(7 * 3600)
    denied('no grant is in force now: office hours are over', 'panel', 'admin.vm.Start', 'work')
    permitted('panel', 'admin.vm.List')
    permitted('vault', 'admin.vm.Start', 'work')
    clock:remove()
  end)

  -- What the page says can't be done.
  it('a rule has no clock, files, programs, coroutines or code from text', function()
    serve()
    for i, text in ipairs {
      'os.time()', 'os.date("%H")', 'os.execute("true")', 'io.open("/etc/hostname")', 'require("os")', 'load("return 1")', 'coroutine.yield()', 'core.time()',
    } do
      d:set_rule('99-attempt.lua', ("on('admin-permission:admin.vm.tag.List', function() local x = %s end)"):format(text))
      denied(nil, 'work', 'admin.vm.tag.List', 'work')
      assert.is_true(d:is_alive(), i)
    end
  end)
end)
