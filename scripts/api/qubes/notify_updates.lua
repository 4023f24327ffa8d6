-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers qubes.NotifyUpdates: a qube says whether there are updates for it, or for the template that it runs from.

local date = import('date')

-- The nearest qube up the chain of templates that is updated on its own, or nil.
local function updateable_template(qube)
  local template = qube.template
  while template and not template.updateable do
    template = template.template
  end
  return template
end

local function note(qube, available)
  local now = date.text(core.time())
  if not available and (qube.features['updates-available'] or '') ~= '' then
    qube.features['last-update'] = now
  end
  qube.features['updates-available'] = available
  qube.features['last-updates-check'] = now
end

method('qubes.NotifyUpdates', {
  dest = 'adminvm', arg = 'none', payload = 'required', scope = 'none', write = true,
  info = { count = 'the number of updates' },
  doc = 'Payload: the number of updates that the calling qube sees; 0 when there are none.',
}, function(call, untrusted_payload)
  local digits = untrusted_payload:ascii():match('^%s*(%d+)%s*$')
  call:enforce(digits, 'the payload is a number')
  local available = digits:find('[1-9]') ~= nil
  call:permission { count = tonumber(digits) }

  local qube = call.src
  if qube.updateable then
    note(qube, available)
    return
  end
  -- A template that runs tells by itself, and a qube that sees no updates may only be newer than its template.
  local template = updateable_template(qube)
  if template and available and template.power == 'Halted' then
    note(template, true)
  end
end)
