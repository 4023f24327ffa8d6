-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers QubesVM, the parent of all qubes that run on this machine, with its properties. Its events are in qubes_vm_events.lua, starting and
-- stopping in qubes_vm_start.lua and qubes_vm_stop.lua.

local features = import('features')
local hypervisors = import('hypervisors')
local inherit = import('inherit')
local kernels = import('kernels')
local layouts = import('layouts')
local property = import('property')
local setters = import('setters')

local from_template, from_app = inherit.from_template, inherit.from_app
local core_get, core_host, core_names = core.get, core.host, core.names

local QubesVM = class('QubesVM', { parents = { 'NetVMMixin', 'LocalVM' }, doc = 'A qube that runs on this machine.' })
local methods = QubesVM.methods

local MEMORY = 400 -- MiB

function methods:has_pci_devices()
  return #core_names(self, 'device.pci') > 0
end

-- What runs it

QubesVM:property('virt_mode', { set = setters.virt_mode,
  default = function(self)
    if self:has_pci_devices() then return 'hvm' end
    local template = property.value(self, 'template')
    return template and property.value(template, 'virt_mode') or 'pvh'
  end,
  doc = 'How the machine is virtualised: hvm (fully), pv (by cooperation of the guest) or pvh (both). By default that of the template.' })

QubesVM:property('kernel', { set = setters.kernel, default = from_template('kernel', from_app('default_kernel')),
  doc = 'The kernel, of those in dom0, that the qube boots; empty: one that is inside the qube. By default that of the template.' })

QubesVM:property('kernelopts', { stage = 4, set = setters.kernel_options, default = kernels.default_options,
  doc = 'Options on the command line of the kernel. By default those of the template, else those that came with the kernel.' })

-- The boot mode that features select, if the kernel options of that mode are known too.
local function default_bootmode(self)
  local is_set, mode = core_get(self, 'feature', 'boot-mode.active')
  if is_set and (mode == 'default' or features.with_template(self, 'boot-mode.kernelopts.' .. mode)) then return mode end
  local subject = self
  while true do
    local template = property.value(subject, 'template')
    if not template then return 'default' end
    mode = property.value(template, 'appvm_default_bootmode')
    if mode and (mode == 'default' or features.with_template(subject, 'boot-mode.kernelopts.' .. mode)) then return mode end
    subject = template
  end
end

QubesVM:property('bootmode', { stage = 4, default = default_bootmode,
  doc = 'The boot mode, one of those that the features boot-mode.* describe, or default.' })

QubesVM:property('debug', { type = 'bool', default = false, doc = 'Whether the qube is started with what helps to find faults.' })

QubesVM:property('default_user', { set = setters.user_name, default = from_template('default_user', 'user'),
  doc = 'The user as whom programs are started. By default that of the template.' })

-- Memory and processors

-- Memory is only moved between domains by Xen's balancer, and only when the guest takes part in it.
function methods:is_memory_balancing_possible()
  if not hypervisors.is_xen() or self:has_pci_devices() then return false end
  if self.virt_mode ~= 'hvm' then return true end
  if not features.truth(features.with_template(self, 'qrexec')) then return false end
  local any_service = false
  local subject = self
  while subject do
    for _, name in ipairs(core_names(subject, 'feature')) do
      any_service = any_service or name:sub(1, 18) == 'supported-service.'
    end
    subject = subject.template
  end
  return not any_service or features.truth(features.with_template(self, 'supported-service.meminfo-writer'))
end

QubesVM:property('memory', { type = 'int', set = setters.positive, default = from_template('memory', MEMORY),
  doc = 'The memory that the qube starts with, in MiB. By default that of the template.' })

QubesVM:property('maxmem', { type = 'int', set = setters.not_negative,
  default = function(self)
    if not self:is_memory_balancing_possible() then return 0 end
    local template = self.template
    if template then return template.maxmem end
    -- A Linux kernel can't grow further than about ten times what it was started with.
    local most = self.features.os == 'Linux' and self.memory * 10 or 4000
    return math.min(most, core_host().memory_kib // 2048)
  end,
  doc = 'The most memory that the balancer may give to the qube, in MiB; 0: the qube keeps what it started with.' })

QubesVM:property('stubdom_mem', { type = 'int', set = setters.positive, default = none,
  doc = 'The memory of the domain that emulates devices for an hvm qube, in MiB.' })

QubesVM:property('vcpus', { type = 'int', set = setters.positive, default = from_template('vcpus', 2),
  doc = 'How many virtual processors the qube has. By default as many as the template.' })

-- Time-outs

QubesVM:property('qrexec_timeout', { type = 'int', set = setters.positive,
  default = from_template('qrexec_timeout', from_app('default_qrexec_timeout')),
  doc = 'How many seconds the qube has, from its start, until it takes service calls.' })

QubesVM:property('shutdown_timeout', { type = 'int', set = setters.positive,
  default = from_template('shutdown_timeout', from_app('default_shutdown_timeout')),
  doc = 'How many seconds the qube has to shut down, before it may be killed.' })

-- Other qubes that serve this one

QubesVM:property('guivm', { type = 'vm', stage = 4, allow_none = true, default = from_app('default_guivm'),
  doc = 'The qube that shows the windows of this one.' })

QubesVM:property('audiovm', { type = 'vm', stage = 4, allow_none = true, default = from_app('default_audiovm'),
  doc = 'The qube that plays the sound of this one.' })

QubesVM:property('default_dispvm', { type = 'vm', stage = 4, allow_none = true, set = setters.disposable_template,
  default = from_app('default_dispvm'), doc = 'The template of the disposables that the qube may ask for.' })

QubesVM:property('management_dispvm', { type = 'vm', stage = 4, allow_none = true, set = setters.disposable_template,
  default = from_template('management_dispvm', from_app('management_dispvm')),
  doc = 'The template of the disposables from which this qube is managed.' })

QubesVM:property('keyboard_layout', { set = layouts.set, default = layouts.default,
  doc = 'The keyboard as layout+variant+options. By default that of the guivm.' })

-- Housekeeping

QubesVM:property('installed_by_rpm', { type = 'bool', default = false,
  doc = 'Whether the qube came with a package of dom0, which then is what removes it.' })

QubesVM:property('autostart', { type = 'bool', default = false, doc = 'Whether the qube is started when dom0 has booted.' })

QubesVM:property('include_in_backups', { type = 'bool', default = true, doc = 'Whether the qube is part of a backup by default.' })

QubesVM:property('backup_timestamp', { type = 'int', default = none,
  doc = 'When the qube was last backed up, in seconds since 1970.' })

QubesVM:property('updateable', { type = 'bool', read_only = true, computed = true,
  default = function(self) return not self:is_template_based() end,
  doc = 'Whether updates may be installed inside the qube: not when it is based on a template.' })

QubesVM:property('devices_denied', { default = '', set = setters.interfaces,
  doc = 'Codes of the device interfaces that may not be attached here: a letter of the device class and six hexadecimal digits each.' })

-- The running domain

QubesVM:property('xid', { type = 'int', computed = true, default = core.domain_id,
  doc = "The hypervisor's number of the running domain; -1 when the qube is halted." })

QubesVM:property('stubdom_xid', { type = 'int', computed = true, default = -1,
  doc = "The hypervisor's number of the domain that emulates devices for the qube; -1 when there is none." })

QubesVM:property('stubdom_uuid', { computed = true, default = '',
  doc = 'The uuid of the domain that emulates devices for the qube; empty when there is none.' })

QubesVM:property('start_time', { computed = true, default = none, doc = 'When the qube was started, in seconds since 1970.' })

function methods:is_running()
  local power = core.power(self)
  return power ~= 'Halted' and power ~= 'NA'
end

function methods:is_halted()
  local power = core.power(self)
  return power == 'Halted' or power == 'NA'
end

function methods:is_paused() return core.power(self) == 'Paused' end

-- The user as whom programs are started in the boot mode that is active.
function methods:user()
  local mode = self.bootmode
  return mode ~= 'default' and features.with_template(self, 'boot-mode.default-user.' .. mode) or self.default_user
end
