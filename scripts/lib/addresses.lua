-- SPDX-License-Identifier: GPL-2.0-or-later
-- IP addresses: reading, normal form, and those that qubes get by default. Registers nothing.

local addresses = {}

-- The address, or nil when the text is not an IPv4 address in plain decimal.
function addresses.ipv4(text)
  local parts = { text:match('^(%d+)%.(%d+)%.(%d+)%.(%d+)$') }
  if #parts ~= 4 then return nil end
  for _, part in ipairs(parts) do
    if #part > 3 or tonumber(part) > 255 or (#part > 1 and part:sub(1, 1) == '0') then return nil end
  end
  return text
end

-- The 16-bit groups of a part of an IPv6 address without `::`; nil when it is malformed.
local function groups_of(text)
  local groups = {}
  if text == '' then return groups end
  for piece in (text .. ':'):gmatch('([^:]*):') do
    if #piece < 1 or #piece > 4 or piece:find('%X') then return nil end
    groups[#groups + 1] = tonumber(piece, 16)
  end
  return groups
end

local function parse_ipv6(text)
  local head, dotted = text:match('^(.*:)([%d.]+)$')
  if dotted and dotted:find('.', 1, true) then
    if not addresses.ipv4(dotted) then return nil end
    local a, b, c, d = dotted:match('(%d+)%.(%d+)%.(%d+)%.(%d+)')
    text = ('%s%x:%x'):format(head, a * 256 + b, c * 256 + d)
  end
  local left, right = text:match('^(.-)::(.*)$')
  if not left then
    local groups = text ~= '' and groups_of(text)
    return groups and #groups == 8 and groups or nil
  end
  if right:find('::', 1, true) then return nil end
  local before, after = groups_of(left), groups_of(right)
  if not before or not after or #before + #after > 7 then return nil end
  for _ = 1, 8 - #before - #after do before[#before + 1] = 0 end
  for _, group in ipairs(after) do before[#before + 1] = group end
  return before
end

local function format_ipv6(groups)
  local best_start, best_length, start = 0, 1, nil
  for i = 1, 9 do
    if groups[i] == 0 then
      start = start or i
    elseif start then
      if i - start > best_length then best_start, best_length = start, i - start end
      start = nil
    end
  end
  local words = {}
  for i, group in ipairs(groups) do words[i] = ('%x'):format(group) end
  if best_start == 0 then return table.concat(words, ':') end
  return table.concat(words, ':', 1, best_start - 1) .. '::' .. table.concat(words, ':', best_start + best_length)
end

-- The normal form of an IPv6 address, or nil.
function addresses.ipv6(text)
  local address, zone = text:match('^([^%%]*)%%([^%%/]+)$')
  if text:find('%', 1, true) and not address then return nil end
  local groups = parse_ipv6(address or text)
  if not groups then return nil end
  return format_ipv6(groups) .. (zone and '%' .. zone or '')
end

-- An address for the number of a qube, under two octets. It ends neither in .0 nor in .255, which guests may take for a network's own.
function addresses.for_number(prefix, number)
  if number < 255 then return ('%s.%d.%d'):format(prefix, number >> 8 & 255, number & 255) end
  number = number - 1
  return ('%s.%d.%d'):format(prefix, number // 254, number % 254 + 1)
end

-- The same in IPv6, under the prefix that Qubes uses inside a system.
function addresses.for_number6(group, number)
  return addresses.ipv6(('fd09:24ef:4179::%s:%x'):format(group, number))
end

return addresses
