-- SPDX-License-Identifier: GPL-2.0-or-later
-- The lines on the terminal, one a measurement, and the same as a table in Markdown.

local process = require 'process'
local uv = require 'luv'

local report = {}

local rows = {}
local missed, met = 0, 0

-- 12345.6 → "12,346"
function report.number(value)
  local text = ('%.0f'):format(value)
  repeat
    local replaced
    text, replaced = text:gsub('^(-?%d+)(%d%d%d)', '%1,%2')
  until replaced == 0
  return text
end

local function goal_text(goal)
  if not goal then
    return ''
  end
  local sign = goal.at_least and '≥' or goal.at_most and '≤' or '<'
  return ('%s %s: %s'):format(sign, goal.at_least or goal.at_most or goal.below, goal.met and 'met' or '**missed**')
end

-- row: what, result (text), value (number, for the goal), goal = { at_least = }, { at_most = } or { below = }, ours and other (summaries,
-- both optional), other_name, note.
function report.add(row)
  local goal = row.goal
  if goal then
    goal.met = goal.at_least and row.value >= goal.at_least or goal.at_most and row.value <= goal.at_most
      or goal.below and row.value < goal.below or false
    met, missed = met + (goal.met and 1 or 0), missed + (goal.met and 0 or 1)
  end
  rows[#rows + 1] = row
  local line = { ('%-52s %-22s'):format(row.what, row.result) }
  if row.ours then
    line[#line + 1] = ('%8s calls/s  p50 %6.0f µs  p99 %6.0f µs  cpu %5.0f µs'):format(report.number(row.ours.rate),
      row.ours.p50, row.ours.p99, row.ours.cpu_us)
  end
  if row.other then
    line[#line + 1] = ('%s %s/s cpu %.0f µs'):format(row.other_name, report.number(row.other.rate), row.other.cpu_us)
  end
  line[#line + 1] = row.note
  if goal then
    line[#line + 1] = goal_text(goal):gsub('%*', '')
  end
  print((table.concat(line, '  '):gsub('%s+$', '')))
  io.stdout:flush()
end

function report.goals()
  return met, missed
end

local function processor()
  local info = uv.cpu_info() or {}
  return ('%d × %s'):format(#info, info[1] and info[1].model or 'unknown processor')
end

-- The type of the file system that a path is on.
function report.file_system(path)
  local best, kind = '', 'unknown'
  for mount, name in (process.read_file('/proc/self/mounts') or ''):gmatch('%S+ (%S+) (%S+) [^\n]*\n') do
    local inside = mount == '/' or path == mount or path:sub(1, #mount + 1) == mount .. '/'
    if inside and #mount >= #best then
      best, kind = mount, name
    end
  end
  return kind
end

local function cells(row)
  local ours, other = row.ours, row.other
  return {
    row.what, row.result .. (row.note and ' (' .. row.note .. ')' or ''),
    ours and report.number(ours.rate) or '',
    ours and ('%s / %s'):format(report.number(ours.p50), report.number(ours.p99)) or '',
    ours and ('%.0f'):format(ours.cpu_us) or '',
    other and ('%s: %s (%.0f)'):format(row.other_name, report.number(other.rate), other.cpu_us) or '',
    goal_text(row.goal),
  }
end

-- about: version, rounds, stolen_share, file_system.
function report.markdown(path, about)
  local system = uv.os_uname()
  local lines = {
    ('Made by `./dev bench --markdown` on %s: qubesd %s; %s, Linux %s, state on %s.'):format(os.date('!%Y-%m-%d'),
      about.version, processor(), system.release, about.file_system),
    ('Each line is the median of %d rounds (more for Set and for rules), the sides taking turns. Ratios are medians of'):format(
      about.rounds),
    'neighbouring rounds, with the smallest and the greatest. The load generator, which checks every answer, runs on the same',
    'machine and needs about as much of a processor as the bare server; so the ratio of processor time that the servers took',
    'for a call (“by CPU time”) is given too. It is the one to look at when the machine is noisy;',
    ('a hypervisor took %.1f %% of the processors away meanwhile.'):format(about.stolen_share * 100),
    '',
    '| what | result | calls/s | p50 / p99 µs | CPU µs a call | beside it: calls/s (CPU µs) | goal |',
    '| --- | --- | ---: | ---: | ---: | --- | --- |',
  }
  for _, row in ipairs(rows) do
    lines[#lines + 1] = '| ' .. table.concat(cells(row), ' | ') .. ' |'
  end
  lines[#lines + 1] = ''
  lines[#lines + 1] = ('%d goals met, %d missed.'):format(met, missed)
  process.write_file(path, table.concat(lines, '\n') .. '\n')
end

return report
