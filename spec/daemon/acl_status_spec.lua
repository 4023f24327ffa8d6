-- SPDX-License-Identifier: GPL-2.0-or-later
-- What becomes of each rule is counted; there is a way back to the generation before; and the tool qubesd-acl, as a process.

local json = require('cjson')
local uv = require('luv')
local acl_tool = require('spec.support.acl_tool')
local daemons = require('spec.support.daemon')
local new_clock = require('spec.support.clock')

local CONSOLE = { socket = 'qubesd.console.sock' }

local RULES = [[
on('admin-permission:admin.vm.List', function(src)
  if src.tags.guest then return function(qube) return qube.tags.shared end end
end)
on('admin-permission:admin.vm.Start', function(src, event, info)
  if info.dest.tags.vault then deny('a "vault"\nstays closed') end
end)
on('admin-permission:admin.vm.Kill', function() error('oops') end)
on('admin-permission:admin.vm.Pause', function() end) on('admin-permission:admin.vm.Unpause', function() end)
on('admin-permission:admin.vm.tag.List', function() return filter_list(function() return 1 end) end)
on('admin-permission:admin.Events', function(src)
  if src.tags.guest then return function(subject, event) return event ~= 'domain-tag-add:x' end end
end)
]]

describe('the rules\' status', function()
  local d

  before_each(function()
    d = daemons.start { acl = { ['50.lua'] = RULES } }
    d:estate { 'work', 'guest', 'vault' }
    for qube, tag in pairs { guest = 'guest', work = 'shared', vault = 'vault' } do d:ok('admin.vm.tag.Set', qube, tag) end
  end)

  after_each(function() d:stop() end)

  local function status()
    return json.decode(d:ok('console.Status', 'dom0', '', '', CONSOLE))
  end

  -- The counters of the rule that begins in this line.
  local function rule(line)
    for _, each in ipairs(status().rules) do
      if each.line == line and each.file == 'acl.d/50.lua' then return each end
    end
  end

  -- Runs the tool; its exit status, output and errors.
  local function acl(...) return acl_tool({ ... }, { tmpdir = d.directory, env = { 'TZ=UTC' } }) end

  local function here(...)
    local words = { ... }
    words[#words + 1] = '--socket-dir'
    words[#words + 1] = d.directory
    return acl(table.unpack(words))
  end

  it('counts the rules of narrow sets too, and names a set that does not load', function()
    for name, text in pairs { hers = "on('admin-permission:admin.vm.property.Get', function() deny() end)", broken = 'on(' } do
      assert(uv.fs_mkdir(d.acl_dir .. '/' .. name, 448))
      daemons.write_file(('%s/%s/10.lua'):format(d.acl_dir, name), text)
    end
    d:set_rule('60.lua', "narrow('hers', { tag = 'vault' })\nnarrow('broken', { tag = 'shared' })")
    assert.equal('PermissionDenied', d:call('work', 'admin.vm.property.Get', 'vault', 'label').class)
    local told, hers = status(), nil
    for _, each in ipairs(told.rules) do
      if each.narrow then hers = each end
    end
    assert.are.same({ 'acl.d/hers/10.lua', 1, 1, 'tag:vault' }, { hers.file, hers.calls, hers.denials, hers.narrow })
    assert.equal(#told.rules, told.generation.rules)
    assert.is_nil(told.narrows[1].problem)
    assert.truthy(told.narrows[2].problem:find('acl.d/broken/10.lua:1: ', 1, true))
    local _, output = acl('status', '--socket-dir', d.directory)
    assert.truthy(output:find('acl.d/hers/10.lua:1 +1 +1 +0 +0 '), output)
    assert.truthy(output:find('narrow rules do not load, so qubes with tag:shared are closed: acl.d/broken/10.lua:1: ', 1, true), output)
  end)

  it('gives the limits as a list, also when there are none', function()
    for _, method in ipairs { 'console.Status', 'internal.Status' } do
      assert.truthy(d:ok(method, 'dom0', '', '', CONSOLE):find('"limits": []', 1, true), method)
    end
  end)

  it('counts questions, denials, failures and what filters remove', function()
    assert.are.equal(0, rule(8).calls)
    for _ = 1, 3 do d:call('work', 'admin.vm.Start', 'vault') end
    d:call('work', 'admin.vm.Start', 'guest')
    for _ = 1, 2 do d:call('work', 'admin.vm.Kill', 'guest') end
    d:call('work', 'admin.vm.tag.List', 'vault')
    local start, kill, tags = rule(4), rule(7), rule(9)
    assert.are.same({ 4, 3, 0, 0 }, { start.calls, start.denials, start.failures, start.filtered })
    assert.are.same({ 2, 0, 2, 0 }, { kill.calls, kill.denials, kill.failures, kill.filtered })
    assert.are.same({ 1, 0, 1, 0 }, { tags.calls, tags.denials, tags.failures, tags.filtered })
    assert.is_true(start.ns > 0 and math.abs(start.asked - os.time()) < 100)
    assert.is_nil(rule(8).asked)
  end)

  it('counts what visibility asks, and events', function()
    local before = rule(1)
    d:call('guest', 'admin.vm.property.Get', 'vault', 'label')
    local after = rule(1)
    assert.are.same({ 1, 1 }, { after.calls - before.calls, after.filtered - before.filtered })
    local stream = d:subscribe('guest')
    d:ok('admin.vm.tag.Set', 'work', 'x')
    assert.is_nil(stream:wait('domain-tag-add:x', 0.2))
    assert.are.same({ 1, 1 }, { rule(10).calls, rule(10).filtered })
    stream:close()
  end)

  it('does not count what is only explained', function()
    local before = rule(4)
    d:ok('console.Explain', 'dom0', '', '{"source":"work","method":"admin.vm.Start","dest":"vault"}', CONSOLE)
    assert.are.same(before, rule(4))
  end)

  it('begins anew with each generation', function()
    d:call('work', 'admin.vm.Start', 'vault')
    assert.are.equal(1, rule(4).calls)
    d:reload()
    assert.are.equal(0, rule(4).calls)
  end)

  it('goes back to the generation before, and forward again', function()
    local first = status().generation
    assert.are.equal(json.null, status().previous)
    local answer = d:call('dom0', 'console.Rollback', 'dom0', '', '', CONSOLE)
    assert.are.same({ 'exception', 'generation 1 goes on: there is no generation before this one' }, { answer.kind, answer.message })
    d:set_rule('50.lua', "on('admin-permission:admin.vm.List', function() deny('new') end)")
    assert.are.equal('new', d:call('work', 'admin.vm.List').message)
    assert.are.equal(('generation=1 digest=%s\n'):format(first.digest), d:ok('console.Rollback', 'dom0', '', '', CONSOLE))
    assert.are.equal('ok', d:call('work', 'admin.vm.List').kind)
    assert.are.equal('a "vault"\nstays closed', d:call('work', 'admin.vm.Start', 'vault').message)
    assert.are.same({ 1, 2 }, { status().generation.number, status().previous.number })
    assert.is_true(d:logged('back to generation 1 from 2'))
    assert.truthy(d:ok('console.Rollback', 'dom0', '', '', CONSOLE):find('^generation=2 '))
    assert.are.equal('new', d:call('work', 'admin.vm.List').message)
  end)

  it('asks streams again after a rollback', function()
    d:set_rule('50.lua', '')
    local stream = d:subscribe('guest')
    d:write_rule('50.lua', "on('admin-permission:admin.Events', function() deny() end)")
    d:reload()
    assert.is_true(daemons.run_until(function() return stream.ended end, 5))
    d:ok('console.Rollback', 'dom0', '', '', CONSOLE)
    stream = d:subscribe('guest')
    d:ok('console.Rollback', 'dom0', '', '', CONSOLE)
    assert.is_true(daemons.run_until(function() return stream.ended end, 5))
  end)

  it('goes forward when files change after a rollback', function()
    d:set_rule('50.lua', "on('admin-permission:admin.vm.List', function() deny('new') end)")
    d:ok('console.Rollback', 'dom0', '', '', CONSOLE)
    d:write_rule('50.lua', "on('admin-permission:admin.vm.List', function() deny('newer') end)")
    assert.is_true(d:logged('generation 3 serves', 10))
    assert.are.equal('newer', d:call('work', 'admin.vm.List').message)
    assert.are.equal(1, status().previous.number)
  end)

  it('keeps one generation, and not one that was locked', function()
    local used = {}
    for i = 1, 12 do
      d:reload()
      used[i] = tonumber(d:ok('internal.Status', 'dom0', '', '', CONSOLE):match('"resident_kib": (%d+)'))
    end
    assert.is_true(used[12] < used[4] + 30000, table.concat(used, ' '))
    local locked = daemons.start { acl = { ['50.lua'] = 'on(' } }
    assert.truthy(json.decode(locked:ok('console.Status', 'dom0', '', '', CONSOLE)).generation.locked:find('acl.d/50.lua:1', 1, true))
    locked:set_rule('50.lua', '')
    assert.are.equal(json.null, json.decode(locked:ok('console.Status', 'dom0', '', '', CONSOLE)).previous)
    locked:stop()
  end)

  it('hands out no fresh burst of a limit', function()
    local limit = "limit { src = 'work', method = 'admin.vm.List', rate = 0.001, burst = 5 }\n"
    d:set_rule('50.lua', limit)
    local function passes() return d:call('work', 'admin.vm.List').kind == 'ok' end
    for _ = 1, 3 do assert.is_true(passes()) end
    d:reload()
    d:ok('console.Rollback', 'dom0', '', '', CONSOLE)
    assert.is_true(passes())
    d:ok('console.Rollback', 'dom0', '', '', CONSOLE)
    assert.is_true(passes())
    for _ = 1, 3 do
      assert.is_false(passes())
      d:ok('console.Rollback', 'dom0', '', '', CONSOLE)
    end
    daemons.sleep(1.2) -- for the sweep, which looks at all buckets
    assert.is_false(passes())
  end)

  it('gives no grant back whose time is over', function()
    local clock = new_clock()
    local other = daemons.start { binary = 'qubesd-testing', env = clock.env, acl = {
      ['50.lua'] = ("grant { src = 'work', method = 'admin.vm.tag.List', expires = '%s' }"):format(os.date('!%Y-%m-%dT%H:%M:%SZ', os.time() + 600)),
    } }
    other:estate { 'work' }
    assert.are.equal('ok', other:call('work', 'admin.vm.tag.List', 'work').kind)
    other:set_rule('50.lua', '')
    clock:advance(1000)
    other:ok('console.Rollback', 'dom0', '', '', CONSOLE)
    assert.are.equal('PermissionDenied', other:call('work', 'admin.vm.tag.List', 'work').class)
    other:stop()
    clock:remove()
  end)

  it('serves calls in flight to their end through rollbacks', function()
    d:reload()
    local pending = {}
    for i = 1, 20 do
      pending[i] = d:begin('work', 'admin.vm.List', 'dom0')
      if i % 4 == 0 then pending[#pending + 20] = d:begin('dom0', 'console.Rollback', 'dom0', '', '', CONSOLE) end
    end
    for i = 1, 20 do
      assert.truthy(daemons.run_until(function() return pending[i].result() end, 10))
      assert.are.equal('ok', pending[i].result().kind)
    end
  end)

  it('is shown by qubesd-acl status', function()
    d:call('work', 'admin.vm.Start', 'vault')
    d:reload()
    d:call('work', 'admin.vm.Start', 'vault')
    local code, out = here('status')
    assert.are.equal(0, code)
    assert.truthy(out:match('^generation 2, digest %x+, since %d+%-%d+%-%d+ %d+:%d+:%d+, %d+ rules\nrollback leads to generation 1'))
    assert.truthy(out:match('acl%.d/50%.lua:4 +1 +1 +0 +0 +[%d.]+ %S+s +%d+%-%d+ %d+:%d+:%d+  admin%-permission:admin%.vm%.Start\n'), out)
    assert.truthy(out:match('never asked:\n.*acl%.d/50%.lua:7 +admin%-permission:admin%.vm%.Kill\n'))
    local text
    code, text = here('status', '--json')
    assert.are.equal(0, code)
    assert.are.equal(2, json.decode(text).generation.number)
  end)

  it('is changed by qubesd-acl reload and rollback', function()
    d:write_rule('50.lua', 'on(')
    local code, _, err = here('reload')
    assert.are.equal(1, code)
    assert.truthy(err:find('generation 1 goes on: acl.d/50.lua:1', 1, true))
    code, _, err = here('rollback')
    assert.are.same({ 1, 'generation 1 goes on: there is no generation before this one\n' }, { code, err })
    d:write_rule('50.lua', '')
    local out
    code, out = here('reload')
    assert.are.equal(0, code)
    assert.truthy(out:match('^generation %d+ serves, digest %x+\n$'))
    code, out = here('rollback')
    assert.are.equal(0, code)
    assert.truthy(out:match('^generation %d+ serves, digest %x+\n$'))
  end)

  it('is told to Prometheus', function()
    d:call('work', 'admin.vm.Start', 'vault')
    local code, out = here('metrics')
    assert.are.equal(0, code)
    local kinds, values = {}, {}
    for line in out:gmatch('[^\n]+') do
      local name, kind = line:match('^# TYPE ([%a_]+) (%a+)$')
      if name then
        assert.is_nil(kinds[name])
        kinds[name] = kind
      elseif line:sub(1, 1) ~= '#' then
        local metric, labels, value = line:match('^([%a_]+){?([^}]*)}? ([%d.e+-]+)$')
        assert.truthy(metric and kinds[metric], line)
        assert.is_nil(values[metric .. labels], 'two samples with the same labels')
        values[metric .. labels] = tonumber(value)
      end
    end
    assert.are.equal('counter', kinds.qubesd_rule_denials_total)
    local found = 0
    for key, value in pairs(values) do
      if key:find('qubesd_rule_denials_total', 1, true) and key:find('file="acl.d/50.lua",line="4",event="admin-permission:admin.vm.Start"', 1, true) then
        found = value
      end
    end
    assert.are.equal(1, found)
    assert.are.equal(1, values.qubesd_calls_denied_total)
  end)

  it('is explained by qubesd-acl explain, of the daemon that serves', function()
    local code, out = here('explain', 'work', 'admin.vm.Start', 'vault')
    assert.are.equal(1, code)
    assert.truthy(out:find('denied by acl.d/50.lua:4', 1, true))
    code, out = here('explain', 'guest', 'admin.vm.List', 'dom0')
    assert.are.equal(0, code)
    assert.truthy(out:match('acl%.d/50%.lua:1 +removes +vault\n'))
    assert.truthy(out:match('%- +kept +work\n'))
    code, out = here('explain', '--json', 'work', 'admin.vm.feature.Set', 'vault', 'f', '--payload', 'é')
    assert.are.equal(1, code)
    assert.are.equal('exception', json.decode(out).verdict)
    for _, words in ipairs { { 'work' }, { 'a', 'b', 'c', 'd', 'e' }, { '--no-such' }, { '--why-hidden', 'work' }, { '--store', '/x', 'a', 'b', 'c' } } do
      assert.are.equal(2, (here('explain', table.unpack(words))))
    end
  end)

  it('is explained why a qube is hidden, in each way that it could be met', function()
    local code, out = here('explain', '--why-hidden', 'vault', '--from', 'guest')
    assert.are.equal(1, code)
    assert.truthy(out:find('^acl%.d/50%.lua:1 hides vault from guest\n'))
    for _, words in ipairs { 'not listed', 'its events are not told', 'not counted', "QubesVMNotFoundError: no such qube: 'vault'" } do
      assert.truthy(out:find(words, 1, true), words)
    end
    code, out = here('explain', '--why-hidden', 'work', '--from', 'guest')
    assert.are.equal(0, code)
    assert.truthy(out:find('^guest may know of work\n'))
    code, out = here('explain', '--json', '--why-hidden', 'vault', '--from', 'guest')
    assert.are.equal(1, code)
    assert.are.equal('acl.d/50.lua:1', json.decode(out).ways[4].place)
  end)

  it('is explained with other rules, on a copy of the store', function()
    local other = d.directory .. '/other'
    uv.fs_mkdir(other, 448)
    local file = assert(io.open(other .. '/10.lua', 'w'))
    file:write("on('admin-permission:admin.vm.List', function() deny('tried') end)\n")
    file:close()
    local code, out = acl('explain', 'work', 'admin.vm.List', 'dom0', '--acl', other, '--store', d.directory)
    assert.are.equal(1, code)
    assert.truthy(out:find('denied by acl.d/10.lua:1: tried', 1, true))
    assert.are.equal('ok', d:call('work', 'admin.vm.List').kind)
    code = acl('explain', 'work', 'admin.vm.List', 'dom0', '--acl', other, '--store', '/nowhere')
    assert.are.equal(3, code)
    for name in uv.fs_scandir_next, uv.fs_scandir(d.directory) do assert.is_nil(name:find('^qubesd%-acl%.'), name) end
  end)
end)
