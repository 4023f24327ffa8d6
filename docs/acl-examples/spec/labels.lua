-- SPDX-License-Identifier: GPL-2.0-or-later
-- Labels stay as they are.

rules 'labels'

estate { work = {} }

test('labels are neither made nor removed', function()
  dom0('admin.label.Create', 'dom0', 'pink', '0xff00ff')
  expect('work', 'admin.label.Create', 'dom0', 'brown', '0x884400'):denied()
  expect('work', 'admin.label.Remove', 'dom0', 'pink'):denied()
end)

test('no qube gets another', function()
  expect('work', 'admin.vm.property.Set', 'work', 'label', 'blue'):denied()
  expect('work', 'admin.vm.property.Reset', 'work', 'label'):denied()
  expect('dom0', 'admin.vm.property.Set', 'work', 'label', 'blue'):permitted()
end)

test('looking at them, and other properties, are not concerned', function()
  expect('work', 'admin.label.Get', 'dom0', 'red'):permitted()
  expect('work', 'admin.label.Index', 'dom0', 'red'):permitted()
  expect('work', 'admin.label.List'):permitted()
  expect('work', 'admin.vm.property.Get', 'work', 'label'):permitted()
  expect('work', 'admin.vm.property.Set', 'work', 'memory', '300'):permitted()
end)
