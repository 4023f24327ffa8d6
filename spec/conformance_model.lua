-- SPDX-License-Identifier: GPL-2.0-or-later
-- Replays the recorded calls of the reference (a folder with replay.py, model-*.jsonl, base estate; see its README) on daemons of their own, a fresh one a
-- trace; then all of them again on the scripts alone, where the state that a failure inside left the reference in can be imitated. Prints TAP: one test a
-- trace and way.

package.path = './?.lua;' .. package.path
local traces = require('spec.support.traces')

local folder = arg[1]
local list = arg[2] and { arg[2] } or { 'model-1', 'model-2', 'model-3', 'model-4', 'model-5', 'model-6' }

-- In these traces the reference fails inside a call and keeps half of its change (docs/differences.md, "Failure"). The daemon refuses it whole, so its state
-- is another one from there on: it replays the trace up to that line, and the rest is compared on the scripts alone.
local half_changed = { ['model-3'] = 851, ['model-5'] = 897 }

local tap, wanted = traces.tap(2 * #list), {}
for i, name in ipairs(list) do
  wanted[i] = { name = name, lines = half_changed[name] }
  if half_changed[name] then print(('# %s: up to line %d on the daemon'):format(name, half_changed[name])) end
end
for i, result in ipairs(traces.replay(folder, wanted)) do tap.report(list[i] .. ' on the daemon', result.good, result.output) end
for _, name in ipairs(list) do
  tap.report(name .. ' on the scripts', traces.run(("lua5.4 spec/support/replay_offline.lua --show 5 '%s/%s.jsonl'"):format(folder, name)))
end
os.exit(tap.bad == 0 and 0 or 1)
