-- SPDX-License-Identifier: GPL-2.0-or-later
-- Replays recorded lists and events as other qubes than dom0 see them under a qrexec policy (lists-*.jsonl, lists.policy; see the README beside them), on
-- daemons of their own. Prints TAP: one test a trace.
--
-- Of a qube that was added after the first question to the policy, the reference tells an event either before or after what it knows of the qube is
-- forgotten: two handlers in a set, whose order is that of addresses in memory (docs/differences.md, "The qrexec policy"). Each trace shows one of the two
-- throughout. So a trace has to be the same in one of them; the second is made here, from the daemon's script, which has the first.

package.path = './?.lua;' .. package.path
local traces = require('spec.support.traces')

local folder = arg[1]
local list = arg[2] and { arg[2] } or { 'lists-1', 'lists-2' }

local ESTATE = 'lib/qrexec_estate.lua'
local REGISTRATION = "class('BaseVM'):after(CHANGES, forget, true)\n"
local OTHER_ORDER = [[
local asked, later = false, {}
for _, way in ipairs { 'now', 'known' } do
  local ask = estate[way]
  estate[way] = function()
    asked = true
    return ask()
  end
end
class('Qubes'):after('domain-add', function(_, _, info) later[core.qid(info.vm)] = asked end, true)
class('BaseVM'):on(CHANGES, function(qube) if later[core.qid(qube)] then forget(qube) end end, true)
class('BaseVM'):after(CHANGES, function(qube) if not later[core.qid(qube)] then forget(qube) end end, true)
]]

local function other_order()
  local text = traces.read('scripts/' .. ESTATE)
  local from, to = text:find(REGISTRATION, 1, true)
  assert(from, 'scripts/' .. ESTATE .. ' registers its handlers in another way')
  return text:sub(1, from - 1) .. OTHER_ORDER .. text:sub(to + 1)
end

local function wanted(name, scripts)
  return { name = name, options = { policy = { ['30-lists.policy'] = traces.read(folder .. '/lists.policy') }, extra_scripts = scripts } }
end

-- All traces, once in each order.
local all = {}
for i, name in ipairs(list) do
  all[i], all[#list + i] = wanted(name), wanted(name, { [ESTATE] = other_order() })
end
local tap, results = traces.tap(#list), traces.replay(folder, all)
for i, name in ipairs(list) do
  local one, other = results[i], results[#list + i]
  tap.report(name .. ' under the policy', one.good or other.good, one.output .. 'in the other order:\n' .. other.output)
end
os.exit(tap.bad == 0 and 0 or 1)
