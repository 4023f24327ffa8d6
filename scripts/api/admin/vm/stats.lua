-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers admin.vm.Stats.

local virt = import('api/virt')

local INTERVAL_MAX = 3600 -- seconds

-- The use of CPU since the last round, in percent of the qube's virtual CPUs. A lower time than before means that it was started anew.
local function usage(domain, before, seconds)
  if not before or domain.vcpus == 0 or domain.cpu_time < before.cpu_time then return 0 end
  return math.floor((domain.cpu_time - before.cpu_time) / seconds / 1e7) // domain.vcpus
end

local function send(call, qube, domain, before, seconds)
  call:send_event(qube, 'vm-stats', {
    memory_kb = domain.memory_kib,
    memory_assigned_total = domain.max_memory_kib,
    memory_assigned_usable = domain.memory_kib,
    memory_with_swap_used = domain.memory_kib,
    cpu_time = domain.cpu_time // 1000000,
    cpu_usage = usage(domain, before, seconds),
    online_vcpus = domain.vcpus,
  })
end

method('admin.vm.Stats', {
  dest = 'any', arg = 'none', payload = 'none', scope = 'global', read = true, cancellable = true,
  filters = 'qubes',
  doc = 'Events "vm-stats" about memory and CPU of the qube, every stats_interval seconds, until the caller leaves; '
    .. 'with dom0 as destination, of all running qubes that the caller may see.',
}, function(call)
  local function qubes()
    return call:filter(call.dest.klass == 'AdminVM' and core.qubes() or { call.dest })
  end

  qubes()
  if call.dest.klass ~= 'AdminVM' and core.domain_id(call.dest) < 0 then
    raise('QubesVMNotRunningError', 'the qube is not running')
  end
  call:send_event(app, 'connection-established', {})
  local before, last = {}, core.monotonic()
  -- The rules are asked anew each round. After a reload they are those of another generation, so the stream ends, and the client begins it again.
  while core.serves() do
    local now, domains = core.monotonic(), virt.stats()
    for _, qube in ipairs(qubes()) do
      local domain = call:visible(qube) and domains[qube.uuid]
      if domain then send(call, qube, domain, before[qube.uuid], now - last) end
    end
    before, last = domains, now
    core.sleep(math.max(1, math.min(app.stats_interval, INTERVAL_MAX)))
  end
end)
