-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers on QubesVM: shutting down, killing, and the files of a qube.

local exceptions = import('exceptions')
local shutdown = import('shutdown')

local raise = exceptions.raise

local methods = class('QubesVM').methods

local function wait_until_halted(self, seconds)
  local deadline = core.monotonic() + seconds
  while not self:is_halted() do
    local left = deadline - core.monotonic()
    if left <= 0 then raise('QubesVMShutdownTimeoutError', ('%s did not shut down within %d seconds'):format(self.name, seconds)) end
    core.wait(self, left)
  end
end

-- Asks the qube to shut down. Options: force (although others use it), wait (until it is halted), timeout (seconds, for wait).
function methods:shutdown(options)
  options = options or {}
  if self:is_halted() then raise('QubesVMNotStartedError', self.name .. ' is halted already') end
  local ok, err = pcall(function()
    self:fire('domain-pre-shutdown', { force = options.force == true }, true)
    local paused = self:is_paused()
    if paused and not options.force and not self.is_preload then raise('QubesVMNotRunningError', self.name .. ' is paused') end
    core.virt(self, paused and 'destroy' or 'shutdown')
    if not options.wait then return end
    wait_until_halted(self, options.timeout or self.shutdown_timeout)
    shutdown.tell(self)
  end)
  if not ok then
    if not core.removed(self) then self:fire('domain-shutdown-failed', { reason = exceptions.message(err) }) end
    error(err, 0)
  end
  return self
end

-- Stops the qube at once.
function methods:kill()
  if self:is_halted() then raise('QubesVMNotStartedError', self.name .. ' is halted already') end
  core.virt(self, 'destroy')
  if not core.removed(self) then
    core.set_power(self, 'Halted', -1)
    shutdown.tell(self)
  end
  return self
end

-- The files of a qube are the storage's business; here are the events around them.

function methods:create_on_disk()
  self:fire('domain-create-on-disk')
end

function methods:remove_from_disk()
  if not self:is_halted() then raise('QubesVMNotHaltedError', self.name .. ' runs, so its files are needed') end
  self:fire('domain-remove-from-disk')
end
