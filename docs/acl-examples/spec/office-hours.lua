-- SPDX-License-Identifier: GPL-2.0-or-later
-- What does not depend on the time of the day.

rules 'office-hours'

estate {
  panel = {},
  work = { tags = { 'office' } },
  vault = {},
}

test('the panel starts nothing but the office', function()
  expect('panel', 'admin.vm.Start', 'vault'):denied('no grant permits this call')
end)

test('the panel does everything else, and others start what they like', function()
  expect('panel', 'admin.vm.List', 'vault'):permitted()
  expect('panel', 'admin.vm.tag.List', 'work'):permitted()
  expect('work', 'admin.vm.Start', 'work'):permitted()
end)
