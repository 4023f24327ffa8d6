-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers the relayvm of remote qubes: the tag relayvm-NAME, and what the relay is told.

local property = import('property')
local qubesdb = import('qubesdb')

local PREFIX = 'relayvm-'

local function retag(qube, relay)
  for tag in pairs(qube.tags) do
    if tag:sub(1, #PREFIX) == PREFIX then qube.tags[tag] = nil end
  end
  if not relay then return end
  qube.tags[PREFIX .. relay.name] = true
  qubesdb.write(relay, '/remote/' .. qube.name, qube.remote_name or qube.name)
end

on('property-set:relayvm', function(qube, _, info) retag(qube, info.newvalue ~= none and info.newvalue or nil) end, 'RemoteVM')

on('property-reset:relayvm', function(qube) retag(qube, qube.relayvm) end, 'RemoteVM')

on('domain-start', function(relay)
  for _, qube in ipairs(core.qubes()) do
    if property.value(qube, 'relayvm') == relay then qubesdb.write(relay, '/remote/' .. qube.name, qube.remote_name or qube.name) end
  end
end)
