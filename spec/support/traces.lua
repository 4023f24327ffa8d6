-- SPDX-License-Identifier: GPL-2.0-or-later
-- Replays recorded calls of the reference (a folder with replay.py, traces, host.xml and the base estate; see its README) on daemons of their own.

local uv = require('luv')
local daemon = require('spec.support.daemon')

local traces = {}

local REPLAY_SECONDS = 300

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

-- A fresh daemon, and replay.py running on it.
local function begin(folder, wanted)
  local directory, options = daemon.temporary_directory(), wanted.options or {}
  make_kernels(directory)
  options.directory, options.uri = directory, 'test://' .. absolute(folder) .. '/host.xml'
  local running = { daemon = daemon.start(options), output = '' }
  local trace = ('%s/%s.jsonl'):format(folder, wanted.name)
  if wanted.lines then
    local part = directory .. '/part.jsonl'
    os.execute(("head -n %d '%s' > '%s'"):format(wanted.lines, trace, part))
    trace = part
  end
  local pipe = uv.new_pipe()
  running.process = assert(uv.spawn('sh', {
    args = { '-c', 'exec python3 "$@" 2>&1', 'sh', folder .. '/replay.py', running.daemon:socket(), trace, '--show', '5' }, stdio = { nil, pipe },
  }, function(code) running.code = code end))
  pipe:read_start(function(_, data)
    if data then
      running.output = running.output .. data
    else
      running.read = true
      pipe:close()
    end
  end)
  return running
end

-- Replays traces side by side, since each spends its time waiting for events that must not come. `list` has { name =, options =, lines = } for
-- FOLDER/NAME.jsonl: what its daemon gets (daemon.start), and how many lines are replayed when not all. For each, whether nothing differs and the daemon
-- ends well, and what there is to say.
function traces.replay(folder, list)
  local all, results = {}, {}
  for i, wanted in ipairs(list) do all[i] = begin(folder, wanted) end
  for i, running in ipairs(all) do
    local ended = daemon.run_until(function() return running.code and running.read end, REPLAY_SECONDS)
    if not ended then running.process:kill('sigkill') end
    running.process:close()
    local stopped, problem = pcall(running.daemon.stop, running.daemon)
    results[i] = {
      good = ended and running.code == 0 and stopped,
      output = running.output .. (ended and '' or 'no end in time\n') .. (stopped and '' or tostring(problem)),
    }
  end
  return results
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
