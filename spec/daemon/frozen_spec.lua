-- SPDX-License-Identifier: GPL-2.0-or-later
-- Law 7: the loop never waits. Qubes whose start never returns from libvirt (QD_TEST_VIRT_BLOCK) slow nobody else down.

local uv = require('luv')
local cjson = require('cjson')
local daemon = require('spec.support.daemon')
local writers = require('spec.support.writers')

local WORKERS = 4 -- QD_VIRT_WORKERS
local WORKERS_MAX = 32
local BLOCK = { QD_TEST_VIRT_BLOCK = 'create:frozen*:60' }

local function frozen_daemon(names)
  local d = daemon.start { binary = 'qubesd-testing', env = BLOCK }
  d:estate(names)
  return d
end

local function status(d)
  return cjson.decode(d:ok('internal.Status', 'dom0', '', '', { socket = 'qubesd.internal.sock' }))
end

local function state(d, name)
  return d:ok('admin.vm.CurrentState', name):match('power_state=(%S+)')
end

-- Starts each of the qubes and gives the calls time to get into libvirt; none has an answer then.
local function freeze(d, names)
  local before, calls = status(d).virt_jobs, {}
  for i, name in ipairs(names) do calls[i] = d:begin('dom0', 'admin.vm.Start', name) end
  daemon.run_until(function() return status(d).virt_jobs >= before + 2 * math.min(#names, WORKERS) end, 5) -- a define and a create each
  daemon.sleep(0.1)
  for i = 1, #names do assert(not calls[i].result(), names[i] .. ' is not frozen') end
  return calls
end

local function close_all(calls)
  for _, call in ipairs(calls) do call.close() end
  uv.run('nowait')
end

-- A copy of the scripts whose starts give libvirt fewer seconds.
local function scripts_with_deadline(seconds)
  local directory = daemon.temporary_directory()
  assert(writers.run('/bin/cp', { '-r', 'scripts/.', directory }).code == 0)
  local path = directory .. '/classes/qubes_vm_start.lua'
  local file = assert(io.open(path))
  local text, count = file:read('a'):gsub("(core%.virt%(self, 'create', nil, states%.START_PAUSED)%)", '%1, ' .. seconds .. ')')
  file:close()
  assert(count == 1, 'the script has changed')
  file = assert(io.open(path, 'w'))
  file:write(text)
  file:close()
  return directory
end

describe('a qube that is frozen in libvirt', function()
  local d

  after_each(function() d:kill() end)

  -- How fast they are is `./dev bench`'s to say.
  it('keeps no read waiting, of itself neither', function()
    d = frozen_daemon { 'frozen', 'work', 'other' }
    local calls = freeze(d, { 'frozen' })
    for _ = 1, 200 do
      for _, name in ipairs { 'work', 'frozen' } do
        assert.matches('label red', d:ok('admin.vm.property.Get', name, 'label'))
        assert.equal('Halted', state(d, name))
      end
      assert.matches('frozen class=AppVM state=Halted', d:ok('admin.vm.List', 'dom0'))
    end
    assert.is_nil(calls[1].result())
    close_all(calls)
    d:stop()
  end)

  it('does not keep others from starting, nor writes from being stored', function()
    d = frozen_daemon { 'frozen', 'work' }
    local calls = freeze(d, { 'frozen' })
    assert.equal('Running', (d:ok('admin.vm.Start', 'work', '', '', { seconds = 3 }) and state(d, 'work')))
    d:ok('admin.vm.Pause', 'work', '', '', { seconds = 3 })
    d:ok('admin.vm.Unpause', 'work', '', '', { seconds = 3 })
    d:ok('admin.vm.Kill', 'work', '', '', { seconds = 3 })
    d:ok('admin.vm.property.Set', 'work', 'memory', '500', { seconds = 3 })
    d:ok('admin.vm.feature.Set', 'frozen', 'a', 'b', { seconds = 3 })
    d:ok('admin.vm.Create.AppVM', 'dom0', 'fedora', 'name=fresh label=red', { seconds = 3 })
    d:ok('admin.vm.Start', 'fresh', '', '', { seconds = 3 })
    assert.equal('Halted', state(d, 'frozen'))
    assert.is_nil(calls[1].result())
    close_all(calls)
    d:stop()
  end)

  -- Long before a deadline: no call of a frozen one has its answer by then.
  it('does not keep others from starting when there are more of them than workers', function()
    local frozen = {}
    for i = 1, 2 * WORKERS + 2 do frozen[i] = 'frozen' .. i end
    d = frozen_daemon { 'work', table.unpack(frozen) }
    local calls = freeze(d, frozen)
    for _ = 1, 5 do
      d:ok('admin.vm.Start', 'work', '', '', { seconds = 40 })
      assert.equal('Running', state(d, 'work'))
      d:ok('admin.vm.Kill', 'work', '', '', { seconds = 40 })
    end
    assert.truthy(daemon.run_until(function() return status(d).virt_workers > #frozen end, 40))
    assert.is_true(status(d).virt_workers <= WORKERS_MAX)
    assert.equal(0, status(d).virt_lost_workers)
    for i, call in ipairs(calls) do assert.is_nil(call.result(), frozen[i]) end
    close_all(calls)
    d:stop()
  end)

  it('costs its worker for good at the deadline, and it is replaced', function()
    local scripts = scripts_with_deadline(2)
    finally(function() daemon.remove_tree(scripts) end)
    local frozen = {}
    for i = 1, WORKERS + 2 do frozen[i] = 'frozen' .. i end
    d = daemon.start { binary = 'qubesd-testing', env = BLOCK, scripts = scripts }
    d:estate { 'work', table.unpack(frozen) }
    local calls = freeze(d, frozen)
    d:ok('admin.vm.List', 'dom0', '', '', { seconds = 1 })
    d:ok('admin.vm.feature.Set', 'work', 'a', 'b', { seconds = 1 })
    d:ok('admin.vm.Start', 'work', '', '', { seconds = 10 })
    assert.equal('Running', state(d, 'work'))
    for i, call in ipairs(calls) do
      assert.truthy(daemon.run_until(call.result, 10))
      assert.equal('exception', call.result().kind, frozen[i])
      assert.equal('Halted', state(d, frozen[i]))
    end
    assert.is_true(status(d).virt_lost_workers >= WORKERS)
    -- Those that are still inside libvirt are refused at once. The others never had a worker, and freeze now; which they are is chance.
    local refused = 0
    for _, name in ipairs(frozen) do
      if d:call('dom0', 'admin.vm.Start', name, '', '', { seconds = 1 }).kind == 'exception' then refused = refused + 1 end
    end
    assert.is_true(refused >= WORKERS, refused .. ' were refused at once')
    for _ = 1, 20 do
      d:ok('admin.vm.Kill', 'work', '', '', { seconds = 1 })
      d:ok('admin.vm.Start', 'work', '', '', { seconds = 1 })
    end
    d:stop()
  end)

  it('does not hold a clean stop up', function()
    d = frozen_daemon { 'frozen', 'frozen2', 'work' }
    local calls = freeze(d, { 'frozen', 'frozen2' })
    local pending = d:begin('dom0', 'admin.vm.feature.Set', 'work', 'late', '1')
    daemon.run_until(pending.result, 5)
    local began = uv.hrtime()
    d:stop()
    local seconds = (uv.hrtime() - began) / 1e9
    assert.is_true(seconds < 5, ('it took %.1f s'):format(seconds))
    assert.equal('ok', pending.result().kind)
    for _, call in ipairs(calls) do assert.equal('closed', call.result().kind) end
  end)

  it('costs nothing when its client leaves', function()
    d = frozen_daemon { 'frozen', 'work' }
    local before = status(d).connections
    local calls = freeze(d, { 'frozen' })
    close_all(calls)
    assert.truthy(daemon.run_until(function() return status(d).connections <= before end, 5), 'the connection is still counted')
    -- Others who want the same qube are told, or wait, and may leave too.
    local more = {}
    for i = 1, 50 do more[i] = d:begin('dom0', 'admin.vm.Start', 'frozen') end
    daemon.sleep(0.2)
    close_all(more)
    assert.truthy(daemon.run_until(function() return status(d).connections <= before end, 5), 'connections are still counted')
    d:ok('admin.vm.Start', 'work', '', '', { seconds = 3 })
    d:stop()
  end)
end)
