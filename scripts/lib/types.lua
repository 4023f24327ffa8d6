-- SPDX-License-Identifier: GPL-2.0-or-later
-- Types of property values: reading them from text, and checking the text of an untrusted new value. Registers nothing.
--
-- `parse[type](text)` answers the value, or nil when the text is none of this type.

local addresses = import('addresses')
local names = import('names')
local raise = import('exceptions').raise

local types = {}

local parse = {}
types.parse = parse

function parse.int(text)
  local sign, digits = text:match('^%s*([+-]?)(%d[%d_]*)%s*$')
  if not digits or digits:find('__', 1, true) or digits:sub(-1) == '_' then return nil end
  digits = digits:gsub('_', ''):gsub('^0+(%d)', '%1')
  if #digits > 18 then return nil end
  local number = math.tointeger(tonumber(digits))
  return sign == '-' and -number or number
end

local BOOLEANS = {
  ['0'] = false, no = false, ['false'] = false, off = false,
  ['1'] = true, yes = true, ['true'] = true, on = true,
}

function parse.bool(text)
  return BOOLEANS[text:lower()]
end

function parse.uuid(text)
  local digits = text:gsub('urn:', ''):gsub('uuid:', ''):gsub('^[{}]+', ''):gsub('[{}]+$', ''):gsub('-', ''):lower()
  if #digits ~= 32 or digits:find('%X') then return nil end
  return (digits:gsub('^(........)(....)(....)(....)(............)$', '%1-%2-%3-%4-%5'))
end

parse.ipv4 = addresses.ipv4
parse.ipv6 = addresses.ipv6

function parse.str(text)
  return text
end

parse.label = parse.str
parse.vm = parse.str

-- The value that is kept for one that a setter gave; values that scripts set may have their type already.
function types.coerce(def, value)
  local kind = def.type
  if value == nil or kind == 'vm' or kind == 'label' then return value end
  if kind == 'bool' and type(value) == 'boolean' then return value end
  if kind == 'int' then
    if type(value) == 'boolean' then return value and 1 or 0 end
    local integer = type(value) == 'number' and math.tointeger(value)
    if integer then return integer end
  end
  if type(value) == 'number' then value = tostring(value) end
  if type(value) == 'string' then
    local parsed = parse[kind](value)
    if parsed ~= nil then return parsed end
  end
  raise('QubesValueError', ('%s: a value of type %s was expected'):format(def.name, kind))
end

-- What stays of the text of an untrusted new value, before a caller is asked for permission and the setter sees it.
function types.sanitize_text(def, text)
  if text:find('[\x80-\xff]') then raise('QubesValueError', 'a property value is ASCII') end
  local kind = def.type
  if kind == 'vm' then
    if text ~= '' then names.check_qube(text) end
    return text
  end
  if kind == 'str' or kind == 'label' then
    -- %c would also let out the bytes that a terminal acts on
    if text:find('[^\x20-\x7e\t\n\v\f\r]') then raise('QubesValueError', 'a character is not allowed in a property value') end
    return text
  end
  local value = parse[kind](text)
  if value == nil then raise('QubesValueError', ('%s: a value of type %s was expected'):format(def.name, kind)) end
  return value
end

-- The same for an `untrusted`.
function types.sanitize(def, untrusted)
  if type(untrusted) == 'string' then return types.sanitize_text(def, untrusted) end
  if untrusted:empty() then return types.sanitize_text(def, '') end
  local is_ascii, text = pcall(untrusted.ascii, untrusted)
  if not is_ascii then raise('QubesValueError', 'a property value is ASCII') end
  return types.sanitize_text(def, text)
end

return types
