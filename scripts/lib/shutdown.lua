-- SPDX-License-Identifier: GPL-2.0-or-later
-- What is owed to a qube that was started: domain-stopped and domain-shutdown, once, when it no longer runs. Registers nothing.
--
-- That a qube was started is kept as an attribute, kind `transient`, name `started`. So a shutdown that happened while the daemon was not there is
-- told of when it comes back, and disposables are removed even then.

local exceptions = import('exceptions')

local core_get = core.get

local shutdown = {}

function shutdown.is_owed(qube)
  return core_get(qube, 'transient', 'started') == true
end

-- The qube runs from now on.
function shutdown.owe(qube)
  if not shutdown.is_owed(qube) then core.set(qube, 'transient', 'started', true) end
end

-- The qube is halted: tells so, if nobody has. An error in a handler stops neither the other event nor the caller.
function shutdown.tell(qube)
  if core.removed(qube) or not core.unset(qube, 'transient', 'started') then return end
  core.unset(qube, 'transient', 'waking')
  for _, event in ipairs { 'domain-stopped', 'domain-shutdown' } do
    local ok, err = pcall(qube.fire, qube, event)
    if not ok then core.log('error', ('%s: %s: %s'):format(qube.name, event, exceptions.message(err))) end
  end
end

return shutdown
