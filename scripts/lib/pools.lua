-- SPDX-License-Identifier: GPL-2.0-or-later
-- Storage pools, as far as properties name them. Registers nothing.
--
-- A pool is an attribute of the app, kind `pool`, whose value is its configuration, a line `key=value` each.

local core_app = core.app

local pools = {}

local BASE_DIRECTORY = '/var/lib/qubes'

-- The configuration of a pool as a table, or nil.
function pools.get(name)
  local exists, text = core.get(core_app(), 'pool', name)
  if not exists then return nil end
  local config = {}
  for key, value in (text or ''):gmatch('([^=\n]+)=([^\n]*)') do config[key] = value end
  return config
end

function pools.names()
  return core.names(core_app(), 'pool')
end

-- The pool that is meant when no property names one; nil when none is fit.
function pools.default()
  if core.get(core_app(), 'pool', 'default') then return 'default' end
  for _, name in ipairs(pools.names()) do
    local config = pools.get(name)
    if (config.driver == 'file' or config.driver == 'file-reflink') and config.dir_path == BASE_DIRECTORY then return name end
  end
  return nil
end

return pools
