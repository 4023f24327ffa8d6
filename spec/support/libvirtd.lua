-- SPDX-License-Identifier: GPL-2.0-or-later
-- A libvirtd of our own, as an ordinary user, with all its files below one directory; spec/c/test_virt_remote.c tells how.

local uv = require('luv')
local daemon = require('spec.support.daemon')

local M = {}
local Server = {}
Server.__index = Server

local NOBODY = 65534

local function find(paths)
  for _, path in ipairs(paths) do
    if uv.fs_access(path, 'X') then return path end
  end
end

local program = find { '/usr/sbin/libvirtd', '/usr/bin/libvirtd' }
local emulator = find { '/usr/bin/qemu-system-x86_64' }

-- What is missing, or nil.
function M.missing()
  if not program then return 'libvirtd is not installed (libvirt-daemon, libvirt-daemon-driver-qemu)' end
  if not emulator then return 'qemu is not installed (qemu-system-x86)' end
  return nil
end

local function is_root() return uv.getuid() == 0 end

-- Whether that user may use KVM: as one of its group, or as everybody. A device that only root may open is none to it.
local function may_use_kvm()
  local kvm = uv.fs_stat('/dev/kvm')
  if not kvm or not is_root() then return kvm ~= nil and uv.fs_access('/dev/kvm', 'RW') == true end
  return kvm.mode & 6 == 6 or kvm.mode & 48 == 48
end

-- Makes the directory; start() begins.
function M.new()
  local self = setmetatable({ directory = assert(uv.fs_mkdtemp('/tmp/qubesd-libvirtd-XXXXXX')) }, Server) -- short: a socket's path
  for _, name in ipairs { '', '/config', '/config/libvirt', '/cache', '/run' } do
    local path = self.directory .. name
    if name ~= '' then assert(uv.fs_mkdir(path, 448)) end
    if is_root() then assert(uv.fs_chown(path, NOBODY, NOBODY)) end
  end
  local file = assert(io.open(self.directory .. '/config/libvirt/qemu.conf', 'w'))
  file:write('stdio_handler = "file"\n') -- to do without virtlogd
  file:close()
  self.kvm = may_use_kvm()
  self.socket = self.directory .. '/run/libvirt/libvirt-sock'
  self.uri = 'qemu+unix:///session?socket=' .. self.socket
  return self
end

function Server:start()
  local options = { args = {}, env = { 'PATH=/usr/sbin:/usr/bin:/sbin:/bin', 'HOME=' .. self.directory } }
  for name, folder in pairs { XDG_CONFIG_HOME = 'config', XDG_CACHE_HOME = 'cache', XDG_RUNTIME_DIR = 'run' } do
    table.insert(options.env, name .. '=' .. self.directory .. '/' .. folder)
  end
  local path = program
  if is_root() then
    path = 'setpriv'
    options.args = { '--reuid=' .. NOBODY, '--regid=' .. NOBODY, self.kvm and '--groups=' .. uv.fs_stat('/dev/kvm').gid or '--clear-groups', '--', program }
  end
  self.ended = false
  self.process, self.pid = uv.spawn(path, options, function() self.ended = true end)
  assert(self.process, self.pid)
  local listens = daemon.run_until(function()
    daemon.sleep(0.02) -- a file wakes nobody up
    return self.ended or uv.fs_stat(self.socket)
  end, 20)
  assert(listens and not self.ended, 'libvirtd does not start')
end

-- The emulator's process of a guest, by the file that libvirtd wrote.
function Server:guest_pid(name)
  local file = io.open(('%s/run/libvirt/qemu/run/%s.pid'):format(self.directory, name))
  local pid = file and tonumber(file:read('a'))
  if file then file:close() end
  return pid
end

function Server:kill()
  if not self.process then return end
  if not self.ended then
    uv.kill(self.pid, 'sigkill')
    assert(daemon.run_until(function() return self.ended end, 10))
  end
  self.process:close()
  self.process = nil
  uv.run('nowait')
  uv.fs_unlink(self.socket)
end

-- Kills the guests that are left.
function Server:kill_guests(names)
  for _, name in ipairs(names) do
    local pid = self:guest_pid(name)
    if pid then uv.kill(pid, 'sigkill') end
  end
end

-- Ends it, and removes the directory.
function Server:remove()
  self:kill()
  daemon.remove_tree(self.directory)
end

return M
