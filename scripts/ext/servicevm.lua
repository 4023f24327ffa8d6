-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers the feature servicevm: a qube that provides network is a service qube, and its icon says so.

local function update(qube)
  if qube.provides_network then
    qube.features.servicevm = '1'
  elseif qube.features.servicevm then
    qube.features.servicevm = nil
  else
    return
  end
  qube:fire('property-reset:icon', { name = 'icon' })
end

on('property-set:provides_network', update)
on('property-reset:provides_network', update)
