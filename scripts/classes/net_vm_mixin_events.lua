-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers on NetVMMixin: what a change of a qube's network, its start or its shutdown means for the qubes around it.

local exceptions = import('exceptions')
local features = import('features')
local firewall = import('firewall')
local network = import('network')

local raise = exceptions.raise
local core_get = core.get

local NetVMMixin = class('NetVMMixin')

local DEFERRED = 'deferred-netvm-original' -- a feature: the netvm that a paused qube is still wired to

local function qube_or_nil(value)
  return value ~= none and value or nil
end

local function tell_of(qube, name, changes)
  qube:fire('property-reset:' .. name, { name = name }, false, changes)
end

-- It is this qube that has changed, and its clients follow.
local function tell_clients_of(self, name)
  for _, client in ipairs(network.connected(self)) do tell_of(client, name, { none, self }) end
end

-- Changing the netvm

NetVMMixin:on('property-pre-reset:netvm', function(self, _, info)
  local default = self:get_default('netvm')
  network.check_netvm(self, default)
  if default == qube_or_nil(info.oldvalue) then return end
  self:fire('property-pre-set:netvm', { name = 'netvm', newvalue = default or none, oldvalue = info.oldvalue }, true,
    { info.oldvalue or none, default or none })
end)

NetVMMixin:on('property-reset:netvm', function(self, _, info)
  local netvm = self.netvm
  if netvm == qube_or_nil(info.oldvalue) then return end
  self:fire('property-set:netvm', { name = 'netvm', newvalue = netvm or none, oldvalue = info.oldvalue or none }, false,
    { info.oldvalue or none, netvm or none })
end)

NetVMMixin:on('property-pre-set:netvm', function(self, _, info)
  local netvm = qube_or_nil(info.newvalue)
  local running = self:is_running()
  if netvm and running and not netvm:is_running() and not core.caller_sees(self) then -- it follows a default that changes
    network.disconnect(self)
    return
  end
  if netvm and running and not netvm:is_running() and core.caller_sees(netvm) then
    raise('QubesVMNotStartedError', 'the netvm does not run, so a running qube can not be connected to it')
  end
  local _, deferred_from = core_get(self, 'feature', DEFERRED)
  if self:is_paused() then
    local old = qube_or_nil(info.oldvalue)
    if not deferred_from then self.features[DEFERRED] = old and old.name or '' end
    return
  end
  if not deferred_from then
    local present = self.netvm
    if not (present and running and present:is_running()) then return end
  end
  self:detach_network()
end)

NetVMMixin:on('property-set:netvm', function(self, _, info)
  local old, netvm = qube_or_nil(info.oldvalue), qube_or_nil(info.newvalue)
  if netvm and not network.is_networked_class(netvm) then raise('QubesValueError', 'the netvm does not provide network') end
  if old and old:is_running() and network.is_networked_class(old) then old:reload_connected_ips() end
  if not netvm then return end
  if netvm:is_running() then netvm:reload_connected_ips() end
  if self:is_running() then
    self:create_qubesdb_entries { none, netvm }
    if not self:is_paused() then self:attach_network() end
    netvm:fire('net-domain-connect', { vm = self })
  end
end)

-- A netvm that was changed while the qube was paused is put in place.
function NetVMMixin.methods:apply_deferred_netvm()
  if self.is_preload then return end -- done when it is handed out
  local is_set, name = core_get(self, 'feature', DEFERRED)
  if not is_set then return end
  local netvm = self.netvm
  if netvm and not netvm:is_running() then return end -- its start calls here again
  local old = core.qube(name) or none
  local info = { name = 'netvm', newvalue = netvm or none, oldvalue = old }
  self:fire('property-pre-set:netvm', info, true, { old, netvm or none })
  if netvm then self:fire('property-set:netvm', info, false, { none, netvm }) end
  self.features[DEFERRED] = nil
end

-- Changing addresses

-- What follows from the change of an address; `version` is '' or '6'.
local function tell_of_address(self, info, version)
  if (info.newvalue or none) == (info.oldvalue or none) and not info._inherited then return end
  if self.provides_network then tell_of(self, 'gateway' .. version) end
  tell_of(self, 'visible_ip' .. version)
  tell_clients_of(self, 'visible_gateway' .. version)
end

NetVMMixin:on({ 'property-set:ip', 'property-reset:ip' }, function(self, _, info) tell_of_address(self, info, '') end)

NetVMMixin:on('property-set:ip6', function(self, _, info) tell_of_address(self, info, '6') end)

NetVMMixin:on('property-set:provides_network', function(self, _, info)
  if info.newvalue == info.oldvalue then return end
  tell_of(self, 'gateway')
  tell_of(self, 'gateway6')
end)

-- Starting and stopping

-- The qube that provides network to this one, if it is one that can.
local function provider_of(self)
  local netvm = self.netvm
  return netvm and network.is_networked_class(netvm) and netvm or nil
end

NetVMMixin:on('domain-pre-spawn', function(self)
  local netvm = provider_of(self)
  if not netvm then return end
  netvm:reload_connected_ips()
  netvm:set_mapped_ip_info(self)
  firewall.announce(netvm, self)
end)

NetVMMixin:on('firewall-changed', function(self)
  local netvm = provider_of(self)
  if netvm and self:is_running() then firewall.announce(netvm, self) end
end)

NetVMMixin:after('domain-start', function(self)
  local netvm = provider_of(self)
  if netvm then firewall.announce(netvm, self) end
  firewall.watch(self)
  if not self.provides_network then return end
  for _, client in ipairs(network.connected(self)) do
    if client:is_running() and not client:is_paused() then
      local deferred = core_get(client, 'feature', DEFERRED)
      local ok, err = pcall(deferred and client.apply_deferred_netvm or client.attach_network, client)
      if not ok then core.log('warning', ('%s: its network can not be attached: %s'):format(client.name, exceptions.message(err))) end
    end
  end
end)

NetVMMixin:after('domain-unpaused', function(self)
  if self:is_fully_usable() then self:apply_deferred_netvm() end
end)

NetVMMixin:on('domain-pre-shutdown', function(self, _, info)
  if not self.provides_network or info.force == true then return end
  for _, client in ipairs(network.connected(self)) do
    if client:is_running() and not client.is_preload and core.caller_sees(client) then
      raise('QubesVMInUseError', self.name .. ' provides network to qubes that run')
    end
  end
end)

NetVMMixin:on('domain-shutdown', function(self)
  features.clear(self, DEFERRED)
  for _, client in ipairs(network.connected(self)) do
    if client:is_running() then pcall(client.detach_network, client) end -- it is gone already: nothing to save
  end
end)

NetVMMixin:on('domain-qdb-create', function(self)
  if not self.provides_network then return end
  self:reload_connected_ips()
  for _, client in ipairs(network.connected(self)) do
    if client:is_running() then
      self:set_mapped_ip_info(client)
      firewall.announce(self, client)
    end
  end
end)

NetVMMixin:on('domain-load', firewall.watch)

-- After a load: a loop that came in from outside would never end.
NetVMMixin:on('domain-load', function(self)
  local upstream, steps = self.netvm, 0
  while upstream do
    steps = steps + 1
    if upstream == self or steps > 10000 then
      core.log('error', self.name .. ' is connected to itself through its netvm: disconnected')
      self.netvm = none
      return
    end
    upstream = upstream.netvm
  end
end)
