-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers core_hooks.lifecycle and core_hooks.connected: libvirt's news of domains, which the core passes on as tasks.

local shutdown = import('shutdown')
local states = import('domain_state')

local EVENT = states.EVENT

local handlers = {}

handlers[EVENT.STARTED] = function(qube, domain_id)
  if core.power(qube) ~= 'Paused' then core.set_power(qube, 'Running', domain_id) end
  shutdown.owe(qube)
end

handlers[EVENT.SUSPENDED] = function(qube, domain_id)
  core.set_power(qube, 'Paused', domain_id)
  -- A domain is paused too while the daemon starts it: nobody was told that it ran.
  if not core.get(qube, 'transient', 'waking') then qube:fire('domain-paused') end
end

handlers[EVENT.RESUMED] = function(qube, domain_id)
  core.set_power(qube, 'Running', domain_id)
  if not core.unset(qube, 'transient', 'waking') then qube:fire('domain-unpaused') end
end

handlers[EVENT.STOPPED] = function(qube)
  core.set_power(qube, 'Halted', -1)
  shutdown.tell(qube)
end

handlers[EVENT.SHUTDOWN] = function(qube, domain_id)
  if qube:is_running() then core.set_power(qube, 'Halting', domain_id) end
end

handlers[EVENT.PMSUSPENDED] = function(qube, domain_id)
  core.set_power(qube, 'Suspended', domain_id)
end

handlers[EVENT.CRASHED] = function(qube, domain_id)
  core.set_power(qube, 'Crashed', domain_id)
end

local function has_domain(qube)
  return qube ~= nil and not core.removed(qube) and qube:is_a('QubesVM')
end

-- A virDomainEventType of one domain.
function core_hooks.lifecycle(qube, event, _, domain_id)
  local handler = handlers[event]
  if handler and has_domain(qube) then handler(qube, domain_id) end
end

-- The connection stands, at first or again: `domains` are all that libvirt knows, { uuid =, state =, domain_id = } each.
function core_hooks.connected(domains)
  local running = {}
  for _, domain in ipairs(domains) do running[domain.uuid] = domain end
  for _, qube in ipairs(core.qubes()) do
    if has_domain(qube) then
      local domain = running[qube.uuid]
      local word = domain and states.word(domain.state, domain.domain_id) or 'Halted'
      core.set_power(qube, word, word ~= 'Halted' and domain.domain_id or -1)
      if word == 'Halted' then shutdown.tell(qube) else shutdown.owe(qube) end
    end
  end
end
