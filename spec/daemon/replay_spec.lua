-- SPDX-License-Identifier: GPL-2.0-or-later
-- qubesd-acl replay: an audit that a daemon has really written, judged anew.

local daemon = require('spec.support.daemon')
local json = require('cjson')
local uv = require('luv')

local OLD = [[
on('admin-permission:admin.vm.feature.Get', function(src, event, info)
  if info.arg == 'closed' then deny('not yet') end
  if info.arg == 'fails' then error('broken') end
end)
on('admin-permission:admin.vm.List', function(src)
  if src.name == 'guest' then return function(qube) return not qube.tags.hidden end end
end)
]]

local NEW = [[
on('admin-permission:admin.vm.feature.Get', function(src, event, info)
  if info.arg == 'open' then deny('no more') end
  if info.arg == 'fails' then error('broken in another way') end
  if info.arg == 'breaks' then error('oops') end
end)
on('admin-permission:admin.vm.property.Set', function(src, event, info) if info.newvalue == 'x' then deny() end end)
on('admin-permission:admin.vm.Start', function(src, event, info) if info.dest.tags.vault then deny('a vault') end end)
on('admin-permission:admin.vm.List', function(src)
  if src.name == 'guest' then return function(qube) return not qube.tags.vault end end
end)
]]

describe('qubesd-acl replay', function()
  local d, path, rules

  setup(function()
    local directory = daemon.temporary_directory()
    path, rules = directory .. '/audit.log', directory .. '/new-rules'
    uv.fs_mkdir(rules, 448)
    d = daemon.start { directory = directory, acl = { ['10-a.lua'] = OLD }, args = { '--audit-file', path } }
    d:estate { 'guest', 'work', 'vault', 'secret' }
    d:ok('admin.vm.tag.Set', 'vault', 'vault')
    d:ok('admin.vm.tag.Set', 'secret', 'hidden')
  end)

  teardown(function() d:stop() end)

  before_each(function()
    for name in pairs { ['50-new.lua'] = 1, ['60-more.lua'] = 1 } do os.remove(rules .. '/' .. name) end
    daemon.write_file(rules .. '/50-new.lua', NEW)
  end)

  -- Makes the calls, each { source, method, destination, argument, payload }, and puts their lines into a file of their own.
  local function audit_of(calls)
    local function count()
      local lines = {}
      local file = io.open(path)
      for line in file and file:lines() or function() end do lines[#lines + 1] = line end
      if file then file:close() end
      return lines
    end
    local before = #count()
    for _, call in ipairs(calls) do d:call(call[1], call[2], call[3], call[4], call[5]) end
    assert.is_true(daemon.run_until(function() return #count() >= before + #calls end, 10))
    local lines = count()
    daemon.write_file(d.directory .. '/replayed', table.concat(lines, '\n', before + 1) .. '\n')
    return d.directory .. '/replayed'
  end

  -- The exit status and the output, of `--json` as an array.
  local function replay(audit, options)
    local command = ('QD_BUILD_DIR=%s tools/qubesd-acl replay %s --rules %s --store %s %s 2>&1; echo "status $?"'):format(daemon.build_dir, audit, rules,
      d.directory, options or '--json')
    local pipe = assert(io.popen(command))
    local output = pipe:read('a')
    pipe:close()
    local status = tonumber(output:match('status (%d+)\n$'))
    if options then return status, output end
    local objects = {}
    for line in output:gmatch('[^\n]+') do
      if line:sub(1, 7) ~= 'status ' then objects[#objects + 1] = json.decode(line) end
    end
    return status, objects
  end

  it('says which decisions change, by which rule, and how often', function()
    local audit = audit_of {
      { 'work', 'admin.vm.feature.Get', 'work', 'open' }, { 'work', 'admin.vm.feature.Get', 'work', 'closed' },
      { 'work', 'admin.vm.feature.Get', 'work', 'open' }, { 'work', 'admin.vm.feature.Get', 'work', 'same' },
      { 'work', 'admin.vm.feature.Get', 'work', 'fails' }, { 'work', 'admin.vm.feature.Get', 'work', 'breaks' },
    }
    local status, told = replay(audit)
    assert.equal(1, status)
    assert.equal(4, #told)
    local function at(i) return { told[i].argument, told[i].was, told[i].becomes, told[i].count, told[i].by or told[i].rule, told[i].reason } end
    assert.same({ 'open', 'permitted', 'denied', 2, 'acl.d/50-new.lua:1', 'no more' }, at(1))
    assert.same({ 'closed', 'denied', 'permitted', 1, 'acl.d/10-a.lua:1' }, at(2))
    assert.same({ 'breaks', 'permitted', 'failed', 1, 'acl.d/50-new.lua:1', 'acl.d/50-new.lua:4: oops' }, at(3))
    assert.same({ 6, 2, 4, 0 }, { told[4].decisions, told[4].same, told[4].changed, told[4].undecided })
    local text_status, text = replay(audit, '')
    assert.equal(1, text_status)
    assert.truthy(text:find('permitted %-> denied%s+2 x%s+admin.vm.feature.Get%+open%s+work %-> work%s+acl.d/50%-new.lua:1%s+no more'), text)
    assert.truthy(text:find('6 decisions under', 1, true), text)
  end)

  it('judges writes, and does not do them', function()
    local before = d:ok('admin.vm.CurrentState', 'vault')
    daemon.write_file(rules .. '/50-new.lua', NEW)
    local audit = audit_of { { 'work', 'admin.vm.tag.Set', 'work', 'x' }, { 'work', 'admin.vm.Start', 'vault' } }
    local status, told = replay(audit)
    assert.equal(1, status)
    assert.same({ 'admin.vm.Start', 'permitted', 'denied', 'a vault' }, { told[1].method, told[1].was, told[1].becomes, told[1].reason })
    assert.equal(1, told[2].same)
    d:call('dom0', 'admin.vm.Kill', 'vault')
    assert.truthy(before:find('Halted', 1, true))
  end)

  it('knows what becomes hidden, and what is not hidden any more', function()
    local status, told = replay(audit_of {
      { 'guest', 'admin.vm.feature.Get', 'vault', 'x' }, { 'guest', 'admin.vm.feature.Get', 'secret', 'x' },
      { 'guest', 'admin.vm.feature.Get', 'nobody', 'x' }, { 'guest', 'admin.vm.property.Set', 'vault', 'netvm', '' },
    })
    assert.equal(1, status)
    assert.same({ 'vault', 'permitted', 'hidden', 'acl.d/50-new.lua:8' }, { told[1].destination, told[1].was, told[1].becomes, told[1].by })
    assert.same({ 'secret', 'hidden', 'permitted' }, { told[2].destination, told[2].was, told[2].becomes })
    assert.same({ 'admin.vm.property.Set', 'hidden' }, { told[3].method, told[3].becomes }) -- the payload does not matter any more
    assert.equal(1, told[4].unknown)
  end)

  it('does not guess: payloads, qubes that are gone, cut arguments', function()
    d:ok('admin.vm.Create.AppVM', 'dom0', '', 'name=brief label=red')
    local audit = audit_of {
      { 'work', 'admin.vm.feature.Set', 'work', 'a', 'v' }, { 'work', 'admin.vm.feature.Get', 'brief', 'open' },
      { 'work', 'admin.vm.feature.Get', 'work', ('a'):rep(2000) },
    }
    d:ok('admin.vm.Remove', 'brief')
    local status, told = replay(audit)
    assert.equal(0, status)
    assert.equal(4, #told, json.encode(told))
    for i = 1, 3 do assert.equal('undecided', told[i].becomes) end
    assert.same({ ['needs the payload'] = 1, ['a qube of the call is gone'] = 1, ['the audit has not the whole call'] = 1 }, told[4].reasons)
    local _, text = replay(audit, '')
    assert.truthy(text:find('not decided, 1: needs the payload', 1, true), text)
  end)

  it('judges grants by the time of the call', function()
    local audit = audit_of { { 'work', 'admin.vm.feature.Get', 'work', 'g' } }
    local file = assert(io.open(audit))
    local line = json.decode(file:read('a'))
    file:close()
    local text = {}
    for i, year in ipairs { '2020', '2040', '2020' } do
      line.time, line.sequence = year .. '-03-01T00:00:00.000000Z', i
      text[i] = json.encode(line)
    end
    daemon.write_file(audit, table.concat(text, '\n') .. '\n')
    daemon.write_file(rules .. '/60-more.lua', "grant { src = 'work', method = 'admin.vm.feature.Get', expires = '2020-03-01T00:00:01Z' }")
    local status, told = replay(audit)
    assert.equal(1, status)
    assert.same({ 'denied', 1, '2040-03-01T00:00:00.000000Z' }, { told[1].becomes, told[1].count, told[1].first })
    assert.same({ 3, 2, 1 }, { told[2].decisions, told[2].same, told[2].changed })
    daemon.write_file(rules .. '/60-more.lua', "grant { src = 'work', method = 'admin.vm.feature.Get', expires = '2020-03-01T00:00:00Z' }")
    status, told = replay(audit)
    assert.same({ 1, 3, 3 }, { status, told[1].count, told[2].changed })
  end)

  it('leaves out what rules did not decide, and says so', function()
    local audit = audit_of { { 'work', 'admin.vm.feature.Get', 'work', 'same' } }
    local file = assert(io.open(audit, 'a'))
    file:write('{"time":"2026-11-23T12:00:00.000000Z","dropped":7}\nno line\n[1]\n{"verdict":"permitted"}\n')
    file:write('{"time":"2026-11-23T12:00:00.000000Z","source":"work","method":"admin.label.Remove","destination":"dom0","argument":"x","verdict":"refused"}\n')
    file:close()
    local status, told = replay(audit)
    assert.equal(0, status)
    assert.same({ 1, 7, 3, 1 }, { told[1].decisions, told[1].dropped, told[1].unreadable, told[1].refused })
  end)

  it('fails with rules that do not load, and without rules or audit', function()
    local audit = audit_of { { 'work', 'admin.vm.feature.Get', 'work', 'same' } }
    daemon.write_file(rules .. '/60-more.lua', 'on(')
    local status, output = replay(audit, '')
    assert.equal(3, status)
    assert.truthy(output:find('60-more.lua:1:', 1, true), output)
    os.remove(rules .. '/60-more.lua')
    assert.equal(2, (replay(d.directory .. '/nowhere', '')))
  end)
end)
