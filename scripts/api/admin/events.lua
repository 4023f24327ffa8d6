-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers admin.Events.

method('admin.Events', {
  dest = 'any', arg = 'none', payload = 'none', scope = 'global', read = true, cancellable = true,
  filters = 'events',
  doc = 'Events of the qube as they happen, until the caller leaves; with dom0 as destination, events of everything that the caller may see.',
}, function(call)
  call:subscribe {}
  if not call:is_resumed() then
    call:send_event(app, 'connection-established', {})
  end
end)
