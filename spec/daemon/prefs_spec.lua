-- SPDX-License-Identifier: GPL-2.0-or-later
-- What qvm-prefs, qvm-service, qvm-notes and qvm-clone rely on: every property of every class answers, and a copy made as the client makes it is one.

local daemon = require('spec.support.daemon')
local facts = require('spec.unit.properties_facts')

describe('the methods behind the tools', function()
  local d
  local qubes = { AdminVM = 'dom0', AppVM = 'app', DispVM = 'disp', RemoteVM = 'remote', StandaloneVM = 'alone', TemplateVM = 'fedora' }

  setup(function()
    d = daemon.start()
    d:estate { 'app' }
    d:ok('admin.vm.Create.StandaloneVM', 'dom0', '', 'name=alone label=red')
    d:ok('admin.vm.Create.RemoteVM', 'dom0', '', 'name=remote label=red')
    d:ok('admin.vm.property.Set', 'app', 'template_for_dispvms', 'True')
    d:ok('admin.vm.Create.DispVM', 'dom0', 'app', 'name=disp label=red')
  end)

  teardown(function() d:stop() end)

  local function lines(text)
    local list = {}
    for line in text:gmatch('([^\n]*)\n') do list[#list + 1] = line end
    return list
  end

  local function check(prefix, dest, wanted)
    local all, count = {}, 0
    for _, line in ipairs(lines(d:ok(prefix .. 'GetAll', dest))) do
      local name, rest = line:match('^(%S+) (.*)$')
      all[name] = rest
    end
    for _, name in ipairs(lines(d:ok(prefix .. 'List', dest))) do
      count = count + 1
      local where = dest .. ' ' .. name
      assert.is_table(wanted[name], where)
      local got = d:call('dom0', prefix .. 'Get', dest, name)
      if got.kind == 'ok' then
        assert.equal(wanted[name].type, got.body:match('^default=%a+ type=(%a+) '), where)
        assert.equal(got.body:gsub('\\', '\\\\'):gsub('\n', '\\n'), all[name], where)
      else
        assert.equal('QubesNoSuchPropertyError', got.class, where) -- unset: the client shows it as such
      end
      assert.truthy(#d:ok(prefix .. 'Help', dest, name) > 8, where)
      d:ok(prefix .. 'GetDefault', dest, name)
      if wanted[name].set == 'no' then assert.equal('exception', d:call('dom0', prefix .. 'Set', dest, name, '1').kind, where) end
    end
    for _ in pairs(wanted) do count = count - 1 end
    assert.equal(0, count, dest)
  end

  it('show every property of every class', function()
    for class_name, name in pairs(qubes) do check('admin.vm.property.', name, facts.classes[class_name]) end
    check('admin.property.', 'dom0', facts.classes.Qubes)
  end)

  it('switch services on and off', function()
    d:ok('admin.vm.feature.Set', 'app', 'service.cups', '1')
    d:ok('admin.vm.feature.Set', 'app', 'service.ntpd', '')
    assert.equal('1', d:ok('admin.vm.feature.Get', 'app', 'service.cups'))
    assert.equal('', d:ok('admin.vm.feature.Get', 'app', 'service.ntpd'))
    d:ok('admin.vm.feature.Remove', 'app', 'service.cups')
    assert.equal('QubesFeatureNotFoundError', d:call('dom0', 'admin.vm.feature.Get', 'app', 'service.cups').class)
  end)

  it('copy a qube', function()
    d:ok('admin.vm.property.Set', 'app', 'memory', '512')
    d:ok('admin.vm.tag.Set', 'app', 'copied')
    d:ok('admin.vm.notes.Set', 'app', '', 'a note')
    d:ok('admin.vm.firewall.Set', 'app', '', 'action=drop comment=closed')
    d:ok('admin.vm.Create.AppVM', 'dom0', 'fedora', 'name=copy label=red')
    for _, line in ipairs(lines(d:ok('admin.vm.property.GetAll', 'app'))) do
      local name, default, value = line:match('^(%S+) default=(%a+) type=%a+ (.*)$')
      if default == 'False' and not (' name qid template label uuid installed_by_rpm '):find(' ' .. name .. ' ', 1, true) then
        d:ok('admin.vm.property.Set', 'copy', name, value)
      end
    end
    for _, tag in ipairs(lines(d:ok('admin.vm.tag.List', 'app'))) do
      if not tag:find('^created%-by%-') then d:ok('admin.vm.tag.Set', 'copy', tag) end
    end
    for _, name in ipairs(lines(d:ok('admin.vm.feature.List', 'app'))) do
      d:ok('admin.vm.feature.Set', 'copy', name, d:ok('admin.vm.feature.Get', 'app', name))
    end
    d:ok('admin.vm.notes.Set', 'copy', '', d:ok('admin.vm.notes.Get', 'app'))
    d:ok('admin.vm.firewall.Set', 'copy', '', d:ok('admin.vm.firewall.Get', 'app'))
    assert.equal('', d:ok('admin.vm.volume.List', 'copy'))
    for _, class_name in ipairs(lines(d:ok('admin.deviceclass.List'))) do
      assert.equal('', d:ok(('admin.vm.device.%s.Assigned'):format(class_name), 'app'))
    end
    for _, method in ipairs { 'tag.List', 'feature.List', 'notes.Get', 'firewall.Get' } do
      assert.equal(d:ok('admin.vm.' .. method, 'app'), d:ok('admin.vm.' .. method, 'copy'), method)
    end
    assert.equal('default=False type=int 512', d:ok('admin.vm.property.Get', 'copy', 'memory'))
  end)
end)
