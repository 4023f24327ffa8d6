-- SPDX-License-Identifier: GPL-2.0-or-later
-- Labels as callers name them. Registers nothing.

local labels = import('labels')
local exceptions = import('exceptions')

local label = {}

-- Raises QubesInvalidLabelError unless `text` can be the name of a label. A new one must not look like an index.
function label.check_name(text, is_new)
  if is_new and text:find('^%d+$') then
    raise('QubesInvalidLabelError', 'the name of a label is not a number')
  end
  if not text:find('^[%w_.-]+$') then
    raise('QubesInvalidLabelError', 'the name of a label has letters, digits, "-", "_" and "." only')
  end
  return text
end

-- The label with this name or index; nil when there is none.
function label.find(text)
  local found, answer = pcall(labels.find, text)
  if found then return answer end
  if exceptions.is(answer, 'QubesLabelNotFoundError') then return nil end
  error(answer, 0)
end

return label
