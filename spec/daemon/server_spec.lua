-- SPDX-License-Identifier: GPL-2.0-or-later
-- The daemon as a process: its sockets, its command line, how it stops, and what it says to systemd.

local uv = require('luv')
local daemon = require('spec.support.daemon')
local service = require('spec.support.service')
local writers = require('spec.support.writers')

local SOCKETS = { ['qubesd.sock'] = 432, ['qubesd.internal.sock'] = 432, ['qubesd.misc.sock'] = 432, ['qubesd.console.sock'] = 384 } -- 0660, 0600
local PROGRAM = daemon.build_dir .. '/qubesd'

-- A run that is to end by itself.
local function run(args) return writers.run(PROGRAM, args, { env = { 'ASAN_OPTIONS=detect_leaks=0' } }) end

local function arguments(directory, changes)
  local options = {
    ['socket-dir'] = directory, ['state-dir'] = directory, ['acl-dir'] = directory, ['policy-dir'] = directory .. '/policy.d',
    ['scripts-dir'] = 'scripts', ['libvirt-uri'] = 'test:///default',
  }
  for name, value in pairs(changes or {}) do options[name] = value end
  local args = {}
  for name, value in pairs(options) do table.move({ '--' .. name, value }, 1, 2, #args + 1, args) end
  return args
end

local write = daemon.write_file

local d, directory

before_each(function() directory = daemon.temporary_directory() end)
after_each(function()
  if d then d:kill() end
  d = nil
  daemon.remove_tree(directory)
end)

local function expect_sockets()
  for name, mode in pairs(SOCKETS) do
    local stat = assert(uv.fs_stat(d:socket(name)), name)
    assert.equal('socket', stat.type)
    assert.equal(('%o'):format(mode), ('%o'):format(stat.mode % 512), name)
  end
end

describe('sockets', function()
  it('have their names and modes', function()
    d = daemon.start()
    expect_sockets()
    d:stop()
  end)

  it('have them with an umask of 0 too, and so has the store', function()
    d = service.start(service.UMASK, {})
    expect_sockets()
    for _, name in ipairs { 'qubesd.db', 'qubesd.db-wal' } do
      local stat = uv.fs_stat(d.directory .. '/' .. name)
      if stat then assert.equal(0, stat.mode % 8, name .. ' is open to everybody') end
    end
    d:stop()
  end)

  it('take the methods of their own prefix', function()
    d = daemon.start()
    local function answer(method, socket) return d:call('dom0', method, 'dom0', '', '', { socket = socket }) end
    for method, home in pairs { ['admin.vm.List'] = 'qubesd.sock', ['mgmt.vm.List'] = 'qubesd.sock', ['internal.Status'] = 'qubesd.internal.sock' } do
      for name in pairs(SOCKETS) do
        local expected = (name == home or name == 'qubesd.console.sock') and 'ok' or 'exception'
        assert.equal(expected, answer(method, name).kind, method .. ' on ' .. name)
      end
    end
    d:stop()
  end)

  it('are replaced when they are left over, and gone after a clean stop', function()
    d = daemon.start()
    d:kill_only()
    assert.truthy(uv.fs_stat(d:socket()))
    d = daemon.start { directory = d.directory }
    expect_sockets()
    d:ok('admin.vm.List')
    uv.kill(d.pid, 'sigint')
    assert.equal(0, daemon.run_until(function() return d.exit_code end, 10))
    for name in pairs(SOCKETS) do assert.is_nil(uv.fs_stat(d:socket(name)), name) end
  end)

  it('are left alone when another daemon answers on them', function()
    d = daemon.start()
    local result = run(arguments(directory, { ['socket-dir'] = d.directory }))
    assert.equal(1, result.code)
    assert.truthy(result.err:find('a daemon answers there already', 1, true), result.err)
    assert.truthy(result.err:find(d:socket('qubesd.sock'), 1, true), result.err)
    expect_sockets()
    d:ok('admin.vm.List')
    result = run(arguments(directory, { ['state-dir'] = d.directory }))
    assert.equal(1, result.code)
    assert.truthy(result.err:find('the store: ', 1, true), result.err)
    d:ok('admin.vm.feature.Set', 'dom0', 'a', 'b')
    d:stop()
  end)

  it('do not take the place of a file that is none', function()
    write(directory .. '/qubesd.misc.sock', 'a letter')
    local result = run(arguments(directory))
    assert.equal(1, result.code)
    assert.truthy(result.err:find(directory .. '/qubesd.misc.sock: ', 1, true), result.err)
    assert.equal('a letter', io.open(directory .. '/qubesd.misc.sock'):read('a'))
    assert.is_nil(uv.fs_stat(directory .. '/qubesd.sock'))
  end)

  it('take a request of 65,536 bytes and no larger one', function()
    d = daemon.start()
    local head = 'admin.vm.List dom0 name dom0\0'
    assert.equal('ProtocolError', daemon.parse(d:raw(head .. ('x'):rep(65536 - #head))).class)
    assert.equal('closed', daemon.parse(d:raw(head .. ('x'):rep(65537 - #head))).kind)
    assert.equal('closed', daemon.parse(d:raw(head:sub(1, -2))).kind)
    assert.equal('', d:raw(''))
    d:stop()
  end)

  -- Connections that send nothing are open all the while; the usual limit of descriptors is no limit.
  it('serve 2,048 clients at once, and close what comes after them', function()
    d = service.start(service.FEW_DESCRIPTORS, {})
    local silent, refused = {}, 0
    for i = 1, 2048 do
      local pipe = uv.new_pipe()
      silent[i] = pipe
      pipe:connect(d:socket('qubesd.misc.sock'), function(err)
        if err then refused = refused + 1 end
        pipe:read_start(function(read_error, data)
          if read_error or not data then refused = refused + 1 end
        end)
      end)
      if i % 100 == 0 then daemon.sleep(0.01) end
      if i == 2000 then
        for _ = 1, 10 do d:ok('admin.vm.List') end
        assert.equal(0, refused)
      end
    end
    daemon.sleep(0.1)
    assert.equal(0, refused)
    assert.equal('closed', d:call('dom0', 'admin.vm.List', 'dom0').kind)
    for _, pipe in ipairs(silent) do pipe:close() end
    daemon.sleep(0.1)
    d:ok('admin.vm.List')
    d:stop()
  end)
end)

describe('a daemon that runs out of descriptors', function()
  local function descriptors()
    local request, count = assert(uv.fs_scandir(('/proc/%d/fd'):format(d.pid))), 0
    while uv.fs_scandir_next(request) do count = count + 1 end
    return count
  end

  -- Silent connections, more than there are descriptors.
  local function flood()
    local pipes = {}
    for i = 1, 200 do
      pipes[i] = uv.new_pipe()
      pipes[i]:connect(d:socket('qubesd.misc.sock'), function() end)
    end
    assert.truthy(daemon.run_until(function() return descriptors() >= service.DESCRIPTORS - 1 end, 20), d.log)
    return pipes
  end

  local function served(method, socket)
    return daemon.run_until(function() return d:call('dom0', method, 'dom0', '', '', { socket = socket }).kind == 'ok' end, 20)
  end

  it('serves clients on all its sockets when there are some again', function()
    d = service.start(service.NO_MORE_DESCRIPTORS, {})
    d:ok('admin.vm.List')
    for _ = 1, 3 do
      local pipes = flood()
      for _ = 1, 20 do d:call('dom0', 'admin.vm.List', 'dom0') end -- which may be closed at once
      for _, pipe in ipairs(pipes) do pipe:close() end
      assert.truthy(served('admin.vm.List', 'qubesd.sock'))
      assert.truthy(served('internal.Status', 'qubesd.internal.sock'))
      assert.truthy(served('internal.Status', 'qubesd.console.sock'))
      d:ok('admin.vm.feature.Set', 'dom0', 'a', 'b')
    end
    d:stop()
  end)
end)

describe('the command line', function()
  it('prints what is asked for', function()
    local result = run { '--version' }
    assert.equal(0, result.code)
    assert.truthy(result.out:find('^qubesd %d+%.%d+'))
    result = run { '--help' }
    assert.equal(0, result.code)
    for _, option in ipairs { 'socket-dir', 'state-dir', 'scripts-dir', 'acl-dir', 'libvirt-uri', 'debug', 'check-store', 'version', 'help' } do
      assert.truthy(result.out:find('--' .. option, 1, true), option)
    end
  end)

  it('refuses what it does not know', function()
    for _, args in ipairs { { '--frobnicate' }, { 'start' }, { '--state-dir' }, { '-x' } } do
      local result = run(args)
      assert.equal(2, result.code, args[1])
      assert.truthy(#result.err > 10, args[1])
    end
  end)

  it('says what is missing', function()
    local missing = directory .. '/missing'
    for _, option in ipairs { 'scripts-dir', 'state-dir', 'socket-dir' } do
      local result = run(arguments(directory, { [option] = missing }))
      assert.equal(1, result.code, option)
      assert.truthy(result.err:find(missing, 1, true), option .. ': ' .. result.err)
    end
    local result = run(arguments(directory, { ['socket-dir'] = directory .. '/' .. ('x'):rep(120) }))
    assert.equal(1, result.code)
    assert.truthy(result.err:find('name too long', 1, true), result.err)
  end)

  it('refuses a group that does not exist, before anything is opened', function()
    local result = run(arguments(directory, { group = 'no-such-group' }))
    assert.equal(2, result.code)
    assert.truthy(result.err:find('expected the name of a group that exists', 1, true), result.err)
    assert.truthy(result.err:find('no-such-group: there is no such group', 1, true), result.err)
    assert.is_nil(uv.fs_stat(directory .. '/qubesd.db'))
    assert.is_nil(uv.fs_stat(directory .. '/qubesd.sock'))
    d = daemon.start { args = { '--group', '' } }
    assert.equal(uv.getgid(), uv.fs_stat(d:socket()).gid)
    d:stop()
  end)

  it('gives the sockets to a group that exists', function()
    if uv.getuid() ~= 0 then return pending('only root may give a file to any group') end
    local name, gid
    for line in io.lines('/etc/group') do
      name, gid = line:match('^([^:]+):[^:]*:(%d+):')
      if tonumber(gid) ~= uv.getgid() then break end
    end
    d = daemon.start { args = { '--group', name } }
    assert.equal(tonumber(gid), uv.fs_stat(d:socket()).gid)
    assert.equal(uv.getgid(), uv.fs_stat(d:socket('qubesd.console.sock')).gid)
    d:stop()
  end)

  it('checks the store', function()
    d = daemon.start()
    d:estate { 'work' }
    local function check() return run { '--check-store', '--state-dir', d.directory } end
    assert.equal(0, check().code) -- beside a running daemon
    uv.kill(d.pid, 'sigterm')
    assert.equal(0, daemon.run_until(function() return d.exit_code end, 10))
    assert.equal(0, check().code)
    local path = d.directory .. '/qubesd.db'
    local file = assert(io.open(path, 'r+'))
    file:seek('set', 4096)
    file:write(('\255'):rep(8192))
    file:close()
    local result = check()
    assert.equal(1, result.code)
    assert.truthy(#(result.out .. result.err) > 10)
    local started = run(arguments(d.directory))
    assert.equal(1, started.code)
    assert.truthy(started.err:find('the store: ', 1, true), started.err)
    assert.equal(1, run({ '--check-store', '--state-dir', directory .. '/missing' }).code)
  end)
end)
