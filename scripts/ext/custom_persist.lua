-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers the features custom-persist.KEY: what of a qube's files outlives its shutdown when nothing else does. A value is an absolute path, or
-- TYPE:OWNER:GROUP:MODE:PATH with the type file or dir and an octal mode.

local qubesdb = import('qubesdb')
local raise = import('exceptions').raise

local PREFIX, BASE = 'custom-persist.', '/persist/'
local KEY_MAX = 63 - #BASE

local function key_of(feature)
  return feature:sub(1, #PREFIX) == PREFIX and feature:sub(#PREFIX + 1) or nil
end

local function check(key, value)
  if key == '' then raise('QubesValueError', 'custom-persist: a key is missing') end
  if #key > KEY_MAX then raise('QubesValueError', ('custom-persist: a key has at most %d bytes'):format(KEY_MAX)) end
  if value:sub(1, 1) == '/' then return end
  local kind, mode, path = value:match('^([^:]*):[^:]*:[^:]*:([^:]*):(.*)$')
  if not path or path:sub(1, 1) ~= '/' then raise('QubesValueError', 'custom-persist: a path or TYPE:OWNER:GROUP:MODE:PATH was expected') end
  if kind ~= 'file' and kind ~= 'dir' then raise('QubesValueError', 'custom-persist: the type is file or dir') end
  local digits = mode:match('^%s*0?[oO]?([0-7]+)%s*$')
  if not digits or tonumber(digits, 8) > 4095 then raise('QubesValueError', 'custom-persist: the mode is octal') end
end

on('domain-feature-set:*', function(qube, _, info)
  local key = key_of(info.feature)
  if not key then return end
  check(key, info.value)
  qubesdb.write(qube, BASE .. key, info.value)
end)

on('domain-feature-delete:*', function(qube, _, info)
  local key = key_of(info.feature)
  if key then qubesdb.remove(qube, BASE .. key) end
end)

on('domain-qdb-create', function(qube)
  for feature, value in pairs(qube.features) do
    local key = key_of(feature)
    if key then
      check(key, value)
      qubesdb.write(qube, BASE .. key, value)
    end
  end
end)
