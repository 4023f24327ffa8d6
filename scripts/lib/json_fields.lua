-- SPDX-License-Identifier: GPL-2.0-or-later
-- json_fields(text): a table from the text of a JSON object whose values are strings; or nil and what was expected. Registers nothing.

local ESCAPES = { ['"'] = '"', ['\\'] = '\\', ['/'] = '/', b = '\b', f = '\f', n = '\n', r = '\r', t = '\t' }

-- One escape at `at`, behind its backslash: its text and the position after it.
local function escape(text, at)
  local letter = text:sub(at, at)
  if ESCAPES[letter] then return ESCAPES[letter], at + 1 end
  local code = letter == 'u' and tonumber(text:match('^%x%x%x%x', at + 1) or '', 16)
  if not code then return nil end
  local low = tonumber(text:match('^\\u(%x%x%x%x)', at + 5) or '', 16)
  if code >= 0xd800 and code < 0xdc00 and low and low >= 0xdc00 and low < 0xe000 then
    return utf8.char(0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00)), at + 11
  end
  if code >= 0xd800 and code < 0xe000 then return nil end
  return utf8.char(code), at + 5
end

-- A string whose opening quote is at `at`: its value and the position after it.
local function string_at(text, at)
  local parts = {}
  if text:sub(at, at) ~= '"' then return nil end
  at = at + 1
  while true do
    local plain, stop = text:match('^([^"\\%c]*)()', at)
    parts[#parts + 1] = plain
    local mark = text:sub(stop, stop)
    if mark == '"' then return table.concat(parts), stop + 1 end
    if mark ~= '\\' then return nil end
    parts[#parts + 1], at = escape(text, stop + 1)
    if not at then return nil end
  end
end

local function skip(text, at, what)
  return text:match('^%s*' .. what .. '%s*()', at)
end

return function(text)
  local fields, at = {}, skip(text, 1, '{')
  if at and skip(text, at, '}') == #text + 1 then return fields end
  while at do
    local key, value
    key, at = string_at(text, at)
    at = at and skip(text, at, ':')
    if not at then break end
    value, at = string_at(text, at)
    if not at then return nil, ('"%s" is a string'):format(key) end
    if fields[key] then return nil, ('"%s" is given once'):format(key) end
    fields[key] = value
    if skip(text, at, '}') == #text + 1 then return fields end
    at = skip(text, at, ',')
  end
  return nil, 'a JSON object, with strings as its values'
end
