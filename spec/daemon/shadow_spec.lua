-- SPDX-License-Identifier: GPL-2.0-or-later
-- Shadow rules: judged beside the live ones, they change nothing; what they would refuse in addition is logged, counted and in the audit.

local daemon = require('spec.support.daemon')
local json = require('cjson')
local uv = require('luv')

local LIVE = [[
on('admin-permission:admin.vm.feature.Get', function(src, event, info)
  if info.arg == 'denied' then deny('no') end
end)
on('admin-permission:admin.vm.tag.List', function() return function(tag) return tag ~= 'live' end end)
]]

local SHADOW = [[
on('admin-permission:admin.vm.feature.Get', function(src, event, info)
  if info.arg == 'shadow' then deny('some day') end
  if info.arg == 'errs' then error('broken') end
  if info.arg == 'loops' then while true do end end
  if info.arg == 'filters' then return function() return true end end
end)
on('admin-permission:admin.vm.tag.List', function() return function(tag) return tag ~= 'one' end end)
on('admin-permission:admin.vm.tag.List', function() return filter_list(function(tags) return tags end) end)
on('admin-permission:admin.property.Get', function(src, event, info) if info.arg == 'clockvm' then deny() end end)
]]

local HIDES = [[
on('admin-permission:admin.vm.List', function(src)
  if src.name == 'guest' then return function(qube) return qube.name ~= 'target' end end
end)
]]

local CONSOLE = { socket = 'qubesd.console.sock' }

describe('shadow rules', function()
  local d, path

  local function write(name, text)
    daemon.write_file(d and d.acl_dir .. '/shadow/' .. name or name, text)
  end

  -- A daemon with these shadow rules (file name → text), or, for nil, without the directory.
  local function start(shadow)
    local directory = daemon.temporary_directory()
    path, d = directory .. '/audit.log', nil
    uv.fs_mkdir(directory .. '/acl', 448)
    if shadow then uv.fs_mkdir(directory .. '/acl/shadow', 448) end
    for name, text in pairs(shadow or {}) do write(directory .. '/acl/shadow/' .. name, text) end
    d = daemon.start { directory = directory, acl = { ['10-a.lua'] = LIVE }, args = { '--audit-file', path } }
    d:estate { 'guest', 'target' }
  end

  after_each(function() d:stop() end)

  local function wait_for(count)
    local lines
    daemon.run_until(function()
      lines = {}
      local file = io.open(path)
      for line in file and file:lines() or function() end do lines[#lines + 1] = json.decode(line) end
      if file then file:close() end
      return #lines >= count
    end, 5)
    assert.equal(count, #lines)
    return lines
  end

  local function get(arg, source) return d:call(source or 'guest', 'admin.vm.feature.Get', 'target', arg) end

  local function differences() return json.decode(d:ok('internal.Status', 'dom0', '', '', CONSOLE)).shadow_differences end

  local function logged(text)
    local _, count = d.log:gsub(text:gsub('%p', '%%%0'), '')
    return count
  end

  it('change nothing, and their differences are told', function()
    start { ['10-s.lua'] = SHADOW }
    for _, arg in ipairs { 'other', 'shadow', 'errs', 'filters' } do assert.equal('QubesFeatureNotFoundError', get(arg).class) end
    assert.equal('no', get('denied').message)
    local lines = wait_for(5)
    assert.is_nil(lines[1].shadow)
    assert.same({ verdict = 'denied', rule = 'acl.d/shadow/10-s.lua:1', reason = 'some day' }, lines[2].shadow)
    assert.same({ 'failed', 'acl.d/shadow/10-s.lua:1' }, { lines[3].shadow.verdict, lines[3].shadow.rule })
    assert.equal('failed', lines[4].shadow.verdict) -- a method without filters
    assert.is_nil(lines[5].shadow) -- what is denied anyway is no difference
    for i = 1, 4 do assert.equal('permitted', lines[i].verdict) end
    assert.truthy(d.log:find('notice: shadow: acl.d/shadow/10-s.lua:1 would deny admin.vm.feature.Get+shadow (guest -> target): some day', 1, true))
    assert.equal(3, differences())
  end)

  it('say how many items they would take from a list besides, and which rule would', function()
    start { ['10-s.lua'] = SHADOW }
    for _, tag in ipairs { 'live', 'one', 'two' } do d:ok('admin.vm.tag.Set', 'target', tag) end
    local listed = d:call('guest', 'admin.vm.tag.List', 'target').body
    assert.truthy(listed:find('one\ntwo\n', 1, true), listed)
    assert.is_nil(listed:find('live', 1, true))
    assert.same({ verdict = 'filtered', removed = 1, rule = 'acl.d/shadow/10-s.lua:7' }, wait_for(1)[1].shadow)
    assert.truthy(d.log:find('would remove 1 items of admin.vm.tag.List', 1, true))
  end)

  it('hide nothing, and say what they would hide', function()
    start { ['10-s.lua'] = HIDES }
    assert.equal('QubesFeatureNotFoundError', get('x').class)
    assert.truthy(d:call('guest', 'admin.vm.List').body:find('target ', 1, true))
    d:call('target', 'admin.vm.feature.Get', 'guest', 'x')
    local lines = wait_for(3)
    assert.same({ verdict = 'hidden', rule = 'acl.d/shadow/10-s.lua:1' }, lines[1].shadow)
    assert.same({ verdict = 'filtered', removed = 1, rule = 'acl.d/shadow/10-s.lua:1' }, lines[2].shadow)
    assert.is_nil(lines[3].shadow)
    assert.truthy(d.log:find('would hide the destination of admin.vm.feature.Get', 1, true))
    assert.equal(2, differences())
  end)

  it('judge what a list leaves out as another method would', function()
    start { ['10-s.lua'] = SHADOW }
    assert.truthy(d:call('guest', 'admin.property.GetAll').body:find('clockvm', 1, true))
    assert.equal(1, differences())
    assert.truthy(d.log:find('would deny admin.property.Get+clockvm (guest -> dom0)', 1, true))
  end)

  it('are not asked about calls of the console', function()
    start { ['10-s.lua'] = SHADOW }
    d:call('guest', 'admin.vm.feature.Get', 'target', 'shadow', '', CONSOLE)
    assert.is_nil(wait_for(1)[1].shadow)
    assert.equal(0, differences())
  end)

  it('log the like once a minute, and count each', function()
    start { ['10-s.lua'] = SHADOW }
    for _ = 1, 5 do get('shadow') end
    for _ = 1, 3 do get('shadow', 'target') end
    assert.equal(8, differences())
    assert.equal(2, logged('would deny admin.vm.feature.Get+shadow'))
    local rules = json.decode(d:ok('console.Status', 'dom0', '', '', CONSOLE)).rules
    local of_shadow
    for _, rule in ipairs(rules) do
      if rule.file == 'acl.d/shadow/10-s.lua' and rule.line == 1 then of_shadow = rule end
    end
    assert.same({ 8, 8 }, { of_shadow.calls, of_shadow.denials })
  end)

  it('are not asked any more when one has used up its budget, and others are', function()
    local other = "on('admin-permission:admin.vm.feature.Get', function(src, event, info) if info.arg == 'b' then deny() end end)"
    start { ['10-s.lua'] = SHADOW, ['20-s.lua'] = other }
    assert.equal('QubesFeatureNotFoundError', get('loops').class)
    for _, arg in ipairs { 'loops', 'shadow', 'b' } do get(arg) end
    local lines = wait_for(4)
    assert.equal('failed', lines[1].shadow.verdict)
    assert.is_nil(lines[2].shadow)
    assert.is_nil(lines[3].shadow)
    assert.same({ 'denied', 'acl.d/shadow/20-s.lua:1' }, { lines[4].shadow.verdict, lines[4].shadow.rule })
    assert.equal(1, logged('is not asked any more'))
    d:reload()
    get('shadow')
    assert.equal('denied', wait_for(5)[5].shadow.verdict)
  end)

  it('with a mistake are left out, all of them, and the live ones load', function()
    start { ['10-s.lua'] = SHADOW, ['20-s.lua'] = 'on(' }
    assert.is_true(d:logged('the shadow rules do not load, so there are none: acl.d/shadow/20-s.lua:1:'))
    assert.equal('no', get('denied').message)
    get('shadow')
    assert.is_nil(wait_for(2)[2].shadow)
    assert.equal('ok', d:reload().kind)
  end)

  it('set no limits, grant nothing, and narrow nothing', function()
    for _, word in ipairs { "limit { src = 'guest', method = 'admin.*', rate = 1 }", "grant { src = 'guest', method = 'admin.vm.Start' }",
      "narrow('/nowhere', { tag = 'x' })" } do
      start { ['10-s.lua'] = word }
      assert.is_true(d:logged(word:match('^%a+') .. ' is not for shadow rules'), word)
      d:stop()
    end
    start()
  end)

  it('come, change and go by themselves', function()
    start()
    get('shadow')
    assert.is_nil(wait_for(1)[1].shadow)
    uv.fs_mkdir(d.acl_dir .. '/shadow', 448)
    write('10-s.lua', SHADOW)
    assert.is_true(daemon.run_until(function() get('shadow') return differences() > 0 end, 10))
    daemon.sleep(0.3)
    write('10-s.lua', '-- none')
    local function is_silent()
      local before = differences()
      get('shadow')
      return differences() == before
    end
    assert.is_true(daemon.run_until(is_silent, 10))
  end)

  it('are the only ones beneath: tests of rules and other folders are not loaded', function()
    start { ['10-s.lua'] = SHADOW }
    for _, folder in ipairs { 'spec', 'other', 'shadow/deeper' } do
      uv.fs_mkdir(d.acl_dir .. '/' .. folder, 448)
      local file = assert(io.open(d.acl_dir .. '/' .. folder .. '/a.lua', 'w'))
      file:write("on('admin-permission:admin.vm.feature.Get', function() deny('wrong') end)")
      file:close()
    end
    assert.equal('ok', d:reload().kind)
    assert.equal('QubesFeatureNotFoundError', get('other').class)
    assert.is_nil(wait_for(1)[1].shadow)
  end)
end)
