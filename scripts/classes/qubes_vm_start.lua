-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers on QubesVM: starting, pausing and waking up. Every step is announced by an event that extensions may refuse.
--
-- `waking`, an attribute of the kind `transient`, says that the daemon itself resumes the domain, so that libvirt's news of it is none.

local exceptions = import('exceptions')
local features = import('features')
local hypervisors = import('hypervisors')
local kernels = import('kernels')
local qubesdb = import('qubesdb')
local qubesdb_entries = import('qubesdb_entries')
local shutdown = import('shutdown')
local states = import('domain_state')

local raise = exceptions.raise
local core_power = core.power

local QubesVM = class('QubesVM')
local methods = QubesVM.methods

function methods:hypervisor() return hypervisors.current() end

-- Runs a part of the start; when it fails, whoever was told of the start is told of that too.
local function attempt(self, part, undo)
  local ok, err = pcall(part)
  if ok then return end
  core.log('error', ('%s: the start failed: %s'):format(self.name, exceptions.message(err)))
  self:fire('domain-start-failed', { reason = exceptions.message(err) })
  if undo then undo() end
  error(err, 0)
end

local function tell_of_domain(self)
  for _, name in ipairs { 'xid', 'stubdom_xid', 'start_time' } do self:fire('property-reset:' .. name, { name = name }) end
end

QubesVM:after('domain-stopped', tell_of_domain)

local function check_allowed(self)
  local reason = self.features['prohibit-start']
  if not features.truth(reason) then return end
  local text = 'starting this qube is prohibited: ' .. reason
  self:fire('domain-start-failed', { reason = text })
  raise('QubesException', text)
end

-- Its netvm has to be there first. What is wrong with that one is not for everybody who may start this one.
local function prepare(self, start_guid)
  local netvm = self.netvm
  if not netvm or core.qid(netvm) == 0 or netvm:is_running() then return end
  local ok, err = pcall(netvm.start, netvm, { start_guid = start_guid })
  if not ok then
    core.log('error', ('%s: its netvm can not be started: %s'):format(self.name, exceptions.message(err)))
    raise('QubesException', 'the qube that provides its network can not be started')
  end
end

local function spawn(self, start_guid)
  self:fire('domain-pre-spawn', { start_guid = start_guid }, true)
  core.set(self, 'transient', 'waking', true)
  core.virt(self, 'define', hypervisors.current().domain_xml(self))
  local id = core.virt(self, 'create', nil, states.START_PAUSED)
  core.set_power(self, 'Paused', id)
  shutdown.owe(self)
  tell_of_domain(self)
end

local function wake_up(self)
  core.set(self, 'transient', 'waking', true)
  local id = core.virt(self, 'resume')
  core.set_power(self, 'Running', id)
  self:fire('domain-unpaused')
end

local function boot(self, start_guid)
  self:fire('domain-spawn', { start_guid = start_guid })
  self:create_qubesdb_entries()
  self:fire('domain-pre-unpaused', nil, true)
  qubesdb.sync(self) -- the system inside reads them as soon as it runs
  wake_up(self)
  self:fire('domain-start', { start_guid = start_guid })
end

-- Starts the qube; nothing is done when it is not halted. Options: start_guid (true), mem_required.
function methods:start_qube(options)
  core.lock(self)
  local ok, err = pcall(function()
    if core.removed(self) then raise('QubesVMNotFoundError', 'the qube was removed') end
    if not self:is_halted() then return end
    shutdown.tell(self)
    check_allowed(self)
    local start_guid = not (options and options.start_guid == false)
    attempt(self, function()
      self:fire('domain-pre-start', { start_guid = start_guid, mem_required = options and options.mem_required or none }, true)
    end)
    attempt(self, function() prepare(self, start_guid) end)
    kernels.refresh(self.kernel)
    attempt(self, function() spawn(self, start_guid) end)
    attempt(self, function() boot(self, start_guid) end, function() pcall(self.kill, self) end)
  end)
  core.unlock(self)
  if not ok then error(err, 0) end
  return self
end

function methods:start(options) return self:start_qube(options) end

-- Pausing

local function require_running(self)
  if not self:is_running() then raise('QubesVMNotRunningError', self.name .. ' does not run') end
end

function methods:pause()
  require_running(self)
  self:fire('domain-pre-paused', nil, true)
  core.virt(self, 'suspend')
  return self
end

function methods:unpause()
  if not self:is_paused() then raise('QubesVMNotPausedError', self.name .. ' is not paused') end
  self:fire('domain-pre-unpaused', nil, true)
  wake_up(self)
  return self
end

-- Suspends to memory, where the system inside can; else it is paused.
function methods:suspend()
  require_running(self)
  local ok, err = pcall(core.virt, self, 'pm_suspend')
  if ok then return self end
  if not exceptions.is(err, 'LibvirtError') then error(err, 0) end
  self:fire('domain-pre-paused', nil, true)
  core.virt(self, 'suspend')
  return self
end

function methods:resume()
  if core_power(self) ~= 'Suspended' then return self:unpause() end
  core.virt(self, 'pm_wakeup')
  self:fire('domain-resumed')
  return self
end

-- QubesDB

-- `changes`: what it follows from, for events.fire.
function methods:create_qubesdb_entries(changes)
  if qubesdb.is_there(self) then
    local entries, gone = qubesdb_entries.of(self)
    for path, value in pairs(entries) do qubesdb.write(self, path, value) end
    for _, path in ipairs(gone) do qubesdb.remove(self, path) end
  end
  self:fire('domain-qdb-create', nil, false, changes)
end
