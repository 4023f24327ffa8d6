-- SPDX-License-Identifier: GPL-2.0-or-later
-- Firing of events: which handlers run, in which order, and what the subscribers of admin.Events get. Registers nothing.
--
-- An ordinary event runs from the furthest parent to the class itself, and the subscribers come last; an event fired with `pre` runs the other
-- way round, subscribers first. So a subscriber sees the announcement of a change that a handler then refuses. What was registered with `after`
-- comes last of all.

local classes = import('class')

local resolved, find_handlers = classes.resolved, classes.handlers
local core_class, core_qid, core_publish, core_removed = core.class, core.qid, core.publish, core.removed

local EMPTY = setmetatable({}, { __newindex = function() error('this event has no info to write to', 2) end })

local events = {}

-- A qube in creation: `silent`, none of its events is fired; `unseen`, its handlers run but nobody is told of a qube that is not announced yet.
-- Creation never yields, so at most one qube is in this state.
local creating_qid, creating_silent

function events.creation(qid, silent)
  creating_qid, creating_silent = qid, silent
end

-- Questions among the daemon's own parts rather than news.
local function internal(event)
  return event == 'domain-is-fully-usable' or event:sub(1, 17) == 'admin-permission:' or event:sub(1, 11) == 'device-get:'
    or event:sub(1, 12) == 'device-list:' or event:sub(1, 21) == 'device-list-attached:'
end

-- Events that tell of an attempt rather than of a change: subscribers get them even when the call then fails and its changes are taken back.
local FAILURES = { ['domain-start-failed'] = true, ['domain-shutdown-failed'] = true }

local function is_attempt(event)
  return FAILURES[event] or event:sub(1, 26) == 'domain-feature-pre-delete:'
end

-- Fires an event. Answers the array of what handlers returned, or nil when none returned anything.
-- `changes` are what it follows from: nil or an array of values, before and after, before and after. To a subscriber that may not know of every qube, a
-- hidden one among them is none; where two look the same to it nothing has changed, and the event is kept from it (law 1).
-- Fields of info that begin with "_" are for handlers only. `_inherited` among them says that oldvalue was a default, which may come from a hidden qube: who
-- may not know of every qube is not told oldvalue.
function events.fire(object, event, info, pre, changes)
  local in_creation = creating_qid ~= nil and core_qid(object) == creating_qid
  if in_creation and creating_silent then return nil end

  local r = resolved[core_class(object)]
  local list = (pre and r.pre_handlers or r.handlers)[event] or find_handlers(r, event, pre)
  local seen = not in_creation and not core_removed(object) and not internal(event)
  info = info or EMPTY
  if pre and seen then core_publish(object, event, info, true, changes) end
  local effects
  for i = 1, #list do
    local effect = list[i](object, event, info)
    if effect ~= nil then
      effects = effects or {}
      effects[#effects + 1] = effect
    end
  end
  if not pre and seen then
    core_publish(object, event, info, is_attempt(event), changes)
  end
  local late = list.late
  for i = 1, late and #late or 0 do late[i](object, event, info) end
  return effects
end

return events
