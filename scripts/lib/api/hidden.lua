-- SPDX-License-Identifier: GPL-2.0-or-later
-- What a caller must not learn from an answer about a qube that it may see: that there is another one, which it may not. Registers nothing.

local network = import('network')
local serialize = import('serialize')

local hidden = {}

-- Tags that end in the name of a qube.
local tag_prefixes = { 'disp-created-by-', 'created-by-', 'guivm-', 'audiovm-', 'relayvm-' }

-- Features whose words are names of qubes. Callers can't set them.
local name_features = { ['preload-dispvm'] = true, ['deferred-netvm-original'] = true }

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
  if not name_features[feature] then return text end
  local shown = {}
  for name in text:gmatch('%S+') do
    if call:qube(name) then shown[#shown + 1] = name end
  end
  return table.concat(shown, ' ')
end

-- Whether the caller must not see the property because it comes from a netvm that the caller can't see. The mask of a netvm that provides nothing itself
-- comes from the netvm's own.
function hidden.withholds(call, holder, name)
  local source = call:may_hide() and network.source_of(holder, name) or nil
  while source do
    if not call:visible(source) then return true end
    source = name == 'visible_netmask' and not source.provides_network and source.netvm or nil
  end
  return false
end

function hidden.withholds_any(call, holder, names)
  if not call:may_hide() then return false end
  for _, name in ipairs(names) do
    if hidden.withholds(call, holder, name) then return true end
  end
  return false
end

-- How values of properties are written for the caller: a qube that it can't see is written as none.
function hidden.writer(call)
  if not call:may_hide() then return serialize.text end
  return function(value)
    if core.is_object(value) and not call:visible(value) then return '' end
    return serialize.text(value)
  end
end

-- How those are written that are withheld.
function hidden.nothing() return '' end

-- Refuses a caller from whom rules could hide qubes what tells of all of them, or depends on all.
function hidden.refuse_restricted()
  if core.caller_is_restricted() then hidden.refuse() end
end

-- Refuses what only a hidden qube stands against, with the words that the core has for a denial.
function hidden.refuse()
  raise('PermissionDenied', 'the rules do not permit this call')
end

return hidden
