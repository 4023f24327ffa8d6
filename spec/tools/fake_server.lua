-- SPDX-License-Identifier: GPL-2.0-or-later
-- A qubesd that does what a spec tells it, and a runner for clients of it, both in the luv loop of the spec's own
-- process: a spec can answer, look at what the client has written by then, and answer on, without sleeping.

local uv = require 'luv'

local M = {}

local deadline_ms = 20000

-- Writing to a client that has left is an error to look at, not the end of the whole suite.
local sigpipe = uv.new_signal()
sigpipe:start('sigpipe', function() end)
sigpipe:unref()

-- Runs the loop until done() is true. A spec that hangs fails here, with the name of what it waited for.
local function wait_until(what, done)
  local expired = false
  local timer = uv.new_timer()
  timer:start(deadline_ms, 50, function() expired = true end) -- again and again: 'once' waits after it has fired before polling
  while not done() and not expired do
    uv.run('once')
  end
  timer:close()
  assert(not expired, 'waited in vain for ' .. what)
end
M.wait_until = wait_until

-- Lets the loop run for a while, to see that something does not happen.
function M.pause(ms)
  local over = false
  local timer = uv.new_timer()
  timer:start(ms, 50, function() over = true end)
  while not over do
    uv.run('once')
  end
  timer:close()
end

local function close(handle)
  if not handle:is_closing() then handle:close() end
end

function M.directory()
  return assert(uv.fs_mkdtemp(uv.os_tmpdir() .. '/qubesd-query-spec-XXXXXX'))
end

-- Returns a server that listens on path. Its `connections` are in order of arrival; each has what came in so far
-- as `request`, and `ended` once the client has half-closed. on_request(connection) is called then; with
-- options.early it is called as soon as the client has connected, and nothing is read.
function M.listen(path, on_request, options)
  local server = { path = path, connections = {} }
  local listener = uv.new_pipe(false)
  assert(listener:bind(path))
  assert(listener:listen(16, function(listen_err)
    assert(not listen_err, listen_err)
    local pipe = uv.new_pipe(false)
    listener:accept(pipe)
    local connection = { request = '', ended = false, gone = false }
    table.insert(server.connections, connection)

    function connection:send(data)
      assert(not self.gone, 'the client has gone')
      pipe:write(data, function(err) self.write_error = err end)
    end

    function connection:close(after_ms)
      if after_ms then
        local timer = uv.new_timer()
        timer:start(after_ms, 0, function()
          timer:close()
          self:close()
        end)
        return
      end
      self.gone = true
      if options and options.early then
        close(pipe)
      else
        pipe:shutdown(function() close(pipe) end)
      end
    end

    if options and options.early then
      on_request(connection)
      return
    end
    pipe:read_start(function(err, data)
      if data then
        connection.request = connection.request .. data
      elseif err then
        connection.gone = true
        close(pipe)
      else
        connection.ended = true
        if on_request then on_request(connection) end
      end
    end)
  end))

  -- Whether the client still holds its end: what we write to a client that has left fails.
  function server:client_left(index)
    local connection = self.connections[index]
    if not connection.write_error and not connection.gone then connection:send('1\0\0probe\0\0') end
    return connection.write_error ~= nil or connection.gone
  end

  function server.close()
    close(listener)
    uv.run('nowait')
  end
  return server
end

-- A server whose every answer is the given bytes.
function M.answering(path, answer)
  return M.listen(path, function(connection)
    if answer ~= '' then connection:send(answer) end
    connection:close()
  end)
end

-- Starts a program. `run.out` and `run.err` are what it has written so far, `run.code` and `run.signal` how it
-- ended. Standard input is open until run:input(nil). The program gets the descriptors `more` as 3, 4, …; they
-- are closed here.
function M.spawn(program, args, env, more)
  local pieces = { out = {}, err = {} }
  local run = setmetatable({ streams = 2 }, {
    __index = function(_, name)
      if not pieces[name] then return nil end
      pieces[name] = { table.concat(pieces[name]) }
      return pieces[name][1]
    end,
  })
  local stdin, stdout, stderr = uv.new_pipe(false), uv.new_pipe(false), uv.new_pipe(false)
  local stdio = { stdin, stdout, stderr, table.unpack(more or {}) }
  local handle, problem = uv.spawn(program, { args = args, env = env, stdio = stdio },
    function(code, signal) run.code, run.signal = code, signal end)
  assert(handle, problem)
  for _, fd in ipairs(more or {}) do
    assert(uv.fs_close(fd))
  end

  local function collect(pipe, name)
    pipe:read_start(function(err, data)
      assert(not err, err)
      if data then
        table.insert(pieces[name], data)
      else
        run.streams = run.streams - 1
        close(pipe)
      end
    end)
  end
  collect(stdout, 'out')
  collect(stderr, 'err')

  function run:input(data) -- luacheck: no self
    if data == nil then
      if not stdin:is_closing() then stdin:shutdown(function() close(stdin) end) end
    else
      stdin:write(data, function() end) -- the program need not read it all
    end
  end

  function run:stop_reading()
    self.streams = self.streams - 1
    close(stdout)
  end

  function run:kill(signal) -- luacheck: no self
    handle:kill(signal)
  end

  function run:finish()
    local ok, err = pcall(wait_until, 'the end of ' .. program, function()
      return self.code ~= nil and self.streams == 0
    end)
    if not ok then handle:kill('sigkill') end
    for _, h in ipairs { handle, stdin, stdout, stderr } do
      close(h)
    end
    uv.run('nowait')
    assert(ok, err)
    return self
  end
  return run
end

return M
