-- SPDX-License-Identifier: GPL-2.0-or-later
-- The graph of `netvm`: who is connected to whom, and the checks that keep it a tree. Registers nothing.

local classes = import('class')
local property = import('property')
local views = import('views')
local raise = import('exceptions').raise

local core_class = core.class
local resolved = classes.resolved

local network = {}

function network.is_networked_class(qube)
  return resolved[core_class(qube)].properties.netvm ~= nil
end

-- The qubes whose network comes from this one.
function network.connected(netvm)
  local list = {}
  for _, qube in ipairs(views.qubes()) do
    if network.is_networked_class(qube) and property.value(qube, 'netvm') == netvm then list[#list + 1] = qube end
  end
  return list
end

-- A setter: the new netvm has to provide network, and may not get its own from the qube.
function network.check_netvm(self, netvm)
  if not netvm then return nil end
  if not netvm.provides_network then raise('QubesValueError', 'the netvm does not provide network') end
  local upstream = netvm
  while upstream do
    if upstream == self then raise('QubesValueError', 'a qube can not be connected to itself, not even through others') end
    upstream = upstream.netvm
  end
  return netvm
end

-- A setter of the global default: no qube that follows it may be among the qubes that provide network to the new one.
function network.check_default_netvm(object, netvm, def)
  local upstream = netvm
  while upstream and network.is_networked_class(upstream) do
    if upstream:is_default('netvm') then property.refuse(object, def, 'a qube that follows it would be connected to itself') end
    upstream = upstream.netvm
  end
  return netvm
end

-- A setter: a qube that others are connected to goes on providing network.
function network.check_provides(self, provides)
  if not provides and #network.connected(self) > 0 then
    raise('QubesValueError', 'this qube is still the netvm of others')
  end
  return provides
end

return network
