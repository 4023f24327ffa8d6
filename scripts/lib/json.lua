-- SPDX-License-Identifier: GPL-2.0-or-later
-- JSON text of strings, numbers, booleans, json.null, tables with string keys (sorted) and json.array{…}. Registers nothing.

local json = { null = setmetatable({}, { __name = 'json.null' }) }

local array_mark = {}

local escapes = { ['"'] = '\\"', ['\\'] = '\\\\', ['\n'] = '\\n', ['\r'] = '\\r', ['\t'] = '\\t' }

local function escape(character)
  return escapes[character] or ('\\u%04x'):format(character:byte())
end

local function quote(text)
  return '"' .. text:gsub('[%c"\\\127]', escape) .. '"'
end

-- Marks a sequence, so that an empty one is [] too.
function json.array(sequence)
  return setmetatable(sequence, array_mark)
end

local encode

local function encode_array(sequence)
  local parts = {}
  for i, item in ipairs(sequence) do
    parts[i] = encode(item)
  end
  return '[' .. table.concat(parts, ', ') .. ']'
end

local function encode_object(object)
  local keys, parts = {}, {}
  for key in pairs(object) do
    keys[#keys + 1] = key
  end
  table.sort(keys)
  for i, key in ipairs(keys) do
    parts[i] = quote(key) .. ': ' .. encode(object[key])
  end
  return '{' .. table.concat(parts, ', ') .. '}'
end

function encode(value)
  local kind = type(value)
  if value == json.null or value == nil then return 'null' end
  if kind == 'string' then return quote(value) end
  if kind == 'boolean' or math.type(value) == 'integer' then return tostring(value) end
  if kind == 'number' then return ('%.17g'):format(value) end
  if kind ~= 'table' then error('no JSON for a ' .. kind) end
  if getmetatable(value) == array_mark then return encode_array(value) end
  return encode_object(value)
end

json.encode, json.quote = encode, quote

return json
