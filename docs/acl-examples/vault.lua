-- SPDX-License-Identifier: GPL-2.0-or-later
-- A vault is started from dom0 only.

on('admin-permission:admin.vm.Start', function(src, event, info)
  if info.dest.tags.vault and src.name ~= 'dom0' then deny('a vault is started from dom0 only') end
end)
