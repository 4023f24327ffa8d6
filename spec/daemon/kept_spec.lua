-- SPDX-License-Identifier: GPL-2.0-or-later
-- What is built once a change: internal.GetSystemInfo and property.GetAll answer the same text until the model changes, and the new state after it.

local daemon = require('spec.support.daemon')

local INTERNAL = { socket = 'qubesd.internal.sock' }

-- Asks for the text of the cache, and fails where it would have to be built.
local PROBE = [[
method('example.IsKept', { dest = 'adminvm', arg = 'none', payload = 'none', scope = 'none', read = true, doc = 'For a spec.' }, function(call)
  call:permission()
  local built = false
  core.cached('internal.GetSystemInfo', core.version(), function()
    built = true
    return ''
  end)
  return built and 'no' or 'yes'
end)
]]

local HIDING = [[
on('admin-permission:admin.vm.List', function(src)
  if src.name == 'guest' then return function(qube) return qube.name ~= 'net' end end
end)
]]

local SECRETIVE = [[
on('admin-permission:admin.vm.property.Get', function(src, event, info)
  if src.name == 'guest' and info.arg == 'memory' then deny() end
end)
]]

describe('what is built once a change', function()
  local d

  before_each(function()
    d = daemon.start { extra_scripts = { ['api/probe.lua'] = PROBE } }
    d:estate { 'work', 'net', 'guest' }
    d:ok('admin.vm.property.Set', 'net', 'provides_network', 'True')
    d:ok('admin.vm.property.Set', 'work', 'netvm', 'net')
  end)

  after_each(function() d:kill() end)

  local function count(text, part) return select(2, text:gsub(part:gsub('%p', '%%%0'), '')) end

  local function info() return d:ok('internal.GetSystemInfo', 'dom0', '', '', INTERNAL) end

  it('is GetSystemInfo', function()
    local first = info()
    assert.equal('yes', d:ok('example.IsKept'))
    assert.equal(first, info())
    d:ok('admin.vm.property.Get', 'work', 'label') -- a read changes nothing
    assert.equal('yes', d:ok('example.IsKept'))
    for _, change in ipairs {
      { 'admin.vm.tag.Set', 'work', 'new', '', '"new"' }, { 'admin.vm.property.Set', 'work', 'label', 'green', '"appvm-green"' },
      { 'admin.vm.feature.Set', 'work', 'internal', '1', '"internal": "1"' }, { 'admin.vm.Start', 'guest', '', '', '"power_state": "Running"' },
      { 'admin.vm.Create.AppVM', 'dom0', '', 'name=late label=red', '"late": {' },
    } do
      local before = info()
      d:ok(table.unpack(change, 1, 4))
      assert.equal(count(before, change[5]) + 1, count(info(), change[5]), change[1])
    end
    d:ok('admin.vm.Remove', 'late')
    assert.falsy(info():find('"late"', 1, true))
  end)

  it('is not what a call left behind that has failed', function()
    local before = info()
    assert.equal('exception', d:call('dom0', 'admin.vm.Create.AppVM', 'dom0', '', 'name=work label=red').kind)
    assert.equal('exception', d:call('dom0', 'admin.vm.Create.AppVM', 'dom0', '', 'name=x label=none').kind)
    assert.equal(before, info())
  end)

  local function line(name, property, src)
    local answer = d:call(src or 'dom0', 'admin.vm.property.GetAll', name)
    return ('\n' .. answer.body):match('\n' .. property .. ' ([^\n]*)')
  end

  it('is GetAll', function()
    assert.equal('default=False type=vm net', line('work', 'netvm'))
    assert.equal('default=True type=str 10.139.1.1 10.139.1.2', line('work', 'dns'))
    d:ok('admin.vm.property.Set', 'work', 'netvm', '')
    assert.equal('default=False type=vm ', line('work', 'netvm'))
    assert.equal('default=True type=str ', line('work', 'dns'))
    -- A change elsewhere counts as well: of the template, of the system, of a feature.
    d:ok('admin.vm.property.Set', 'fedora', 'memory', '567')
    assert.equal('default=True type=int 567', line('work', 'memory'))
    d:ok('admin.property.Set', 'dom0', 'default_qrexec_timeout', '99')
    assert.equal('default=True type=int 99', line('work', 'qrexec_timeout'))
    d:ok('admin.vm.feature.Set', 'work', 'servicevm', '1')
    assert.equal('default=True type=str servicevm-red', line('work', 'icon'))
    d:ok('admin.vm.Start', 'work')
    assert.is_not.equal('default=True type=int -1', line('work', 'xid'))
    d:ok('admin.vm.Kill', 'work')
    assert.equal('default=True type=int -1', line('work', 'xid'))
  end)

  it('is nothing that rules keep from a caller', function()
    assert.equal('default=False type=vm net', line('work', 'netvm', 'guest'))
    d:set_rule('10-hiding.lua', HIDING)
    assert.equal('default=False type=vm net', line('work', 'netvm'))
    assert.equal('default=False type=vm ', line('work', 'netvm', 'guest'))
    d:remove_rule('10-hiding.lua')
    d:set_rule('10-secretive.lua', SECRETIVE)
    assert.truthy(line('work', 'memory'))
    assert.is_nil(line('work', 'memory', 'guest'))
    assert.equal('default=True type=int 2', line('work', 'vcpus', 'guest'))
  end)

  it('escapes line ends and backslashes', function()
    d:ok('admin.vm.property.Set', 'work', 'kernelopts', 'a\\b')
    assert.equal('default=False type=str a\\\\b', line('work', 'kernelopts'))
  end)
end)
