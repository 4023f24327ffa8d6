-- SPDX-License-Identifier: GPL-2.0-or-later
-- Runs bench-load and bench-bare, alternates between contestants, and takes medians.

local json = require 'cjson'
local process = require 'process'

local measure = {}

local GRACE_SECONDS = 60
local WARM_UP_SECONDS = 0.1

local OPTIONS = {
  'socket', 'method', 'arg', 'src', 'dest', 'dest_list', 'payload', 'first', 'connections', 'calls', 'seconds',
  'expect_file', 'expect_exception',
}

-- job: the options of bench-load with '_' for '-', expect_empty, limit (seconds that the run may
-- take at most) and cpu (that it runs on).
function measure.run(setup, job)
  local args = {}
  for _, name in ipairs(OPTIONS) do
    if job[name] then
      args[#args + 1] = '--' .. name:gsub('_', '-')
      args[#args + 1] = math.type(job[name]) == 'float' and ('%.3f'):format(job[name]) or job[name]
    end
  end
  if job.expect_empty then
    args[#args + 1] = '--expect-empty'
  end
  local program = setup.build .. '/bench-load'
  if job.cpu then
    table.move({ '-c', job.cpu, program }, 1, 3, 1, table.move(args, 1, #args, 4))
    program = 'taskset'
  end
  return json.decode(process.run(program, args, (job.limit or job.seconds or 1) + GRACE_SECONDS))
end

-- A bare server that answers with these bytes. Its socket, its process and how a right answer is known.
function measure.start_bare(setup, name, answer)
  local base = setup.root .. '/bare-' .. name:gsub('[^%w]', '-')
  local self = { socket = base .. '.sock', expect_file = base .. '.answer', log = base .. '.log' }
  os.remove(self.socket)
  process.write_file(self.log, '')
  process.write_file(self.expect_file, answer)
  self.process = process.spawn(setup.build .. '/bench-bare', { '--socket', self.socket, '--file', self.expect_file },
    { stdout = self.log, stderr = self.log })
  self.pid = self.process.pid
  if not process.wait_until(function() return process.read_file(self.log):find('ready') end, 10) then
    error('bench-bare did not start: ' .. process.read_file(self.log), 0)
  end
  return self
end

function measure.stop_bare(self)
  process.stop(self.process)
  os.remove(self.expect_file)
  os.remove(self.log)
end

function measure.median(values)
  local sorted = table.move(values, 1, #values, 1, {})
  table.sort(sorted)
  local middle = #sorted // 2
  if #sorted % 2 == 1 then
    return sorted[middle + 1]
  end
  return (sorted[middle] + sorted[middle + 1]) / 2
end

local function one_round(setup, contestant, seconds, cpu_of_load)
  local job = contestant.job()
  job.cpu = cpu_of_load
  job.seconds = seconds
  local cpu = process.cpu_seconds(contestant.pid)
  local before = contestant.counters and contestant.counters()
  local result = measure.run(setup, job)
  result.cpu = process.cpu_seconds(contestant.pid) - cpu
  if before then
    local after = contestant.counters()
    result.commits = after.store_commits - before.store_commits
    result.changes = after.store_calls - before.store_calls
  end
  return result
end

local function sum(results, field)
  local total = 0
  for _, result in ipairs(results) do
    total = total + (result[field] or 0)
  end
  return total
end

local function summary(results)
  local all = { rates = {}, p50 = {}, p99 = {} }
  for index, result in ipairs(results) do
    all.rates[index], all.p50[index], all.p99[index] = result.rate, result.p50_us, result.p99_us
  end
  local calls = sum(results, 'calls')
  return {
    rates = all.rates, p99s = all.p99, rate = measure.median(all.rates), p50 = measure.median(all.p50), p99 = measure.median(all.p99),
    calls = calls, cpu_us = sum(results, 'cpu') / calls * 1e6, load_cpu_us = sum(results, 'cpu_seconds') / calls * 1e6,
    commits = sum(results, 'commits'), changes = sum(results, 'changes'),
  }
end

-- The first and the last processor that this script may use, and all of them as taskset writes it; nil when there is one.
local function processors()
  local all = (process.read_file('/proc/self/status') or ''):match('Cpus_allowed_list:%s*(%S+)')
  local first, last = (all or ''):match('^(%d+).-(%d*)$')
  if last and last ~= '' then
    return first, last, all
  end
end

local function pin(contestants, cpus)
  for _, contestant in ipairs(contestants) do
    process.run('taskset', { '-p', '-c', cpus, contestant.pid }, 10)
  end
end

-- The same setup, with so many times the seconds and the rounds.
function measure.longer(setup, seconds, rounds)
  return setmetatable({ seconds = setup.seconds * seconds, rounds = setup.rounds * rounds }, { __index = setup })
end

-- Lets the contestants run in turn, `setup.rounds` times. A contestant has pid, job() → job and, optional, counters().
-- Returns a summary for each. What else the machine does meets them all alike. pinned: their main threads are kept on one
-- processor and the load on another; otherwise Linux now and then puts both on one, and the rates are halved for a while.
function measure.alternate(setup, contestants, pinned)
  local results = {}
  local seconds = setup.seconds / setup.rounds
  local server_cpu, load_cpu, all_cpus
  if pinned and not setup.no_pin then
    server_cpu, load_cpu, all_cpus = processors()
  end
  if server_cpu then
    pin(contestants, server_cpu)
  end
  for index, contestant in ipairs(contestants) do
    results[index] = {}
    one_round(setup, contestant, math.min(seconds, WARM_UP_SECONDS), load_cpu)
  end
  for round = 1, setup.rounds do
    for place = 1, #contestants do
      local index = round % 2 == 1 and place or #contestants + 1 - place -- nobody is always the first
      table.insert(results[index], one_round(setup, contestants[index], seconds, load_cpu))
    end
  end
  if server_cpu then
    pin(contestants, all_cpus)
  end
  local summaries = {}
  for index in ipairs(contestants) do
    summaries[index] = summary(results[index])
  end
  return summaries
end

-- The median of the ratios of neighbours, with the smallest and the greatest. field: 'rates' (the default) or 'p99s'.
function measure.ratio(ours, theirs, field)
  field = field or 'rates'
  local ratios = {}
  for index, value in ipairs(ours[field]) do
    ratios[index] = value / theirs[field][index]
  end
  return measure.median(ratios), math.min(table.unpack(ratios)), math.max(table.unpack(ratios))
end

return measure
