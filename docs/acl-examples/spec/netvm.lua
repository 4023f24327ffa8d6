-- SPDX-License-Identifier: GPL-2.0-or-later
-- Nobody but dom0 connects a qube to another network than sys-firewall.

rules 'netvm'

estate {
  ['sys-net'] = { provides_network = true, netvm = none },
  ['sys-firewall'] = { provides_network = true, netvm = none },
  mgmt = {}, work = {}, vault = {},
}

test('only sys-firewall', function()
  for _, netvm in ipairs { 'sys-net', 'vault', '' } do
    expect('mgmt', 'admin.vm.property.Set', 'work', 'netvm', netvm):denied('only sys-firewall')
  end
  expect('mgmt', 'mgmt.vm.property.Set', 'work', 'netvm', 'sys-net'):denied('only sys-firewall')
  expect('mgmt', 'admin.vm.property.Set', 'work', 'netvm', 'sys-firewall'):permitted()
  expect('mgmt', 'admin.vm.property.Get', 'work', 'netvm'):answers('default=False type=vm sys-firewall')
end)

test('not by way of the default', function()
  expect('mgmt', 'admin.vm.property.Reset', 'work', 'netvm'):denied('only sys-firewall')
  expect('mgmt', 'admin.property.Set', 'dom0', 'default_netvm', 'sys-firewall'):denied('the network of all qubes is set from dom0')
  expect('mgmt', 'admin.property.Reset', 'dom0', 'default_netvm'):denied('the network of all qubes is set from dom0')
end)

test('other properties, looking, and dom0 are not concerned', function()
  expect('mgmt', 'admin.vm.property.Set', 'work', 'memory', '300'):permitted()
  expect('mgmt', 'admin.vm.property.Reset', 'work', 'memory'):permitted()
  expect('mgmt', 'admin.property.Get', 'dom0', 'default_netvm'):permitted()
  expect('dom0', 'admin.vm.property.Set', 'work', 'netvm', 'sys-net'):permitted()
end)
