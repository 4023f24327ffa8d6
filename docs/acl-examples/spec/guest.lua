-- SPDX-License-Identifier: GPL-2.0-or-later
-- A guest sees shared qubes, and nothing of the others.

rules 'guest'

estate {
  ['sys-net'] = { provides_network = true, netvm = none },
  work = { netvm = 'sys-net', tags = { 'shared' } },
  guest = { tags = { 'guest' } },
  vault = {},
}

test('a guest sees shared qubes only', function()
  expect('guest', 'admin.vm.List'):lists { 'work' }
  expect('vault', 'admin.vm.List'):lists { 'dom0', 'guest', 'sys-net', 'template', 'vault', 'work' }
end)

test('for a guest there is no other qube, by whatever name', function()
  expect('guest', 'admin.vm.property.Get', 'vault', 'label'):unknown()
  expect('guest', 'admin.vm.property.Get', 'there-is-none', 'label'):unknown()
  expect('guest', 'admin.vm.property.Get', 'work', 'netvm'):answers('default=False type=vm ')
  expect('guest', 'admin.vm.property.GetAll', 'work'):never_names('sys-net')
end)

test('a guest hears of shared qubes only', function()
  events('guest', function()
    dom0('admin.vm.feature.Set', 'vault', 'x', '1')
    dom0('admin.vm.tag.Set', 'work', 'y')
  end):sees { 'work domain-tag-add:y' }:never_names('vault')
end)

test('who has no such tag is no guest', function()
  dom0('admin.vm.tag.Remove', 'guest', 'guest')
  expect('guest', 'admin.vm.List'):lists { 'dom0', 'guest', 'sys-net', 'template', 'vault', 'work' }
end)
