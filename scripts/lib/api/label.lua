-- SPDX-License-Identifier: GPL-2.0-or-later
-- Labels as callers name them. Registers nothing.

local labels = import('labels')
local exceptions = import('exceptions')

local label = {}

-- The label with this name or index; nil when there is none.
function label.find(text)
  local found, answer = pcall(labels.find, text)
  if found then return answer end
  if exceptions.is(answer, 'QubesLabelNotFoundError') then return nil end
  error(answer, 0)
end

return label
