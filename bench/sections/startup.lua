-- SPDX-License-Identifier: GPL-2.0-or-later
-- Start-up time, in all and of the processors, and resident memory with 10,000 qubes, beside a daemon that has dom0 only.

local daemon = require 'daemon'
local measure = require 'measure'
local process = require 'process'
local report = require 'report'

local SIZE = 10000
local STARTS = 3
local SETTLE_SECONDS = 0.5
local LOAD_SECONDS = 1
local BYTES_GOAL_KIB = 8
local CPU_GOAL_SECONDS = 1

local startup = {}

-- Starts it a few times. The last one runs on; the median start, its resident memory once it is ready, and the median processor time of a start.
local function start_often(bench, name)
  local seconds, cpu_seconds, target = {}, {}, nil
  for index = 1, STARTS do
    if target then
      daemon.stop(target)
    end
    target = daemon.start(bench, name)
    seconds[index], cpu_seconds[index] = target.start_seconds, target.start_cpu_seconds
  end
  process.sleep(SETTLE_SECONDS)
  return target, measure.median(seconds), process.resident_kib(target.pid), measure.median(cpu_seconds)
end

local function after_load(bench, target)
  for _, method in ipairs { 'admin.vm.List', 'admin.label.List' } do
    measure.run(bench, { socket = target.socket, method = method, src = bench.src, connections = 16, seconds = LOAD_SECONDS })
  end
  return process.resident_kib(target.pid)
end

local function a_qube(what, with, without, goal)
  local kib = (with - without) / (SIZE - 1)
  report.add {
    what = what, result = ('%.2f KiB a qube'):format(kib), value = kib, goal = goal and { below = goal },
    note = ('%s KiB resident, %s with dom0 only'):format(report.number(with), report.number(without)),
  }
end

local function compare(bench)
  local what_start, what_memory = 'start-up, 10,000 qubes', 'resident memory, 10,000 qubes'
  local what_after = what_memory .. ', after calls'
  local name = bench.estate(SIZE).name
  bench.release(name)
  local empty, empty_seconds, empty_kib, empty_cpu = start_often(bench, 'empty')
  local full, full_seconds, full_kib, full_cpu = start_often(bench, name)
  report.add {
    what = what_start, result = ('%.0f ms'):format(full_seconds * 1000),
    note = ('%.0f ms with dom0 only'):format(empty_seconds * 1000),
  }
  report.add {
    what = what_start .. ', CPU time', result = ('%.2f s'):format(full_cpu), value = full_cpu, goal = { below = CPU_GOAL_SECONDS },
    note = ('%.2f s with dom0 only'):format(empty_cpu),
  }
  a_qube(what_memory, full_kib, empty_kib, BYTES_GOAL_KIB)
  a_qube(what_after, after_load(bench, full), after_load(bench, empty), nil)
  daemon.stop(full)
  daemon.stop(empty)
end

function startup.run(bench)
  bench.line('start-up and resident memory, 10,000 qubes', function() compare(bench) end)
end

return startup
