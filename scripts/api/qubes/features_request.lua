-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers qubes.FeaturesRequest and the older qubes.NotifyTools: a qube says what is installed in it. What comes of it is up to the extensions.

local qubesdb = import('qubesdb')

local REQUESTS, TOOLS = '/features-request/', '/qubes-tools/'
local LETTERS = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789'

-- The entries of the caller's QubesDB below `prefix`, path → untrusted value.
local function entries_of(call, prefix)
  local entries, why = qubesdb.list(call.src, prefix)
  if not entries then raise('QubesException', 'the entries of the qube can not be read: ' .. why) end
  return entries
end

method('qubes.FeaturesRequest', {
  dest = 'adminvm', arg = 'none', payload = 'none', scope = 'none', write = true,
  info = { features = 'what the qube asks for: name → value' },
  doc = 'Takes the requests that the calling qube has written to /features-request/ in its QubesDB, and hands them to the extensions.',
}, function(call)
  local features = {}
  for path, untrusted_value in pairs(entries_of(call, REQUESTS)) do
    features[path:sub(#REQUESTS + 1)] = untrusted_value:matches_ascii(LETTERS .. '-.,_= ')
  end
  call:permission { features = features }
  call.src:fire('features-request', { untrusted_features = features })
end)

local EXPECTED = { 'qrexec', 'gui', 'gui-emulated', 'default-user', 'os' }

method('qubes.NotifyTools', {
  dest = 'adminvm', arg = 'none', payload = 'none', scope = 'none', write = true,
  info = { features = 'what the qube asks for: name → value' },
  doc = 'The same for the tools of Windows qubes, which write to /qubes-tools/.',
}, function(call)
  local features, entries = {}, entries_of(call, TOOLS)
  for _, name in ipairs(EXPECTED) do
    local untrusted_value = entries[TOOLS .. name]
    if untrusted_value and not untrusted_value:empty() then features[name] = untrusted_value:matches_ascii(LETTERS) end
  end
  call:permission { features = features }
  call.src:fire('features-request', { untrusted_features = features })
end)
