-- SPDX-License-Identifier: GPL-2.0-or-later
-- Replays the recorded calls of the reference (a folder with replay.py, model-*.jsonl, base estate; see its README) on daemons of their own, a fresh one a
-- trace; then all of them again on the scripts alone, where the state that a failure inside left the reference in can be imitated. Prints TAP: one test a
-- trace and way.

package.path = './?.lua;' .. package.path
local daemon = require('spec.support.daemon')

local folder = arg[1]
local list = arg[2] and { arg[2] } or { 'model-1', 'model-2', 'model-3', 'model-4', 'model-5', 'model-6' }

-- In these traces the reference fails inside a call and keeps half of its change (docs/differences.md, "Failure"). The daemon refuses it whole, so its state
-- is another one from there on: it replays the trace up to that line, and the rest is compared on the scripts alone.
local half_changed = { ['model-3'] = 851, ['model-5'] = 897 }

local function make_kernels(directory)
  local kernel = directory .. '/kernels/6.12.1'
  os.execute(("mkdir -p '%s' && touch '%s/vmlinuz' '%s/initramfs' '%s/modules.img'"):format(kernel, kernel, kernel, kernel))
end

local function absolute(path)
  local handle = io.popen(("realpath '%s'"):format(path))
  local text = handle:read('l')
  handle:close()
  return text
end

print('1..' .. 2 * #list)
local bad = 0

local function report(number, title, good, output)
  print(('%s %d %s'):format(good and 'ok' or 'not ok', number, title))
  if good then return end
  bad = bad + 1
  print('# ' .. output:gsub('\n', '\n# '))
end

for i, name in ipairs(list) do
  local directory = daemon.temporary_directory()
  make_kernels(directory)
  local d = daemon.start { directory = directory, uri = 'test://' .. absolute(folder) .. '/host.xml' }
  local trace = ('%s/%s.jsonl'):format(folder, name)
  if half_changed[name] then
    local part = directory .. '/part.jsonl'
    os.execute(("head -n %d '%s' > '%s'"):format(half_changed[name], trace, part))
    trace = part
    print(('# %s: up to line %d on the daemon'):format(name, half_changed[name]))
  end
  local command = ("python3 '%s/replay.py' '%s' '%s' --show 5 2>&1"):format(folder, d:socket(), trace)
  local handle = io.popen(command)
  local output = handle:read('a')
  local good = handle:close()
  local stopped, problem = pcall(d.stop, d)
  report(i, name .. ' on the daemon', good and stopped, output .. (stopped and '' or tostring(problem)))
end
for i, name in ipairs(list) do
  local handle = io.popen(("lua5.4 spec/support/replay_offline.lua --show 5 '%s/%s.jsonl' 2>&1"):format(folder, name))
  local output = handle:read('a')
  report(#list + i, name .. ' on the scripts', handle:close(), output)
end
os.exit(bad == 0 and 0 or 1)
