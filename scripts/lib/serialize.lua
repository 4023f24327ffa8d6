-- SPDX-License-Identifier: GPL-2.0-or-later
-- Values of properties as the Admin API writes them. Registers nothing.

local property = import('property')
local classes = import('class')

local explicit, default = property.explicit, property.default
local core_class, core_name = core.class, core.name
local resolved = classes.resolved

local serialize = {}

-- A value as text: `True`, `False`, names of qubes and labels, '' for None.
local function text_of(value)
  local kind = type(value)
  if kind == 'string' then return value end
  if value == nil or value == none then return '' end
  if kind == 'boolean' then return value and 'True' or 'False' end
  if kind == 'number' then return tostring(value) end
  if kind == 'table' then return value.name end
  return core_name(value)
end

serialize.text = text_of

-- property.Get: `default=True type=int 400`
local function line(object, def)
  local is_explicit, value = explicit(object, def)
  if is_explicit then return def.prefix_set .. text_of(value) end
  return def.prefix_default .. text_of((default(object, def)))
end

serialize.property = line

-- property.GetDefault: `type=int 400`, or nil when there is no default
function serialize.default(object, def)
  local value, unset = default(object, def)
  if unset then return nil end
  return 'type=' .. def.word .. ' ' .. text_of(value)
end

-- property.GetAll: a line for each of the names, with backslashes and newlines escaped. Without names: all.
function serialize.properties(object, names)
  local r = resolved[core_class(object)]
  local properties = r.properties
  names = names or r.names
  local lines = {}
  for i = 1, #names do
    local name = names[i]
    local text = line(object, properties[name])
    if text:find('[\\\n]') then text = text:gsub('\\', '\\\\'):gsub('\n', '\\n') end
    lines[i] = name .. ' ' .. text .. '\n'
  end
  return table.concat(lines)
end

return serialize
