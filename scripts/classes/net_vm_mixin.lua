-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers NetVMMixin: the properties of a qube's network. What happens when they change is in net_vm_mixin_events.lua.

local addresses = import('addresses')
local features = import('features')
local inherit = import('inherit')
local network = import('network')
local qubesdb = import('qubesdb')
local raise = import('exceptions').raise
local property = import('property')
local setters = import('setters')
local types = import('types')

local core_class, core_get = core.class, core.get
local value_of = property.value

local NetVMMixin = class('NetVMMixin', { doc = 'The network of a qube: as a client, and as a provider.' })
local methods = NetVMMixin.methods

local DNS = '10.139.1.1 10.139.1.2' -- addresses that a qube which provides network redirects to the real servers

NetVMMixin:property('netvm', { type = 'vm', stage = 4, allow_none = true, default = inherit.from_app('default_netvm'), set = network.check_netvm,
  doc = 'The qube that provides network to this one. None: it has no network. By default the global default_netvm.' })

NetVMMixin:property('provides_network', { type = 'bool', default = false,
  set = function(self, value, def) return network.check_provides(self, types.coerce(def, value)) end,
  doc = 'Whether other qubes may get their network from this one.' })

NetVMMixin:property('mac', { default = '00:16:3e:5e:6c:00', set = setters.mac, doc = 'The hardware address of the network card that the qube sees.' })

local function number_of(self)
  if core_class(self) == 'DispVM' then return self.dispid, '10.138', 'a8a' end
  return core.qid(self), '10.137', 'a89'
end

local function is_networked(self)
  return value_of(self, 'provides_network') or value_of(self, 'netvm') ~= nil
end

-- Addresses come from the netvm, so with one that provides none (dom0, as the global default) they are unset.
local function lacks_address(self)
  local netvm = value_of(self, 'netvm')
  if netvm then return not network.is_networked_class(netvm), true end
  return not value_of(self, 'provides_network'), nil
end

local function default_ip(self)
  local lacks, unset = lacks_address(self)
  if lacks then return nil, unset end
  local number, prefix = number_of(self)
  return addresses.for_number(prefix, number)
end

local function has_ipv6(self)
  return features.truth(features.with_netvm(self, 'ipv6'))
end

local function default_ip6(self)
  local lacks, unset = lacks_address(self)
  if (lacks and not unset) or not has_ipv6(self) then return nil end
  if lacks then return nil, unset end
  local number, _, group = number_of(self)
  return addresses.for_number6(group, number)
end

NetVMMixin:property('ip', { type = 'ipv4', default = default_ip,
  doc = 'The IPv4 address of the qube, as the qube that provides network sees it.' })

NetVMMixin:property('ip6', { type = 'ipv6', default = default_ip6,
  doc = 'The IPv6 address of the qube, when the network has IPv6.' })

-- A feature of the qube or its template that stands in for the real value, unless it is empty.
local function faked(self, feature)
  local value = features.with_template(self, feature)
  return value ~= '' and value or nil
end

local function visible_ip(self)
  local fake = faked(self, 'net.fake-ip')
  if fake then return fake end
  return value_of(self, 'ip')
end

local function gateway(self)
  if not value_of(self, 'provides_network') then return nil end
  return visible_ip(self)
end

-- What the netvm says of itself, by a property or a method of it; unset when it is no provider.
local function of_netvm(self, ask)
  local netvm = value_of(self, 'netvm')
  if not netvm then return nil end
  if not network.is_networked_class(netvm) then return nil, true end
  return ask(netvm)
end

local function gateway_of(netvm) return value_of(netvm, 'gateway') end

local function gateway6_of(netvm) return value_of(netvm, 'gateway6') end

local function netmask_of(netvm) return netvm:netmask() end

NetVMMixin:property('visible_ip', { computed = true, default = visible_ip,
  doc = 'The IPv4 address that the qube believes to have: its own, or the feature net.fake-ip.' })

NetVMMixin:property('visible_ip6', { computed = true, default = function(self) return value_of(self, 'ip6') end,
  doc = 'The IPv6 address that the qube believes to have.' })

NetVMMixin:property('visible_gateway', { computed = true,
  default = function(self)
    local fake = faked(self, 'net.fake-gateway')
    if fake then return fake end
    return of_netvm(self, gateway_of)
  end,
  doc = 'The IPv4 gateway that the qube is told to use: that of its netvm, or the feature net.fake-gateway.' })

NetVMMixin:property('visible_gateway6', { computed = true,
  default = function(self)
    if not value_of(self, 'netvm') or not has_ipv6(self) then return nil end
    return of_netvm(self, gateway6_of)
  end,
  doc = 'The IPv6 gateway that the qube is told to use.' })

NetVMMixin:property('visible_netmask', { computed = true,
  default = function(self)
    local fake = faked(self, 'net.fake-netmask')
    if fake then return fake end
    return of_netvm(self, netmask_of)
  end,
  doc = 'The network mask that the qube is told to use: that of its netvm, or the feature net.fake-netmask.' })

NetVMMixin:property('gateway', { computed = true, default = gateway,
  doc = 'The IPv4 gateway of the qubes that get their network from this one.' })

NetVMMixin:property('gateway6', { computed = true,
  default = function(self)
    if not value_of(self, 'provides_network') or not has_ipv6(self) then return nil end
    return value_of(self, 'ip6')
  end,
  doc = 'The IPv6 gateway of the qubes that get their network from this one.' })

NetVMMixin:property('dns', { computed = true,
  default = function(self) return (value_of(self, 'netvm') ~= nil or value_of(self, 'provides_network')) and DNS or nil end,
  doc = 'The DNS servers that the qube is told to use.' })

methods.is_networked = is_networked

function methods:netmask() return is_networked(self) and '255.255.255.255' or nil end

function methods:connected_qubes() return network.connected(self) end

-- The addresses from which packets of clients may come.
function methods:reload_connected_ips()
  if not qubesdb.is_there(self) then return end
  local ips, ips6 = {}, {}
  for _, qube in ipairs(network.connected(self)) do
    ips[#ips + 1] = qube.visible_ip
    ips6[#ips6 + 1] = qube.visible_ip6
  end
  qubesdb.write(self, '/connected-ips', table.concat(ips, ' '))
  qubesdb.write(self, '/connected-ips6', table.concat(ips6, ' '))
end

-- Tells this qube by which addresses a client of it knows itself and its gateway.
function methods:set_mapped_ip_info(client)
  local base = '/mapped-ip/' .. (client.ip or '')
  for entry, value in pairs { ['/visible-ip'] = client.visible_ip or false, ['/visible-gateway'] = client.visible_gateway or false } do
    if value then
      qubesdb.write(self, base .. entry, value)
    else
      qubesdb.remove(self, base .. entry)
    end
  end
end

-- The card is plugged into the running domain; where the hypervisor has no way to do so, the next start does it.
function methods:attach_network()
  local netvm = self.netvm
  if not self:is_running() then raise('QubesVMNotRunningError', self.name .. ' does not run') end
  if not netvm then raise('QubesVMError', self.name .. ' has no netvm') end
  if not netvm:is_running() then netvm:start() end
  netvm:set_mapped_ip_info(self)
  if self:is_paused() then return end
  local xml = self:hypervisor().network_xml
  if xml then core.virt(self, 'attach_device', xml(self)) end
end

function methods:detach_network()
  local _, deferred_from = core_get(self, 'feature', 'deferred-netvm-original')
  if not self:is_running() then raise('QubesVMNotRunningError', self.name .. ' does not run') end
  if not self.netvm and not deferred_from then raise('QubesVMError', self.name .. ' has no netvm') end
  local xml = self:hypervisor().network_xml
  if xml and not self:is_paused() then core.virt(self, 'detach_device', xml(self)) end
end
