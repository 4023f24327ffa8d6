-- SPDX-License-Identifier: GPL-2.0-or-later
-- Numbers of disposables: drawn at random, and not drawn again for a week. Registers nothing.
--
-- The recent ones are kept in one attribute of the app, kind `transient`, as `NUMBER:TIME` words, the oldest first.

local raise = import('exceptions').raise

local dispids = {}

local LIMIT, ATTEMPTS = 10000, 100
local WEEK, KEPT = 7 * 24 * 3600, 2000

local function recent()
  local _, text = core.get(core.app(), 'transient', 'recent-dispids')
  local list, oldest = {}, core.time() - WEEK
  for id, time in (text or ''):gmatch('(%d+):(%d+)') do
    if tonumber(time) >= oldest then list[#list + 1] = { id = math.tointeger(tonumber(id)), word = id .. ':' .. time } end
  end
  return list
end

-- A number that no disposable has, and whose name no qube has.
function dispids.choose()
  local taken = {}
  for _, entry in ipairs(recent()) do taken[entry.id] = true end
  for _, qube in ipairs(core.qubes()) do
    local is_set, id = core.get(qube, 'property', 'dispid')
    if is_set then taken[id] = true end
  end
  for _ = 1, ATTEMPTS do
    local id = core.random(LIMIT)
    if not taken[id] and not core.qube('disp' .. id) then return id end
  end
  raise('QubesException', 'no number is free for a disposable')
end

-- The disposable of this number is gone.
function dispids.release(id)
  local list, words = recent(), {}
  for i = math.max(1, #list - KEPT + 2), #list do words[#words + 1] = list[i].word end
  words[#words + 1] = ('%d:%d'):format(id, math.floor(core.time()))
  core.set(core.app(), 'transient', 'recent-dispids', table.concat(words, ' '))
end

return dispids
