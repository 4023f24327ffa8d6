-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers admin.vm.CreateDisposable.

local as_seen = import('property').as_seen

method('admin.vm.CreateDisposable', {
  dest = 'any', arg = 'optional', payload = 'optional', scope = 'global', write = true,
  info = { dispvm_template = 'the qube that the disposable is made from; none when the caller has no default' },
  doc = 'Makes a disposable from the destination, or with dom0 from the caller\'s default_dispvm, and answers its name; with the payload "uuid", its '
    .. '"uuid:UUID". It removes itself when it has shut down. Argument "preload": makes nothing for the caller, but fills the stock of preloaded ones.',
}, function(call, untrusted_payload)
  if call.arg ~= '' and call.arg ~= 'preload' then
    raise('PermissionDenied', 'the argument is empty or "preload"')
  end
  local form = untrusted_payload:ascii()
  call:enforce(form == '' or form == 'uuid', 'the payload is empty or "uuid"')
  local template = call.dest
  if template.klass == 'AdminVM' then
    template = as_seen(call.src.get, call.src, 'default_dispvm')
  end
  call:permission { dispvm_template = template or none }

  if not template or not template.template_for_dispvms then
    raise('QubesException', 'disposables are made only from a qube that has template_for_dispvms set')
  end
  if call.arg == 'preload' then
    template:fire('domain-preload-dispvm-start', { reason = 'autostart was requested' })
    return
  end
  local disposable = app:create_disposable(template)
  disposable.tags['created-by-' .. call.src.name] = true
  disposable.tags['disp-created-by-' .. call.src.name] = true
  return form == 'uuid' and 'uuid:' .. disposable.uuid or disposable.name
end)
