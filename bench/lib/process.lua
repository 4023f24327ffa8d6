-- SPDX-License-Identifier: GPL-2.0-or-later
-- Programs, files and waiting, on luv. Everything here blocks the script, not the machine: a wait is a run of the loop.

local uv = require 'luv'

local process = {}

local SIGKILL_AFTER = 30 -- seconds that a program has to end

local running = {} -- pid → process, so that nothing outlives the script

function process.now()
  return uv.hrtime() / 1e9
end

-- Runs the loop until the condition holds; false after so many seconds.
function process.wait_until(condition, seconds)
  local expired = false
  local limit, tick = uv.new_timer(), uv.new_timer()
  limit:start(math.ceil(seconds * 1000), 0, function() expired = true end)
  tick:start(1, 1, function() end)
  while not expired and not condition() do
    uv.run('once')
  end
  limit:close()
  tick:close()
  uv.run('nowait')
  return not expired
end

function process.sleep(seconds)
  process.wait_until(function() return false end, seconds)
end

-- NAME=value of this process and of more; nil, which is all of this process's, when there is no more.
local function environment(more)
  if not more then
    return nil
  end
  local list, all = {}, uv.os_environ()
  for name, value in pairs(more) do
    all[name] = value
  end
  for name, value in pairs(all) do
    list[#list + 1] = name .. '=' .. value
  end
  return list
end

-- options: env (NAME → value, added to what there is); stdout, stderr: 'collect' (into .output / .errors) or a path.
function process.spawn(path, args, options)
  local self = { path = path, output = '', errors = '' }
  local stdio, pipes, files = { nil, nil, nil }, {}, {}
  for index, stream in ipairs { 'stdout', 'stderr' } do
    local target = options and options[stream]
    if target == 'collect' then
      pipes[stream] = uv.new_pipe(false)
      stdio[index + 1] = pipes[stream]
    elseif target then
      local fd = assert(uv.fs_open(target, 'a', 420))
      files[#files + 1] = fd
      stdio[index + 1] = fd
    else
      stdio[index + 1] = index
    end
  end
  local words = {}
  for index, word in ipairs(args) do
    words[index] = tostring(word)
  end
  local open = 1
  local handle, pid = uv.spawn(path, { args = words, stdio = stdio, env = environment(options and options.env) }, function(code, signal)
    self.code, self.signal = code, signal
    self.handle:close()
    running[self.pid] = nil
    open = open - 1
  end)
  for _, fd in ipairs(files) do
    uv.fs_close(fd)
  end
  if not handle then
    error(('%s: %s'):format(path, pid), 0)
  end
  self.handle, self.pid = handle, pid
  running[pid] = self
  for stream, pipe in pairs(pipes) do
    local field = stream == 'stdout' and 'output' or 'errors'
    open = open + 1
    pipe:read_start(function(_, data)
      if data then
        self[field] = self[field] .. data
        return
      end
      pipe:close()
      open = open - 1
    end)
  end
  function self.finished()
    return open == 0
  end
  return self
end

-- Runs a program to its end and returns its output; an error when it fails.
function process.run(path, args, seconds)
  local self = process.spawn(path, args, { stdout = 'collect', stderr = 'collect' })
  if not process.wait_until(self.finished, seconds) then
    process.stop(self)
    error(('%s did not end in %d s'):format(path, seconds), 0)
  end
  if self.code ~= 0 then
    error(('%s %s\nended with %s\n%s'):format(path, table.concat(args, ' '),
      self.signal ~= 0 and 'signal ' .. self.signal or 'exit status ' .. self.code, self.errors), 0)
  end
  return self.output
end

-- Asks a program to end and waits for it. Returns its exit status, or nil when it had to be killed.
function process.stop(self)
  if not self.code then
    self.handle:kill('sigterm')
    if not process.wait_until(function() return self.code end, SIGKILL_AFTER) then
      self.handle:kill('sigkill')
      process.wait_until(function() return self.code end, SIGKILL_AFTER)
      return nil
    end
  end
  return self.signal == 0 and self.code or nil
end

local function signal_all()
  for _, self in pairs(running) do
    self.handle:kill('sigkill')
  end
end

function process.kill_all()
  signal_all()
  process.wait_until(function() return not next(running) end, SIGKILL_AFTER)
end

-- On SIGTERM and SIGINT: ends what was started, then calls `callback` with the exit status that says so.
function process.on_stop(callback)
  for name, number in pairs { sigterm = 15, sigint = 2 } do
    uv.new_signal():start(name, function()
      signal_all()
      callback(128 + number)
    end)
  end
end

function process.read_file(path)
  local file = io.open(path, 'rb')
  if not file then
    return nil
  end
  local data = file:read('a')
  file:close()
  return data
end

function process.write_file(path, data)
  local file = assert(io.open(path, 'wb'))
  assert(file:write(data))
  assert(file:close())
end

-- Seconds of processor time that a process and its threads have used, those that have ended left out. To the nanosecond: /proc/PID/stat counts in
-- hundredths of a second, which are several per cent of a round.
function process.cpu_seconds(pid)
  local folder, total = ('/proc/%d/task'):format(pid), 0
  local scan = assert(uv.fs_scandir(folder), 'the process is gone')
  for thread in function() return (uv.fs_scandir_next(scan)) end do
    local text = process.read_file(('%s/%s/schedstat'):format(folder, thread)) or '0'
    total = total + tonumber(text:match('^%d+'))
  end
  return total / 1e9
end

function process.resident_kib(pid)
  return tonumber(assert(process.read_file(('/proc/%d/status'):format(pid)), 'the process is gone'):match('VmRSS:%s*(%d+)'))
end

-- Processor time so far that a hypervisor gave to others, and all of it, in ticks of all processors.
function process.stolen_ticks()
  local total, stolen, place = 0, 0, 0
  for ticks in (process.read_file('/proc/stat') or ''):match('^cpu%s+([^\n]*)'):gmatch('%d+') do
    place = place + 1
    total = total + (place <= 8 and tonumber(ticks) or 0) -- what follows is counted in the first ones already
    stolen = place == 8 and tonumber(ticks) or stolen
  end
  return stolen, total
end

function process.make_directory(path)
  local _, message, name = uv.fs_mkdir(path, 448) -- 0700
  if message and name ~= 'EEXIST' then
    error(message, 0)
  end
  return path
end

function process.temporary_directory(parent)
  return assert(uv.fs_mkdtemp(parent .. '/qubesd-bench-XXXXXX'))
end

-- Removes a directory with all that is in it. Symbolic links are removed, not followed.
function process.remove_tree(path)
  local scan = uv.fs_scandir(path)
  while scan do
    local name, kind = uv.fs_scandir_next(scan)
    if not name then
      break
    end
    local inner = path .. '/' .. name
    if kind == 'directory' then
      process.remove_tree(inner)
    else
      uv.fs_unlink(inner)
    end
  end
  uv.fs_rmdir(path)
end

return process
