-- SPDX-License-Identifier: GPL-2.0-or-later
-- Drives a real daemon for specs: starts one on a temporary directory, makes calls and subscriptions over its sockets, writes rules, stops or kills it.
-- QD_BUILD_DIR chooses the build (build, build/sanitizers).

local uv = require('luv')

local M = {}
local Daemon = {}
Daemon.__index = Daemon
local Stream = {}
Stream.__index = Stream

-- A daemon that closes a connection must not end whoever writes to it.
local sigpipe = uv.new_signal()
sigpipe:start('sigpipe', function() end)
sigpipe:unref()

M.build_dir = os.getenv('QD_BUILD_DIR') or 'build'

-- Runs the loop until `done()` is true or the seconds are over; whether it became true. Asks again after whatever happens here, and every 10 ms for what
-- happens elsewhere.
local function run_until(done, seconds)
  uv.update_time() -- whatever blocked before this must not count
  local deadline = uv.now() + math.floor((seconds or 10) * 1000)
  local timer = uv.new_timer()
  timer:start(10, 10, function() end)
  while not done() and uv.now() < deadline do uv.run('once') end
  timer:close()
  return done()
end
M.run_until = run_until

function M.sleep(seconds)
  run_until(function() return false end, seconds)
end

local function write_file(path, text)
  local file = assert(io.open(path, 'w'))
  file:write(text)
  file:close()
end
M.write_file = write_file

function M.temporary_directory()
  return assert(uv.fs_mkdtemp((os.getenv('TMPDIR') or '/tmp') .. '/qubesd-spec-XXXXXX'))
end

function M.remove_tree(path)
  local request = uv.fs_scandir(path)
  while request do
    local name, kind = uv.fs_scandir_next(request)
    if not name then break end
    if kind == 'directory' then M.remove_tree(path .. '/' .. name) else uv.fs_unlink(path .. '/' .. name) end
  end
  uv.fs_rmdir(path)
end

-- A copy of scripts/ in the directory, with more files in it (path → text).
local function copy_scripts(directory, files)
  assert(os.execute(("cp -r scripts '%s/scripts'"):format(directory)))
  for path, text in pairs(files) do write_file(directory .. '/scripts/' .. path, text) end
  return directory .. '/scripts'
end

-- Starts a daemon and waits until it is ready. Options: `acl`, `ext` and `policy` (file name → text), `scripts` (a directory), `extra_scripts` (path → text:
-- a copy of scripts/ with these files), `directory` (an existing one: a restart), `binary`, `uri`, `args`, `env` (NAME → value), `wait` (false: do not wait
-- for it).
function M.start(options)
  options = options or {}
  local directory = options.directory or M.temporary_directory()
  local self = setmetatable({ directory = directory, acl_dir = directory .. '/acl', log = '', handles = {} }, Daemon)
  uv.fs_mkdir(self.acl_dir, 448)
  for name, text in pairs(options.acl or {}) do write_file(self.acl_dir .. '/' .. name, text) end
  local scripts = options.extra_scripts and copy_scripts(directory, options.extra_scripts) or options.scripts or 'scripts'
  uv.fs_mkdir(directory .. '/ext', 448)
  for name, text in pairs(options.ext or {}) do write_file(directory .. '/ext/' .. name, text) end
  -- Without `policy` the directory does not exist: then there is no qrexec, and rules alone decide.
  local policy_dir = directory .. '/policy.d'
  if options.policy then uv.fs_mkdir(policy_dir, 448) end
  for name, text in pairs(options.policy or {}) do write_file(policy_dir .. '/' .. name, text) end
  local args = {
    '--ext-dir', directory .. '/ext', '--policy-dir', policy_dir, '--qubesdb-dir', directory,
    '--socket-dir', directory, '--state-dir', directory, '--acl-dir', self.acl_dir, '--scripts-dir', scripts,
    '--libvirt-uri', options.uri or 'test:///default', '--kernels-dir', options.kernels or directory .. '/kernels',
  }
  for _, arg in ipairs(options.args or {}) do args[#args + 1] = arg end
  local env = { 'PATH=' .. os.getenv('PATH'), 'ASAN_OPTIONS=detect_leaks=1', 'HOME=' .. directory }
  for name, value in pairs(options.env or {}) do env[#env + 1] = name .. '=' .. value end
  local err = uv.new_pipe()
  self.err = err
  self.process, self.pid = uv.spawn(M.build_dir .. '/' .. (options.binary or 'qubesd'), { args = args, env = env, stdio = { nil, nil, err } },
    function(code, signal) self.exit_code, self.exit_signal = code, signal end)
  assert(self.process, self.pid)
  uv.read_start(err, function(_, data) if data then self.log = self.log .. data end end)
  if options.wait ~= false then
    local ready = run_until(function() return self.log:find(' ready: ', 1, true) or self.exit_code end, options.seconds or 30)
    if not ready or self.exit_code then
      self:kill()
      error('the daemon did not start:\n' .. self.log)
    end
  end
  return self
end

function Daemon:socket(name)
  return self.directory .. '/' .. (name or 'qubesd.sock')
end

-- Sends bytes and returns everything that comes back, or nil and why. Options: `socket`, `seconds`, `keep_open` (no end of input).
function Daemon:raw(bytes, options)
  options = options or {}
  local pipe = uv.new_pipe()
  local parts, ended, problem = {}, false, nil
  pipe:connect(self:socket(options.socket), function(err)
    if err then
      problem, ended = err, true
      return
    end
    pipe:read_start(function(read_error, data)
      if data then parts[#parts + 1] = data end
      if read_error then problem = read_error end
      if not data then ended = true end
    end)
    pipe:write(bytes)
    if not options.keep_open then pipe:shutdown() end
  end)
  local finished = run_until(function() return ended end, options.seconds or 20)
  pipe:close()
  if not finished then return nil, 'no answer in time' end
  if problem and #parts == 0 then return nil, problem end
  return table.concat(parts)
end

function M.parse(answer)
  if not answer or answer == '' then return { kind = 'closed' } end
  if answer:sub(1, 2) == '0\0' then return { kind = 'ok', body = answer:sub(3) } end
  if answer:sub(1, 2) == '2\0' then
    local class, trace, message = answer:match('^2%z([^%z]*)%z([^%z]*)%z([^%z]*)%z$')
    return { kind = 'exception', class = class, trace = trace, message = message }
  end
  return { kind = 'events', body = answer }
end

function M.request(src, method, dest, arg, payload)
  return ('%s+%s %s name %s\0%s'):format(method, arg or '', src, dest or 'dom0', payload or '')
end

-- A call; returns { kind = 'ok', body = … } or { kind = 'exception', class =, message = } or { kind = 'closed' }.
function Daemon:call(src, method, dest, arg, payload, options)
  return M.parse(self:raw(M.request(src, method, dest, arg, payload), options))
end

-- A call as dom0 that must succeed; its answer.
function Daemon:ok(method, dest, arg, payload, options)
  local answer = self:call('dom0', method, dest, arg, payload, options)
  if answer.kind ~= 'ok' then
    error(('%s+%s %s: %s %s %s\n%s'):format(method, arg or '', dest or 'dom0', answer.kind, tostring(answer.class), tostring(answer.message),
      self.log:sub(-1500)), 2)
  end
  return answer.body
end

-- Begins a call and does not wait; `result()` gives the parsed answer when there is one.
function Daemon:begin(src, method, dest, arg, payload, options)
  options = options or {}
  local pipe = uv.new_pipe()
  local pending = { parts = {}, pipe = pipe }
  pipe:connect(self:socket(options.socket), function(err)
    if err then
      pending.ended, pending.problem = true, err
      return
    end
    pipe:read_start(function(_, data)
      if data then
        pending.parts[#pending.parts + 1] = data
      else
        pending.ended = true
        if not pipe:is_closing() then pipe:close() end
      end
    end)
    pipe:write(M.request(src, method, dest, arg, payload))
    pipe:shutdown()
  end)
  function pending.result()
    return pending.ended and M.parse(table.concat(pending.parts)) or nil
  end
  function pending.close()
    if not pipe:is_closing() then pipe:close() end
  end
  return pending
end

-- Subscribes to events. `stream:take(seconds)` returns those that came, each { subject =, name =, info = {} }.
function Daemon:subscribe(src, dest, options)
  options = options or {}
  local stream = setmetatable({ buffer = '', pipe = uv.new_pipe(), ended = false, events = {} }, Stream)
  stream.pipe:connect(self:socket(options.socket), function(err)
    assert(not err, err)
    stream.pipe:write(M.request(src or 'dom0', 'admin.Events', dest or 'dom0'))
    stream.pipe:shutdown()
    if options.read ~= false then
      stream.pipe:read_start(function(_, data)
        if data then stream.buffer = stream.buffer .. data else stream.ended = true end
      end)
    end
  end)
  if options.read ~= false and options.wait ~= false then run_until(function() return #stream.buffer > 0 or stream.ended end, 10) end
  return stream
end

-- Takes one event off the buffer.
local function next_event(stream)
  local head, subject, name, rest = stream.buffer:match('^(%d)%z([^%z]*)%z([^%z]*)%z(.*)$')
  if not head then return nil end
  local info = {}
  while true do
    if rest:sub(1, 1) == '\0' then
      stream.buffer = rest:sub(2)
      return { subject = subject, name = name, info = info }
    end
    local key, value, left = rest:match('^([^%z]+)%z([^%z]*)%z(.*)$')
    if not key then return nil end
    info[key], rest = value, left
  end
end

function Stream:take(seconds)
  M.sleep(seconds or 0.1)
  local events = {}
  for event in next_event, self do events[#events + 1] = event end
  return events
end

-- Waits for an event of this name; returns it, or nil.
function Stream:wait(name, seconds)
  local found
  run_until(function()
    while not found do
      local event = next_event(self)
      if not event then break end
      if event.name == name then found = event end
    end
    return found or self.ended
  end, seconds or 5)
  return found
end

function Stream:close()
  if not self.pipe:is_closing() then self.pipe:close() end
end

function Daemon:write_rule(name, text)
  write_file(self.acl_dir .. '/.' .. name .. '.new', text)
  assert(os.rename(self.acl_dir .. '/.' .. name .. '.new', self.acl_dir .. '/' .. name))
end

function Daemon:remove_rule(name)
  os.remove(self.acl_dir .. '/' .. name)
end

-- Reloads through the console, which no rule can close; the parsed answer.
function Daemon:reload()
  return self:call('dom0', 'internal.Reload', 'dom0', '', '', { socket = 'qubesd.console.sock' })
end

-- Puts rules in force: a file, and a reload, which must work.
function Daemon:set_rule(name, text)
  self:write_rule(name, text)
  local answer = self:reload()
  if answer.kind ~= 'ok' then error(('no reload: %s\n%s'):format(tostring(answer.message), self.log:sub(-1500)), 2) end
  return answer.body
end

-- Writes rules that must not load; the message of the reload that refused them.
function Daemon:refused_rule(name, text)
  self:write_rule(name, text)
  local answer = self:reload()
  if answer.class ~= 'QubesException' then error(('not refused: %s %s\n%s'):format(answer.kind, tostring(answer.class), text), 2) end
  return answer.message
end

-- Whether the daemon still answers.
function Daemon:is_alive()
  return not self.exit_code and self:call('dom0', 'admin.vmclass.List', 'dom0', '', '', { socket = 'qubesd.console.sock' }).kind == 'ok'
end

-- Waits until the log has this text (plain); whether it has.
function Daemon:logged(text, seconds)
  return run_until(function() return self.log:find(text, 1, true) end, seconds or 5) ~= nil
end

-- The estate that most specs use: a template, and qubes with labels; `names` are AppVMs.
function Daemon:estate(names)
  self:ok('admin.vm.Create.TemplateVM', 'dom0', '', 'name=fedora label=black')
  self:ok('admin.property.Set', 'dom0', 'default_template', 'fedora')
  for _, name in ipairs(names or {}) do self:ok('admin.vm.Create.AppVM', 'dom0', '', 'name=' .. name .. ' label=red') end
end

-- Stops cleanly; fails unless the daemon exits with 0, which it does only with all its handles closed (and, in the sanitizers' build, without a leak).
function Daemon:stop()
  if not self.exit_code then
    uv.kill(self.pid, 'sigterm')
    run_until(function() return self.exit_code end, 20)
  end
  M.sleep(0.02)
  local code, signal, log = self.exit_code, self.exit_signal, self.log
  self:kill()
  if code ~= 0 or signal ~= 0 then error(('the daemon ended with %s, signal %s:\n%s'):format(code, signal, log:sub(-6000)), 2) end
end

-- kill -9, and what is left of the process here; keeps the directory.
function Daemon:kill_only()
  if not self.exit_code then
    uv.kill(self.pid, 'sigkill')
    run_until(function() return self.exit_code end, 10)
  end
  if not self.err:is_closing() then self.err:close() end
  if not self.process:is_closing() then self.process:close() end
  uv.run('nowait') -- handles that are still closing at the end of Lua crash luv
end

function Daemon:kill()
  self:kill_only()
  M.remove_tree(self.directory)
end

return M
