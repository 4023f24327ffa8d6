-- SPDX-License-Identifier: GPL-2.0-or-later
-- A vault is started from dom0 only.

rules 'vault'

estate { work = {}, guest = {}, vault = { tags = { 'vault' } } }

test('others do not start a vault', function()
  expect('work', 'admin.vm.Start', 'vault'):denied('a vault is started from dom0 only')
  expect('work', 'mgmt.vm.Start', 'vault'):denied('a vault is started from dom0 only')
  expect('work', 'admin.vm.CurrentState', 'vault'):answers('mem=0 mem_static_max=0 cputime=0 power_state=Halted')
end)

test('dom0 does, and others start what is no vault', function()
  expect('dom0', 'admin.vm.Start', 'vault'):permitted()
  expect('work', 'admin.vm.Start', 'guest'):permitted()
end)

test('without the tag it is none', function()
  dom0('admin.vm.tag.Remove', 'vault', 'vault')
  expect('work', 'admin.vm.Start', 'vault'):permitted()
end)
