-- SPDX-License-Identifier: GPL-2.0-or-later
-- A GUI domain sees the qubes whose windows it shows, starts and stops them, and changes none.

local permitted = {
  ['admin.vm.List'] = true, ['admin.Events'] = true, ['admin.vm.CurrentState'] = true, ['admin.vmclass.List'] = true,
  ['admin.vm.property.Get'] = true, ['admin.vm.property.GetAll'] = true, ['admin.vm.feature.Get'] = true,
  ['admin.label.List'] = true, ['admin.label.Get'] = true, ['admin.label.Index'] = true,
  ['admin.vm.Start'] = true, ['admin.vm.Shutdown'] = true, ['admin.vm.Kill'] = true,
  ['admin.vm.Pause'] = true, ['admin.vm.Unpause'] = true,
}

on('admin-permission:admin.*', function(src, event, info)
  if src.name ~= 'sys-gui' then return end
  if not permitted[event:match('permission:(.*)')] then deny('sys-gui looks, starts and stops') end
end)

on('admin-permission:admin.vm.List', function(src, event, info)
  if src.name ~= 'sys-gui' then return end
  return function(qube) return qube.tags['guivm-sys-gui'] end
end)
