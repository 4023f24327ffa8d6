-- SPDX-License-Identifier: GPL-2.0-or-later
-- docs/acl-examples: each file is on the page docs/acl.md and passes its tests in docs/acl-examples/spec, and no line of it is left untried.

local uv = require('luv')
local acl_tool = require('spec.support.acl_tool')
local daemon = require('spec.support.daemon')
local new_clock = require('spec.support.clock')

local DIRECTORY = 'docs/acl-examples'

local function read(path)
  local file = assert(io.open(path))
  local text = file:read('a')
  file:close()
  return text
end

local function names()
  local list, request = {}, assert(uv.fs_scandir(DIRECTORY))
  for name in function() return uv.fs_scandir_next(request) end do
    if name:match('%.lua$') then list[#list + 1] = name end
  end
  table.sort(list)
  return list
end

describe('docs/acl-examples', function()
  local status, output, said

  setup(function() status, output, said = acl_tool({ 'test', DIRECTORY, '--tap', '--coverage' }, { seconds = 600 }) end)

  -- Tests of a spec file: how many, and those that failed.
  local function results(name)
    local count, failed = 0, {}
    for word, title in output:gmatch('(%l* ?ok) %d+ %- ' .. name:gsub('%p', '%%%0') .. ': ([^\n]*)') do
      count = count + 1
      if word ~= 'ok' then failed[#failed + 1] = title end
    end
    return count, failed
  end

  for _, name in ipairs(names()) do
    it(name .. ' passes its tests, which try each of its lines', function()
      local count, failed = results(name)
      assert.are.same({}, failed, output)
      assert.is_true(count >= 2, output .. said)
      assert.truthy(output:find('100 %%  ' .. name:gsub('%p', '%%%0') .. '\n'), output)
    end)
  end

  it('are not in the way of dom0, all together', function()
    local count, failed = results('all-together.lua')
    assert.are.same({}, failed, output)
    assert.equal(1, count)
    assert.equal(0, status)
  end)

  it('are on the page as they are in the files', function()
    local page, count = read('docs/acl.md'), 0
    for _, name in ipairs(names()) do
      local rule = read(DIRECTORY .. '/' .. name):match('^%-%-[^\n]*\n%-%-[^\n]*\n\n(.*)$')
      assert.truthy(rule, name .. ' does not begin with two lines of comment')
      assert.truthy(page:find('```lua\n' .. rule .. '```', 1, true), name .. ' is not on the page, or differs there')
      count = count + 1
    end
    assert.is_true(count >= 10)
  end)

  it('all other rules on the page load, too', function()
    local directory, count = daemon.temporary_directory(), 0
    for block in read('docs/acl.md'):gmatch('```lua\n(.-)```') do
      if not block:find('test(', 1, true) and not block:find('narrow(', 1, true) then -- tests are no rules; narrow sets want a directory of theirs
        count = count + 1
        local file = assert(io.open(('%s/%02d.lua'):format(directory, count), 'w'))
        file:write(block)
        file:close()
      end
    end
    local checked, findings = acl_tool { 'check', directory }
    daemon.remove_tree(directory)
    assert.equal(0, checked, findings)
    assert.is_true(count >= 12)
  end)

  it('office-hours: the same calls, before and after the end of the day', function()
    local clock = new_clock()
    clock.env.TZ = 'UTC0'
    clock:set(1796212800) -- Wednesday, 2 December 2026, 12:00
    local d = daemon.start { binary = 'qubesd-testing', env = clock.env, acl = { ['10.lua'] = read(DIRECTORY .. '/office-hours.lua') } }
    d:estate { 'panel', 'work' }
    d:ok('admin.vm.tag.Set', 'work', 'office')
    assert.is_nil(d:call('panel', 'admin.vm.Start', 'work').class)
    d:ok('admin.vm.Kill', 'work')
    clock:advance(7 * 3600)
    local answer = d:call('panel', 'admin.vm.Start', 'work')
    assert.equal('PermissionDenied', answer.class)
    assert.equal('no grant is in force now: office hours are over', answer.message)
    clock:remove()
    d:stop()
  end)

  -- What the page says can't be done.
  it('a rule has no clock, files, programs, coroutines or code from text', function()
    local d = daemon.start()
    d:estate { 'work' }
    for i, text in ipairs {
      'os.time()', 'os.date("%H")', 'os.execute("true")', 'io.open("/etc/hostname")', 'require("os")', 'load("return 1")', 'coroutine.yield()', 'core.time()',
    } do
      d:set_rule('99-attempt.lua', ("on('admin-permission:admin.vm.tag.List', function() local x = %s end)"):format(text))
      assert.equal('PermissionDenied', d:call('work', 'admin.vm.tag.List', 'work').class)
      assert.is_true(d:is_alive(), i)
    end
    d:stop()
  end)
end)
