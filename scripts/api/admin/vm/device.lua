-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers admin.vm.device.CLASS.Assigned.

local classes = { 'block', 'pci' } -- as admin.deviceclass.List answers

for _, class_name in ipairs(classes) do
  method('admin.vm.device.' .. class_name .. '.Assigned', {
    dest = 'any', arg = 'optional', payload = 'none', scope = 'local', read = true,
    filters = 'device assignments',
    doc = 'The devices of this class that are assigned to the qube, one a line. Argument: "BACKEND+PORT", only this one.',
  }, function(call)
    local assignments = call:filter(core.names(call.dest, 'device.' .. class_name), {})
    if #assignments > 0 then
      raise('QubesNotImplementedError', 'this version can not describe devices yet')
    end
    return ''
  end)
end
