-- SPDX-License-Identifier: GPL-2.0-or-later
-- What a caller must not learn from an answer about a qube that it may see: that there is another one, which it may not. Registers nothing.

local serialize = import('serialize')

local hidden = {}

-- Tags that end in the name of a qube.
local tag_prefixes = { 'disp-created-by-', 'created-by-', 'guivm-', 'audiovm-', 'relayvm-' }

-- The feature whose words are names of qubes. Callers can't set it.
local NAMES = 'preload-dispvm'

-- Whether the caller may know of this feature. That a change of the netvm is put off tells of the old one.
function hidden.shows_feature(feature)
  return feature ~= 'deferred-netvm-original' or not core.caller_is_restricted()
end

-- Whether the caller may know of this tag. A name that no qube has is left out too: otherwise a caller could set such a tag and see from
-- its absence that there is a qube of that name.
function hidden.shows_tag(call, tag)
  if not call:may_hide() or call.src.klass == 'AdminVM' then return true end
  for _, prefix in ipairs(tag_prefixes) do
    if tag:sub(1, #prefix) == prefix then
      return call:qube(tag:sub(#prefix + 1)) ~= nil
    end
  end
  return true
end

-- The value of a feature as the caller may see it.
function hidden.feature_text(call, feature, text)
  if feature ~= NAMES then return text end
  local shown = {}
  for name in text:gmatch('%S+') do
    if call:qube(name) then shown[#shown + 1] = name end
  end
  return table.concat(shown, ' ')
end

-- How values of properties are written for the caller: a qube that it can't see is written as none.
function hidden.writer(call)
  if not call:may_hide() then return serialize.text end
  return function(value)
    if core.is_object(value) and not call:visible(value) then return '' end
    return serialize.text(value)
  end
end

-- Refuses a caller from whom rules could hide qubes what tells of all of them, or depends on all.
function hidden.refuse_restricted()
  if core.caller_is_restricted() then core.refuse_caller('it could tell a caller, to whom rules show only some of the qubes, of the others') end
end

-- Refuses such a caller the features by which it would reach qubes that it can't see: one names a qube for those that the caller creates, the others are
-- dom0's word for the default template of disposables.
function hidden.check_feature(call)
  local feature = call.arg
  if feature == 'set-created-guivm' or (call.dest.klass == 'AdminVM' and feature:sub(1, 14) == 'preload-dispvm') then hidden.refuse_restricted() end
end

return hidden
