-- SPDX-License-Identifier: GPL-2.0-or-later
-- Dates from seconds since 1970, in UTC. Registers nothing.

local date = {}

-- Year, month and day of a number of days since 1970-01-01. The year is counted from March, so that the leap day is its last.
local function civil(days)
  days = days + 719468 -- since 0000-03-01
  local era = days // 146097
  local day_of_era = days % 146097
  local year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096) // 365
  local day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
  local month = (5 * day_of_year + 2) // 153
  local day = day_of_year - (153 * month + 2) // 5 + 1
  month = month < 10 and month + 3 or month - 9
  return year_of_era + era * 400 + (month <= 2 and 1 or 0), month, day
end

-- "2026-08-01 12:30:00"
function date.text(seconds)
  seconds = math.floor(seconds)
  local year, month, day = civil(seconds // 86400)
  local rest = seconds % 86400
  return ('%04d-%02d-%02d %02d:%02d:%02d'):format(year, month, day, rest // 3600, rest // 60 % 60, rest % 60)
end

return date
