-- SPDX-License-Identifier: GPL-2.0-or-later
-- Every qube may make the calls that are listed for it, and no others.

local permitted = {
  backup = { 'admin.vm.List', 'admin.vm.property.Get', 'admin.vm.property.GetAll' },
  panel = { 'admin.vm.List', 'admin.vm.CurrentState', 'admin.vm.Start', 'admin.vm.Shutdown' },
}

on('admin-permission:admin.*', function(src, event, info)
  if src.name == 'dom0' then return end
  for _, method in ipairs(permitted[src.name] or {}) do
    if event == 'admin-permission:' .. method then return end
  end
  deny('not in the list of ' .. src.name)
end)
