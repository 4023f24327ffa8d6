-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers admin.vm.Remove.

local dependencies = import('dependencies')
local hidden = import('api/hidden')

-- Whether the qube is needed, but only by qubes that the caller may not know of.
local function is_needed_secretly(call, qube)
  local settings, others = dependencies.of(qube)
  for _, pair in ipairs(others) do
    if call:visible(pair[1]) then return false end
  end
  return #settings == 0 and #others > 0
end

method('admin.vm.Remove', {
  dest = 'any', arg = 'none', payload = 'none', scope = 'global', write = true,
  doc = 'Removes the qube and its data. It must be halted, and no other qube or setting may need it.',
}, function(call)
  call:permission()
  local qube = call.dest
  if qube.klass == 'AdminVM' then
    raise('QubesVMInUseError', 'dom0 stays')
  end
  core.lock(qube)
  if core.removed(qube) then
    raise('QubesVMNotFoundError', 'there is no such qube')
  end
  if qube.installed_by_rpm then
    raise('QubesVMInUseError', 'this qube is removed with its package')
  end
  if is_needed_secretly(call, qube) then hidden.refuse() end
  app:remove_vm(qube)
end)
