-- SPDX-License-Identifier: GPL-2.0-or-later
-- A qube with the tag "hidden" does not exist, but for dom0 and for itself.

on('admin-permission:admin.vm.List', function(src, event, info)
  if src.name == 'dom0' then return end
  return filter_list(function(qubes)
    local keep = {}
    for _, qube in ipairs(qubes) do
      if not qube.tags.hidden or qube == src then table.insert(keep, qube) end
    end
    return keep
  end)
end)
