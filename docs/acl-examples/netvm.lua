-- SPDX-License-Identifier: GPL-2.0-or-later
-- Nobody but dom0 connects a qube to another network than sys-firewall.

on('admin-permission:admin.vm.property.Set', function(src, event, info)
  if src.name == 'dom0' or info.arg ~= 'netvm' then return end
  if info.newvalue ~= 'sys-firewall' then deny('only sys-firewall') end
end)

on('admin-permission:admin.vm.property.Reset', function(src, event, info) -- the default may be another
  if src.name ~= 'dom0' and info.arg == 'netvm' then deny('only sys-firewall') end
end)

on('admin-permission:admin.property.*', function(src, event, info) -- the default of all qubes
  if src.name == 'dom0' or info.arg ~= 'default_netvm' then return end
  if event:match('Set$') or event:match('Reset$') then deny('the network of all qubes is set from dom0') end
end)
