-- SPDX-License-Identifier: GPL-2.0-or-later
-- A GUI domain sees its qubes, starts and stops them, and changes none.

rules 'gui-domain'

estate { ['sys-gui'] = {}, work = { guivm = 'sys-gui' }, vault = {} }

local refusal = 'sys-gui looks, starts and stops'

test('it sees the qubes whose guivm it is', function()
  expect('sys-gui', 'admin.vm.List'):lists { 'work' }
  expect('sys-gui', 'admin.vm.Start', 'vault'):unknown()
  dom0('admin.vm.property.Set', 'work', 'guivm', '')
  expect('sys-gui', 'admin.vm.List'):lists {}
end)

test('it looks, starts and stops', function()
  expect('sys-gui', 'admin.vm.property.Get', 'work', 'label'):permitted()
  expect('sys-gui', 'admin.vm.Start', 'work'):permitted()
  expect('sys-gui', 'admin.vm.Kill', 'work'):permitted()
end)

test('it changes nothing', function()
  expect('sys-gui', 'admin.vm.property.Set', 'work', 'label', 'blue'):denied(refusal)
  expect('sys-gui', 'admin.vm.tag.Set', 'work', 'x'):denied(refusal)
end)
