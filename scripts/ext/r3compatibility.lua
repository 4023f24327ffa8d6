-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers QubesDB entries for guests of the time of Qubes 3.

local qubesdb = import('qubesdb')

local SERVICES = { ['service.ntpd'] = 'ntpd', ['check-updates'] = 'qubes-update-check', dvm = 'qubes-dvm', ['updates-proxy-setup'] = 'yum-proxy-setup' }

local function type_of(qube)
  if qube.klass == 'TemplateVM' then return 'TemplateVM' end
  if not qube.provides_network then return 'AppVM' end
  return qube.netvm and 'ProxyVM' or 'NetVM'
end

on('domain-qdb-create', function(qube)
  qubesdb.write(qube, '/qubes-vm-type', type_of(qube))
  qubesdb.write(qube, '/qubes-iptables-error', '')
  for feature, service in pairs(SERVICES) do
    local value = qube.features[feature]
    if value then qubesdb.write(qube, '/qubes-service/' .. service, value ~= '' and '1' or '0') end
  end
end)
