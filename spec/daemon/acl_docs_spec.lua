-- SPDX-License-Identifier: GPL-2.0-or-later
-- The rules of docs/acl.md do what the page says of them: each is taken from the page and tried on a daemon.

local daemon = require('spec.support.daemon')

local function rules_of_page()
  local rules, text = {}, assert(io.open('docs/acl.md')):read('a')
  for block in text:gmatch('```lua\n(.-)```') do rules[#rules + 1] = block end
  return rules
end

local function rule_with(part)
  for _, rule in ipairs(rules_of_page()) do
    if rule:find(part, 1, true) then return rule end
  end
  error('docs/acl.md has no rule with ' .. part)
end

describe('the rules of docs/acl.md', function()
  local d

  local function serve(...)
    d = daemon.start()
    d:estate { 'mgmt', 'work', 'vault', 'guest', 'monitor' }
    for i, part in ipairs { ... } do d:write_rule(('%02d.lua'):format(i), rule_with(part)) end
    assert.are.equal('ok', d:reload().kind)
  end

  after_each(function() if d then d:stop() end end)

  local function denied(reason, ...)
    local answer = d:call(...)
    assert.are.same({ 'PermissionDenied', reason }, { answer.class, answer.message })
  end

  it('load all together', function()
    d = daemon.start()
    for i, rule in ipairs(rules_of_page()) do d:write_rule(('%02d.lua'):format(i), rule) end
    assert.are.equal('ok', d:reload().kind)
    assert.is_true(#rules_of_page() >= 8)
  end)

  it('a guest sees shared qubes only', function()
    serve('src.tags.guest')
    d:ok('admin.vm.tag.Set', 'guest', 'guest')
    d:ok('admin.vm.tag.Set', 'work', 'shared')
    local list = d:call('guest', 'admin.vm.List').body
    assert.is_truthy(list:find('^work class=AppVM [^\n]*\n$'))
    assert.are.equal('QubesVMNotFoundError', d:call('guest', 'admin.vm.property.Get', 'vault', 'label').class)
  end)

  it('a management qube manages and sees its own', function()
    serve('manages its own', "return qube.tags['created-by-mgmt']")
    denied('mgmt manages its own qubes only', 'mgmt', 'admin.vm.property.Set', 'mgmt', 'memory', '300')
    assert.are.equal('ok', d:call('mgmt', 'admin.vm.Create.AppVM', 'dom0', '', 'name=mine label=red').kind)
    assert.are.equal('ok', d:call('mgmt', 'admin.vm.property.Set', 'mine', 'memory', '300').kind)
    assert.is_truthy(d:call('mgmt', 'admin.vm.List').body:find('^mine [^\n]*\n$'))
  end)

  it('a vault is started from dom0 only', function()
    serve('a vault is started')
    d:ok('admin.vm.tag.Set', 'vault', 'vault')
    denied('a vault is started from dom0 only', 'work', 'admin.vm.Start', 'vault')
    d:ok('admin.vm.Start', 'vault')
  end)

  it('qubes are connected to sys-firewall only', function()
    serve('only sys-firewall')
    denied('only sys-firewall', 'mgmt', 'admin.vm.property.Set', 'work', 'netvm', 'vault')
    assert.are.equal('ok', d:call('mgmt', 'admin.vm.property.Set', 'work', 'memory', '300').kind)
  end)

  it('a monitor only looks', function()
    serve('monitor only looks')
    denied('monitor only looks', 'monitor', 'admin.vm.Start', 'work')
    assert.are.equal('ok', d:call('monitor', 'admin.vm.List').kind)
    assert.are.equal('ok', d:call('work', 'admin.vm.feature.List', 'work').kind)
  end)

  it('labels stay as they are', function()
    serve('admin.label.*')
    denied('the rules do not permit this call', 'work', 'admin.label.Create', 'dom0', 'pink', '0xff00ff')
    assert.are.equal('ok', d:call('work', 'admin.label.List').kind)
  end)

  it('a subscriber gets no events of features', function()
    serve('domain-feature')
    local stream = d:subscribe('monitor')
    stream:take()
    d:ok('admin.vm.feature.Set', 'work', 'x', '1')
    d:ok('admin.vm.tag.Set', 'work', 'y')
    local names = {}
    for _, event in ipairs(stream:take(0.3)) do names[#names + 1] = event.name end
    assert.are.same({ 'domain-tag-add:y' }, names)
    stream:close()
  end)
end)
