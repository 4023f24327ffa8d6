-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers admin.vmclass.List.

local lines = import('api/lines')
local create = import('api/create')

method('admin.vmclass.List', {
  dest = 'adminvm', arg = 'none', payload = 'none', scope = 'global', read = true,
  filters = 'class names',
  doc = 'The classes of qubes, one a line.',
}, function(call)
  return lines(call:filter(create.classes, {}))
end)
