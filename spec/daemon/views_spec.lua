-- SPDX-License-Identifier: GPL-2.0-or-later
-- `qube.tags` and `qube.features` are kept from call to call, and rules have them too: no rule can make one show another qube's.

local daemon = require('spec.support.daemon')

-- Each attack runs as rule code with src, other (the victim) and view (src.tags or src.features); what it raises is swallowed.
local ATTACKS = {
  'view[1] = other',
  'view[1] = other; view[1] = nil',
  'view[other] = other',
  'view[{}] = true',
  'view.secret = true',
  'view.secret = "1"',
  'view.public = nil',
  'view[true] = other',
  'view[0/0] = other',
  'src.tags = other.tags',
  'src.features = other.features',
  'src.name = other.name',
  'table.insert(view, 1, other)',
  'table.insert(view, other)',
  'table.remove(view)',
  'table.sort(view)',
  'for key in pairs(view) do view[key] = other end',
  'next(view, 1)',
  'rawset(view, 1, other)',
  'setmetatable(view, {})',
  'getmetatable(view).__index = other.tags',
  'view.__index = other.tags',
}

local function rule()
  local lines = { "on('admin-permission:admin.vm.tag.Get', function(src, event, info)", "  if src.name ~= 'guest' then return end",
    '  local other = info.dest' }
  for _, attack in ipairs(ATTACKS) do
    for _, field in ipairs { 'tags', 'features' } do
      lines[#lines + 1] = ('  pcall(function() local view = src.%s; %s end)'):format(field, attack)
    end
  end
  lines[#lines + 1] = "  if src.tags.secret or src.features.secret then deny('it worked') end\nend)"
  return table.concat(lines, '\n') .. '\n'
end

-- Says what a rule sees of each qube.
local FILTER = [[
on('admin-permission:admin.vm.List', function(src)
  if src.name == 'guest' then return function(qube) return qube.tags.public == true and qube.features.public == '1' or qube.name == 'victim' end end
end)
]]

describe('views of tags and features', function()
  local d

  before_each(function()
    d = daemon.start { acl = { ['10-attack.lua'] = rule(), ['20-filter.lua'] = FILTER } }
    d:estate { 'guest', 'victim', 'shown' }
    for _, name in ipairs { 'guest', 'shown' } do
      d:ok('admin.vm.tag.Set', name, 'public')
      d:ok('admin.vm.feature.Set', name, 'public', '1')
    end
    d:ok('admin.vm.tag.Set', 'victim', 'secret')
    d:ok('admin.vm.feature.Set', 'victim', 'secret', '1')
  end)

  after_each(function() d:stop() end)

  local function names_for(src)
    local list = {}
    for name in d:call(src, 'admin.vm.List', 'dom0').body:gmatch('([^\n]*)\n') do list[#list + 1] = name:match('^%S+') end
    return list
  end

  it('can not be bent by a rule', function()
    local before = d:ok('admin.vm.tag.List', 'guest') .. d:ok('admin.vm.feature.List', 'guest')
    local seen = names_for('guest')
    for _ = 1, 2 do
      local answer = d:call('guest', 'admin.vm.tag.Get', 'victim', 'secret')
      assert.equal('1', answer.body, answer.message)
      assert.same(seen, names_for('guest'))
      assert.equal(before, d:ok('admin.vm.tag.List', 'guest') .. d:ok('admin.vm.feature.List', 'guest'))
    end
    d:ok('admin.vm.tag.Set', 'guest', 'later')
    assert.equal('1', d:ok('admin.vm.tag.Get', 'guest', 'later'))
    assert.equal('0', d:ok('admin.vm.tag.Get', 'victim', 'later'))
  end)

  it('show a change at once', function()
    assert.same({ 'guest', 'shown', 'victim' }, names_for('guest'))
    d:ok('admin.vm.tag.Remove', 'shown', 'public')
    assert.same({ 'guest', 'victim' }, names_for('guest'))
    d:ok('admin.vm.tag.Set', 'shown', 'public')
    d:ok('admin.vm.feature.Set', 'shown', 'public', '0')
    assert.same({ 'guest', 'victim' }, names_for('guest'))
  end)

  it('belong to a new qube of the same name as a new one', function()
    for _ = 1, 3 do
      d:ok('admin.vm.Remove', 'shown')
      d:ok('admin.vm.Create.AppVM', 'dom0', '', 'name=shown label=red')
      assert.same({ 'guest', 'victim' }, names_for('guest'))
      d:ok('admin.vm.tag.Set', 'shown', 'public')
      d:ok('admin.vm.feature.Set', 'shown', 'public', '1')
      assert.same({ 'guest', 'shown', 'victim' }, names_for('guest'))
    end
  end)

  it('are given up with their qubes', function()
    for i = 1, 1100 do -- more than are kept before the first look for removed ones
      d:ok('admin.vm.Create.RemoteVM', 'dom0', '', 'name=far' .. i .. ' label=red')
      if i % 220 == 0 then assert.same({ 'guest', 'shown', 'victim' }, names_for('guest')) end
      d:ok('admin.vm.Remove', 'far' .. i)
    end
    assert.same({ 'guest', 'shown', 'victim' }, names_for('guest'))
  end)
end)
