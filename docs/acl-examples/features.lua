-- SPDX-License-Identifier: GPL-2.0-or-later
-- Features that begin with "secret-" are for dom0 only.

local function is_secret(name) return name:sub(1, 7) == 'secret-' end

on('admin-permission:admin.vm.feature.*', function(src, event, info) -- reading, checking, setting one
  if src.name ~= 'dom0' and is_secret(info.arg) then deny() end
end)

on('admin-permission:admin.vm.feature.List', function(src, event, info)
  if src.name == 'dom0' then return end
  return function(name) return not is_secret(name) end
end)

on('admin-permission:admin.Events', function(src, event, info)
  if src.name == 'dom0' then return end
  return function(subject, name, details) return not (details.feature and is_secret(details.feature)) end
end)
