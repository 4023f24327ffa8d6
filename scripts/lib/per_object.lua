-- SPDX-License-Identifier: GPL-2.0-or-later
-- Tables that keep a value for each object, made when it is first asked for. Registers nothing.
--
-- The objects are held, so that a rule which looks at a thousand qubes does not make a thousand references and views each time. What belongs to
-- removed qubes is given up from time to time.

local core_removed = core.removed

local FIRST_SWEEP = 1024 -- values, until those of removed qubes are looked for

-- A table whose field for an object is `make(object)`.
return function(make)
  local values, count, limit = {}, 0, FIRST_SWEEP

  local function sweep()
    count = 0
    for object in next, values do
      if core_removed(object) then values[object] = nil else count = count + 1 end
    end
    limit = math.max(FIRST_SWEEP, 2 * count)
  end

  return setmetatable(values, { __index = function(_, object)
    local value = make(object)
    count = count + 1
    if count > limit then sweep() end
    rawset(values, object, value)
    return value
  end })
end
