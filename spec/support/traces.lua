-- SPDX-License-Identifier: GPL-2.0-or-later
-- Replays recorded calls of the reference (a folder with replay.py, traces, host.xml and the base estate; see its README) on daemons of their own.

local daemon = require('spec.support.daemon')

local traces = {}

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

function traces.read(path)
  local file = assert(io.open(path))
  local text = file:read('a')
  file:close()
  return text
end

-- Whether a command ends well, and all that it prints.
function traces.run(command)
  local handle = io.popen(command .. ' 2>&1')
  local output = handle:read('a')
  return handle:close() == true, output
end

-- Replays FOLDER/NAME.jsonl, or its first lines, on a fresh daemon that gets `options` (of daemon.start). Whether nothing differs and the
-- daemon ends well, and what there is to say.
function traces.replay(folder, name, options, lines)
  local directory = daemon.temporary_directory()
  make_kernels(directory)
  options.directory, options.uri = directory, 'test://' .. absolute(folder) .. '/host.xml'
  local d = daemon.start(options)
  local trace = ('%s/%s.jsonl'):format(folder, name)
  if lines then
    local part = directory .. '/part.jsonl'
    os.execute(("head -n %d '%s' > '%s'"):format(lines, trace, part))
    trace = part
  end
  local good, output = traces.run(("python3 '%s/replay.py' '%s' '%s' --show 5"):format(folder, d:socket(), trace))
  local stopped, problem = pcall(d.stop, d)
  return good and stopped, output .. (stopped and '' or tostring(problem))
end

-- TAP: one line a test; `tap.bad` counts the failures.
function traces.tap(count)
  local tap = { number = 0, bad = 0 }
  print('1..' .. count)
  function tap.report(title, good, output)
    tap.number = tap.number + 1
    print(('%s %d %s'):format(good and 'ok' or 'not ok', tap.number, title))
    if good then return end
    tap.bad = tap.bad + 1
    print('# ' .. output:gsub('\n', '\n# '))
  end
  return tap
end

return traces
