-- SPDX-License-Identifier: GPL-2.0-or-later
-- All these rules at once: none of them is in the way of dom0.

estate {
  ['sys-net'] = { provides_network = true, netvm = none },
  ['sys-firewall'] = { provides_network = true, netvm = none },
  work = {}, mgmt = {}, guest = {}, monitor = {}, ['sys-gui'] = {}, vault = { tags = { 'vault', 'hidden', 'guest' } },
}

test('dom0 sees and does everything', function()
  expect('dom0', 'admin.vm.List'):lists { 'dom0', 'guest', 'mgmt', 'monitor', 'sys-firewall', 'sys-gui', 'sys-net', 'template', 'vault', 'work' }
  expect('dom0', 'admin.vm.property.Set', 'work', 'netvm', 'sys-net'):permitted()
  expect('dom0', 'admin.vm.property.Reset', 'work', 'netvm'):permitted()
  expect('dom0', 'admin.property.Set', 'dom0', 'default_netvm', 'sys-firewall'):permitted()
  expect('dom0', 'admin.vm.property.Set', 'work', 'label', 'blue'):permitted()
  expect('dom0', 'admin.label.Create', 'dom0', 'pink', '0xff00ff'):permitted()
  expect('dom0', 'admin.vm.feature.Set', 'work', 'secret-x', '1'):permitted()
  expect('dom0', 'admin.vm.feature.List', 'work'):lists { 'secret-x' }
  expect('dom0', 'admin.vm.tag.Set', 'work', 'guest'):permitted()
  expect('dom0', 'admin.vm.Start', 'vault'):permitted()
end)
