-- SPDX-License-Identifier: GPL-2.0-or-later
-- Wildcards of event names: `*` is any text, `?` one character. Registers nothing.
--
-- Two positions are remembered instead of a pattern being compiled, so that the cost is at most the product of both lengths.

local byte = string.byte
local STAR, QUESTION = byte('*'), byte('?')

local glob = {}

function glob.has_wildcard(pattern)
  return pattern:find('[*?]') ~= nil
end

function glob.match(pattern, text)
  local p, t = 1, 1
  local star_p, star_t
  while t <= #text do
    local c = byte(pattern, p)
    if c == STAR then
      star_p, star_t = p, t
      p = p + 1
    elseif c == QUESTION or (c and c == byte(text, t)) then
      p, t = p + 1, t + 1
    elseif star_p then
      star_t = star_t + 1
      p, t = star_p + 1, star_t
    else
      return false
    end
  end
  while byte(pattern, p) == STAR do p = p + 1 end
  return p > #pattern
end

return glob
