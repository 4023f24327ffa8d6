-- SPDX-License-Identifier: GPL-2.0-or-later
-- Durable property.Set: whether its rate depends on how many qubes there are, and how many calls share an fsync.

local api = require 'api'
local daemon = require 'daemon'
local measure = require 'measure'
local process = require 'process'
local report = require 'report'

local SMALL, LARGE = 10, 10000
local FIRST_VALUE, VALUE_STEP = 1000, 10007 -- so that no round repeats the values of the one before
local STRACE_SECONDS = 1
local MORE_SECONDS, MORE_ROUNDS = 2, 3 -- than reads get: disks are noisier than processors

local writes = {}
local next_value = FIRST_VALUE

local function contestant(bench, target, connections)
  return {
    pid = target.pid,
    counters = function() return daemon.status(target) end,
    job = function()
      next_value = next_value + VALUE_STEP
      return {
        socket = target.socket, method = 'admin.vm.property.Set', arg = 'memory', src = bench.src, dest_list = target.list,
        payload = '%d', first = next_value, connections = connections,
      }
    end,
  }
end

local function label(connections, size)
  return ('property.Set, %d connection%s, %s qubes'):format(connections, connections == 1 and '' or 's', report.number(size))
end

-- A Set that is answered before it could have been written would make all of this worthless.
local function check(target)
  local before = daemon.status(target)
  for value = 1, 3 do
    api.ok(target.socket, { method = 'admin.vm.property.Set', arg = 'memory', dest = 'bench1', payload = tostring(700 + value) })
  end
  local after = daemon.status(target)
  if after.store_commits - before.store_commits < 3 or after.store_calls - before.store_calls < 3 then
    error('property.Set was answered without a commit', 0)
  end
end

local function compare(bench, connections, fsync_goal)
  local what_small, what_large = label(connections, SMALL), label(connections, LARGE)
  local small, large = bench.estate(SMALL), bench.estate(LARGE)
  check(small)
  process.run('sync', {}, 120) -- what building the estates left to write isn't part of this
  local longer = measure.longer(bench, MORE_SECONDS, MORE_ROUNDS)
  local with_small, with_large = table.unpack(measure.alternate(longer, {
    contestant(bench, small, connections), contestant(bench, large, connections),
  }))
  local ratio, low, high = measure.ratio(with_large, with_small)
  report.add { what = what_small, result = ('%s calls/s'):format(report.number(with_small.rate)), ours = with_small }
  report.add {
    what = what_large, result = ('%.2f of 10 qubes'):format(ratio), value = ratio, goal = { at_least = 0.9 },
    note = ('%.2f to %.2f'):format(low, high), ours = with_large,
  }
  for _, side in ipairs { { SMALL, with_small }, { LARGE, with_large } } do
    local size, result = side[1], side[2]
    local calls = result.commits > 0 and result.changes / result.commits or 0
    report.add {
      what = 'fsyncs of ' .. label(connections, size), result = ('%.1f calls per fsync'):format(calls), value = calls,
      goal = fsync_goal and { at_least = fsync_goal },
      note = ('%s calls, %s commits'):format(report.number(result.changes), report.number(result.commits)),
    }
  end
end

-- Whether a commit is an fsync, asked of the kernel.
local function with_strace(bench, what)
  local target, trace = bench.estate(SMALL), bench.root .. '/strace'
  local tracer = process.spawn('strace', { '-f', '-qq', '-e', 'trace=fsync,fdatasync', '-o', trace, '-p', target.pid },
    { stderr = trace .. '.log' })
  process.sleep(0.5)
  local before = daemon.status(target)
  local job = contestant(bench, target, 64).job()
  job.seconds = STRACE_SECONDS
  local load = measure.run(bench, job)
  local after = daemon.status(target)
  process.stop(tracer)
  local _, seen = (process.read_file(trace) or ''):gsub('sync%(', '')
  report.add {
    what = what, result = ('%s fsyncs'):format(report.number(seen)),
    note = ('%s commits, %s calls; the rest are checkpoints'):format(
      report.number(after.store_commits - before.store_commits), report.number(load.calls)),
  }
end

function writes.run(bench)
  bench.line('property.Set, 1 connection', function() compare(bench, 1, nil) end)
  bench.line('property.Set, 64 connections', function() compare(bench, 64, 10) end)
  if bench.strace then
    bench.line('fsyncs seen by strace, 64 connections', function(what) with_strace(bench, what) end)
  end
end

return writes
