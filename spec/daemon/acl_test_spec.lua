-- SPDX-License-Identifier: GPL-2.0-or-later
-- qubesd-acl test: tests of rules, run as a process.

local daemon = require('spec.support.daemon')
local uv = require('luv')

local RULES = [[
on('admin-permission:admin.vm.List', function(src)
  if not src.tags.guest then return end
  return function(qube) return qube.tags.shared or qube.name == 'dom0' or qube == src end
end)
on('admin-permission:admin.vm.Start', function(src, event, info)
  if src.name == 'nobody' then
    deny('never runs')
  end
  if info.dest.tags.vault and src.name ~= 'dom0' then deny('from dom0 only') end
end)
]]

local GOOD = [[
estate {
  guest = { tags = { 'guest' } }, work = { tags = { 'shared' }, features = { x = '1' } },
  vault = { tags = { 'vault' } }, other = {},
}
test('a vault is started from dom0', function()
  expect('other', 'admin.vm.Start', 'vault'):denied('from dom0 only')
  expect('dom0', 'admin.vm.Start', 'vault'):permitted()
end)
test('a guest sees what is shared', function()
  expect('guest', 'admin.vm.List'):lists { 'dom0', 'guest', 'work' }
  expect('guest', 'admin.vm.feature.Get', 'work', 'x'):answers('1')
  expect('guest', 'admin.vm.feature.Get', 'vault', 'x'):unknown()
  expect('guest', 'admin.vm.List'):never_names('vault')
  events('guest', function()
    dom0('admin.vm.tag.Set', 'vault', 'seen')
    dom0('admin.vm.tag.Set', 'work', 'seen')
  end):includes { 'work domain-tag-add:seen' }
end)
]]

local BAD = [[
estate { work = {}, vault = { tags = { 'vault' } } }
test('wrong', function()
  expect('work', 'admin.vm.Start', 'vault'):permitted()
end)
test('right', function()
  expect('work', 'admin.vm.Start', 'vault'):denied()
end)
test('forgotten', function()
  expect('work', 'admin.vm.Start', 'vault')
end)
]]

describe('qubesd-acl test', function()
  local directory

  local function write(path, text)
    local file = assert(io.open(directory .. '/' .. path, 'w'))
    file:write(text)
    file:close()
  end

  before_each(function()
    directory = daemon.temporary_directory()
    uv.fs_mkdir(directory .. '/spec', 448)
    write('50-rules.lua', RULES)
  end)

  after_each(function() daemon.remove_tree(directory) end)

  -- The exit status and what it printed.
  local function run(...)
    local command = ('QD_BUILD_DIR=%s tools/qubesd-acl test %s %s 2>&1; echo "status $?"'):format(daemon.build_dir, directory, table.concat({ ... }, ' '))
    local pipe = assert(io.popen(command))
    local output = pipe:read('a')
    pipe:close()
    return tonumber(output:match('status (%d+)\n$')), output
  end

  it('passes what is as expected', function()
    write('spec/a.lua', GOOD)
    local status, output = run()
    assert.equal(0, status, output)
    assert.truthy(output:find('2 passed, 0 failed', 1, true), output)
  end)

  it('says where, what was expected, what came, and who decided', function()
    write('spec/a.lua', BAD)
    local status, output = run()
    assert.equal(1, status)
    assert.truthy(output:find('1 passed, 2 failed', 1, true), output)
    assert.truthy(output:find('spec/a.lua:3: work admin.vm.Start vault', 1, true), output)
    assert.truthy(output:find('expected  permitted', 1, true), output)
    assert.truthy(output:find('came      denied: from dom0 only', 1, true), output)
    assert.truthy(output:find('50-rules.lua:5', 1, true), output)
  end)

  it('prints TAP', function()
    write('spec/a.lua', BAD)
    local _, output = run('--tap')
    assert.truthy(output:find('1..3', 1, true), output)
    assert.truthy(output:find('not ok 1', 1, true), output)
    assert.truthy(output:find('\nok 2', 1, true), output)
  end)

  it('shows the lines that never ran', function()
    write('spec/a.lua', GOOD)
    local status, output = run('--coverage')
    assert.equal(0, status, output)
    local percent = tonumber(output:match('(%d+) %%  50%-rules%.lua'))
    assert.is_true(percent > 50 and percent < 100, output)
  end)

  it('is no success without tests, or with rules that do not load', function()
    assert.equal(1, (run()))
    write('spec/a.lua', GOOD)
    write('60-broken.lua', 'on(')
    local status, output = run()
    assert.is_true(status ~= 0)
    assert.truthy(output:find('60-broken.lua:1:', 1, true), output)
  end)
end)
