-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers on the app: what stops the removal of a qube, and what a change of a global property means for the qubes.

local dependencies = import('dependencies')
local features = import('features')
local kernels = import('kernels')
local network = import('network')
local preload = import('preload')
local raise = import('exceptions').raise
local views = import('views')

local Qubes = class('Qubes')

local function or_nil(value)
  if value == none then return nil end
  return value
end

-- Removal

Qubes:on('domain-pre-delete', function(_, _, info)
  dependencies.refuse_if_needed(info.vm)
end)

local POINTERS = { 'default_guivm', 'default_netvm', 'clockvm', 'updatevm', 'default_template' }

Qubes:on('domain-delete', function(self, _, info)
  for _, name in ipairs(POINTERS) do
    if self[name] == info.vm then self:reset(name) end
  end
end)

-- clockvm: the feature tells the qube to run a time service

Qubes:on('property-pre-set:clockvm', function(_, _, info)
  local qube = or_nil(info.newvalue)
  if qube and qube.features['service.clocksync'] == nil then qube.features['service.clocksync'] = true end
end)

Qubes:on('property-set:clockvm', function(_, _, info)
  local old = or_nil(info.oldvalue)
  if old and info.newvalue ~= info.oldvalue and features.truth(old.features['service.clocksync']) then
    old.features['service.clocksync'] = nil
  end
end)

-- default_netvm: the qubes that follow it are connected anew

local function followers(name)
  local list = {}
  for _, qube in ipairs(views.qubes()) do
    if qube:property_def(name) and qube:is_default(name) then list[#list + 1] = qube end
  end
  return list
end

Qubes:on('property-pre-set:default_netvm', function(_, _, info)
  -- Not a reset: the handlers of pre-set are those that take the old netvm off.
  for _, qube in ipairs(followers('netvm')) do
    qube:fire('property-pre-set:netvm', { name = 'netvm', newvalue = info.newvalue, oldvalue = info.oldvalue or none }, true)
  end
end)

Qubes:on('property-set:default_netvm', function(_, _, info)
  if info.newvalue ~= none and info.newvalue ~= info.oldvalue and not network.is_networked_class(info.newvalue) then
    raise('QubesValueError', 'the netvm does not provide network')
  end
  for _, qube in ipairs(followers('netvm')) do
    qube:fire('property-reset:netvm', { name = 'netvm', oldvalue = info.oldvalue or none })
  end
end)

-- default_dispvm

Qubes:on({ 'property-set:default_dispvm', 'property-reset:default_dispvm' }, function(self, _, info)
  for _, qube in ipairs(followers('default_dispvm')) do
    qube:fire('property-reset:default_dispvm', { name = 'default_dispvm', oldvalue = info.oldvalue or none })
  end
  local template, old = or_nil(info.newvalue) or self.default_dispvm, or_nil(info.oldvalue)
  if template == old then return end
  preload.adopt_global(old, 'it was the default_dispvm')
  preload.adopt_global(template, 'it became the default_dispvm')
end)

Qubes:on('property-pre-set:default_kernel', function(self, _, info)
  kernels.check(self, self:property_def('default_kernel'), info.newvalue)
end)
