-- SPDX-License-Identifier: GPL-2.0-or-later
-- libvirt's numbers for what a domain does, as words of the Admin API. Registers nothing. Source: libvirt-domain.h.

local states = {}

states.EVENT = { DEFINED = 0, UNDEFINED = 1, STARTED = 2, SUSPENDED = 3, RESUMED = 4, STOPPED = 5, SHUTDOWN = 6, PMSUSPENDED = 7, CRASHED = 8 }

local WORDS = { [1] = 'Running', [2] = 'Running', [3] = 'Paused', [4] = 'Halting', [5] = 'Halted', [6] = 'Crashed', [7] = 'Suspended' }

-- The word for a virDomainState of an active domain. A domain that is active and shut off is not gone yet.
function states.word(state, domain_id)
  if (domain_id or -1) < 0 then return 'Halted' end
  if state == 5 then return 'Dying' end
  return WORDS[state] or 'Running'
end

states.START_PAUSED = 1 -- virDomainCreateFlags

return states
