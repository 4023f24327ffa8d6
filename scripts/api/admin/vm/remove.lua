-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers admin.vm.Remove.

local dependencies = import('dependencies')
local hidden = import('api/hidden')

-- Qubes that the caller may not know of must neither stand in its way nor be left with a reference to nothing: they lose theirs. That can't be done with
-- templates, so a caller from whom qubes could be hidden removes none.
local function make_way(qube)
  local settings, others = dependencies.of(qube)
  if #settings > 0 or #dependencies.visible(others) > 0 then return end -- that stands in the way, for all to know
  if qube.klass == 'TemplateVM' or qube.template_for_dispvms then hidden.refuse_restricted() end
  for _, pair in ipairs(others) do
    local other, name = pair[1], pair[2]
    core.log('warning', ('%s loses its %s, for a caller that may not know of it'):format(other.name, name))
    other[name] = none
  end
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
  if core.caller_is_restricted() and (qube:is_halted() or not qube:is_a('QubesVM')) then make_way(qube) end
  app:remove_vm(qube)
end)
