-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers on QubesVM: what follows from changes of its properties and features.

local features = import('features')
local hypervisors = import('hypervisors')
local kernels = import('kernels')
local layouts = import('layouts')
local property = import('property')
local raise = import('exceptions').raise

local QubesVM = class('QubesVM')

local function tell_of(name)
  return function(self) self:fire('property-reset:' .. name, { name = name }) end
end

-- The icon is made of the label and of what the qube is for.
QubesVM:on({ 'property-set:label', 'property-set:template_for_dispvms' }, tell_of('icon'))

QubesVM:on('domain-feature-set:boot-mode.active', function(self, _, info)
  if info.value ~= info.oldvalue and self:is_default('bootmode') then tell_of('bootmode')(self) end
end)

QubesVM:on('property-pre-set:kernel', function(self, _, info)
  kernels.check(self, self:property_def('kernel'), info.newvalue)
end)

QubesVM:on('property-pre-reset:keyboard_layout', function(self)
  layouts.check_loop(self, self:property_def('keyboard_layout'))
end)

-- Clients ask for maxmem to know how large a running qube may get, so it changes with the qube halted or where memory can be plugged in.
QubesVM:on('property-pre-set:maxmem', function(self, _, info)
  if info.newvalue == info.oldvalue or self:is_halted() or property.as_seen(self.uses_memory_hotplug, self) then return end
  raise('QubesVMNotHaltedError', self.name .. ' runs, and its memory can not be changed while it does')
end)

function QubesVM.methods:uses_memory_hotplug()
  if not hypervisors.is_xen() then return false end
  local wanted = features.with_template(self, 'memory-hotplug')
  if wanted then return wanted ~= '' end
  if self.virt_mode == 'hvm' then return false end
  return features.truth(features.with_template(self, 'supported-feature.memory-hotplug'))
end

-- Handlers answer false when the qube can not be used yet.
function QubesVM.methods:is_fully_usable()
  for _, answer in ipairs(self:fire('domain-is-fully-usable') or {}) do
    if not answer then return false end
  end
  return true
end
