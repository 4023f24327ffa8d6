-- SPDX-License-Identifier: GPL-2.0-or-later
-- A subscriber that gets no events of features.

rules 'events'

estate { monitor = {}, work = {} }

local function change()
  dom0('admin.vm.feature.Set', 'work', 'x', '1')
  dom0('admin.vm.tag.Set', 'work', 'y')
end

test('no news of features', function()
  events('monitor', change):sees { 'work domain-tag-add:y' }
end)

test('others get them', function()
  events('work', change):sees { 'work domain-feature-pre-set:x', 'work domain-feature-set:x', 'work domain-tag-add:y' }
end)
