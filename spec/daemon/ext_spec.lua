-- SPDX-License-Identifier: GPL-2.0-or-later
-- The site's own extensions (docs/extensions.md): hooks that see and change the model, that fail without harm, that run programs; and reloads.

local daemon = require('spec.support.daemon')

local EXT = [[
on('domain-feature-set:hooked', function(qube, event, info)
  qube.tags['saw-' .. info.value] = true
end)

on('domain-feature-set:broken', function(qube)
  qube.tags['half-done'] = true
  core.spawn(function() qube.tags['half-spawned'] = true end)
  error('boom')
end)

on('domain-feature-set:broken', function(qube) qube.tags['next-one'] = true end)

on('domain-feature-set:raising', function() raise('QubesException', 'not a veto') end)

on('domain-feature-pre-set:vetoed', function() raise('QubesValueError', 'the site says no') end)

on('domain-feature-pre-set:clumsy', function(qube) qube.label = 'no-such-label' end)

on('domain-feature-set:loop', function() while true do end end)

on('domain-feature-set:stubborn', function() while true do pcall(function() while true do end end) end end)

on('domain-feature-set:waiting', function() core.sleep(0.01) end)

on('domain-feature-set:endless', function(qube) qube.features.endless = tostring(tonumber(qube.features.endless) + 1) end)

after('domain-feature-set:program', function(qube, event, info)
  local result = core.run { program = '/bin/sh', args = { '-c', info.value } , input = 'of the hook\n', seconds = 1, max_output = 1000 }
  for name, value in pairs(result) do qube.features['r-' .. name] = tostring(value):gsub('%s+$', '') end
  qube.features['r-done'] = '1'
end)

after('domain-feature-set:absent', function(qube)
  local result = core.run { program = '/nonexistent/program' }
  qube.features['r-error'], qube.features['r-done'] = result.error, '1'
end)

after('domain-feature-set:afterwards', function(qube)
  qube.tags.undone = true
  error('late boom')
end)

on('domain-pre-start', function(qube)
  local result = core.run { program = '/bin/sh', args = { '-c', 'exit ' .. (qube.features.exit or 0) } }
  if result.status ~= 0 then raise('QubesException', 'the check failed with ' .. result.status) end
  qube.features.checked = '1'
end)

on('domain-start', function(qube) qube.tags.started = true end)

on_app('property-set:default_dispvm', function(_, _, info) app.domains.work.tags['app-hook'] = true end)

state = 1 -- a global is the file's own
on('domain-feature-set:environment', function(qube)
  local absent = {}
  for _, name in ipairs { 'class', 'method', 'import', 'io', 'os', 'debug', 'load', 'require', 'setmetatable', 'rawset', 'core_hooks', 'coroutine' } do
    if _ENV[name] ~= nil then absent[#absent + 1] = name end
  end
  string.format, core.log = nil, nil -- copies
  qube.features['too-much'] = table.concat(absent, ' ')
  qube.features['state'] = tostring(state)
end)
]]

describe('an extension of the site', function()
  local d

  setup(function()
    d = daemon.start { ext = { ['10-spec.lua'] = EXT } }
    d:estate { 'work', 'other' }
  end)

  teardown(function() d:stop() end)

  local function feature(name, value) return d:call('dom0', 'admin.vm.feature.Set', 'work', name, value or '1') end

  local function get(name)
    local answer = d:call('dom0', 'admin.vm.feature.Get', 'work', name)
    return answer.kind == 'ok' and answer.body or nil
  end

  local function has_tag(name) return d:ok('admin.vm.tag.Get', 'work', name) == '1' end

  it('changes the model in the event\'s call', function()
    assert.equal('ok', feature('hooked', 'x').kind)
    assert.is_true(has_tag('saw-x'))
  end)

  it('fails without harm: the log names file and line, its changes are taken back, others run', function()
    assert.equal('ok', feature('broken').kind)
    assert.is_false(has_tag('half-done'))
    assert.is_false(has_tag('half-spawned'))
    assert.is_true(has_tag('next-one'))
    assert.equal('1', get('broken'))
    assert.truthy(d.log:find('ext.d/10-spec.lua:8: domain-feature-set:broken of work: boom', 1, true))
  end)

  it('refuses by raise in an announcing event only', function()
    local answer = feature('vetoed')
    assert.equal('QubesValueError', answer.class)
    assert.equal('the site says no', answer.message)
    assert.is_nil(get('vetoed'))
    assert.equal('ok', feature('raising').kind)
    assert.truthy(d.log:find('10-spec.lua:13: domain-feature-set:raising of work: not a veto', 1, true))
  end)

  it('does not refuse by an exception that it ran into', function()
    assert.equal('ok', feature('clumsy').kind)
    assert.truthy(d.log:find('10-spec.lua:17: domain-feature-pre-set:clumsy of work', 1, true))
  end)

  it('is cut off when it loops, and its call goes on', function()
    assert.equal('ok', feature('loop').kind)
    assert.truthy(d.log:find('10-spec.lua:19: domain-feature-set:loop of work: the script ran too long', 1, true))
    assert.equal('ok', feature('stubborn').kind)
    assert.equal('1', get('stubborn'))
  end)

  it('can not wait in the middle of a call', function()
    assert.equal('ok', feature('waiting').kind)
    assert.truthy(d.log:find('10-spec.lua:23: domain-feature-set:waiting of work: nothing may wait here', 1, true))
  end)

  it('does not cause itself for ever', function()
    assert.equal('ok', feature('endless', '1').kind)
    assert.truthy(d.log:find('hooks cause each other', 1, true))
  end)

  it('has an environment of its own', function()
    assert.equal('ok', feature('environment').kind)
    assert.equal('', get('too-much'))
    assert.equal('1', get('state'))
    assert.equal('ok', feature('hooked', 'y').kind)
  end)

  it('hooks the app', function()
    d:ok('admin.property.Set', 'dom0', 'default_dispvm', '')
    assert.is_true(has_tag('app-hook'))
  end)

  it('takes back what a task has changed before it failed', function()
    assert.equal('ok', feature('afterwards').kind)
    assert.truthy(d:logged('late boom'))
    assert.truthy(d.log:find('10-spec.lua:40: domain-feature-set:afterwards: late boom', 1, true))
    assert.is_false(has_tag('undone'))
  end)

  it('runs a program before a start, and can refuse it', function()
    feature('exit', '3')
    local answer = d:call('dom0', 'admin.vm.Start', 'work')
    assert.equal('the check failed with 3', answer.message)
    assert.equal('Halted', d:ok('admin.vm.CurrentState', 'work'):match('power_state=(%S+)'))
    feature('exit', '0')
    d:ok('admin.vm.Start', 'work')
    assert.equal('1', get('checked'))
    assert.is_true(has_tag('started'))
    d:ok('admin.vm.Kill', 'work')
  end)

  -- Runs a command of the shell in a hook, and returns what core.run gave.
  local function run(command)
    for _, name in ipairs { 'status', 'signal', 'output', 'error_output', 'error', 'done' } do
      d:call('dom0', 'admin.vm.feature.Remove', 'work', 'r-' .. name)
    end
    assert.equal('ok', feature(command and 'program' or 'absent', command or '1').kind)
    assert.is_true(daemon.run_until(function()
      daemon.sleep(0.05)
      return get('r-done') == '1'
    end, 10))
    return {
      status = get('r-status'), signal = get('r-signal'), error = get('r-error'), output = get('r-output'), error_output = get('r-error_output'),
    }
  end

  it('gets what a program has written, and how it ended', function()
    assert.same({ status = '7', output = 'of the hook', error_output = 'bad' }, run('cat; echo bad >&2; exit 7'))
    assert.same({ status = '0', output = '', error_output = '' }, run('true'))
    assert.same({ signal = '15', output = '', error_output = '' }, run('kill -TERM $$'))
  end)

  it('gives a program no descriptors and no environment of the daemon\'s', function()
    -- The shell's own: 3 is the directory, 10 its copy of something.
    local numbers = run('cd /proc/self/fd; echo *').output:gsub(' 3$', ''):gsub(' 3 ', ' '):gsub(' 10', '')
    assert.equal('0 1 2', numbers)
    assert.equal('/ PATH=/usr/sbin:/usr/bin:/sbin:/bin', run('pwd | tr "\\n" " "; env | grep -v -e PWD -e LC_ALL -e HOME -e "^_="').output)
  end)

  it('ends a program at its deadline, with all it has started', function()
    local result = run('echo begun; sleep 77.25 & sleep 77.25')
    assert.equal('it ran too long', result.error)
    assert.equal('9', result.signal)
    assert.equal('begun', result.output)
    assert.is_nil(io.popen('pgrep -f "sleep 77[.]25"'):read('l'))
  end)

  it('bounds what a program writes', function()
    local result = run('yes')
    assert.equal('it wrote too much', result.error)
    assert.is_true(#result.output <= 1000 and #result.output > 990)
  end)

  it('does not wait for whoever holds the output open', function()
    local result = run('setsid sleep 5 & echo quick')
    assert.equal('quick', result.output)
    assert.equal('0', result.status)
  end)

  it('learns of a program that is not there', function()
    assert.truthy(run(nil).error:find('no such file', 1, true))
  end)
end)

describe('extensions', function()
  it('are left out at start when they do not load, whole, and the daemon serves', function()
    local d = daemon.start { ext = {
      ['10-broken.lua'] = "on('domain-feature-set:x', function(qube) qube.tags.never = true end)\nerror('half-way')\n",
      ['20-syntax.lua'] = 'on(\n',
      ['30-endless.lua'] = 'while true do end',
      ['40-good.lua'] = "on('domain-feature-set:x', function(qube) qube.tags.good = true end)",
      ['50-rule.lua'] = "on('admin-permission:*', function() end)",
      ['60-class.lua'] = "class('Mine', {})",
    } }
    d:estate { 'work' }
    for _, text in ipairs {
      'ext.d/10-broken.lua:2: half-way', 'ext.d/20-syntax.lua:', '30-endless.lua: the script ran too long', '50-rule.lua:1:', '60-class.lua:1:',
    } do
      assert.truthy(d.log:find(text, 1, true), d.log)
    end
    d:ok('admin.vm.feature.Set', 'work', 'x', '1')
    assert.equal('1', d:ok('admin.vm.tag.Get', 'work', 'good'))
    assert.equal('0', d:ok('admin.vm.tag.Get', 'work', 'never'))
    d:stop()
  end)

  it('are reloaded when a file changes, and one that does not load leaves the old generation', function()
    local d = daemon.start { ext = { ['10-a.lua'] = "on('domain-feature-set:*', function(qube) qube.tags.a = true end)" } }
    d:estate { 'work', 'other' }
    local function write(text)
      local file = assert(io.open(d.directory .. '/ext/10-a.lua', 'w'))
      file:write(text)
      file:close()
    end
    write("on('domain-feature-set:*', function(qube) qube.tags.b = true end)")
    assert.truthy(d:logged('generation 2 serves'))
    d:ok('admin.vm.feature.Set', 'work', 'x', '1')
    assert.equal('1', d:ok('admin.vm.tag.Get', 'work', 'b'))
    write("on('domain-feature-set:*', function() end)\nlocal x = nil .. 'c'")
    assert.truthy(d:logged('not reloaded, generation 2 goes on: ext.d/10-a.lua:2:'))
    d:ok('admin.vm.feature.Set', 'other', 'x', '1')
    assert.equal('1', d:ok('admin.vm.tag.Get', 'other', 'b'))
    d:stop()
  end)

  it('do not keep the daemon from stopping while a program runs', function()
    local d = daemon.start { ext = { ['10-a.lua'] = [[
      after('domain-feature-set:x', function() core.log('notice', 'it begins'); core.run { program = '/bin/sleep', args = { '66.5' }, seconds = 100 } end)
    ]] } }
    d:estate { 'work' }
    d:ok('admin.vm.feature.Set', 'work', 'x', '1')
    assert.truthy(d:logged('it begins'))
    d:stop()
    assert.is_nil(io.popen('pgrep -f "sleep 66[.]5"'):read('l'))
  end)
end)
