-- SPDX-License-Identifier: GPL-2.0-or-later
-- A management qube manages only what it has made, and sees that and templates.

local on_dom0 = { -- what mgmt may ask dom0 for, besides new qubes
  ['admin.vm.List'] = true, ['admin.vmclass.List'] = true, ['admin.Events'] = true,
  ['admin.label.List'] = true, ['admin.label.Get'] = true, ['admin.label.Index'] = true,
}

on('admin-permission:admin.*', function(src, event, info)
  if src.name ~= 'mgmt' or info.dest.tags['created-by-mgmt'] then return end
  local method = event:match('permission:(.*)')
  if info.dest.name == 'dom0' and (on_dom0[method] or method:match('^admin.vm.Create')) then return end
  deny('mgmt manages its own qubes only')
end)

on('admin-permission:admin.vm.List', function(src, event, info)
  if src.name ~= 'mgmt' then return end
  return function(qube) return qube.tags['created-by-mgmt'] or qube.klass == 'TemplateVM' end -- a new qube needs a template
end)
