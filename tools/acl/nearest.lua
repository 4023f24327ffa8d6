-- SPDX-License-Identifier: GPL-2.0-or-later
-- nearest(name, names): which of these names was perhaps meant, or nil when none is near. `names` is an array, or a table by name.

-- How many characters have to be changed, added, left out or swapped with their neighbour to make one of the other.
-- https://en.wikipedia.org/wiki/Damerau-Levenshtein_distance#Optimal_string_alignment_distance
local function distance(a, b)
  local before, row = {}, {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    local next_row = { [0] = i }
    for j = 1, #b do
      local same = a:byte(i) == b:byte(j)
      local least = math.min(row[j - 1] + (same and 0 or 1), row[j] + 1, next_row[j - 1] + 1)
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then least = math.min(least, before[j - 2] + 1) end
      next_row[j] = least
    end
    before, row = row, next_row
  end
  return row[#b]
end

return function(name, names)
  local best, least
  for key, value in pairs(names) do
    local candidate = math.type(key) and value or key
    local d = distance(name:lower(), candidate:lower())
    if not least or d < least or d == least and candidate < best then best, least = candidate, d end
  end
  if best and least <= math.max(2, #name // 3) then return best end
  return nil
end
