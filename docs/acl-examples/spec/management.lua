-- SPDX-License-Identifier: GPL-2.0-or-later
-- A management qube sees and manages what it has made.

rules 'management'

estate {
  ['sys-net'] = { provides_network = true, netvm = none },
  mgmt = {}, work = {}, vault = {},
}

local refusal = 'mgmt manages its own qubes only'

test('it manages what it has made', function()
  expect('mgmt', 'admin.vm.Create.AppVM', 'dom0', '', 'name=mine label=red'):permitted()
  expect('mgmt', 'admin.vm.List'):lists { 'mine', 'template' }
  expect('mgmt', 'admin.vm.property.Set', 'mine', 'memory', '300'):permitted()
  expect('mgmt', 'admin.vm.Start', 'mine'):permitted()
  expect('mgmt', 'admin.vm.Kill', 'mine'):permitted()
  expect('mgmt', 'admin.vm.property.Set', 'mine', 'netvm', 'sys-net'):fails('QubesPropertyValueError') -- which it does not see
  expect('mgmt', 'admin.vm.Remove', 'mine'):permitted()
end)

test('it manages nothing else', function()
  expect('mgmt', 'admin.vm.Start', 'work'):unknown()
  expect('mgmt', 'admin.vm.property.Set', 'mgmt', 'memory', '300'):denied(refusal)
  expect('mgmt', 'admin.property.Set', 'dom0', 'default_netvm', ''):denied(refusal)
  expect('mgmt', 'admin.label.Create', 'dom0', 'pink', '0xff00ff'):denied(refusal)
  expect('mgmt', 'admin.vm.feature.Set', 'dom0', 'x', '1'):denied(refusal)
end)

test('others are not concerned', function()
  expect('work', 'admin.vm.property.Set', 'vault', 'memory', '300'):permitted()
end)
