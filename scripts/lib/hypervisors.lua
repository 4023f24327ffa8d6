-- SPDX-License-Identifier: GPL-2.0-or-later
-- The hypervisors that scripts/hypervisor/ has: each a table with `domain_xml(qube)`, and perhaps `network_xml(qube)`. Registers nothing.

local raise = import('exceptions').raise

local hypervisors = {}

local by_type = {}

-- Registers one, for connections of this type (virConnectGetType, in small letters). It is kept read-only: every qube gives it away, to rules too.
function hypervisors.add(kind, hypervisor)
  by_type[kind] = setmetatable({}, {
    __index = hypervisor, __metatable = false,
    __newindex = function() error('a hypervisor is read-only', 2) end,
  })
  return hypervisor
end

function hypervisors.is_xen()
  return core.host().type:lower() == 'xen'
end

-- That of the present connection.
function hypervisors.current()
  local hypervisor = by_type[core.host().type:lower()]
  if not hypervisor then raise('QubesException', 'there is no connection to a hypervisor that qubes can run on') end
  return hypervisor
end

-- Text for an XML document.
local ENTITIES = { ['&'] = '&amp;', ['<'] = '&lt;', ['>'] = '&gt;', ['"'] = '&quot;', ["'"] = '&apos;' }

function hypervisors.escape(text)
  return (tostring(text):gsub('[&<>"\']', ENTITIES))
end

-- Fills `{name}` in a template with escaped values of a table; a missing one is an error.
function hypervisors.fill(template, values)
  return (template:gsub('{([%w_]+)}', function(name)
    local value = values[name]
    if value == nil then error('no value for {' .. name .. '} in the domain XML') end
    return hypervisors.escape(value)
  end))
end

return hypervisors
