-- SPDX-License-Identifier: GPL-2.0-or-later
-- Nothing but what is listed.

rules 'allow-list'

estate { backup = {}, panel = {}, work = {} }

test('what is listed', function()
  expect('panel', 'admin.vm.List'):permitted()
  expect('panel', 'admin.vm.Start', 'work'):permitted()
  expect('backup', 'admin.vm.property.Get', 'work', 'label'):permitted()
end)

test('and no more', function()
  expect('panel', 'admin.vm.Kill', 'work'):denied('not in the list of panel')
  expect('backup', 'admin.vm.Start', 'work'):denied('not in the list of backup')
  expect('work', 'admin.vm.List'):denied('not in the list of work')
  expect('work', 'mgmt.vm.List'):denied('not in the list of work')
  events('work', function() end):denied('not in the list of work')
  expect('dom0', 'admin.vm.Kill', 'work'):fails('QubesVMNotStartedError') -- it was permitted
end)
