-- SPDX-License-Identifier: GPL-2.0-or-later
-- Tags that rules go by are set from dom0.

rules 'tags'

estate { work = {}, vault = { tags = { 'vault' } } }

test('others do not set or remove them', function()
  expect('work', 'admin.vm.tag.Set', 'work', 'shared'):denied('this tag is set from dom0')
  expect('work', 'admin.vm.tag.Remove', 'vault', 'vault'):denied('this tag is set from dom0')
  expect('work', 'admin.vm.tag.Set', 'vault', 'guivm-work'):denied('this tag is set from dom0')
end)

test('they look at them, and set others', function()
  expect('work', 'admin.vm.tag.Get', 'vault', 'vault'):answers('1')
  expect('work', 'admin.vm.tag.Set', 'work', 'mine'):permitted()
  expect('dom0', 'admin.vm.tag.Set', 'work', 'vault'):permitted()
end)
