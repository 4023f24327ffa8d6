-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers admin.vm.notes.Get and Set: free text about a qube, for people.

local displayable = import('displayable')

local MAX_BYTES = 256000

method('admin.vm.notes.Get', {
  dest = 'qube', arg = 'none', payload = 'none', scope = 'local', read = true,
  doc = 'The notes about the qube, in UTF-8.',
}, function(call)
  call:permission()
  local _, text = core.get(call.dest, 'notes', 'text')
  return text
end)

method('admin.vm.notes.Set', {
  dest = 'qube', arg = 'none', payload = 'optional', scope = 'local', write = true,
  doc = 'Replaces the notes about the qube by the payload, UTF-8 of at most 256000 bytes. Characters that may not be safe to show become "_".',
}, function(call, untrusted_payload)
  call:enforce(untrusted_payload:length() <= MAX_BYTES, 'notes have 256000 bytes at most')
  local text = displayable.clean(untrusted_payload:utf8())
  call:permission()
  core.set(call.dest, 'notes', 'text', text)
end)
