-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers qubes.FeaturesRequest and the older qubes.NotifyTools: a qube says what is installed in it. What comes of it is up to the extensions.

local REQUESTS, TOOLS = '/features-request/', '/qubes-tools/'
local LETTERS = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789'

-- The entries of the caller's QubesDB below `prefix`, by the rest of their paths; values have only the bytes of `allowed`.
local function requested(call, prefix, allowed)
  if not core.qubesdb_list then
    raise('QubesException', 'there is no QubesDB here')
  end
  local features = {}
  for path, untrusted_value in pairs(core.qubesdb_list(call.src, prefix)) do
    features[path:sub(#prefix + 1)] = untrusted_value:matches_ascii(allowed)
  end
  return features
end

method('qubes.FeaturesRequest', {
  dest = 'adminvm', arg = 'none', payload = 'none', scope = 'none', write = true,
  info = { features = 'what the qube asks for: name → value' },
  doc = 'Takes the requests that the calling qube has written to /features-request/ in its QubesDB, and hands them to the extensions.',
}, function(call)
  local features = requested(call, REQUESTS, LETTERS .. '-.,_= ')
  call:permission { features = features }
  call.src:fire('features-request', { untrusted_features = features })
end)

local expected = { 'qrexec', 'gui', 'gui-emulated', 'default-user', 'os' }

method('qubes.NotifyTools', {
  dest = 'adminvm', arg = 'none', payload = 'none', scope = 'none', write = true,
  info = { features = 'what the qube asks for: name → value' },
  doc = 'The same for the tools of Windows qubes, which write to /qubes-tools/.',
}, function(call)
  local written, features = requested(call, TOOLS, LETTERS), {}
  for _, name in ipairs(expected) do
    if written[name] ~= '' then features[name] = written[name] end
  end
  call:permission { features = features }
  call.src:fire('features-request', { untrusted_features = features })
end)
