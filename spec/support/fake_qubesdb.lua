-- SPDX-License-Identifier: GPL-2.0-or-later
-- QubesDB for specs, twice: `store()`, the entries of one qube in memory; `memory()`, what scripts/lib/qubesdb.lua takes as its backend, on such stores;
-- and `listen(path)`, a daemon on a socket that speaks the protocol, on luv.

local M = {}

local HEAD = '<B c64 xxx I4' -- as x86 and ARM have it
local HEAD_SIZE = 72
local WRITE, MULTIREAD, REMOVE, OK, NO_ENTRY, FAULT, IS_MULTIREAD = 1, 2, 4, 7, 8, 9, 11

local Store = {}
Store.__index = Store

function M.store(entries) return setmetatable({ entries = entries or {}, log = {} }, Store) end

function Store:write(path, value)
  self.log[#self.log + 1] = 'write ' .. path .. '=' .. value
  self.entries[path] = value
end

function Store:remove(path)
  self.log[#self.log + 1] = 'remove ' .. path
  local found = false
  for each in pairs(self.entries) do
    if each == path or (path:sub(-1) == '/' and each:sub(1, #path) == path) then self.entries[each], found = nil, true end
  end
  return found
end

-- An array of the paths that begin with the prefix, sorted.
function Store:paths(prefix)
  local list = {}
  for path in pairs(self.entries) do
    if path:sub(1, #prefix) == prefix then list[#list + 1] = path end
  end
  table.sort(list)
  return list
end

-- A backend with a store for each qube, by its name, in the field `stores`. `untrusted` wraps values.
function M.memory(untrusted)
  local backend = { stores = {} }
  local function of(qube)
    backend.stores[qube.name] = backend.stores[qube.name] or M.store()
    return backend.stores[qube.name]
  end
  function backend.change(qube, operation, path, value) of(qube)[operation](of(qube), path, value) end
  function backend.list(qube, prefix)
    local list = {}
    for _, path in ipairs(of(qube):paths(prefix)) do list[path] = untrusted(of(qube).entries[path]) end
    return list
  end
  function backend.sync() return true end
  return backend
end

local function message(kind, path, value) return HEAD:pack(kind, path, #(value or '')) .. (value or '') end
M.message = message

local function answer(store, kind, path, value)
  if kind == WRITE then
    store:write(path, value)
    return message(OK, path)
  elseif kind == REMOVE then
    return message(store:remove(path) and OK or NO_ENTRY, path)
  elseif kind == MULTIREAD then
    local parts = {}
    for _, each in ipairs(store:paths(path)) do parts[#parts + 1] = message(IS_MULTIREAD, each, store.entries[each]) end
    return table.concat(parts) .. message(IS_MULTIREAD, '')
  end
  return message(FAULT, path)
end

-- A daemon on the socket. Options: `entries`, `respond(kind, path, value)` (bytes instead of the right answer; false: none at all).
function M.listen(path, options)
  local uv = require('luv')
  options = options or {}
  local server, clients = uv.new_pipe(), {}
  local self = { store = M.store(options.entries), connections = 0 }
  assert(server:bind(path))
  server:listen(16, function()
    local client, buffer = uv.new_pipe(), ''
    server:accept(client)
    clients[#clients + 1] = client
    self.connections = self.connections + 1
    client:read_start(function(_, data)
      if not data then
        if not client:is_closing() then client:close() end
        return
      end
      buffer = buffer .. data
      while #buffer >= HEAD_SIZE do
        local kind, padded, size = HEAD:unpack(buffer)
        if #buffer < HEAD_SIZE + size then return end
        local entry, value = padded:match('^[^%z]*'), buffer:sub(HEAD_SIZE + 1, HEAD_SIZE + size)
        buffer = buffer:sub(HEAD_SIZE + size + 1)
        local bytes
        if options.respond then bytes = options.respond(kind, entry, value) end
        if bytes == nil then bytes = answer(self.store, kind, entry, value) end
        if bytes and not client:is_closing() then client:write(bytes) end
      end
    end)
  end)
  function self.close()
    for _, client in ipairs(clients) do
      if not client:is_closing() then client:close() end
    end
    if not server:is_closing() then server:close() end
    uv.run('nowait')
    os.remove(path)
  end
  return self
end

return M
