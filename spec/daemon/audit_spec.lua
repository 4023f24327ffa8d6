-- SPDX-License-Identifier: GPL-2.0-or-later
-- The audit's lines, and the file they go to.

local daemon = require('spec.support.daemon')
local json = require('cjson')
local uv = require('luv')

local RULES = [[
on('admin-permission:admin.vm.feature.Get', function(src, event, info)
  if info.arg == 'expected' then deny('as ever', { expected = true }) end
  if info.arg == 'denied' then deny('no') end
  if info.arg == 'wrong' then deny('no', { expecte = true }) end
  if info.arg == 'number' then deny('no', 3) end
end)
on('admin-permission:admin.vm.List', function(src)
  if src.name == 'guest' then return function(qube) return not qube.tags.hidden end end
end)
]]

local function lines_of(path)
  local lines = {}
  local file = io.open(path)
  if not file then return lines end
  for line in file:lines() do lines[#lines + 1] = json.decode(line) end
  file:close()
  return lines
end

local function start(options)
  options.directory = options.directory or daemon.temporary_directory()
  options.args = { '--audit-file', options.file or options.directory .. '/audit.log', table.unpack(options.args or {}) }
  local d = daemon.start(options)
  return d, options.file or options.directory .. '/audit.log'
end

-- The lines, when there are as many.
local function wait_for(path, count)
  daemon.run_until(function() return #lines_of(path) >= count end, 5)
  local lines = lines_of(path)
  assert.equal(count, #lines)
  return lines
end

describe('the audit', function()
  local d, path

  before_each(function()
    d, path = start { acl = { ['10-a.lua'] = RULES } }
    d:estate { 'guest', 'target' }
  end)

  after_each(function() d:stop() end)

  it('has a line for each decision, and none for calls of dom0', function()
    d:ok('admin.vm.List')
    d:call('guest', 'admin.vm.feature.Get', 'target', 'permitted')
    d:call('guest', 'admin.vm.feature.Get', 'target', 'denied')
    d:call('guest', 'mgmt.vm.feature.Get', 'target', 'wrong')
    local lines = wait_for(path, 3)
    for i, expected in ipairs { { 'permitted' }, { 'denied', 'no' }, { 'failed' } } do
      local line = lines[i]
      assert.equal(i, line.sequence)
      assert.equal(1, line.generation)
      assert.equal(64, #line.digest)
      assert.truthy(line.time:match('^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%d%d%d%dZ$'), line.time)
      assert.equal('guest', line.source)
      assert.equal('admin.vm.feature.Get', line.method)
      assert.equal('target', line.destination)
      assert.equal(expected[1], line.verdict)
      assert.truthy(line.microseconds)
      if expected[2] then assert.equal(expected[2], line.reason) end
    end
    assert.is_nil(lines[1].rule)
    assert.equal('acl.d/10-a.lua:1', lines[2].rule)
    assert.equal('acl.d/10-a.lua:1', lines[3].rule)
  end)

  it('marks a denial that is expected, which is counted apart', function()
    local before = json.decode(d:ok('internal.Status', 'dom0', '', '', { socket = 'qubesd.internal.sock' }))
    assert.equal('as ever', d:call('guest', 'admin.vm.feature.Get', 'target', 'expected').message)
    assert.equal('no', d:call('guest', 'admin.vm.feature.Get', 'target', 'denied').message)
    assert.equal('PermissionDenied', d:call('guest', 'admin.vm.feature.Get', 'target', 'number').class)
    local after = json.decode(d:ok('internal.Status', 'dom0', '', '', { socket = 'qubesd.internal.sock' }))
    assert.equal(3, after.denied - before.denied)
    assert.equal(1, after.denied_expected - before.denied_expected)
    local lines = wait_for(path, 3)
    assert.is_true(lines[1].expected)
    assert.is_nil(lines[2].expected)
    assert.equal('failed', lines[3].verdict)
    assert.truthy(d.log:find('info: denied admin.vm.feature.Get+expected', 1, true))
    assert.truthy(d.log:find('warning: denied admin.vm.feature.Get+denied', 1, true))
  end)

  it('tells of destinations that are none, and which of them are hidden', function()
    d:ok('admin.vm.tag.Set', 'target', 'hidden')
    assert.equal('QubesVMNotFoundError', d:call('guest', 'admin.vm.feature.Get', 'target', 'x').class)
    assert.equal('QubesVMNotFoundError', d:call('guest', 'admin.vm.feature.Get', 'nobody', 'x').class)
    local lines = wait_for(path, 2)
    assert.same({ 'unknown-destination', 'target', true }, { lines[1].verdict, lines[1].destination, lines[1].hidden })
    assert.same({ 'unknown-destination', 'nobody' }, { lines[2].verdict, lines[2].destination })
    assert.is_nil(lines[2].hidden)
  end)

  it('tells of what the core refuses, since it could tell of hidden qubes, after the rules have permitted it', function()
    local before = json.decode(d:ok('internal.Status', 'dom0', '', '', { socket = 'qubesd.internal.sock' }))
    d:ok('admin.label.Create', 'dom0', 'pink', '0xff00ff')
    local answer = d:call('guest', 'admin.label.Remove', 'dom0', 'pink')
    assert.same({ 'PermissionDenied', 'the rules do not permit this call' }, { answer.class, answer.message })
    local after = json.decode(d:ok('internal.Status', 'dom0', '', '', { socket = 'qubesd.internal.sock' }))
    assert.equal(1, after.denied - before.denied)
    local lines = wait_for(path, 2)
    assert.same({ 'permitted', 'refused' }, { lines[1].verdict, lines[2].verdict })
    assert.truthy(lines[2].reason:find('tell a caller', 1, true))
    assert.is_nil(lines[2].rule)
    assert.truthy(d.log:find('warning: denied admin.label.Remove+pink (guest -> dom0) by the core, though the rules permit it: ', 1, true))
  end)

  it('never has a payload, and is JSON whatever was asked', function()
    d:call('guest', 'admin.vm.feature.Set', 'target', 'secret', 'the-payload')
    for _, arg in ipairs { '"quoted"', '\\', '\1\31\127', 'a\tb' } do d:call('guest', 'admin.vm.feature.Get', 'target', arg) end
    d:raw('admin.vm.List+ guest name no\195(\255such\0')
    local lines = wait_for(path, 6)
    for i, arg in ipairs { '"quoted"', '\\', '\1\31\127', 'a\tb' } do assert.equal(arg, lines[i + 1].argument) end
    local file = assert(io.open(path))
    local text = file:read('a')
    file:close()
    assert.is_nil(text:find('the-payload', 1, true))
  end)

  it('follows a file that is moved', function()
    d:call('guest', 'admin.vm.feature.Get', 'target', 'first')
    wait_for(path, 1)
    assert(os.rename(path, path .. '.1'))
    d:call('guest', 'admin.vm.feature.Get', 'target', 'second')
    assert.equal('second', wait_for(path, 1)[1].argument)
    assert.equal('first', lines_of(path .. '.1')[1].argument)
  end)

  it('marks calls of the console, where rules are not asked', function()
    assert.equal('QubesFeatureNotFoundError', d:call('guest', 'admin.vm.feature.Get', 'target', 'denied', '', { socket = 'qubesd.console.sock' }).class)
    d:call('guest', 'admin.vm.feature.Get', 'target', 'denied')
    local lines = wait_for(path, 2)
    assert.same({ 'permitted', true }, { lines[1].verdict, lines[1].console })
    assert.same({ 'denied' }, { lines[2].verdict, lines[2].console })
  end)

  it('cuts what is too long, and says so', function()
    d:call('guest', 'admin.vm.feature.Get', 'target', ('\1'):rep(1025))
    d:call('guest', 'admin.vm.feature.Get', 'target', ('\1'):rep(1024))
    local lines = wait_for(path, 2)
    for i = 1, 2 do assert.equal(('\1'):rep(1024), lines[i].argument) end
    assert.is_true(lines[1].cut)
    assert.is_nil(lines[2].cut)
  end)

  it('writes what is queued before a clean stop', function()
    local directory = daemon.temporary_directory()
    local other, file = start { directory = directory, file = directory .. '.audit', acl = { ['10-a.lua'] = RULES } }
    other:estate { 'guest' }
    for i = 1, 200 do other:call('guest', 'admin.vm.feature.Get', 'guest', 'n' .. i) end
    other:stop()
    assert.equal(200, #lines_of(file))
    os.remove(file)
  end)
end)

describe('the audit of dom0', function()
  it('is kept when it is wanted', function()
    local d, path = start { args = { '--audit-dom0', 'yes' } }
    d:ok('admin.vm.List')
    local lines = wait_for(path, 1)
    assert.same({ 'dom0', 'admin.vm.List' }, { lines[1].source, lines[1].method })
    d:stop()
  end)

  it('is asked for by yes or no', function()
    local d = daemon.start { args = { '--audit-dom0', 'perhaps' }, wait = false }
    daemon.run_until(function() return d.exit_code end, 10)
    assert.equal(1, d.exit_code)
    assert.truthy(d.log:find("'yes' or 'no'", 1, true))
    d:kill()
  end)
end)

describe('an audit that cannot be written', function()
  it('is said once, costs no call, and tells how much is missing when it works again', function()
    local directory = daemon.temporary_directory()
    local d, path = start { directory = directory, file = directory .. '/folder/audit.log' }
    d:estate { 'guest' }
    for i = 1, 30 do assert.equal('QubesFeatureNotFoundError', d:call('guest', 'admin.vm.feature.Get', 'guest', 'n' .. i).class) end
    assert.is_true(d:logged('lines are dropped'))
    assert(uv.fs_mkdir(directory .. '/folder', 448))
    daemon.sleep(1.2) -- it is tried once a second
    d:call('guest', 'admin.vm.feature.Get', 'guest', 'again')
    local lines = wait_for(path, 2)
    assert.equal(30, lines[1].dropped)
    assert.equal('again', lines[2].argument)
    assert.is_true(d:logged('is written again'))
    local _, count = d.log:gsub('lines are dropped', '')
    assert.equal(1, count)
    d:stop()
  end)

  it('costs no call and no memory while the disk hangs, and tells of each line that found no room', function()
    local directory = daemon.temporary_directory()
    local stall = directory .. '.stall'
    assert(io.open(stall, 'w')):close()
    local d, path = start { directory = directory, binary = 'qubesd-testing', env = { QD_TEST_AUDIT_STALL = stall } }
    d:estate { 'guest' }
    local CALLS, argument = 1000, ('\1'):rep(1024) -- of more than 6,144 bytes each: the queue has room for 700
    for _ = 1, CALLS do assert.equal('exception', d:call('guest', 'admin.vm.feature.Get', 'guest', argument).kind) end
    assert.is_true(os.remove(stall))
    local function written()
      local count, dropped = 0, 0
      for _, line in ipairs(lines_of(path)) do
        if line.dropped then dropped = dropped + line.dropped else count = count + 1 end
      end
      return count, dropped
    end
    assert.is_true(daemon.run_until(function()
      local count, dropped = written()
      return count + dropped == CALLS
    end, 20))
    local count, dropped = written()
    assert.is_true(count > 600 and dropped > 200, count .. ' ' .. dropped)
    d:stop()
  end)

  it('does so on a full disk', function()
    local d = start { file = '/dev/full' }
    d:estate { 'guest' }
    for i = 1, 30 do d:call('guest', 'admin.vm.feature.Get', 'guest', 'n' .. i) end
    assert.is_true(d:logged('No space left on device'))
    assert.is_true(d:is_alive())
    d:stop()
  end)
end)
