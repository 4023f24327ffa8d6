-- SPDX-License-Identifier: GPL-2.0-or-later
-- The tags that rules go by are set from dom0 only.

local trusted = { vault = true, guest = true, shared = true, hidden = true }

on('admin-permission:admin.vm.tag.*', function(src, event, info)
  if src.name == 'dom0' or not (trusted[info.arg] or info.arg:match('^guivm%-')) then return end
  if event:match('Set$') or event:match('Remove$') then deny('this tag is set from dom0') end
end)
