-- SPDX-License-Identifier: GPL-2.0-or-later
-- Entries for a qube's QubesDB: the one way in which scripts write them. Registers nothing.
--
-- Where the qube's daemon is not reachable (no Xen, a qube that does not run) nothing is written, and nobody is told: what is written is
-- derived from the model, and written anew at the next start.

local qubesdb = {}

function qubesdb.write(qube, path, value)
  if core.qubesdb and qube:is_running() then core.qubesdb(qube, 'write', path, tostring(value)) end
end

-- Takes away an entry, or all below a path that ends in a slash.
function qubesdb.remove(qube, path)
  if core.qubesdb and qube:is_running() then core.qubesdb(qube, 'remove', path) end
end

return qubesdb
