-- SPDX-License-Identifier: GPL-2.0-or-later
-- What a service manager does to a daemon: another umask, sockets that it made itself, a socket that is told how the daemon is.

local uv = require('luv')
local daemon = require('spec.support.daemon')

local M = {}

-- A daemon started by way of a program (options.script, text with its interpreter line), which is given the daemon's command line and executes it.
function M.start(script, options)
  local directory = options.directory or daemon.temporary_directory()
  local path = directory .. '/start'
  local file = assert(io.open(path, 'w'))
  file:write(script)
  file:close()
  uv.fs_chmod(path, 448)
  options.directory = directory
  options.env = options.env or {}
  options.env.QD_PROGRAM = uv.fs_realpath(daemon.build_dir .. '/' .. (options.program or 'qubesd'))
  options.binary = ('../'):rep(32) .. path -- from the build's directory
  return daemon.start(options)
end

M.UMASK = [[
#!/bin/sh
umask 0
exec "$QD_PROGRAM" "$@"
]]

M.FEW_DESCRIPTORS = [[
#!/bin/sh
ulimit -S -n 64
exec "$QD_PROGRAM" "$@"
]]

-- Enough for the daemon and a few connections.
M.DESCRIPTORS = 64
M.NO_MORE_DESCRIPTORS = ([[
#!/bin/sh
ulimit -n %d
exec "$QD_PROGRAM" "$@"
]]):format(M.DESCRIPTORS)

-- Makes the sockets that QD_LISTEN names, in the first argument's directory, as descriptors from 3.
M.ACTIVATE = [[
#!/usr/bin/env python3
import os, socket, sys
directory, descriptor = sys.argv[sys.argv.index('--socket-dir') + 1], 3
for name in os.environ['QD_LISTEN'].split():
    each = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    each.bind(directory + '/' + name)
    each.listen(16)
    kept = os.dup(each.fileno())
    each.close()
    os.dup2(kept, descriptor, inheritable=True)
    if kept != descriptor:
        os.close(kept)
    descriptor += 1
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(descriptor - 3))
os.execv(os.environ['QD_PROGRAM'], ['qubesd'] + sys.argv[1:])
]]

local LISTENER = [[
import os, socket, sys
each = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
each.bind(sys.argv[1])
print('bound', flush=True)
while True:
    print('[' + each.recv(4096).decode() + ']', flush=True)
]]

local Listener = {}
Listener.__index = Listener

-- Gathers what is told to the socket `path` (NOTIFY_SOCKET), each message in brackets, in `listener.text`.
function M.listen(path)
  local self = setmetatable({ text = '', out = uv.new_pipe(), path = path }, Listener)
  self.process, self.pid = uv.spawn('python3', { args = { '-c', LISTENER, path }, stdio = { nil, self.out, nil } }, function() self.ended = true end)
  assert(self.process, self.pid)
  self.out:read_start(function(_, data) self.text = self.text .. (data or '') end)
  assert(self:wait('bound'), 'python3 does not listen')
  return self
end

-- Waits until `what` was told, `count` times; how often it was.
function Listener:count(what, count, seconds)
  local found
  daemon.run_until(function()
    found = select(2, self.text:gsub(what:gsub('%p', '%%%0'), ''))
    return found >= (count or 1)
  end, seconds or 5)
  return found
end

function Listener:wait(what, seconds)
  return self:count(what, 1, seconds) >= 1
end

function Listener:close()
  uv.kill(self.pid, 'sigkill')
  daemon.run_until(function() return self.ended end, 5)
  self.process:close()
  self.out:close()
  uv.run('nowait')
  uv.fs_unlink(self.path)
end

return M
