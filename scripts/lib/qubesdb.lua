-- SPDX-License-Identifier: GPL-2.0-or-later
-- Entries of a qube's QubesDB: the one way in which scripts write and read them. Registers nothing.
--
-- Where the qube's daemon is not reachable (no Xen, a qube that does not run) nothing is written, and nobody is told: what is written is
-- derived from the model, and written anew at the next start.

local qubesdb = {}

-- The primitives; specs put others here (spec/support/fake_qubesdb.lua).
qubesdb.backend = { change = core.qubesdb, list = core.qubesdb_list, sync = core.qubesdb_sync }

local backend = qubesdb.backend

-- Whether entries of the qube are worth being made at all.
function qubesdb.is_there(qube)
  return backend.change ~= nil and qube:is_running()
end

function qubesdb.write(qube, path, value)
  if qubesdb.is_there(qube) then backend.change(qube, 'write', path, tostring(value)) end
end

-- Takes away an entry, or all below a path that ends in a slash.
function qubesdb.remove(qube, path)
  if qubesdb.is_there(qube) then backend.change(qube, 'remove', path) end
end

-- The entries whose paths begin with `prefix`, a table of path → untrusted value; nil and why when there are none to be had. Waits.
function qubesdb.list(qube, prefix)
  if not backend.list or not qube:is_running() then return nil, 'the qube has no QubesDB' end
  return backend.list(qube, prefix)
end

-- Waits until what was written so far has arrived.
function qubesdb.sync(qube)
  if backend.sync and qube:is_running() then backend.sync(qube) end
end

return qubesdb
