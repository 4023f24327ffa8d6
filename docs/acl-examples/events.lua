-- SPDX-License-Identifier: GPL-2.0-or-later
-- A subscriber gets no events of features.

on('admin-permission:admin.Events', function(src, event, info)
  if src.name ~= 'monitor' then return end
  return function(subject, name, details) return name:sub(1, 14) ~= 'domain-feature' end
end)
