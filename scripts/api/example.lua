-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers example.Echo, the method that the documentation explains.

method('example.Echo', {
  dest = 'adminvm', arg = 'none', payload = 'required', scope = 'global', write = true,
  info = { payload = 'what will be answered' },
  doc = 'Answers with the payload, which must begin with "Hello, ".',
}, function(call, untrusted_payload)
  local payload = untrusted_payload:printable_ascii()
  call:enforce(payload:sub(1, 7) == 'Hello, ', 'the payload must begin with a greeting')
  call:permission { payload = payload }
  call.dest.features['example-echo-fired'] = '1'
  return payload
end)
