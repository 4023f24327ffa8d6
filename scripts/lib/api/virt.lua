-- SPDX-License-Identifier: GPL-2.0-or-later
-- What methods say of libvirt's errors and numbers. Registers nothing.

local exceptions = import('exceptions')

local virt = {}

local STATS_SECONDS = 2

-- Runs the function; an error of libvirt becomes one that clients know.
function virt.guard(action, ...)
  local done, problem = pcall(...)
  if done then return end
  if exceptions.is(problem, 'LibvirtError') then
    raise('QubesException', ('%s failed: %s'):format(action, exceptions.message(problem)))
  end
  error(problem, 0)
end

-- The running domains by uuid: memory_kib, cpu_time and so on. Empty when libvirt doesn't answer in time.
function virt.stats()
  local answered, domains = pcall(core.virt_stats, STATS_SECONDS)
  local by_uuid = {}
  for _, domain in ipairs(answered and domains or {}) do
    by_uuid[domain.uuid] = domain
  end
  return by_uuid
end

return virt
