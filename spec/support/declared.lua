-- SPDX-License-Identifier: GPL-2.0-or-later
-- The methods that a daemon has, with what they declare: for specs that try each of them.

local json = require('cjson')

local M = {}

-- For daemon.start's `extra_scripts`, as a file below api/.
M.SCRIPT = [[
local json = import('json')
method('console.spec.Declarations', {
  dest = 'adminvm', arg = 'none', payload = 'none', scope = 'none', read = true, doc = 'For specs.',
}, function(call)
  call:permission()
  local all = {}
  for name, d in pairs(core.declarations()) do
    local reads = d.read == true and not d.write and not d.execute
    all[#all + 1] = { name = name, dest = d.dest, arg = d.arg, payload = d.payload, doc = d.doc, filters = d.filters, reads = reads }
  end
  table.sort(all, function(a, b) return a.name < b.name end)
  return json.encode(json.array(all))
end)
]]

-- An array of them, sorted by name: { name =, dest =, arg =, payload =, doc =, filters = or nil, reads = whether it does nothing else }.
function M.list(d)
  return json.decode(d:ok('console.spec.Declarations', 'dom0', '', '', { socket = 'qubesd.console.sock' }))
end

local SOCKETS = { internal = 'qubesd.internal.sock', qubes = 'qubesd.misc.sock', console = 'qubesd.console.sock' }

-- The name of the socket that serves a method.
function M.socket_of(method)
  return SOCKETS[method:match('^[^.]*')] or 'qubesd.sock'
end

return M
