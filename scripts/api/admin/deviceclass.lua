-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers admin.deviceclass.List.

local lines = import('api/lines')

local device_classes = { 'block', 'pci' }

method('admin.deviceclass.List', {
  dest = 'adminvm', arg = 'none', payload = 'none', scope = 'global', read = true,
  filters = 'device class names',
  doc = 'The classes of devices, one a line.',
}, function(call)
  return lines(call:filter(device_classes, {}))
end)
