-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers internal.Reload and internal.Status: the daemon itself.

local hidden = import('api/hidden')
local json = import('json')
local status = import('status')

method('internal.Reload', {
  dest = 'adminvm', arg = 'none', payload = 'none', scope = 'none', execute = true,
  doc = 'Loads scripts and rules anew. Answers, when they serve, "generation=NUMBER digest=SHA256"; files that do not load leave the old ones serving.',
}, function(call)
  call:permission()
  local serves, number, digest, problem = core.reload()
  if not serves then
    raise('QubesException', ('generation %d goes on: %s'):format(number, problem))
  end
  return ('generation=%d digest=%s\n'):format(number, digest)
end)

method('internal.Status', {
  dest = 'adminvm', arg = 'none', payload = 'none', scope = 'none', read = true,
  doc = 'JSON about the daemon: its generation, calls, store and connection to libvirt.',
}, function(call)
  call:permission()
  hidden.refuse_restricted()
  return json.encode(status()) .. '\n'
end)
