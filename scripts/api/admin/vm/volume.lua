-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers admin.vm.volume.List.

local lines = import('api/lines')

method('admin.vm.volume.List', {
  dest = 'any', arg = 'none', payload = 'none', scope = 'local', read = true,
  filters = 'volume names',
  doc = 'The names of the volumes of the qube, one a line.',
}, function(call)
  return lines(call:filter(core.names(call.dest, 'volume'), {}))
end)
