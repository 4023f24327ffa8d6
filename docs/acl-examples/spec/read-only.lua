-- SPDX-License-Identifier: GPL-2.0-or-later
-- A caller that only looks.

rules 'read-only'

estate { monitor = {}, work = { features = { x = '1' } } }

test('it looks at everything', function()
  expect('monitor', 'admin.vm.List'):lists { 'dom0', 'monitor', 'template', 'work' }
  expect('monitor', 'admin.vm.CurrentState', 'work'):permitted()
  expect('monitor', 'admin.vm.property.Get', 'work', 'label'):permitted()
  expect('monitor', 'admin.vm.property.GetAll', 'work'):permitted()
  expect('monitor', 'admin.vm.property.GetDefault', 'work', 'memory'):permitted()
  expect('monitor', 'admin.vm.property.Help', 'work', 'label'):permitted()
  expect('monitor', 'admin.vm.feature.Get', 'work', 'x'):answers('1')
  expect('monitor', 'admin.label.Index', 'dom0', 'red'):permitted()
  expect('monitor', 'admin.Events'):permitted()
end)

test('it changes nothing', function()
  for _, call in ipairs {
    { 'admin.vm.Start', 'work' }, { 'admin.vm.Kill', 'work' }, { 'admin.vm.Remove', 'work' }, { 'admin.vm.tag.Set', 'work', 'x' },
    { 'admin.vm.property.Set', 'work', 'memory', '300' }, { 'admin.vm.property.Reset', 'work', 'memory' },
    { 'admin.vm.Create.AppVM', 'dom0', '', 'name=new label=red' }, { 'admin.property.Set', 'dom0', 'default_netvm', '' },
    { 'admin.label.Create', 'dom0', 'pink', '0xff00ff' }, { 'admin.vm.feature.Remove', 'work', 'x' },
  } do
    expect('monitor', table.unpack(call)):denied('monitor only looks')
  end
end)

test('others are not concerned', function()
  expect('work', 'admin.vm.Start', 'work'):permitted()
end)
