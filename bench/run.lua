-- SPDX-License-Identifier: GPL-2.0-or-later
-- `./dev bench`: starts daemons on temporary directories, puts load on them and says how far they are from the goals.
-- Start here; lib/ has the parts, sections/ what is measured, in the order of ORDER below.

local here = arg[0]:match('^(.*)/[^/]*$') or '.'
package.path = here .. '/lib/?.lua;' .. here .. '/sections/?.lua;' .. package.path

local daemon = require 'daemon'
local process = require 'process'
local report = require 'report'

local ORDER = { 'reads', 'frozen', 'model', 'writes', 'rules', 'startup' }

local HELP = [[
usage: lua5.4 bench/run.lua [OPTION]...

  --only PATTERN    only the lines that match; Lua patterns, several apart with '|', e.g. 'property.Get|vm.List, 1,000'
  --seconds S       how long each side of a line is loaded, all rounds together (2.5)
  --rounds N        how many rounds that is, the sides taking turns (5)
  --markdown FILE   writes the lines as a table too
  --check           exit status 1 when a goal is missed
  --src QUBE        the calling qube (dom0)
  --build DIR       where qubesd, bench-load and bench-bare are (build)
  --scripts DIR     the daemon's scripts (scripts)
  --libvirt-uri URI the daemon's libvirt (test:///default)
  --dir DIR         where the temporary directory is made (/var/tmp); it should be on a real disk
  --keep DIR        use this directory instead and leave it, so that the next run finds its qubes there
  --no-pin          let Linux choose processors; else servers and load are kept apart where only reads are measured
  --strace          count fsyncs with strace as well
]]

local function fail(message)
  io.stderr:write('bench: ', message, '\n')
  os.exit(2)
end

local function number(name, text, min)
  local value = tonumber(text)
  if not value or value ~= value or value < min then
    fail(('%s: a number from %s, not %q'):format(name, min, text))
  end
  return value
end

local function parse(words)
  local options = {
    seconds = 2.5, rounds = 5, src = 'dom0', build = here .. '/../build', scripts = here .. '/../scripts',
    libvirt_uri = 'test:///default', dir = '/var/tmp',
  }
  local flags = { ['--check'] = 'check', ['--strace'] = 'strace', ['--no-pin'] = 'no_pin' }
  local values = {
    ['--only'] = 'only', ['--seconds'] = 'seconds', ['--rounds'] = 'rounds', ['--markdown'] = 'markdown', ['--src'] = 'src',
    ['--build'] = 'build', ['--scripts'] = 'scripts', ['--libvirt-uri'] = 'libvirt_uri', ['--dir'] = 'dir',
    ['--keep'] = 'keep',
  }
  local index = 1
  while words[index] do
    local word = words[index]
    if word == '--help' then
      io.write(HELP)
      os.exit(0)
    elseif flags[word] then
      options[flags[word]] = true
    elseif values[word] and words[index + 1] then
      index = index + 1
      options[values[word]] = words[index]
    else
      fail(('%s: unknown, or without its value; see --help'):format(word))
    end
    index = index + 1
  end
  options.seconds = number('--seconds', options.seconds, 0.1)
  options.rounds = math.floor(number('--rounds', options.rounds, 1))
  return options
end

-- An error of the script itself with its traceback; one that it raised on purpose as it is.
local function explain(message)
  message = tostring(message)
  return message:find('^[^\n]*%.lua:%d+:') and debug.traceback(message) or message
end

-- The options, with what the sections share: line, estate, release.
local function new_bench(options)
  local bench = options
  bench.failures = 0
  local estates = {}

  function bench.selected(what)
    if not options.only then
      return true
    end
    for pattern in options.only:gmatch('[^|]+') do
      if what:find(pattern) then
        return true
      end
    end
    return false
  end

  -- Does what a line needs if it is selected. What goes wrong there is told at once and makes the run fail, but the other
  -- lines are measured.
  function bench.line(what, measure)
    if not bench.selected(what) then
      return
    end
    local done, message = xpcall(measure, explain, what)
    if not done then
      bench.failures = bench.failures + 1
      io.stderr:write(('%s: %s\n'):format(what, message))
    end
  end

  -- A daemon with so many qubes that runs until the end; one a name. acl: a directory, by default an empty one. variant: as for daemon.start.
  function bench.estate(qubes, name, acl, variant)
    name = name or 'estate-' .. qubes
    if not estates[name] then
      local target = daemon.start(bench, name, acl, variant)
      local filled, rate = pcall(daemon.fill, bench, target, qubes)
      if not filled then
        pcall(daemon.stop, target)
        error(rate, 0)
      end
      estates[name] = target
      if rate then
        io.stderr:write(('  (made %s qubes, %s a second)\n'):format(report.number(qubes), report.number(rate)))
      end
    end
    return estates[name]
  end

  -- Stops one of them; its directory stays.
  function bench.release(name)
    local target = estates[name]
    estates[name] = nil
    daemon.stop(target)
  end

  function bench.release_all()
    for name in pairs(estates) do
      bench.release(name)
    end
  end

  return bench
end

local function measure_all(bench)
  local version = process.run(bench.build .. '/qubesd', { '--version' }, 10):match('[%d%.]+%S*') or 'unknown'
  local stolen, ticks = process.stolen_ticks()
  for _, name in ipairs(ORDER) do
    require(name).run(bench)
  end
  bench.release_all()
  local stolen_after, ticks_after = process.stolen_ticks()
  local stolen_share = (stolen_after - stolen) / math.max(ticks_after - ticks, 1)
  local met, missed = report.goals()
  print(('%d goals met, %d missed; a hypervisor took %.1f %% of the processors away meanwhile'):format(met, missed,
    stolen_share * 100))
  if bench.markdown then
    report.markdown(bench.markdown, {
      version = version, rounds = bench.rounds, file_system = report.file_system(bench.root), stolen_share = stolen_share,
    })
  end
  return missed == 0 or not bench.check
end

local bench = new_bench(parse(arg))
bench.root = bench.keep and process.make_directory(bench.keep) or process.temporary_directory(bench.dir)

local function clean_up()
  if not bench.keep then
    process.remove_tree(bench.root)
  end
end

process.on_stop(function(status)
  clean_up()
  os.exit(status)
end)
local done, good = xpcall(measure_all, explain, bench)
process.kill_all()
clean_up()
if not done then
  fail(good)
elseif bench.failures > 0 then
  fail(('%d lines could not be measured'):format(bench.failures))
end
os.exit(good and 0 or 1)
