-- SPDX-License-Identifier: GPL-2.0-or-later
-- Values of properties as the Admin API writes them. Registers nothing.

local property = import('property')
local classes = import('class')

local default = property.default
local core_class, core_get, core_name, core_names = core.class, core.get, core.name, core.names
local core_host, core_in_rule, core_version = core.host, core.in_rule, core.version
local find, concat = string.find, table.concat
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

-- Where the value comes from, as `def.prefix_set` or `def.prefix_default` says it, and the value.
local function state_of(object, def)
  local identity = def.identity
  if identity then return true, identity(object) end
  if not def.computed then
    local is_explicit, value = core_get(object, 'property', def.name)
    if is_explicit then return true, value end
  end
  return false, (default(object, def))
end

-- property.Get: `default=True type=int 400`. `to_text` may stand in for serialize.text, where a caller may not see every qube.
function serialize.property(object, def, to_text)
  local is_explicit, value = state_of(object, def)
  return (is_explicit and def.prefix_set or def.prefix_default) .. (to_text or text_of)(value)
end

-- property.GetDefault: `type=int 400`, or nil when there is no default
function serialize.default(object, def, to_text)
  local value, unset = default(object, def)
  if unset then return nil end
  return 'type=' .. def.word .. ' ' .. (to_text or text_of)(value)
end

local function escaped(text)
  if not find(text, '[\\\n]') then return text end
  return (text:gsub('\\', '\\\\'):gsub('\n', '\\n'))
end

-- The names of the properties that are stored for the object, as a set: asked once for all of them.
local function stored_of(object)
  local stored = {}
  for _, name in ipairs(core_names(object, 'property')) do stored[name] = true end
  return stored
end

-- property.GetAll: a line for each of the names, with backslashes and newlines escaped. Without names: all. The pieces are put together once, since
-- callers ask this for every qube.
function serialize.properties(object, names, to_text)
  local r = resolved[core_class(object)]
  local properties, stored = r.properties, stored_of(object)
  names, to_text = names or r.names, to_text or text_of
  local pieces, count = {}, 0
  for i = 1, #names do
    local name = names[i]
    local def = properties[name]
    local is_set, value
    if stored[name] or def.identity then
      is_set, value = state_of(object, def)
    else
      is_set, value = false, (default(object, def))
    end
    local text = to_text(value)
    pieces[count + 1] = is_set and def.line_set or def.line_default
    pieces[count + 2] = type(value) == 'string' and escaped(text) or text
    pieces[count + 3] = '\n'
    count = count + 3
  end
  return concat(pieces)
end

-- The same for all properties, as a caller sees them from whom no qube is hidden. Tools ask this for each qube again and again, so it is kept until
-- the model, or what is known of the host, changes.
local KEPT_MAX = 4096 -- objects
local kept, kept_count, kept_version, kept_host = {}, 0, -1, -1

function serialize.all_properties(object)
  if core_in_rule() then return serialize.properties(object) end
  local version, host = core_version(), core_host().memory_kib
  if version ~= kept_version or host ~= kept_host or kept_count >= KEPT_MAX then
    kept, kept_count, kept_version, kept_host = {}, 0, version, host
  end
  local text = kept[object]
  if not text then
    text = serialize.properties(object)
    kept[object], kept_count = text, kept_count + 1
  end
  return text
end

return serialize
