-- SPDX-License-Identifier: GPL-2.0-or-later
-- Preloaded disposables: as many as the features ask for wait, paused and out of sight; a caller gets one of them at once, and the gap is filled.

local daemon = require('spec.support.daemon')

local LIST, MAX, DELAY = 'preload-dispvm', 'preload-dispvm-max', 'preload-dispvm-delay'

describe('preloaded disposables', function()
  local d

  before_each(function()
    d = daemon.start()
    d:estate { 'base', 'other', 'plain' }
    for _, name in ipairs { 'base', 'other' } do d:ok('admin.vm.property.Set', name, 'template_for_dispvms', 'True') end
    for _, feature in ipairs { 'qrexec', 'supported-rpc.qubes.WaitForRunningSystem', 'supported-rpc.qubes.WaitForSession' } do
      d:ok('admin.vm.feature.Set', 'fedora', feature, '1')
    end
    d:ok('admin.vm.feature.Set', 'dom0', DELAY, '0.1')
  end)

  after_each(function() d:kill() end)

  local function feature(qube, name)
    local answer = d:call('dom0', 'admin.vm.feature.Get', qube, name)
    return answer.kind == 'ok' and answer.body or nil
  end

  local function set(qube, name, value) return d:call('dom0', 'admin.vm.feature.Set', qube, name, value) end

  local function list(template)
    local names = {}
    for name in (feature(template or 'base', LIST) or ''):gmatch('%S+') do names[#names + 1] = name end
    return names
  end

  local function state(name)
    local answer = d:call('dom0', 'admin.vm.List', name)
    return answer.kind == 'ok' and answer.body:match('state=(%S+)') or nil
  end

  local function eventually(what, check)
    local met = daemon.run_until(function()
      daemon.sleep(0.05)
      return check()
    end, 20)
    if not met then error(what .. '\n' .. d:ok('admin.vm.List') .. d.log:sub(-3000), 2) end
  end

  -- Waits until so many are ready; their names.
  local function ready(count, template)
    local names
    eventually(('%d were expected to be ready'):format(count), function()
      names = list(template)
      if #names ~= count then return false end
      for _, name in ipairs(names) do
        if state(name) ~= 'Paused' or feature(name, 'preload-dispvm-completed') ~= '1' then return false end
      end
      return true
    end)
    return names
  end

  local function gone(name)
    eventually(name .. ' was expected to go', function() return state(name) == nil end)
  end

  local function is_preload(name)
    return d:ok('admin.vm.property.Get', name, 'is_preload'):match('%S+$')
  end

  it('are as many as the feature says, paused, internal and listed', function()
    local stream = d:subscribe()
    d:ok('admin.vm.feature.Set', 'base', MAX, '2')
    local start = stream:wait('domain-preload-dispvm-start')
    assert.equal('base', start.subject)
    assert.equal("local feature was set to '2'", start.info.reason)
    local names = ready(2)
    for _, name in ipairs(names) do
      assert.equal('1', feature(name, 'internal'))
      assert.equal('', feature(name, 'preload-dispvm-in-progress'))
      assert.equal('True', is_preload(name))
      assert.equal('default=False type=bool True', d:ok('admin.vm.property.Get', name, 'auto_cleanup'))
    end
    stream:close()
    d:ok('admin.vm.feature.Set', 'base', MAX, '1')
    gone(names[2])
    assert.same({ names[1] }, list())
    d:ok('admin.vm.feature.Remove', 'base', MAX)
    gone(names[1])
    assert.same({}, list())
  end)

  it('are handed out at once, and replaced', function()
    d:ok('admin.vm.feature.Set', 'base', MAX, '1')
    local name = ready(1)[1]
    local stream = d:subscribe()
    assert.equal(name, d:ok('admin.vm.CreateDisposable', 'base'))
    assert.equal('Running', state(name))
    assert.equal('False', is_preload(name))
    assert.is_nil(feature(name, 'internal'))
    assert.is_nil(feature(name, 'preload-dispvm-in-progress'))
    assert.truthy(d:ok('admin.vm.tag.List', name):find('disp-created-by-dom0', 1, true))
    local used = stream:wait('domain-preload-dispvm-used')
    assert.equal('base', used.subject)
    assert.equal(name, used.info.dispvm)
    assert.equal('0.1', used.info.delay)
    stream:close()
    local replacement = ready(1)[1]
    assert.is_not.equal(name, replacement)
    assert.equal('uuid:' .. d:ok('admin.vm.List', replacement):match('uuid=(%S+)'), d:ok('admin.vm.CreateDisposable', 'base', '', 'uuid'))
    d:ok('admin.vm.Kill', name)
    gone(name)
  end)

  it('are told of by their events, in this order', function()
    d:ok('admin.vm.feature.Set', 'base', MAX, '1')
    local name = ready(1)[1]
    d:ok('admin.vm.feature.Set', 'dom0', DELAY, '30') -- so that the next one is not in between
    local stream = d:subscribe()
    d:ok('admin.vm.CreateDisposable', 'base')
    local wanted, seen = {
      ['domain-feature-set:preload-dispvm-in-progress'] = true, ['domain-feature-set:preload-dispvm'] = true, ['property-reset:is_preload'] = true,
      ['domain-unpaused'] = true, ['domain-feature-delete:internal'] = true, ['domain-feature-delete:preload-dispvm-in-progress'] = true,
      ['domain-preload-dispvm-used'] = true,
    }, {}
    for _, event in ipairs(stream:take(0.5)) do
      if wanted[event.name] then seen[#seen + 1] = event.subject .. ' ' .. event.name end
    end
    assert.same({
      name .. ' domain-feature-set:preload-dispvm-in-progress', name .. ' property-reset:is_preload', 'base domain-feature-set:preload-dispvm',
      name .. ' property-reset:is_preload', name .. ' domain-unpaused', name .. ' domain-feature-delete:internal', name .. ' property-reset:is_preload',
      name .. ' domain-feature-delete:preload-dispvm-in-progress', 'base domain-preload-dispvm-used',
    }, seen)
    stream:close()
  end)

  it('count as used when they are unpaused by hand', function()
    d:ok('admin.vm.feature.Set', 'base', MAX, '1')
    local name = ready(1)[1]
    d:ok('admin.vm.Unpause', name)
    assert.equal('False', is_preload(name))
    assert.is_nil(feature(name, 'internal'))
    assert.is_not.equal(name, ready(1)[1])
    assert.equal('Running', state(name))
  end)

  it('are not refilled before the list is empty, with a negative delay', function()
    d:ok('admin.vm.feature.Set', 'base', DELAY, '-0.1')
    d:ok('admin.vm.feature.Set', 'base', MAX, '2')
    local names = ready(2)
    d:ok('admin.vm.CreateDisposable', 'base')
    daemon.sleep(0.6)
    assert.same({ names[2] }, list())
    d:ok('admin.vm.CreateDisposable', 'base')
    ready(2)
  end)

  it('are as many as dom0 says, for the global default_dispvm', function()
    d:ok('admin.property.Set', 'dom0', 'default_dispvm', 'base')
    local stream = d:subscribe()
    d:ok('admin.vm.feature.Set', 'dom0', MAX, '1')
    assert.equal("global feature was set to '1'", stream:wait('domain-preload-dispvm-start').info.reason)
    stream:close()
    local name = ready(1)[1]
    d:ok('admin.vm.feature.Set', 'base', MAX, '2') -- which does not count now
    daemon.sleep(0.4)
    assert.same({ name }, list())
    assert.equal(name, d:ok('admin.vm.CreateDisposable', 'dom0'))
    ready(1)
    d:ok('admin.property.Set', 'dom0', 'default_dispvm', 'other') -- and now it does, while the other has to follow dom0
    ready(2, 'base')
    ready(1, 'other')
    d:ok('admin.vm.feature.Remove', 'dom0', MAX)
    eventually('other was expected to have none', function() return #list('other') == 0 end)
  end)

  it('are refused where they could not work', function()
    assert.equal('QubesValueError', set('base', MAX, 'many').class)
    assert.equal('QubesValueError', set('base', MAX, '-1').class)
    assert.equal('QubesValueError', set('base', DELAY, 'soon').class)
    assert.equal('QubesValueError', set('dom0', DELAY, 'soon').class)
    assert.equal('QubesValueError', set('dom0', 'preload-dispvm-threshold', '1.5').class)
    assert.equal('ok', set('dom0', 'preload-dispvm-threshold', '500').kind)
    for _, prohibited in ipairs { LIST, 'preload-dispvm-completed', 'preload-dispvm-in-progress' } do
      assert.equal('PermissionDenied', set('base', prohibited, '').class)
    end
    d:ok('admin.vm.feature.Remove', 'fedora', 'supported-rpc.qubes.WaitForSession')
    assert.equal('QubesValueError', set('base', MAX, '1').class)
    assert.equal('QubesValueError', d:call('dom0', 'admin.vm.CreateDisposable', 'base', 'preload').class)
    d:ok('admin.vm.feature.Set', 'fedora', 'supported-rpc.qubes.WaitForSession', '1')
    d:ok('admin.vm.feature.Remove', 'fedora', 'qrexec')
    assert.equal('QubesValueError', set('base', MAX, '1').class)
    d:ok('admin.property.Set', 'dom0', 'default_dispvm', 'base')
    assert.equal('QubesValueError', set('dom0', MAX, '1').class)
    assert.same({}, list())
    assert.falsy(d:ok('admin.vm.List'):find('disp', 1, true))
  end)

  it('are filled up when asked for', function()
    d:ok('admin.vm.feature.Set', 'base', MAX, '1')
    local name = ready(1)[1]
    d:ok('admin.vm.Kill', name)
    gone(name)
    assert.same({}, list())
    assert.equal('', d:ok('admin.vm.CreateDisposable', 'base', 'preload'))
    assert.is_not.equal(name, ready(1)[1])
    local names = list()
    assert.equal('', d:ok('admin.vm.CreateDisposable', 'base', 'preload'))
    assert.same(names, list())
  end)

  it('that differ from their template by now are not handed out', function()
    d:ok('admin.vm.property.Set', 'base', 'memory', '555') -- explicit, so that disposables take it over
    d:ok('admin.vm.feature.Set', 'base', MAX, '1')
    local name = ready(1)[1]
    d:ok('admin.vm.property.Set', 'base', 'memory', '777')
    gone(name)
    local fresh = d:ok('admin.vm.CreateDisposable', 'base')
    assert.is_not.equal(name, fresh)
    assert.equal('777', d:ok('admin.vm.property.Get', fresh, 'memory'):match('%S+$'))
  end)

  it('that were changed themselves are not handed out, and the gap is filled', function()
    d:ok('admin.vm.feature.Set', 'base', MAX, '1')
    local name = ready(1)[1]
    d:ok('admin.vm.property.Set', name, 'memory', '777')
    local stream = d:subscribe()
    assert.is_not.equal(name, d:ok('admin.vm.CreateDisposable', 'base'))
    local start = stream:wait('domain-preload-dispvm-start')
    assert.equal('there is a gap', start.info.reason)
    stream:close()
    gone(name)
  end)

  it('with properties of their own by nature are handed out', function()
    d:ok('admin.vm.feature.Set', 'base', MAX, '1')
    local name = ready(1)[1]
    d:ok('admin.vm.property.Set', 'base', 'autostart', 'True')
    d:ok('admin.vm.property.Set', 'base', 'include_in_backups', 'False')
    assert.equal(name, d:ok('admin.vm.CreateDisposable', 'base'))
  end)

  it('hold their template for nothing', function()
    d:ok('admin.vm.feature.Set', 'base', MAX, '1')
    local name = ready(1)[1]
    d:ok('admin.vm.property.Set', 'base', 'template_for_dispvms', 'False')
    gone(name)
    d:ok('admin.vm.property.Set', 'base', 'template_for_dispvms', 'True')
    name = ready(1)[1]
    d:ok('admin.vm.Remove', 'base')
    gone(name)
    assert.falsy(d:ok('admin.vm.List'):find('base', 1, true))
  end)

  it('make way when the template of their template changes', function()
    d:ok('admin.vm.Create.TemplateVM', 'dom0', '', 'name=debian label=black')
    for feature_name in d:ok('admin.vm.feature.List', 'fedora'):gmatch('%S+') do d:ok('admin.vm.feature.Set', 'debian', feature_name, '1') end
    d:ok('admin.vm.feature.Set', 'base', MAX, '1')
    local name = ready(1)[1]
    local stream = d:subscribe()
    d:ok('admin.vm.property.Set', 'base', 'template', 'debian')
    assert.equal('template has changed', stream:wait('domain-preload-dispvm-start').info.reason)
    stream:close()
    gone(name)
    name = ready(1)[1]
    d:ok('admin.vm.CreateDisposable', 'base')
    assert.equal('QubesVMInUseError', d:call('dom0', 'admin.vm.property.Set', 'base', 'template', 'fedora').class) -- for this one is used
    assert.equal('Running', state(name))
  end)

  it('are given up before the computer sleeps, and made again after it', function()
    d:ok('admin.vm.feature.Set', 'base', MAX, '1')
    local name, internal = ready(1)[1], { socket = 'qubesd.internal.sock' }
    d:ok('internal.SuspendPre', 'dom0', '', '', internal)
    gone(name)
    assert.same({}, list())
    d:ok('internal.SuspendPost', 'dom0', '', '', internal)
    ready(1)
  end)

  it('that were there when the daemon ended go, with their places on the list', function()
    d:ok('admin.vm.feature.Set', 'base', MAX, '2')
    local names = ready(2)
    d:kill_only() -- and with it the domains, which the test driver keeps in the process
    d = daemon.start { directory = d.directory }
    for _, name in ipairs(names) do gone(name) end
    assert.same({}, list())
    assert.is_not.equal(names[1], d:ok('admin.vm.CreateDisposable', 'base')) -- which sees the gap
  end)

  it('are not copied into disposables: their features stay with the template', function()
    d:ok('admin.vm.feature.Set', 'base', MAX, '1')
    local name = ready(1)[1]
    assert.is_nil(feature(name, LIST))
    assert.is_nil(feature(name, MAX))
  end)
end)
