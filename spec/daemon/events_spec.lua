-- SPDX-License-Identifier: GPL-2.0-or-later
-- Which events a change fires, in which order, with which fields; and which hooks on events run.

local daemon = require('spec.support.daemon')

-- Extension hooks that leave a feature for each event they get, so that the order shows.
local HOOKS = [[
local function note(qube, word)
  core.set(qube, 'spec', ('%06d'):format(#core.names(qube, 'spec')) .. ' ' .. word, true)
end
on('domain-tag-add:exact', function(qube, event) note(qube, 'exact ' .. event) end)
on('domain-tag-add:*', function(qube, event) note(qube, 'star ' .. event) end)
on('domain-tag-add:ex?ct', function(qube, event) note(qube, 'mark ' .. event) end)
on('*', function(qube, event) if event:find('^domain%-tag') then note(qube, 'all ' .. event) end end)
on('domain-tag-add:other', function(qube, event) note(qube, 'other ' .. event) end)
on('domain-tag-add:refused', function() raise('QubesException', 'a hook refuses') end)
method('admin.spec.Notes', { dest = 'any', arg = 'none', payload = 'none', scope = 'local', write = true, doc = 'x' }, function(call)
  call:permission {}
  local names = core.names(call.dest, 'spec')
  for _, name in ipairs(names) do core.unset(call.dest, 'spec', name) end
  for i, name in ipairs(names) do names[i] = name:sub(8) end
  return table.concat(names, '\n')
end)
]]

describe('events', function()
  local d, events

  setup(function()
    d = daemon.start { extra_scripts = { ['ext/spec_hooks.lua'] = HOOKS } }
    d:estate { 'guest', 'target' }
  end)

  teardown(function() d:stop() end)

  before_each(function() events = d:subscribe() end)
  after_each(function() events:close() end)

  -- The events up to the one that a last call fires, as "SUBJECT NAME", without those that `pattern` does not match.
  local count = 0
  local function list(pattern)
    count = count + 1
    local last = 'end' .. count
    d:ok('admin.vm.tag.Set', 'guest', last)
    assert.truthy(daemon.run_until(function() return events.buffer:find('domain-tag-add:' .. last, 1, true) end, 5))
    local lines, all = {}, {}
    for _, event in ipairs(events:take(0)) do
      local line = event.subject .. ' ' .. event.name
      if event.name ~= 'connection-established' and not event.name:find('tag%-add:end') and line:find(pattern or '') then
        lines[#lines + 1] = line
        all[#all + 1] = event
      end
    end
    return lines, all
  end

  it('begin with the connection', function()
    local fresh = d:subscribe()
    local all = fresh:take(0.05)
    assert.equal(1, #all)
    assert.same({ subject = '', name = 'connection-established', info = {} }, all[1])
    fresh:close()
  end)

  it('tell of a property that is set and reset', function()
    d:ok('admin.vm.property.Set', 'target', 'memory', '500')
    d:ok('admin.vm.property.Set', 'target', 'memory', '600')
    d:ok('admin.vm.property.Reset', 'target', 'memory')
    local lines, all = list('memory')
    assert.same({
      'target property-pre-set:memory', 'target property-set:memory', 'target property-pre-set:memory', 'target property-set:memory',
      'target property-pre-reset:memory', 'target property-pre-del:memory', 'target property-reset:memory', 'target property-del:memory',
    }, lines)
    assert.equal('500', all[2].info.newvalue)
    assert.same({ name = 'memory', newvalue = '600', oldvalue = '500' }, all[4].info)
    assert.same({ name = 'memory', oldvalue = '600' }, all[7].info)
  end)

  it('tell of properties of the system', function()
    d:ok('admin.property.Set', 'dom0', 'clockvm', 'target')
    d:ok('admin.property.Reset', 'dom0', 'clockvm')
    local lines, all = list('clockvm')
    assert.equal(' property-pre-set:clockvm', lines[1])
    assert.equal(' property-set:clockvm', lines[2])
    assert.equal('target', all[2].info.newvalue)
  end)

  it('tell of a feature that is set and removed', function()
    d:ok('admin.vm.feature.Set', 'target', 'spec', 'one')
    d:ok('admin.vm.feature.Set', 'target', 'spec', '')
    d:ok('admin.vm.feature.Remove', 'target', 'spec')
    local lines, all = list('feature')
    assert.same({
      'target domain-feature-pre-set:spec', 'target domain-feature-set:spec', 'target domain-feature-pre-set:spec', 'target domain-feature-set:spec',
      'target domain-feature-pre-delete:spec', 'target domain-feature-delete:spec',
    }, lines)
    assert.same({ feature = 'spec', value = 'one' }, all[2].info)
    assert.same({ feature = 'spec', value = '', oldvalue = 'one' }, all[4].info)
  end)

  it('tell of tags, once', function()
    d:ok('admin.vm.tag.Set', 'target', 'spec')
    d:ok('admin.vm.tag.Set', 'target', 'spec')
    d:ok('admin.vm.tag.Remove', 'target', 'spec')
    local lines, all = list('tag')
    assert.same({ 'target domain-tag-add:spec', 'target domain-tag-delete:spec' }, lines)
    assert.same({ tag = 'spec' }, all[1].info)
  end)

  it('tell of qubes that come and go', function()
    d:ok('admin.vm.Create.AppVM', 'dom0', '', 'name=fresh label=green')
    d:ok('admin.vm.Remove', 'fresh')
    local lines, all = list('domain%-add$')
    assert.same({ ' domain-add' }, lines)
    assert.equal('fresh', all[1].info.vm)
    d:ok('admin.vm.Create.AppVM', 'dom0', '', 'name=fresh label=green')
    d:ok('admin.vm.Remove', 'fresh')
    local ends = list('^ domain%-')
    assert.same({ ' domain-add', ' domain-pre-delete', ' domain-delete' }, ends)
  end)

  it('do not tell of a change that was refused, but of the attempt', function()
    assert.equal('exception', d:call('dom0', 'admin.vm.property.Set', 'target', 'netvm', 'guest').kind)
    assert.equal('exception', d:call('dom0', 'admin.vm.property.Set', 'target', 'memory', 'many').kind)
    assert.equal('exception', d:call('dom0', 'admin.vm.tag.Remove', 'target', 'absent').kind)
    assert.equal('QubesException', d:call('dom0', 'admin.vm.tag.Set', 'target', 'refused').class)
    for _, line in ipairs(list('target')) do assert.falsy(line:find('set:', 1, true) and not line:find('pre-', 1, true), line) end
    assert.equal('0', d:ok('admin.vm.tag.Get', 'target', 'refused')) -- a hook's error takes the change back
  end)

  it('reach a subscriber of one qube for that qube only', function()
    local own = d:subscribe('dom0', 'target')
    d:ok('admin.vm.tag.Set', 'guest', 'not-mine')
    d:ok('admin.vm.tag.Set', 'target', 'mine')
    assert.truthy(own:wait('domain-tag-add:mine'))
    assert.is_nil(own.buffer:find('not-mine', 1, true))
    own:close()
    d:ok('admin.vm.tag.Remove', 'target', 'mine')
  end)

  it('reach all subscribers in one order', function()
    local other = d:subscribe()
    for i = 1, 20 do d:ok('admin.vm.feature.Set', 'target', 'order', tostring(i)) end
    local lines = list('order')
    assert.equal(40, #lines)
    assert.truthy(daemon.run_until(function() return other.buffer:find('domain-tag-add:end' .. count, 1, true) end, 5))
    local values = {}
    for _, event in ipairs(other:take(0)) do
      if event.name == 'domain-feature-set:order' then values[#values + 1] = tonumber(event.info.value) end
    end
    assert.equal(20, #values)
    for i = 1, 20 do assert.equal(i, values[i]) end
    other:close()
  end)

  it('run hooks by exact name and by wildcard', function()
    d:ok('admin.spec.Notes', 'target')
    d:ok('admin.vm.tag.Set', 'target', 'exact')
    local notes = d:ok('admin.spec.Notes', 'target')
    for _, word in ipairs { 'exact', 'star', 'mark', 'all' } do
      local _, times = ('\n' .. notes):gsub('\n' .. word .. ' domain%-tag%-add:exact', '')
      assert.equal(1, times, word)
    end
    assert.falsy(notes:find('other ', 1, true))
    d:ok('admin.vm.tag.Set', 'target', 'exactly')
    notes = d:ok('admin.spec.Notes', 'target')
    assert.falsy(notes:find('exact domain', 1, true))
    assert.falsy(notes:find('mark ', 1, true))
    assert.truthy(notes:find('star domain-tag-add:exactly', 1, true))
  end)
end)
