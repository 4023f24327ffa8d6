-- SPDX-License-Identifier: GPL-2.0-or-later
-- Features that are for dom0 only.

rules 'features'

estate { work = { features = { ['secret-x'] = 'the value', plain = '1' } }, vault = { features = { ['secret-x'] = 'the value' } } }

test('they are neither listed nor read nor set', function()
  expect('work', 'admin.vm.feature.List', 'work'):lists { 'plain' }
  expect('work', 'admin.vm.feature.Get', 'work', 'secret-x'):denied()
  expect('work', 'admin.vm.feature.CheckWithTemplate', 'work', 'secret-x'):denied()
  expect('work', 'admin.vm.feature.Set', 'work', 'secret-y', '1'):denied()
  expect('work', 'admin.vm.feature.Set', 'work', 'plain', '2'):permitted()
  expect('dom0', 'admin.vm.feature.Get', 'vault', 'secret-x'):answers('the value')
end)

test('there are no news of them', function()
  events('work', function()
    dom0('admin.vm.feature.Set', 'vault', 'secret-y', '1')
    dom0('admin.vm.feature.Remove', 'work', 'secret-x')
    dom0('admin.vm.feature.Set', 'work', 'plain', '2')
  end):sees { 'work domain-feature-pre-set:plain', 'work domain-feature-set:plain' }:never_names('secret')
end)
