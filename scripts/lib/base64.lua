-- SPDX-License-Identifier: GPL-2.0-or-later
-- base64(bytes): the base64 text of a string. Registers nothing.

local ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'

return function(bytes)
  local parts = {}
  for i = 1, #bytes, 3 do
    local a, b, c = bytes:byte(i, i + 2)
    local number = a << 16 | (b or 0) << 8 | (c or 0)
    for place = 18, 0, -6 do
      local at = (number >> place & 63) + 1
      parts[#parts + 1] = ALPHABET:sub(at, at)
    end
    if not b then parts[#parts - 1] = '=' end
    if not c then parts[#parts] = '=' end
  end
  return table.concat(parts)
end
