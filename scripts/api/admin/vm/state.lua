-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers admin.vm.CurrentState.

local virt = import('api/virt')

local function is_on(qube)
  return qube.power ~= 'Halted' and qube.klass ~= 'RemoteVM'
end

method('admin.vm.CurrentState', {
  dest = 'any', arg = 'none', payload = 'none', scope = 'local', read = true,
  doc = 'How the qube is now: "mem=KIB mem_static_max=KIB cputime=NANOSECONDS power_state=STATE". Where libvirt does not answer, the numbers are 0.',
}, function(call)
  call:permission()
  local qube = call.dest
  local running = is_on(qube) and virt.stats()[qube.uuid] or {}
  local limit = is_on(qube) and qube.maxmem or 0
  return ('mem=%d mem_static_max=%d cputime=%d power_state=%s'):format(
    running.memory_kib or 0, limit * 1024, running.cpu_time or 0, qube.power)
end)
