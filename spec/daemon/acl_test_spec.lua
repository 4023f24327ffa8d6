-- SPDX-License-Identifier: GPL-2.0-or-later
-- qubesd-acl test: what each word of the vocabulary accepts and how it fails; and a daemon that tests what it loads before it serves (acl-tests).

local uv = require('luv')
local acl_tool = require('spec.support.acl_tool')
local daemon = require('spec.support.daemon')

local VAULT = [[
on('admin-permission:admin.vm.Start', function(src, event, info)
  if info.dest.tags.vault and src.name ~= 'dom0' then
    deny('from dom0 only')
  end
end)
]]
local GUEST = [[
on('admin-permission:admin.vm.List', function(src)
  if src.tags.guest then
    return function(qube)
      return qube.tags.shared
    end
  end
end)
]]
local ESTATE = [[
estate { work = { tags = { 'shared' } }, guest = { tags = { 'guest' } }, vault = { tags = { 'vault' }, features = { x = '1' } } }
]]

-- A directory of rules with tests.
local function make(rules, specs)
  local directory = daemon.temporary_directory()
  uv.fs_mkdir(directory .. '/spec', 448)
  for name, text in pairs(rules) do daemon.write_file(directory .. '/' .. name, text) end
  for name, text in pairs(specs) do daemon.write_file(directory .. '/spec/' .. name, text) end
  return directory
end

local function test(body, title)
  return ("test('%s', function()\n%s\nend)\n"):format(title or 'it', body)
end

describe('qubesd-acl test', function()
  local directory

  local function prepare(body, rules)
    directory = make(rules or { ['10-vault.lua'] = VAULT, ['20-guest.lua'] = GUEST }, { ['a.lua'] = ESTATE .. body })
  end

  after_each(function()
    if directory then daemon.remove_tree(directory) end
    directory = nil
  end)

  local function run(...) return acl_tool { 'test', directory, ... } end

  -- Runs tests that all have to pass.
  local function passes(body, rules)
    prepare(body, rules)
    local status, output, said = run()
    assert.equal(0, status, output .. said)
    assert.truthy(output:find('\n%d+ passed, 0 failed\n$'), output)
  end

  -- Runs one test, which has to fail; what is told of it from the second line on.
  local function fails(body, rules)
    prepare(test(body), rules)
    local status, output, said = run()
    assert.equal(1, status, output .. said)
    return (output:match('^FAILED   a%.lua: it\n(.-)\n0 passed, 1 failed\n$'):gsub(directory:gsub('%p', '%%%0'), 'DIR'):gsub('  +', ' '):gsub('^ ', ''))
  end

  it('passes what is as expected', function()
    passes(test [[
      expect('work', 'admin.vm.Start', 'vault'):denied('from dom0 only')
      expect('work', 'mgmt.vm.Start', 'vault'):denied()
      expect('dom0', 'admin.vm.Start', 'vault'):permitted()
      expect('guest', 'admin.vm.List'):lists { 'work' }
      expect('guest', 'admin.vm.List'):never_names('vault')
      expect('guest', 'admin.vm.property.Get', 'vault', 'name'):unknown()
      expect('work', 'admin.vm.feature.Get', 'vault', 'x'):answers('1')
      expect('work', 'admin.vm.feature.Set', 'vault', 'x', '2'):permitted()
      expect('work', 'admin.vm.feature.Get', 'vault', 'x'):answers('2')
      expect('work', 'admin.vm.Kill', 'work'):fails('QubesVMNotStartedError')
      expect('work', 'admin.vm.tag.List', 'guest'):lists { 'audiovm-dom0', 'created-by-dom0', 'guest', 'guivm-dom0' }
      expect('work', 'admin.Events'):permitted()
    ]])
  end)

  it('sees events as a qube sees them', function()
    passes(test [[
      local stream = events('guest', function()
        dom0('admin.vm.tag.Set', 'vault', 'a')
        dom0('admin.vm.tag.Set', 'work', 'b')
        dom0('admin.property.Set', 'dom0', 'clockvm', '')
      end)
      stream:sees { 'work domain-tag-add:b', 'property-pre-set:clockvm', 'property-set:clockvm' }
      stream:never_names('vault')
      events('work', function() dom0('admin.vm.Start', 'vault') end):includes { 'vault domain-start', 'vault domain-pre-start' }
    ]])
  end)

  it('gives each test its own qubes, as they are described', function()
    passes([[
      estate({
        ['sys-net'] = { provides_network = true, netvm = none, klass = 'StandaloneVM', label = 'orange' },
        dvm = { template_for_dispvms = true, netvm = 'sys-net', memory = 300 },
        disp = { klass = 'DispVM', template = 'dvm', autostart = true },
        minimal = { klass = 'TemplateVM' },
        work = { template = 'minimal', running = true, features = { a = '1', b = true }, tags = { 'x', 'y' } },
        dom0 = { tags = { 'z' } },
      }, { default_netvm = 'sys-net' })
    ]] .. test([[
      expect('dom0', 'admin.vm.List'):lists { 'disp', 'dom0', 'dvm', 'minimal', 'sys-net', 'work' }
      expect('dom0', 'admin.vm.property.Get', 'dvm', 'memory'):answers('default=False type=int 300')
      expect('dom0', 'admin.vm.property.Get', 'disp', 'autostart'):answers('default=False type=bool True')
      expect('dom0', 'admin.vm.property.Get', 'disp', 'template'):answers('default=False type=vm dvm')
      expect('dom0', 'admin.vm.property.Get', 'sys-net', 'label'):answers('default=False type=label orange')
      expect('dom0', 'admin.property.Get', 'dom0', 'default_netvm'):answers('default=False type=vm sys-net')
      expect('dom0', 'admin.vm.tag.Get', 'dom0', 'z'):answers('1')
      expect('dom0', 'admin.vm.feature.List', 'work'):lists { 'a', 'b' }
      expect('dom0', 'admin.vm.Kill', 'work'):permitted()
      expect('dom0', 'admin.vm.Remove', 'work'):permitted()
    ]], 'one') .. test([[
      expect('dom0', 'admin.vm.feature.Get', 'work', 'a'):answers('1')
    ]], 'two') .. 'estate {}\n' .. test([[
      expect('dom0', 'admin.vm.List'):lists { 'dom0' }
    ]], 'three'))
  end)

  it('tries some of the rules alone', function()
    passes("rules 'a'\n" .. test("expect('work', 'admin.vm.Start', 'vault'):permitted()")
      .. "rules { '10-vault.lua' }\n" .. test("expect('work', 'admin.vm.Start', 'vault'):denied()"),
      { ['a.lua'] = GUEST, ['10-vault.lua'] = VAULT })
  end)

  describe('tells what was expected, what came, and who decided,', function()
    it('of a call that is permitted', function()
      assert.equal('DIR/spec/a.lua:3: work admin.vm.Start guest\n expected denied: from dom0 only\n came permitted\n decided no rule',
        fails("expect('work', 'admin.vm.Start', 'guest'):denied('from dom0 only')"))
    end)

    it('of a call that is refused', function()
      assert.equal('DIR/spec/a.lua:3: work admin.vm.Start vault\n expected permitted\n came denied: from dom0 only\n decided acl.d/10-vault.lua:1',
        fails("expect('work', 'admin.vm.Start', 'vault'):permitted()"))
      assert.equal('DIR/spec/a.lua:3: work admin.vm.Start vault\n expected denied: no\n came denied: from dom0 only\n decided acl.d/10-vault.lua:1',
        fails("expect('work', 'admin.vm.Start', 'vault'):denied('no')"))
    end)

    it('of a rule that fails: that is no denial', function()
      assert.equal('DIR/spec/a.lua:3: work admin.vm.Start vault\n expected denied\n came refused, since a rule failed: '
        .. "acl.d/10-a.lua:1: attempt to index a nil value (field 'y')\n decided acl.d/10-a.lua:1",
        fails("expect('work', 'admin.vm.Start', 'vault'):denied()",
          { ['10-a.lua'] = "on('admin-permission:admin.vm.Start', function(s) local x = s.y.z end)" }))
    end)

    it('of a hidden qube', function()
      assert.equal("DIR/spec/a.lua:3: guest admin.vm.Start vault\n expected permitted\n came QubesVMNotFoundError: no such qube: 'vault'\n "
        .. 'decided acl.d/20-guest.lua:1 hides vault', fails("expect('guest', 'admin.vm.Start', 'vault'):permitted()"))
    end)

    it('of a list', function()
      assert.equal('DIR/spec/a.lua:3: guest admin.vm.List dom0\n expected a list of vault\n came without vault, also work\n '
        .. 'decided acl.d/20-guest.lua:1 removes vault', fails("expect('guest', 'admin.vm.List'):lists { 'vault' }"))
    end)

    it('of events', function()
      assert.equal('DIR/spec/a.lua:3: events that guest sees\n expected no events\n came work domain-tag-add:z\n decided no rule',
        fails("events('guest', function() dom0('admin.vm.tag.Set', 'work', 'z') end):sees {}"))
    end)

    it('of an answer, an exception and a name', function()
      assert.equal('DIR/spec/a.lua:3: work admin.vm.feature.Get+x vault\n expected the answer "2"\n came the answer "1"\n decided no rule',
        fails("expect('work', 'admin.vm.feature.Get', 'vault', 'x'):answers('2')"))
      assert.equal('DIR/spec/a.lua:3: work admin.vm.Strat vault\n expected permitted\n came the connection was closed without an answer\n decided no rule',
        (fails("expect('work', 'admin.vm.Strat', 'vault'):permitted()"):gsub('came ProtocolError[^\n]*', 'came the connection was closed without an answer')))
      assert.equal('DIR/spec/a.lua:3: work admin.vm.List dom0\n expected nothing that names vault\n came it is named\n decided no rule',
        fails("expect('work', 'admin.vm.List'):never_names('vault')"))
    end)

    it('of an expectation of nothing', function()
      assert.truthy(fails("expect('work', 'admin.vm.List')"):find('expected a word on what is expected', 1, true))
    end)

    it('of an error in the test, and of one of dom0', function()
      assert.truthy(fails('local x = nil; x.y()'):find("DIR/spec/a.lua:3: attempt to index a nil value (local 'x')", 1, true))
      assert.truthy(fails("dom0('admin.vm.Start', 'other')"):find("admin.vm.Start of other: QubesVMNotFoundError: no such qube: 'other'", 1, true))
    end)
  end)

  it('goes on behind a failure, in the same test and in the next', function()
    prepare(test("expect('work', 'admin.vm.Start', 'vault'):permitted()\nexpect('dom0', 'admin.vm.Start', 'vault'):denied()", 'one') .. test('', 'two'))
    local status, output = run()
    assert.equal(1, status)
    local _, count = output:gsub('  expected', '')
    assert.equal(2, count)
    assert.truthy(output:find('ok       a.lua: two\n1 passed, 1 failed\n', 1, true), output)
  end)

  it('fails where an estate is not accepted, a rule is not there, rules or tests do not load', function()
    local function first_failure(body, rules)
      prepare(body .. test(''), rules)
      local status, output = run()
      assert.equal(1, status, output)
      return output:match('^FAILED[^\n]*\n *([^\n]*)')
    end
    assert.truthy(first_failure("estate { work = { memory = 'x' } }\n")
      :find('the estate: admin.vm.property.Set+memory of work: QubesValueError', 1, true))
    assert.truthy(first_failure("rules 'none'\n"):find('there is no file none.lua among the rules', 1, true))
    assert.truthy(first_failure('', { ['a.lua'] = 'on(' }):find('the rules do not load: acl.d/a.lua:1: unexpected symbol', 1, true))
    assert.truthy(first_failure('on on\n'):find('a.lua:2: syntax error', 1, true))
    assert.truthy(first_failure("expect('work', 'admin.vm.List')\n"):find('expect() is for the function of a test', 1, true))
    assert.truthy(first_failure('os.exit(0)\n'):find("global 'os'", 1, true))
  end)

  it('fails where there are no tests', function()
    directory = make({ ['10-vault.lua'] = VAULT }, {})
    local status, _, said = run()
    assert.equal(1, status)
    assert.truthy(said:find('there are no tests in ' .. directory .. '/spec', 1, true))
    assert.equal(2, (acl_tool { 'test', '/none' }))
  end)

  it('speaks TAP', function()
    prepare(test('', 'one') .. test("expect('work', 'admin.vm.Start', 'vault'):permitted()", 'two') .. "estate 'store'\n" .. test('', 'three'))
    local _, output = run('--tap')
    assert.equal(([[
ok 1 - a.lua: one
not ok 2 - a.lua: two
# DIR/spec/a.lua:6: work admin.vm.Start vault
# expected: permitted
# came: denied: from dom0 only
# decided: acl.d/10-vault.lua:1
ok 3 - a.lua: three # SKIP no --from-store
1..3
# 1 passed, 1 failed, 1 skipped
]]), (output:gsub(directory:gsub('%p', '%%%0'), 'DIR')))
  end)

  it('tells which lines of rules have never run', function()
    prepare(test("expect('work', 'admin.vm.Start', 'guest'):permitted()"))
    local _, output = run('--coverage')
    assert.truthy(output:find('   75 %  10-vault.lua   never: 3\n', 1, true), output) -- on(), if, and the end
    assert.truthy(output:find('%%  20%-guest%.lua   never: 4\n') or output:find('never: [^\n]*4'), output)
    prepare(test([[
      expect('work', 'admin.vm.Start', 'vault'):denied()
      expect('guest', 'admin.vm.List'):lists { 'work' }
    ]]))
    _, output = run('--coverage')
    assert.truthy(output:find('  100 %  10-vault.lua\n  100 %  20-guest.lua\n', 1, true), output)
  end)

  it('runs on a copy of a store, which stays as it is', function()
    local d = daemon.start()
    d:estate { 'mine' }
    prepare("estate 'store'\n" .. test([[
      expect('mine', 'admin.vm.List'):lists { 'dom0', 'fedora', 'mine' }
      expect('dom0', 'admin.vm.Remove', 'mine'):permitted()
    ]], 'one') .. test("expect('mine', 'admin.vm.CurrentState', 'mine'):permitted()", 'two'))
    local status, output, said = run('--from-store', d.directory)
    assert.equal(0, status, output .. said)
    assert.truthy(d:ok('admin.vm.List'):find('mine', 1, true))
    d:stop()
  end)

  it('refuses files of another digest', function()
    prepare(test(''))
    local status, _, said = run('--digest', ('0'):rep(64))
    assert.equal(3, status)
    assert.truthy(said:find('the files are not the ones that are to be tested any more', 1, true))
  end)

  it('leaves nothing behind', function()
    prepare(test("expect('work', 'admin.vm.List'):denied()", 'one') .. "rules '10-vault'\n" .. test('', 'two'))
    local temporary = daemon.temporary_directory()
    assert.equal(1, (acl_tool({ 'test', directory, '--coverage' }, { tmpdir = temporary })))
    assert.is_nil(uv.fs_scandir_next(uv.fs_scandir(temporary)))
    uv.fs_rmdir(temporary)
  end)
end)

describe('a daemon with acl-tests', function()
  local d, directory

  local function start(rules, spec, setting)
    directory = daemon.temporary_directory()
    uv.fs_mkdir(directory .. '/acl', 448)
    uv.fs_mkdir(directory .. '/acl/spec', 448)
    daemon.write_file(directory .. '/acl/spec/a.lua', spec)
    d = daemon.start { directory = directory, acl = rules, args = { '--acl-tests', setting or uv.cwd() .. '/tools/qubesd-acl' } }
  end

  after_each(function()
    if d then d:stop() end
    d = nil
  end)

  local SPEC = ESTATE .. test("expect('work', 'admin.vm.Start', 'vault'):denied('from dom0 only')", 'vaults are started from dom0 only')

  it('tests what serves from the start', function()
    start({ ['10-vault.lua'] = VAULT }, SPEC)
    assert.is_true(d:logged('the tests of the rules have passed', 60))
    d:stop()
    start({ ['10-vault.lua'] = GUEST }, SPEC)
    assert.is_true(d:logged('generation 1 serves, but a test fails: a.lua: vaults are started from dom0 only', 60))
    assert.is_true(d:is_alive())
  end)

  it('does not load rules whose tests fail, and says which', function()
    start({ ['10-vault.lua'] = VAULT }, SPEC)
    assert.is_true(d:logged('the tests of the rules have passed', 60))
    d:write_rule('10-vault.lua', (VAULT:gsub('dom0', 'dom1')))
    local answer = d:call('dom0', 'internal.Reload', 'dom0', '', '', { socket = 'qubesd.console.sock', seconds = 60 })
    assert.equal('QubesException', answer.class)
    assert.truthy(answer.message:find('generation 1 goes on: a test fails: a.lua: vaults are started from dom0 only; '
      .. directory .. '/acl/spec/a.lua:3: work admin.vm.Start vault; expected: denied: from dom0 only; came: denied: from dom1 only; '
      .. 'decided: acl.d/10-vault.lua:1', 1, true), answer.message)
    assert.truthy(d.log:find('not reloaded, generation 1 goes on: a test fails: ', 1, true))
    d:estate { 'work', 'vault' }
    d:ok('admin.vm.tag.Set', 'vault', 'vault')
    assert.equal('from dom0 only', d:call('work', 'admin.vm.Start', 'vault').message)
  end)

  it('loads rules whose tests pass, also when it was the test that was changed', function()
    start({ ['10-vault.lua'] = VAULT }, SPEC)
    assert.is_true(d:logged('the tests of the rules have passed', 60))
    d:write_rule('10-vault.lua', (VAULT:gsub("'from dom0 only'", "'no'")))
    assert.is_true(d:logged('came: denied: no', 60))
    daemon.write_file(directory .. '/acl/spec/a.lua', (SPEC:gsub("'from dom0 only'", "'no'")))
    assert.is_true(d:logged('generation 2 serves', 60))
  end)

  it('serves others while the tests run', function()
    start({ ['10-vault.lua'] = VAULT }, ESTATE .. test('for _ = 1, 3 do events(\'work\', function() end):includes { \'never\' } end'))
    d:write_rule('10-vault.lua', VAULT .. '\n')
    assert.is_true(d:logged('reload: ', 20))
    for _ = 1, 20 do assert.equal('ok', d:call('dom0', 'admin.vmclass.List').kind) end
    assert.is_nil(d.log:find('goes on', 1, true)) -- the tests take 15 s
    d:stop() -- and end with it
    d = nil
  end)

  it('goes on when tests are not there, or can\'t be run', function()
    start({ ['10-vault.lua'] = VAULT }, '')
    assert.is_true(d:logged('there are no tests in ', 60))
    d:stop()
    start({ ['10-vault.lua'] = VAULT }, SPEC, '/none/qubesd-acl')
    assert.equal('QubesException', d:reload().class)
    assert.is_true(d:logged('generation 1 goes on: the tests of the rules: no such file or directory', 60))
  end)

  it('never serves rules that were not tested, however fast they change', function()
    start({ ['10-vault.lua'] = VAULT }, SPEC)
    assert.is_true(d:logged('the tests of the rules have passed', 60))
    local bad = VAULT:gsub('dom0 only', 'anywhere')
    for i = 1, 12 do -- good and bad in turn, at any moment of a load or a test
      d:write_rule('10-vault.lua', ('-- %d\n'):format(i) .. (i % 2 == 0 and VAULT or bad))
      daemon.sleep(0.05 * (i % 5))
    end
    d:estate { 'work', 'vault' }
    d:ok('admin.vm.tag.Set', 'vault', 'vault')
    local last
    daemon.run_until(function()
      last = d:call('work', 'admin.vm.Start', 'vault')
      assert.equal('from dom0 only', last.message)
      return d.log:match('.*\n([^\n]*generation %d+ serves[^\n]*)\n') and not d.log:match('reload: files have changed\n$')
    end, 15)
    assert.equal('from dom0 only', last.message)
  end)

  it('wants yes, no or a path', function()
    local ran, problem = pcall(start, { ['10-vault.lua'] = VAULT }, SPEC, 'perhaps')
    assert.is_false(ran)
    assert.truthy(problem:find('acl-tests = perhaps: expected yes, no or a path from the root', 1, true))
    d = nil
  end)
end)
