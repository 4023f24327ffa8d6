-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers the features vm-config.NAME: values that the guest reads under /vm-config/NAME in its QubesDB.

local qubesdb = import('qubesdb')
local raise = import('exceptions').raise

local PREFIX, NAME_MAX = 'vm-config.', 52

local function name_of(feature)
  return feature:sub(1, #PREFIX) == PREFIX and feature:sub(#PREFIX + 1) or nil
end

on('domain-feature-set:*', function(qube, _, info)
  local name = name_of(info.feature)
  if not name then return end
  if #name > NAME_MAX then raise('QubesValueError', ('the name after vm-config. has at most %d bytes'):format(NAME_MAX)) end
  if not name:find('^%a') then raise('QubesValueError', 'the name after vm-config. begins with a letter') end
  qubesdb.write(qube, '/vm-config/' .. name, info.value)
end)

on('domain-feature-delete:*', function(qube, _, info)
  local name = name_of(info.feature)
  if name then qubesdb.remove(qube, '/vm-config/' .. name) end
end)

on('domain-qdb-create', function(qube)
  for feature, value in pairs(qube.features) do
    local name = name_of(feature)
    if name then qubesdb.write(qube, '/vm-config/' .. name, value) end
  end
end)
