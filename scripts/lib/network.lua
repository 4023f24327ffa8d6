-- SPDX-License-Identifier: GPL-2.0-or-later
-- The graph of `netvm`: who is connected to whom, and the checks that keep it a tree. Registers nothing.
--
-- A refusal that only a hidden qube causes would tell a caller that there is one (law 1). So hidden qubes stand in no caller's way: they are
-- disconnected. They have no network then, and none that nobody has chosen for them.

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

-- Takes the network of a qube that the caller can not see.
function network.disconnect(qube)
  core.log('warning', ('%s gets no network any more, for a caller that may not know of it'):format(qube.name))
  qube.netvm = none
end

-- A setter: the new netvm has to provide network, and may not get its own from the qube.
function network.check_netvm(self, netvm)
  if not netvm then return nil end
  if not netvm.provides_network then raise('QubesValueError', 'the netvm does not provide network') end
  local upstream, secret = netvm, nil -- secret: the first on the way that the caller can not see
  while upstream and upstream ~= self do
    if not secret and not core.caller_sees(upstream) then secret = upstream end
    upstream = upstream.netvm
  end
  if upstream and not secret then raise('QubesValueError', 'a qube can not be connected to itself, not even through others') end
  if upstream then network.disconnect(secret) end
  return netvm
end

-- A setter of the global default: no qube that follows it may be among the qubes that provide network to the new one.
function network.check_default_netvm(object, netvm, def)
  local upstream = netvm
  while upstream and network.is_networked_class(upstream) do
    local next_one = upstream.netvm
    if upstream:is_default('netvm') then
      if core.caller_sees(upstream) then property.refuse(object, def, 'a qube that follows it would be connected to itself') end
      network.disconnect(upstream)
    end
    upstream = next_one
  end
  return netvm
end

-- A setter: a qube that others are connected to goes on providing network.
function network.check_provides(self, provides)
  if provides then return true end
  local clients = network.connected(self)
  for _, client in ipairs(clients) do
    if core.caller_sees(client) then raise('QubesValueError', 'this qube is still the netvm of others') end
  end
  for _, client in ipairs(clients) do network.disconnect(client) end
  return false
end

return network
