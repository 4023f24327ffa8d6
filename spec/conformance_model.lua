-- SPDX-License-Identifier: GPL-2.0-or-later
-- Replays the recorded calls of the reference (a folder with replay.py, model-*.jsonl, base estate; see its README) on daemons of their own, a fresh one a
-- trace. Prints TAP: one test a trace.

package.path = './?.lua;' .. package.path
local daemon = require('spec.support.daemon')

local folder = arg[1]
local list = arg[2] and { arg[2] } or { 'model-1', 'model-2', 'model-3', 'model-4', 'model-5', 'model-6' }

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

print('1..' .. #list)
local bad = 0
for i, name in ipairs(list) do
  local directory = daemon.temporary_directory()
  make_kernels(directory)
  local d = daemon.start { directory = directory, uri = 'test://' .. absolute(folder) .. '/host.xml' }
  local command = ("python3 '%s/replay.py' '%s' '%s/%s.jsonl' --show 5 2>&1"):format(folder, d:socket(), folder, name)
  local handle = io.popen(command)
  local output = handle:read('a')
  local good = handle:close()
  local stopped, problem = pcall(d.stop, d)
  if good and stopped then
    print(('ok %d %s'):format(i, name))
  else
    bad = bad + 1
    print(('not ok %d %s'):format(i, name))
    print('# ' .. (output .. (stopped and '' or tostring(problem))):gsub('\n', '\n# '))
  end
end
os.exit(bad == 0 and 0 or 1)
