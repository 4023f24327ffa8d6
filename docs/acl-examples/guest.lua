-- SPDX-License-Identifier: GPL-2.0-or-later
-- A guest sees shared qubes only.

on('admin-permission:admin.vm.List', function(src, event, info)
  if not src.tags.guest then return end             -- nothing to say: permitted
  return function(qube) return qube.tags.shared end -- a guest sees only these
end)
