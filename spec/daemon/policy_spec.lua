-- SPDX-License-Identifier: GPL-2.0-or-later
-- The qrexec policy as a source of rules: what lists and events show of it, that it fails closed, and that its files are part of a generation. Whether it
-- decides as the reference does is for the replays (spec/conformance_lists.lua, spec/conformance_policy.lua).

local uv = require('luv')
local daemon = require('spec.support.daemon')

local CONSOLE = { socket = 'qubesd.console.sock' }

local POLICY = [[
admin.vm.List  *  guest  @adminvm     allow  target=@adminvm
admin.vm.List  *  guest  @tag:shared  allow  target=@adminvm
admin.vm.List  *  guest  @anyvm       ask    target=@adminvm
admin.Events   +domain-feature-set_secret  guest  @tag:shared  deny
admin.Events   *  guest  @tag:shared  allow  target=@adminvm
]]

-- Sets a tag, fires an event that the policy is asked about, and fails.
local FAILING = [[
method('admin.spec.Fail', { dest = 'any', arg = 'none', payload = 'none', scope = 'local', write = true, doc = 'Fails.' }, function(call)
  call:permission {}
  call.dest.tags.shared = true
  call.dest.features.seen = '1'
  raise('QubesException', 'on purpose')
end)
method('admin.spec.Late', { dest = 'any', arg = 'none', payload = 'none', scope = 'local', write = true, doc = 'Waits, then unshares.' }, function(call)
  call:permission {}
  core.sleep(0.5)
  call.dest.tags.shared = nil
end)
]]

local function write(path, text)
  local file = assert(io.open(path .. '.new', 'w'))
  file:write(text)
  file:close()
  assert(os.rename(path .. '.new', path))
end

local function names(answer)
  if answer.kind ~= 'ok' then return answer.class end
  local list = {}
  for name in answer.body:gmatch('([^\n ]+) class=') do list[#list + 1] = name end
  return table.concat(list, ' ')
end

local function shown(d, src, dest) return names(d:call(src, 'admin.vm.List', dest or 'dom0')) end

describe('under a qrexec policy', function()
  local d

  setup(function()
    d = daemon.start {
      policy = { ['50-guest.policy'] = POLICY }, extra_scripts = { ['api/spec_policy.lua'] = FAILING },
    }
    d:estate { 'guest', 'other', 'shown', 'unseen' }
    d:ok('admin.vm.tag.Set', 'shown', 'shared')
  end)

  teardown(function() d:stop() end)

  it('a caller is listed what it could ask for; to be asked is not enough', function()
    assert.equal('dom0 shown', shown(d, 'guest'))
    assert.equal('shown', shown(d, 'guest', 'shown'))
    assert.equal('', shown(d, 'guest', 'unseen'))
    assert.equal('', shown(d, 'other'))
    assert.equal('dom0 fedora guest other shown unseen', shown(d, 'dom0'))
    assert.equal('dom0 fedora guest other shown unseen', names(d:call('guest', 'admin.vm.List', 'dom0', '', '', CONSOLE)))
  end)

  it('follows changes of the estate', function()
    d:ok('admin.vm.tag.Set', 'unseen', 'shared')
    assert.equal('dom0 shown unseen', shown(d, 'guest'))
    d:ok('admin.vm.tag.Remove', 'unseen', 'shared')
    assert.equal('dom0 shown', shown(d, 'guest'))
  end)

  it('what is not listed can be called, since qrexec has judged the call', function()
    assert.equal('default=False type=label red', d:call('guest', 'admin.vm.property.Get', 'unseen', 'label').body)
    assert.equal('QubesVMNotFoundError', d:call('guest', 'admin.vm.property.Get', 'absent', 'label').class)
    d:ok('admin.vm.property.Set', 'shown', 'guivm', 'unseen')
    assert.equal('default=False type=vm unseen', d:call('guest', 'admin.vm.property.Get', 'shown', 'guivm').body)
    d:ok('admin.vm.property.Reset', 'shown', 'guivm')
  end)

  it('a rule takes more away, also from sight', function()
    d:set_rule('10-hide.lua', [[
      on('admin-permission:admin.vm.List', function(src)
        if src.name == 'guest' then return function(qube) return qube.name ~= 'shown' end end
      end)
    ]])
    assert.equal('dom0', shown(d, 'guest'))
    assert.equal('QubesVMNotFoundError', d:call('guest', 'admin.vm.property.Get', 'shown', 'label').class)
    assert.equal('ok', d:call('guest', 'admin.vm.property.Get', 'unseen', 'label').kind)
    d:remove_rule('10-hide.lua')
    d:reload()
    assert.equal('dom0 shown', shown(d, 'guest'))
  end)

  it('events are shown by subject and name', function()
    local stream, all = d:subscribe('guest'), d:subscribe('dom0')
    stream:take(0.05)
    all:take(0.05)
    d:ok('admin.vm.feature.Set', 'shown', 'plain', '1')
    d:ok('admin.vm.feature.Set', 'shown', 'secret', '1')
    d:ok('admin.vm.feature.Set', 'unseen', 'plain', '1')
    d:ok('admin.property.Set', 'dom0', 'default_shutdown_timeout', '61')
    local seen = {}
    for i, event in ipairs(stream:take(0.2)) do seen[i] = event.subject .. ' ' .. event.name end
    assert.same({ 'shown domain-feature-pre-set:plain', 'shown domain-feature-set:plain', 'shown domain-feature-pre-set:secret' }, seen)
    assert.equal(8, #all:take(0.1))
    stream:close()
    all:close()
  end)

  it('a call that fails is not remembered', function()
    local stream = d:subscribe('guest')
    stream:take(0.05)
    assert.equal('QubesException', d:call('dom0', 'admin.spec.Fail', 'unseen').class)
    stream:take(0.1) -- the announcement
    d:ok('admin.vm.feature.Set', 'unseen', 'plain', '2')
    assert.same({}, stream:take(0.2))
    assert.equal('dom0 shown', shown(d, 'guest'))
    stream:close()
  end)

  it('what a call of the generation before changes is not overlooked', function()
    d:ok('admin.vm.tag.Set', 'unseen', 'shared')
    local late = d:begin('dom0', 'admin.spec.Late', 'unseen')
    daemon.sleep(0.1)
    assert.equal('ok', d:reload().kind)
    local stream = d:subscribe('guest')
    d:ok('admin.vm.feature.Set', 'unseen', 'early', '1')
    assert.is_table(stream:wait('domain-feature-set:early'))
    assert.is_true(daemon.run_until(function() return late.result() end, 5) ~= nil)
    assert.is_table(stream:wait('domain-tag-delete:shared'))
    d:ok('admin.vm.feature.Set', 'unseen', 'late', '1')
    assert.same({}, stream:take(0.2))
    stream:close()
  end)

  it('a thousand qubes are no problem', function()
    local rules = {}
    for i = 1, 20 do rules[i] = ('admin.vm.List * guest @tag:group-%d allow target=@adminvm'):format(i) end
    write(d.directory .. '/policy.d/40-many.policy', table.concat(rules, '\n'))
    assert.equal('ok', d:reload().kind)
    for i = 1, 1000 do
      d:ok('admin.vm.Create.AppVM', 'dom0', '', ('name=many-%d label=red'):format(i))
      if i % 10 == 0 then d:ok('admin.vm.tag.Set', 'many-' .. i, 'group-' .. i // 50) end
    end
    for _ = 1, 3 do
      local begun = uv.hrtime()
      local body = d:call('guest', 'admin.vm.List', 'dom0').body
      assert.is_true(uv.hrtime() - begun < 250e6, 'the list took too long')
      local _, lines = body:gsub('\n', '')
      assert.equal(2 + 96, lines) -- from group-1 on
    end
    local stream = d:subscribe('guest')
    stream:take(0.05)
    d:ok('admin.vm.feature.Set', 'many-500', 'plain', '1')
    d:ok('admin.vm.feature.Set', 'shown', 'last', '1')
    assert.is_table(stream:wait('domain-feature-set:last'))
    stream:close()
  end)
end)

describe('the files of the qrexec policy', function()
  local d
  local options -- of the next daemon

  local function start()
    d = daemon.start(options)
    d:estate { 'guest', 'shown' }
    d:ok('admin.vm.tag.Set', 'shown', 'shared')
    return d.directory .. '/policy.d/'
  end

  -- Whether the guest is shown this soon, without a signal.
  local function becomes(list)
    return daemon.run_until(function() return shown(d, 'guest') == list end, 5)
  end

  before_each(function() options = { policy = { ['50-guest.policy'] = POLICY } } end)

  after_each(function()
    if d then d:stop() end
    d = nil
  end)

  it('may not be there: then there is no qrexec, and rules alone decide', function()
    options.policy = nil
    local folder = start()
    assert.equal('dom0 fedora guest shown', shown(d, 'guest'))
    uv.fs_mkdir(folder, 448) -- an empty policy allows nothing
    assert.is_true(becomes(''))
    write(folder .. '50-guest.policy', POLICY)
    assert.is_true(becomes('dom0 shown'))
  end)

  it('are part of the generation: a change is a reload, and another digest', function()
    local folder = start()
    local before = d:reload().body:match('digest=(%x+)')
    assert.equal(before, d:reload().body:match('digest=(%x+)'))
    write(folder .. '40-more.policy', 'admin.vm.List * guest fedora allow target=@adminvm\n')
    assert.is_true(becomes('dom0 fedora shown'))
    assert.not_equal(before, d:reload().body:match('digest=(%x+)'))
    os.remove(folder .. '40-more.policy')
    assert.is_true(becomes('dom0 shown'))
    assert.equal(before, d:reload().body:match('digest=(%x+)'))
  end)

  it('include others, which are watched as well', function()
    options.policy = { ['50-guest.policy'] = '!include include/guest\n' }
    local directory = daemon.temporary_directory()
    options.directory = directory
    uv.fs_mkdir(directory .. '/policy.d', 448)
    uv.fs_mkdir(directory .. '/policy.d/include', 448)
    write(directory .. '/policy.d/include/guest', POLICY)
    local folder = start()
    assert.equal('dom0 shown', shown(d, 'guest'))
    write(folder .. 'include/guest', 'admin.vm.List * guest @adminvm allow\n')
    assert.is_true(becomes('dom0'))
  end)

  it('of an earlier directory stand in for those of a later one', function()
    local runtime = daemon.temporary_directory()
    options.directory = daemon.temporary_directory()
    options.args = { '--policy-dir', ('%s:/nowhere:%s/policy.d'):format(runtime, options.directory) }
    start()
    write(runtime .. '/50-guest.policy', 'admin.vm.List * guest fedora allow target=@adminvm\n')
    assert.is_true(becomes('fedora'))
    os.remove(runtime .. '/50-guest.policy')
    assert.is_true(becomes('dom0 shown'))
    daemon.remove_tree(runtime)
  end)

  it('with a mistake leave the old ones in force', function()
    local folder = start()
    write(folder .. '50-guest.policy', POLICY .. 'admin.vm.List * guest @anyvm alow\n')
    local answer = d:reload()
    assert.equal('exception', answer.kind)
    assert.is_truthy(d.log:find('/policy.d/50-guest.policy:6: "alow" is no action', 1, true))
    assert.equal('dom0 shown', shown(d, 'guest'))
  end)

  it('with a mistake at start show nothing to anybody but dom0, until they are mended', function()
    options.policy = { ['50-guest.policy'] = POLICY .. '!inclde x\n' }
    local folder = start()
    assert.is_truthy(d.log:find('the qrexec policy does not load, so qubes and events are shown to dom0 only: ', 1, true))
    assert.is_truthy(d.log:find('/policy.d/50-guest.policy:6: ', 1, true))
    assert.equal('PermissionDenied', shown(d, 'guest'))
    assert.equal('PermissionDenied', d:call('guest', 'admin.Events', 'dom0').class)
    assert.equal('dom0 fedora guest shown', shown(d, 'dom0'))
    assert.is_true(d:is_alive())
    assert.equal('exception', d:reload().kind) -- nobody takes that for a repair
    write(folder .. '50-guest.policy', POLICY)
    assert.is_true(becomes('dom0 shown'))
  end)

  it('that are no files, or too large, are mistakes too', function()
    local folder = start()
    os.execute(("mkfifo '%s'"):format(folder .. '60-pipe.policy'))
    assert.equal('exception', d:reload().kind)
    assert.is_truthy(d.log:find('60-pipe.policy: is no ordinary file', 1, true))
    os.remove(folder .. '60-pipe.policy')
    write(folder .. '60-large.policy', ('# %s\n'):format(('x'):rep(100)):rep(11000))
    assert.equal('exception', d:reload().kind)
    assert.is_truthy(d.log:find('60-large.policy: larger than', 1, true))
  end)
end)
