-- SPDX-License-Identifier: GPL-2.0-or-later
-- The usual form of lists in answers: each item on a line of its own. Registers nothing.

return function(items)
  return #items == 0 and '' or table.concat(items, '\n') .. '\n'
end
