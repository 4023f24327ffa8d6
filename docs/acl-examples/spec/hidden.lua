-- SPDX-License-Identifier: GPL-2.0-or-later
-- A qube that nobody sees.

rules 'hidden'

estate {
  ['sys-net'] = { provides_network = true, netvm = none, tags = { 'hidden' } },
  work = { netvm = 'sys-net' },
  vault = {},
}

test('it is in no list and no value', function()
  expect('work', 'admin.vm.List'):lists { 'dom0', 'template', 'vault', 'work' }
  expect('work', 'admin.vm.List'):never_names('sys-net')
  expect('work', 'admin.vm.property.GetAll', 'work'):never_names('sys-net')
  expect('dom0', 'admin.vm.property.Get', 'work', 'netvm'):answers('default=False type=vm sys-net')
end)

test('it can\'t be called', function()
  expect('work', 'admin.vm.property.Get', 'sys-net', 'label'):unknown()
  expect('work', 'admin.vm.Start', 'sys-net'):unknown()
end)

test('its events are not told', function()
  events('work', function()
    dom0('admin.vm.tag.Set', 'sys-net', 'x')
    dom0('admin.vm.tag.Set', 'vault', 'y')
  end):sees { 'vault domain-tag-add:y' }:never_names('sys-net')
end)

test('it sees the others, and itself', function()
  expect('sys-net', 'admin.vm.List'):lists { 'dom0', 'sys-net', 'template', 'vault', 'work' }
  expect('sys-net', 'admin.vm.property.Get', 'sys-net', 'label'):permitted()
end)
