-- SPDX-License-Identifier: GPL-2.0-or-later
-- Values of properties as the Admin API writes them. Registers nothing.

local property = import('property')
local classes = import('class')

local default = property.default
local core_class, core_get, core_name = core.class, core.get, core.name
local find = string.find
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

-- property.Get: `default=True type=int 400`. `to_text` may stand in for serialize.text, where a caller may not see every qube.
local function line(object, def, to_text)
  local is_explicit, value
  if def.identity then
    is_explicit, value = true, def.identity(object)
  elseif not def.computed then
    is_explicit, value = core_get(object, 'property', def.name)
  end
  if is_explicit then return def.prefix_set .. to_text(value) end
  return def.prefix_default .. to_text((default(object, def)))
end

function serialize.property(object, def, to_text)
  return line(object, def, to_text or text_of)
end

-- property.GetDefault: `type=int 400`, or nil when there is no default
function serialize.default(object, def, to_text)
  local value, unset = default(object, def)
  if unset then return nil end
  return 'type=' .. def.word .. ' ' .. (to_text or text_of)(value)
end

-- property.GetAll: a line for each of the names, with backslashes and newlines escaped. Without names: all.
function serialize.properties(object, names, to_text)
  local r = resolved[core_class(object)]
  local properties = r.properties
  names, to_text = names or r.names, to_text or text_of
  local lines = {}
  for i = 1, #names do
    local name = names[i]
    local text = line(object, properties[name], to_text)
    if find(text, '\\', 1, true) or find(text, '\n', 1, true) then text = text:gsub('\\', '\\\\'):gsub('\n', '\\n') end
    lines[i] = name .. ' ' .. text .. '\n'
  end
  return table.concat(lines)
end

return serialize
