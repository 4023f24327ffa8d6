-- SPDX-License-Identifier: GPL-2.0-or-later
-- qubesd-acl check: one spec for each kind of finding, with the line and column that it stands at; and what is no finding.

local cjson = require('cjson')
local uv = require('luv')
local acl_tool = require('spec.support.acl_tool')
local daemon = require('spec.support.daemon')

describe('qubesd-acl check', function()
  local directory

  before_each(function() directory = daemon.temporary_directory() end)
  after_each(function() daemon.remove_tree(directory) end)

  local function write(name, text) daemon.write_file(directory .. '/' .. name, text) end

  local function run(arguments, before)
    return acl_tool({ 'check', table.unpack(arguments) }, { before = before })
  end

  -- The findings of a file: "LINE:COLUMN severity message | advice".
  local function findings(...)
    local status, output, said = run { directory, '--json', ... }
    local list = {}
    for line in output:gmatch('[^\n]+') do
      local each = cjson.decode(line)
      list[#list + 1] = ('%d:%d %s %s | %s'):format(each.line, each.column, each.severity, each.message, each.advice)
      assert.truthy(each.file:find(directory .. '/', 1, true))
    end
    return list, status, said
  end

  local function found(text)
    write('10-a.lua', text)
    return (findings())
  end

  local function rule(event, body)
    return ("on('%s', function(src, event, info)\n%s\nend)\n"):format(event, body)
  end

  local SET = 'admin-permission:admin.vm.property.Set'

  it('finds nothing in the examples of the documentation, and ends with 0', function()
    local status, output = run { 'docs/acl-examples' }
    assert.equal(0, status)
    assert.truthy(output:find('^%d+ files: 0 errors, 0 warnings\n$'), output)
  end)

  it('finds syntax errors in each of the files, not only in the first', function()
    write('10-a.lua', rule('admin-permission:admin.vm.List', '  if src.name = 1 then deny() end'))
    write('20-b.lua', 'on(')
    write('30-c.lua', rule(SET, 'deny()'))
    local list, status = findings()
    assert.are.same({
      "2:15 error 'then' expected near '=' | mend the line, or the one before it",
      "1:1 error unexpected symbol near <eof> | mend the line, or the one before it",
    }, list)
    assert.equal(1, status)
  end)

  it('finds what goes wrong while a file runs, and on() inside a function', function()
    assert.are.same({
      "2:1 error attempt to index a nil value (local 'x') | look at what stands on this line: something in it is nothing (nil) or of another kind",
    }, found('local x = nil\nx.y = 1\n'))
    assert.are.same({ '1:1 error too many instructions | rules are read within a budget: make it simpler' }, found('while true do end'))
    assert.are.same({ '2:3 error on() stands inside a rule, where it fails | put it at the top of the file' },
      found(rule(SET, "  on('" .. SET .. "', function() end)")))
    assert.are.same({}, found("local function on_each(name) on('admin-permission:' .. name, function() end) end\non_each('admin.vm.Start')\n"))
  end)

  it('finds methods and events that there are none of, and offers the nearest', function()
    assert.are.same({ '1:22 error there is no method admin.vm.Strat | did you mean admin.vm.Start?' }, found(rule('admin-permission:admin.vm.Strat', 'deny()')))
    assert.are.same({ '1:22 error there is no method that admin.wm.* could mean | mend this line: until then none of the new rules is in force' },
      found(rule('admin-permission:admin.wm.*', 'deny()')))
    assert.truthy(found(rule('domain-start', 'deny()'))[1]:find('a rule judges events named admin-permission:METHOD', 1, true))
    assert.are.same({ "1:30 error limit: there is no method 'admin.vm.Strat' | did you mean admin.vm.Start?" },
      found("limit { src = '*', method = 'admin.vm.Strat', rate = 1, burst = 1 }"))
  end)

  it('warns of rules on methods that the daemon does not have yet', function()
    write('10-a.lua', rule('mgmt-permission:mgmt.pool.Add', 'deny()'))
    local list, status = findings()
    assert.equal(1, #list)
    assert.truthy(list[1]:find('^1:5 warning there is no mgmt%-permission:mgmt%.pool%.Add yet'), list[1])
    assert.equal(0, status)
    local _, strict = findings('--strict')
    assert.equal(1, strict)
  end)

  it('finds fields that info does not have', function()
    assert.are.same({ "2:9 error info has no field 'newvlaue' in admin.vm.property.Set | did you mean newvalue?" },
      found(rule(SET, 'if info.newvlaue then deny() end')))
    assert.are.same({}, found(rule(SET, "if info.newvalue == 'x' and info.dest.name == info.arg then deny() end")))
    assert.are.same({ "2:9 error info has no field 'value' in any of these methods | docs/api.md lists the fields of each method" },
      found(rule('mgmt-permission:mgmt.vm.tag.*', 'if info.value then deny() end')))
    assert.truthy(found(rule('admin-permission:admin.*', 'if info.newvlaue then deny() end'))[1]:find(' warning ', 1, true)) -- some are yet to come
    assert.are.same({}, found(rule('admin-permission:admin.*', 'if info.newvalue then deny() end')))
  end)

  it('finds fields that a qube or a label does not have, wherever it is certain to be one', function()
    assert.are.same({ "2:8 error a qube has no field 'nmae' | did you mean name?" }, found(rule(SET, 'if src.nmae then deny() end')))
    assert.are.same({ "2:33 error a qube has no field 'lable' | did you mean label?" },
      found(rule(SET, 'local x = info.dest; if x and x.lable then deny() end')))
    assert.are.same({ "2:20 error a label has no field 'colour' | it has name, color and index" },
      found(rule(SET, 'if src.netvm.label.colour then deny() end')))
    assert.are.same({ "2:35 error a qube has no field 'tgas' | did you mean tags?" },
      found(rule('admin-permission:admin.vm.List', 'return function(qube) return qube.tgas.x end')))
    assert.are.same({ "2:78 error a qube has no field 'nam' | did you mean name?" }, found(rule('admin-permission:admin.vm.List',
      'return filter_list(function(all) for _, q in ipairs(all) do deny(q.name .. q.nam) end return all end)')))
    assert.are.same({}, found(rule(SET, "local x = src; if info.arg == '' then x = { nmae = 1 } end; if x.nmae then deny() end"))) -- not certain any more
    assert.are.same({}, found(rule(SET, 'if src.tags.anything and src.features.whatever then deny() end')))
    assert.are.same({}, found(rule('admin-permission:admin.vm.tag.List', "return function(name) return name:sub(1, 1) ~= 'x' end")))
  end)

  it('finds what is never equal, and what can\'t be done with a qube', function()
    assert.are.same({ '2:4 error a qube is never equal to a text | write .name behind it' }, found(rule(SET, "if src == 'dom0' then deny() end")))
    assert.are.same({ '2:13 error a label is never equal to a text | write .name behind it' },
      found(rule(SET, "if 'red' ~= info.dest.label then deny() end")))
    assert.are.same({ "2:16 error a qube can't be part of a text | write .name behind it" }, found(rule(SET, "deny('no, ' .. src)")))
    assert.are.same({ "2:13 warning event is never 'admin-permission:admin.vm.Strat' here | did you mean admin-permission:admin.vm.Start?" },
      found(rule('admin-permission:admin.vm.*', "if event == 'admin-permission:admin.vm.Strat' then deny() end")))
    assert.are.same({ '2:1 error a rule can only look: it changes nothing | leave this out; deny() refuses, a filter hides' },
      found(rule(SET, "src.tags.x = true")))
  end)

  it('finds globals', function()
    assert.are.same({ "2:1 error there is no 'os' for rules | a rule only looks: it has no files, programs, clock or output" },
      found(rule(SET, 'os.exit()')))
    assert.are.same({ "1:1 error there is no 'no' for rules | did you mean on?" }, found(rule(SET, 'deny()'):gsub('^on', 'no')))
    assert.are.same({ "2:4 error there is no math.random for rules | docs/acl.md lists what there is" },
      found(rule(SET, 'if math.random() > 1 then deny() end')))
    assert.are.same({ "1:1 warning 'count' is not declared, so the whole file shares it | write local before its first use" },
      found('count = 1\n' .. rule(SET, 'if count == 2 then deny() end')))
    assert.are.same({ "1:1 error 'deny' is what rules are made with | choose another name, and write local before it" }, found('deny = 1\n'))
  end)

  it('finds filters where the event takes none, and results that refuse', function()
    assert.are.same({ '2:8 error admin.vm.Start takes no filter, so this refuses the call | call deny() to refuse it, or return nothing' },
      found(rule('admin-permission:admin.vm.Start', 'return function(qube) return qube.tags.x end')))
    assert.truthy(found(rule('admin-permission:admin.vm.*', 'return function() return true end'))[1]:find('2:8 warning among the methods', 1, true))
    assert.are.same({ '2:8 error events come one by one, so filter_list is not for admin.Events | return a function that judges one event' },
      found(rule('admin-permission:admin.Events', 'return filter_list(function(list) return list end)')))
    assert.are.same({ '2:8 error a rule that returns true refuses the call | return nothing to permit, call deny() to refuse, return a function to filter' },
      found(rule(SET, 'return true')))
  end)

  it('shows a finding on one line, with the place where it is, and counts', function()
    write('10-a.lua', '-- ü\n' .. rule('admin-permission:admin.vm.Strat', "deny('ü')"))
    local status, output = run { directory .. '/' }
    assert.equal(1, status)
    assert.equal(('%s/10-a.lua:2:22: error: there is no method admin.vm.Strat: did you mean admin.vm.Start?\n1 file: 1 error, 0 warnings\n'):format(directory),
      output)
  end)

  it('reads shadow rules, but neither tests nor hidden files', function()
    for _, name in ipairs { 'spec', 'shadow' } do uv.fs_mkdir(directory .. '/' .. name, 448) end
    for _, name in ipairs { 'spec/10-a.lua', '.10-a.lua', '10-a.lua~' } do write(name, 'on(') end
    assert.are.same({}, (findings()))
    write('shadow/10-a.lua', rule('admin-permission:admin.vm.Strat', 'deny(src.nmae)'))
    assert.are.same({
      '1:22 error there is no method admin.vm.Strat | did you mean admin.vm.Start?', "2:10 error a qube has no field 'nmae' | did you mean name?",
    }, (findings()))
  end)

  it('finds narrow rules that do not load', function()
    write('10-a.lua', "\nnarrow('none', { tag = 'x' })\n")
    local list = findings()
    assert.equal(1, #list)
    assert.truthy(list[1]:find('^2:1 error acl%.d/none: is no directory'), list[1])
  end)

  it('says so when luacheck is not there, and still loads the files', function()
    write('10-a.lua', 'on(')
    write('20-b.lua', rule(SET, 'src.nmae()'))
    local status, output, said = run({ directory, '--json' }, "package.preload.luacheck = function() error('not here') end")
    assert.equal(1, status)
    assert.truthy(output:find('unexpected symbol near <eof>', 1, true))
    assert.is_nil(output:find('nmae', 1, true))
    assert.truthy(said:find('luacheck is not installed (Debian: lua-check, Fedora: luacheck)', 1, true))
  end)

  it('fails with another status where there is nothing to check', function()
    assert.equal(2, (run { directory .. '/none' }))
    assert.equal(2, (run { directory, 'more' }))
    assert.equal(0, (run { '--help' }))
  end)

  it('finds what keeps narrow rules from loading', function()
    assert(uv.fs_mkdir(directory .. '/hers', 448))
    write('10-a.lua', "narrow('hers', { tag = 'hers' })\nlimit { src = 'x', method = 'admin.*', rate = 1 }\n")
    assert.same({}, (findings()))
    write('hers/10-b.lua', '\non(')
    local list, status = findings()
    assert.equal(1, status)
    assert.equal(1, #list)
    assert.truthy(list[1]:find('^2:1 error unexpected symbol near <eof>'))
  end)
end)
