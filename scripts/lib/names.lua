-- SPDX-License-Identifier: GPL-2.0-or-later
-- Rules for the names of qubes and tags. Registers nothing.

local raise = import('exceptions').raise

local names = {}

local RESERVED = { none = true, default = true, ['Domain-0'] = true }

-- Why a text can not be the name of a qube; nil when it can.
function names.qube_fault(text)
  if #text > 31 then return 'a qube name has at most 31 characters' end
  if text:find('^[0-9_.-]') then return 'a qube name begins with a letter' end
  if not text:find('^[a-zA-Z][a-zA-Z0-9_.-]*$') then return 'a qube name consists of letters, digits, underscores, dots and hyphens' end
  if RESERVED[text] then return 'this qube name is reserved' end
  if text:sub(-3) == '-dm' then return 'a qube name does not end in -dm' end
  return nil
end

function names.check_qube(text)
  local fault = names.qube_fault(text)
  if fault then raise('QubesValueError', fault) end
  return text
end

function names.is_tag(text)
  return text:find('^[a-zA-Z0-9_-]*$') ~= nil
end

return names
