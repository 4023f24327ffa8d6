-- SPDX-License-Identifier: GPL-2.0-or-later
-- Labels stay as they are.

on('admin-permission:admin.label.*', function(src, event, info)
  if src.name == 'dom0' then return end
  if event:match('Create$') or event:match('Remove$') then deny() end
end)

on('admin-permission:admin.vm.property.*', function(src, event, info)
  if src.name == 'dom0' or info.arg ~= 'label' then return end
  if event:match('Set$') or event:match('Reset$') then deny() end
end)
