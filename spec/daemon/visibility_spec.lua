-- SPDX-License-Identifier: GPL-2.0-or-later
-- Law 1: a qube that a rule on admin.vm.List hides from a caller does not exist for it: no byte of any answer, error or event tells of it. See
-- api_hidden_spec.lua for what follows from a hidden qube without naming it.

local daemon = require('spec.support.daemon')

-- `%s`: an ordinary filter, or one of the whole list.
local HIDES = [[
on('admin-permission:admin.vm.List', function(src)
  if src.name ~= 'guest' then return end
  local function shown(qube) return qube.tags.shared == true or qube.klass == 'AdminVM' end
  if %s then
    return filter_list(function(items)
      local kept = {}
      for _, qube in ipairs(items) do if shown(qube) then kept[#kept + 1] = qube end end
      return kept
    end)
  end
  return shown
end)
]]

local HIDDEN, UNKNOWN = 'hidden-one', 'absent-one' -- of one length

for _, form in ipairs { 'false', 'true' } do
  describe('a hidden qube (' .. (form == 'true' and 'list filter' or 'filter') .. ')', function()
    local d, uuid, hidden_template_uuid
    local answers = {} -- every byte that the guest got

    local function guest(method, dest, arg, payload)
      local bytes = d:raw(daemon.request('guest', method, dest, arg, payload))
      answers[#answers + 1] = method .. ' ' .. tostring(bytes)
      return daemon.parse(bytes), bytes
    end

    setup(function()
      d = daemon.start { acl = { ['10-hide.lua'] = HIDES:format(form) } }
      d:estate { 'guest', 'shown', HIDDEN, 'hidden-net', 'hidden-dvm' }
      d:ok('admin.vm.Create.TemplateVM', 'dom0', '', 'name=hidden-tpl label=black')
      d:ok('admin.vm.tag.Set', 'shown', 'shared')
      d:ok('admin.vm.tag.Set', 'fedora', 'shared')
      d:ok('admin.vm.property.Set', 'hidden-net', 'provides_network', 'True')
      d:ok('admin.vm.property.Set', 'shown', 'netvm', 'hidden-net')
      d:ok('admin.vm.property.Set', 'hidden-dvm', 'template_for_dispvms', 'True')
      d:ok('admin.vm.property.Set', 'shown', 'default_dispvm', 'hidden-dvm')
      d:ok('admin.vm.property.Set', 'shown', 'template', 'hidden-tpl')
      d:ok('admin.property.Set', 'dom0', 'default_dispvm', 'hidden-dvm')
      d:ok('admin.vm.property.Set', 'hidden-net', 'netvm', '')
      d:ok('admin.property.Set', 'dom0', 'default_netvm', 'hidden-net')
      d:ok('admin.property.Set', 'dom0', 'clockvm', HIDDEN)
      d:ok('admin.property.Set', 'dom0', 'updatevm', 'hidden-net')
      d:ok('admin.vm.feature.Set', 'hidden-tpl', 'of-template', 'hidden-value')
      d:ok('admin.vm.feature.Set', 'hidden-net', 'of-net', 'hidden-value')
      uuid = d:ok('admin.vm.List'):match('hidden%-one [^\n]*uuid=(%S+)')
      hidden_template_uuid = d:ok('admin.vm.List'):match('hidden%-tpl [^\n]*uuid=(%S+)')
    end)

    teardown(function() d:stop() end)

    it('is in no list', function()
      local list = guest('admin.vm.List', 'dom0').body
      assert.truthy(list:find('shown ', 1, true))
      assert.falsy(list:find('hidden', 1, true))
      assert.truthy(d:ok('admin.vm.List'):find(HIDDEN, 1, true))
      guest('admin.label.List', 'dom0')
      guest('admin.vm.tag.List', 'shown')
      guest('admin.vm.feature.List', 'shown')
    end)

    it('is no value of a property', function()
      for _, qube in ipairs { 'shown', 'guest', 'fedora' } do
        guest('admin.vm.property.GetAll', qube)
        for name in guest('admin.vm.property.List', qube).body:gmatch('[^\n]+') do
          guest('admin.vm.property.Get', qube, name)
          guest('admin.vm.property.GetDefault', qube, name)
          guest('admin.vm.property.Help', qube, name)
        end
      end
      guest('admin.property.GetAll', 'dom0')
      for name in guest('admin.property.List', 'dom0').body:gmatch('[^\n]+') do
        guest('admin.property.Get', 'dom0', name)
        guest('admin.property.GetDefault', 'dom0', name)
      end
      assert.equal('default=False type=vm ', guest('admin.vm.property.Get', 'shown', 'netvm').body)
      assert.equal('default=False type=vm hidden-net', d:ok('admin.vm.property.Get', 'shown', 'netvm'))
    end)

    it('gives no feature', function()
      for _, method in ipairs { 'CheckWithTemplate', 'CheckWithNetvm', 'CheckWithTemplateAndAdminVM', 'CheckWithAdminVM' } do
        for _, feature in ipairs { 'of-template', 'of-net' } do
          assert.equal('QubesFeatureNotFoundError', guest('admin.vm.feature.' .. method, 'shown', feature).class)
        end
      end
      assert.equal('hidden-value', d:ok('admin.vm.feature.CheckWithTemplate', 'shown', 'of-template'))
    end)

    it('is answered like no qube as a destination, whatever is called', function()
      local methods = d:call('dom0', 'internal.Status', 'dom0', '', '', { socket = 'qubesd.console.sock' })
      assert.equal('ok', methods.kind)
      for _, call in ipairs { { 'List' }, { 'CurrentState' }, { 'Start' }, { 'Kill' }, { 'Pause' }, { 'Unpause' }, { 'Shutdown' }, { 'Remove' }, { 'Stats' },
        { 'property.List' }, { 'property.GetAll' }, { 'property.Get', 'name' }, { 'property.Set', 'memory', '400' }, { 'property.Reset', 'memory' },
        { 'feature.Get', 'x' }, { 'feature.Set', 'x', '1' }, { 'tag.List' }, { 'tag.Set', 'x' }, { 'tag.Get', 'x' }, { 'NoSuchMethod' },
        { 'property.Get', '' }, { 'tag.Set', '\255' }, { 'tag.List', 'arg' }, { 'tag.List', '', 'payload' } } do
        local name = 'admin.vm.' .. call[1]
        local _, hidden = guest(name, HIDDEN, call[2], call[3])
        answers[#answers] = nil -- it names the qube because the caller did
        local unknown = d:raw(daemon.request('guest', name, UNKNOWN, call[2], call[3]))
        assert.equal(unknown, (hidden:gsub('hidden%-one', UNKNOWN)), name)
        assert.truthy(hidden:find('QubesVMNotFoundError', 1, true), name)
      end
      local _, events = guest('admin.Events', HIDDEN)
      answers[#answers] = nil
      assert.equal(d:raw(daemon.request('guest', 'admin.Events', UNKNOWN)), (events:gsub('hidden%-one', UNKNOWN)))
    end)

    it('is answered like no qube by its uuid', function()
      local nobody = 'f' .. uuid:sub(2, -2) .. 'e'
      for _, method in ipairs { 'admin.vm.List', 'admin.vm.property.GetAll', 'admin.vm.Start', 'admin.Events' } do
        local hidden = d:raw(daemon.request('guest', method, 'uuid:' .. uuid))
        local unknown = d:raw(daemon.request('guest', method, 'uuid:' .. nobody))
        assert.equal(unknown:gsub(nobody:gsub('%-', '%%-'), 'U'), hidden:gsub(uuid:gsub('%-', '%%-'), 'U'))
      end
      assert.equal('ok', d:call('dom0', 'admin.vm.List', 'uuid:' .. uuid).kind)
    end)

    it('is nothing that a property can be set to', function()
      for _, property in ipairs { 'netvm', 'template', 'default_dispvm', 'guivm', 'audiovm', 'management_dispvm' } do
        for _, pair in ipairs { { HIDDEN, UNKNOWN }, { 'hidden-net', 'absent-net' }, { 'hidden-tpl', 'absent-tpl' }, { 'hidden-dvm', 'absent-dvm' } } do
          local _, hidden = guest('admin.vm.property.Set', 'shown', property, pair[1])
          answers[#answers] = nil
          local unknown = d:raw(daemon.request('guest', 'admin.vm.property.Set', 'shown', property, pair[2]))
          assert.equal(unknown, (hidden:gsub(pair[1]:gsub('%-', '%%-'), pair[2])), property .. ' ' .. pair[1])
          assert.equal('exception', daemon.parse(hidden).kind)
        end
        for _, text in ipairs { 'uuid:' .. uuid, uuid } do
          local hidden = d:call('guest', 'admin.vm.property.Set', 'shown', property, text)
          local unknown = d:call('guest', 'admin.vm.property.Set', 'shown', property, (text:gsub('.$', 'e'):gsub('(:?)%x(%x)', '%1f%2', 1)))
          assert.equal(unknown.class, hidden.class)
        end
      end
    end)

    it('is no template of a new qube', function()
      for _, pair in ipairs { { 'hidden-tpl', 'absent-tpl' }, { 'uuid:' .. hidden_template_uuid, 'uuid:' .. ('f'):rep(8) .. hidden_template_uuid:sub(9) } } do
        local _, hidden = guest('admin.vm.Create.AppVM', 'dom0', pair[1], 'name=fresh label=red')
        answers[#answers] = nil
        local unknown = d:raw(daemon.request('guest', 'admin.vm.Create.AppVM', 'dom0', pair[2], 'name=fresh label=red'))
        assert.equal(unknown, (hidden:gsub(pair[1]:gsub('%-', '%%-'), pair[2])))
        assert.equal('exception', daemon.parse(hidden).kind)
      end
      assert.falsy(d:ok('admin.vm.List'):find('fresh', 1, true))
    end)

    it('is in no event', function()
      local events, all = d:subscribe('guest'), d:subscribe('dom0')
      local of_shown = d:subscribe('guest', 'shown')
      d:ok('admin.vm.Start', HIDDEN)
      d:ok('admin.vm.Pause', HIDDEN)
      d:ok('admin.vm.Unpause', HIDDEN)
      d:ok('admin.vm.feature.Set', HIDDEN, 'f', '1')
      d:ok('admin.vm.tag.Set', HIDDEN, 't')
      d:ok('admin.vm.property.Set', HIDDEN, 'memory', '300')
      d:ok('admin.vm.property.Set', 'shown', 'default_dispvm', 'hidden-dvm')
      d:ok('admin.vm.property.Reset', 'shown', 'netvm')
      d:ok('admin.vm.property.Set', 'shown', 'netvm', 'hidden-net')
      d:ok('admin.vm.property.Set', 'shown', 'guivm', HIDDEN)
      d:ok('admin.vm.property.Reset', 'shown', 'guivm')
      d:ok('admin.property.Set', 'dom0', 'clockvm', HIDDEN)
      d:ok('admin.vm.Kill', HIDDEN)
      d:ok('admin.vm.Create.AppVM', 'dom0', '', 'name=hidden-two label=red')
      d:ok('admin.vm.Remove', 'hidden-two')
      d:call('dom0', 'admin.vm.Remove', 'hidden-net') -- refused, and said so to dom0
      d:ok('admin.vm.tag.Set', 'shown', 'end')
      local seen
      assert.truthy(daemon.run_until(function() return events.buffer:find('domain-tag-add:end', 1, true) end, 5))
      assert.truthy(daemon.run_until(function() return all.buffer:find('domain-tag-add:end', 1, true) end, 5))
      seen = events.buffer
      assert.truthy(all.buffer:find(HIDDEN, 1, true))
      assert.truthy(seen:find('property-set:netvm', 1, true))
      assert.falsy(seen:find('hidden', 1, true))
      assert.falsy(seen:find(uuid, 1, true))
      assert.truthy(of_shown.buffer:find('domain-tag-add:end', 1, true))
      assert.falsy(of_shown.buffer:find('hidden', 1, true))
      for _, stream in ipairs { events, all, of_shown } do stream:close() end
    end)

    it('has no stats', function()
      d:ok('admin.property.Set', 'dom0', 'stats_interval', '1')
      d:ok('admin.vm.Start', HIDDEN)
      d:ok('admin.vm.property.Set', 'shown', 'netvm', '')
      d:ok('admin.vm.Start', 'shown')
      local stats = d:begin('guest', 'admin.vm.Stats', 'dom0')
      local function got() return table.concat(stats.parts) end
      assert.truthy(daemon.run_until(function() return got():find('vm-stats', 1, true) end, 5))
      assert.truthy(got():find('shown', 1, true))
      assert.falsy(got():find('hidden', 1, true))
      stats.close()
      d:ok('admin.vm.Kill', HIDDEN)
      d:ok('admin.vm.Kill', 'shown')
    end)

    it('showed nowhere, not once', function()
      assert.is_true(#answers > 200)
      for _, answer in ipairs(answers) do
        assert.falsy(answer:find('hidden', 1, true), answer)
        assert.falsy(answer:find(uuid, 1, true), answer)
        assert.falsy(answer:find(hidden_template_uuid, 1, true), answer)
      end
    end)

    it('can be shown by a tag at once, and be hidden again', function()
      d:ok('admin.vm.tag.Set', HIDDEN, 'shared')
      assert.equal('ok', guest('admin.vm.List', HIDDEN).kind)
      d:ok('admin.vm.tag.Remove', HIDDEN, 'shared')
      assert.equal('QubesVMNotFoundError', guest('admin.vm.List', HIDDEN).class)
    end)
  end)
end
