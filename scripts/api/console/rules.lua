-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers console.Status and console.Rollback: the rules that serve, what became of them, and the way back.

local json = import('json')
local status = import('status')

method('console.Status', {
  dest = 'adminvm', arg = 'none', payload = 'none', scope = 'none', read = true,
  doc = 'JSON: "generation" and "previous" (number, digest, since, rules; null when there is none), "rules", what became of each since its generation '
    .. 'was loaded (file, line, event, calls, denials, filtered items, failures, ns spent, when it was asked last, the tag of its narrow set), '
    .. '"narrows", the narrow sets (directory, tag, file, line, and the problem of one that did not load), and "daemon", as internal.Status.',
}, function(call)
  call:permission()
  local serving, previous = core.generations()
  return json.encode {
    generation = serving, previous = previous or json.null, rules = json.array(core.rules()), narrows = json.array(core.narrows()), daemon = status(),
    now = math.floor(core.time()),
  } .. '\n'
end)

method('console.Rollback', {
  dest = 'adminvm', arg = 'none', payload = 'none', scope = 'none', execute = true,
  doc = 'Has the generation before the present one serve again; a second time leads forward again. It holds until files change or a reload is asked '
    .. 'for. Answers "generation=NUMBER digest=SHA256".',
}, function(call)
  call:permission()
  local serves, number, digest, problem = core.rollback()
  if not serves then
    raise('QubesException', ('generation %d goes on: %s'):format(number, problem))
  end
  return ('generation=%d digest=%s\n'):format(number, digest)
end)
