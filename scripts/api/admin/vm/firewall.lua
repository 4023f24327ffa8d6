-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers admin.vm.firewall.Get, Set, Reload.

local firewall = import('firewall')
local network = import('network')

-- Only a qube that can be connected to a network has a firewall.
local function with_firewall(call)
  if not network.is_networked_class(call.dest) then raise('QubesException', 'a qube of this class has no firewall') end
  return call.dest
end

local function declare(name, declaration, handler)
  declaration.dest, declaration.arg, declaration.scope = 'qube', 'none', 'local'
  declaration.payload = declaration.payload or 'none'
  method('admin.vm.firewall.' .. name, declaration, handler)
end

declare('Get', {
  read = true,
  doc = 'The firewall rules of the qube, one a line, the first that matches wins: "action=accept|drop", then perhaps expire, dst4, dst6 or dsthost, '
    .. 'proto, specialtarget, dstports, icmptype, and a comment at the end. What no rule matches is dropped.',
}, function(call)
  call:permission()
  return firewall.text(firewall.rules(with_firewall(call)))
end)

declare('Set', {
  payload = 'required', write = true,
  info = { rules = 'the new rules in canonical form, an array of strings' },
  doc = 'Replaces the firewall rules of the qube by those in the payload, one a line, as Get writes them. Rules that have expired are left out.',
}, function(call, untrusted_payload)
  local rules, why = firewall.parse(untrusted_payload:ascii())
  call:enforce(rules, why)
  local lines = {}
  for i, rule in ipairs(rules) do lines[i] = firewall.line(rule) end
  call:permission { rules = lines }
  firewall.set(with_firewall(call), rules)
end)

declare('Reload', {
  execute = true,
  doc = 'Has the firewall rules of the qube applied anew, for example when a host name in them means another address now.',
}, function(call)
  call:permission()
  firewall.reload(with_firewall(call))
end)
