-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers TemplateVM, and what a change of a template means for the qubes that are based on it.

local views = import('views')
local network = import('network')

local TemplateVM = class('TemplateVM', { parents = { 'QubesVM' }, creatable = true, doc = 'Lends its root volume to other qubes.' })

TemplateVM:property('appvm_default_bootmode', { stage = 4,
  default = function(self) return self.features['boot-mode.appvm-default'] or 'default' end,
  doc = 'The boot mode of qubes that are based on this template and have none of their own.' })

-- Unlike other qubes, a template is not connected unless somebody says so.
TemplateVM:property('netvm', { type = 'vm', stage = 4, allow_none = true, default = none, set = network.check_netvm,
  doc = 'The qube that provides network to this template. None: it has no network.' })

-- The qubes that are based on this one.
function TemplateVM.methods:appvms()
  return views.based_on(self)
end

-- It is this template that has changed, and the qubes that are based on it follow. `old` and `new`, where they are given: its value.
local function tell_of_default(self, name, old, new)
  for _, qube in ipairs(self:appvms()) do
    if qube:is_default(name) then qube:fire('property-reset:' .. name, { name = name }, false, { none, self, old, new }) end
  end
end

TemplateVM:after('domain-shutdown', function(self)
  for _, qube in ipairs(self:appvms()) do
    if qube.template_for_dispvms then qube:refresh_outdated_preload() end
  end
end)

TemplateVM:on('domain-feature-set:boot-mode.appvm-default', function(self, _, info)
  if info.value == info.oldvalue or not self:is_default('appvm_default_bootmode') then return end
  self:fire('property-reset:appvm_default_bootmode', { name = 'appvm_default_bootmode' })
  tell_of_default(self, 'bootmode')
end)

TemplateVM:on('property-set:appvm_default_bootmode', function(self, _, info)
  if info.newvalue ~= info.oldvalue then tell_of_default(self, 'bootmode') end
end)

TemplateVM:on('property-reset:appvm_default_bootmode', function(self) tell_of_default(self, 'bootmode') end)

-- Properties whose default is the template's value.
local INHERITED = {
  'default_user', 'kernel', 'kernelopts', 'vcpus', 'memory', 'maxmem', 'qrexec_timeout', 'shutdown_timeout', 'management_dispvm',
}

for _, name in ipairs(INHERITED) do
  TemplateVM:on('property-set:' .. name, function(self, _, info)
    if info.newvalue ~= info.oldvalue then tell_of_default(self, name, info.oldvalue or none, info.newvalue) end
  end)
end
