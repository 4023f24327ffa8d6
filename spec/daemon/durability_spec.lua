-- SPDX-License-Identifier: GPL-2.0-or-later
-- Law 6: an acknowledged write is on disk. The daemon is killed again and again under concurrent writers, and the store is made to fail.
-- QD_KILLS chooses the number of kills.

local uv = require('luv')
local cjson = require('cjson')
local daemon = require('spec.support.daemon')
local writers = require('spec.support.writers')

local sanitized = daemon.build_dir:find('sanitizers', 1, true) ~= nil
local KILLS = tonumber(os.getenv('QD_KILLS')) or (sanitized and 20 or 200)
local WRITERS = 16

local function status(d)
  return cjson.decode(d:ok('internal.Status', 'dom0', '', '', { socket = 'qubesd.internal.sock' }))
end

describe('a kill -9', function()
  -- Each round writes for a few milliseconds, from none at all to some dozens of commits.
  local function round(d, state, number)
    local group = writers.start(d, state, WRITERS)
    daemon.sleep(0.002 * (number % 12) + 0.003)
    d:kill_only()
    group:stop()
    return group.acknowledged
  end

  it('loses nothing that was acknowledged, ' .. KILLS .. ' times', function()
    local state = writers.new(WRITERS)
    local d = daemon.start()
    local directory, acknowledged, rounds_with_writes = d.directory, 0, 0
    finally(function() d:kill() end)
    d:estate(state:qubes())
    for number = 1, KILLS do
      local count = round(d, state, number)
      acknowledged = acknowledged + count
      if count > 0 then rounds_with_writes = rounds_with_writes + 1 end
      local check = writers.run(daemon.build_dir .. '/qubesd', { '--check-store', '--state-dir', directory })
      assert.equal(0, check.code, ('kill %d: %s%s'):format(number, check.out, check.err))
      d = daemon.start { directory = directory }
      assert.same({}, state:lost(d), 'kill ' .. number)
    end
    d:stop()
    -- Else it was no test.
    assert.is_true(rounds_with_writes >= KILLS / 2, 'writes in ' .. rounds_with_writes .. ' rounds')
    assert.is_true(acknowledged >= KILLS * 4, acknowledged .. ' writes')
  end)

  it('leaves a call of many changes wholly there or not at all', function()
    local d = daemon.start { binary = 'qubesd-testing', env = { QD_TEST_STORE_DELAY_MS = '100' } }
    local directory = d.directory
    finally(function() d:kill() end)
    d:ok('admin.vm.Create.TemplateVM', 'dom0', '', 'name=fedora label=black')
    local pending = d:begin('dom0', 'admin.vm.Create.AppVM', 'dom0', 'fedora', 'name=half label=red')
    daemon.sleep(0.05) -- inside the commit
    assert.is_nil(pending.result())
    d:kill_only()
    pending.close()
    d = daemon.start { directory = directory }
    assert.equal('QubesVMNotFoundError', d:call('dom0', 'admin.vm.property.Get', 'half', 'label').class)
    d:ok('admin.vm.Create.AppVM', 'dom0', 'fedora', 'name=half label=red')
    d:stop()
  end)

  it('is survived by what a clean stop had acknowledged and by what it finished', function()
    local d = daemon.start { binary = 'qubesd-testing', env = { QD_TEST_STORE_DELAY_MS = '150' } }
    local directory = d.directory
    finally(function() d:kill() end)
    local pending = d:begin('dom0', 'admin.vm.feature.Set', 'dom0', 'late', '1')
    daemon.sleep(0.05)
    uv.kill(d.pid, 'sigterm')
    assert.truthy(daemon.run_until(pending.result, 5))
    assert.equal('ok', pending.result().kind)
    assert.is_true(daemon.run_until(function() return d.exit_code end, 5) == 0)
    d:kill_only()
    d = daemon.start { directory = directory }
    assert.equal('1', d:ok('admin.vm.feature.Get', 'dom0', 'late'))
    d:stop()
  end)
end)

describe('a commit', function()
  it('carries the writes of many calls', function()
    local d = daemon.start()
    finally(function() d:kill() end)
    d:estate { 'work' }
    local before = status(d)
    for round = 1, 4 do
      local pending = {}
      for i = 1, 64 do pending[i] = d:begin('dom0', 'admin.vm.feature.Set', 'work', 'f' .. i, 'v' .. round) end
      for i = 1, 64 do
        assert.truthy(daemon.run_until(pending[i].result, 10))
        assert.equal('ok', pending[i].result().kind)
      end
    end
    local after = status(d)
    assert.equal(256, after.store_calls - before.store_calls)
    local commits = after.store_commits - before.store_commits
    assert.is_true(commits >= 4 and commits <= 256 / 8, commits .. ' commits for 256 calls')
    d:stop()
  end)
end)

describe('a commit that fails', function()
  local d, directory

  local function stop_only()
    uv.kill(d.pid, 'sigterm')
    assert(daemon.run_until(function() return d.exit_code end, 10) == 0, d.log)
    d:kill_only()
  end

  -- `number` counts from the start of the daemon: 1 is the first commit. What start-up itself writes is on disk by then.
  local function restart(number, delay)
    stop_only()
    d = daemon.start { directory = directory, binary = 'qubesd-testing',
      env = { QD_TEST_STORE_FAIL = tostring(number), QD_TEST_STORE_DELAY_MS = delay and tostring(delay) or nil } }
  end

  before_each(function()
    d = daemon.start()
    directory = d.directory
    d:estate { 'work', 'other' }
    d:ok('admin.vm.feature.Set', 'work', 'kept', 'old')
  end)

  after_each(function() d:kill() end)

  local function expect_failure(answer)
    assert.equal('exception', answer.kind)
    assert.equal('QubesException', answer.class)
    assert.truthy(answer.message:find('the change could not be stored, and was taken back', 1, true), answer.message)
  end

  it('fails its call, leaves the old values, sends no event, and the next write works', function()
    restart(1)
    local stream = d:subscribe()
    expect_failure(d:call('dom0', 'admin.vm.feature.Set', 'work', 'kept', 'new'))
    assert.equal('old', d:ok('admin.vm.feature.Get', 'work', 'kept'))
    assert.equal(1, status(d).store_failures)
    d:ok('admin.vm.feature.Set', 'work', 'kept', 'newer')
    assert.equal('newer', d:ok('admin.vm.feature.Get', 'work', 'kept'))
    local event = stream:wait('domain-feature-set:kept')
    assert.equal('newer', event.info.value)
    assert.equal('old', event.info.oldvalue)
    stream:close()
    d:stop()
  end)

  it('takes a created qube back', function()
    restart(1)
    local stream, before = d:subscribe(), d:ok('admin.vm.List')
    expect_failure(d:call('dom0', 'admin.vm.Create.AppVM', 'dom0', 'fedora', 'name=fresh label=red'))
    assert.equal(before, d:ok('admin.vm.List'))
    assert.equal('QubesVMNotFoundError', d:call('dom0', 'admin.vm.feature.List', 'fresh').class)
    for _, event in ipairs(stream:take(0.2)) do assert.not_equal('domain-add', event.name) end
    d:ok('admin.vm.Create.AppVM', 'dom0', 'fedora', 'name=fresh label=red')
    assert.equal('fresh', stream:wait('domain-add').info.vm)
    stream:close()
    d:stop()
  end)

  it('brings a removed qube back, with all it had', function()
    restart(1)
    local before, properties = d:ok('admin.vm.List'), d:ok('admin.vm.property.GetAll', 'work')
    expect_failure(d:call('dom0', 'admin.vm.Remove', 'work'))
    assert.equal(before, d:ok('admin.vm.List'))
    assert.equal(properties, d:ok('admin.vm.property.GetAll', 'work'))
    assert.equal('old', d:ok('admin.vm.feature.Get', 'work', 'kept'))
    d:ok('admin.vm.Start', 'work')
    d:ok('admin.vm.Kill', 'work')
    d:ok('admin.vm.Remove', 'work')
    assert.equal('QubesVMNotFoundError', d:call('dom0', 'admin.vm.feature.List', 'work').class)
    d:stop()
  end)

  it('takes back all that was built on it, and nothing that came before', function()
    restart(2, 100)
    local calls, tags = {}, d:ok('admin.vm.tag.List', 'other')
    calls[1] = d:begin('dom0', 'admin.vm.feature.Set', 'work', 'kept', 'first')
    daemon.sleep(0.04) -- the first commit is under way: the others are the second
    for i = 2, 5 do calls[i] = d:begin('dom0', 'admin.vm.feature.Set', 'work', 'kept', 'value' .. i) end
    calls[6] = d:begin('dom0', 'admin.vm.tag.Set', 'other', 'later')
    daemon.sleep(0.1) -- the second is under way
    calls[7] = d:begin('dom0', 'admin.vm.tag.Set', 'other', 'latest')
    for i = 1, 7 do assert.truthy(daemon.run_until(calls[i].result, 5)) end
    assert.equal('ok', calls[1].result().kind)
    for i = 2, 7 do expect_failure(calls[i].result()) end
    assert.equal('first', d:ok('admin.vm.feature.Get', 'work', 'kept'))
    assert.equal(tags, d:ok('admin.vm.tag.List', 'other'))
    d:ok('admin.vm.tag.Set', 'other', 'again')
    stop_only()
    d = daemon.start { directory = directory }
    assert.equal('first', d:ok('admin.vm.feature.Get', 'work', 'kept'))
    assert.equal('1', d:ok('admin.vm.tag.Get', 'other', 'again'))
    assert.equal('0', d:ok('admin.vm.tag.Get', 'other', 'later'))
    assert.equal('0', d:ok('admin.vm.tag.Get', 'other', 'latest'))
    assert.equal('kept\n', d:ok('admin.vm.feature.List', 'work'))
    d:stop()
  end)
end)
