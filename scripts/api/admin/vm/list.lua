-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers admin.vm.List. Its filters also decide what a caller may see anywhere else.

method('admin.vm.List', {
  dest = 'any', arg = 'none', payload = 'none', scope = 'global', read = true,
  filters = 'qubes',
  doc = 'The qubes that the caller may see, a line each: "NAME class=CLASS state=STATE uuid=UUID". With another destination than dom0: that one only.',
}, function(call)
  local qubes = call.dest.klass == 'AdminVM' and core.all_qubes() or { call.dest }
  return core.format(call:filter(qubes, {}), '{name} class={class} state={state} uuid={uuid}\n')
end)
