-- SPDX-License-Identifier: GPL-2.0-or-later
-- qubesd-acl replay: which decisions of an audit would be others under new rules. Asks a daemon of its own for explanations, so nothing is done.

local json = require 'cjson'
local tool = require 'tool'

local HELP = [[
usage: qubesd-acl replay AUDIT --rules DIR [--store DIR] [--json]

Says which decisions in AUDIT (the audit's file; - is standard input) the rules in DIR would make otherwise. A daemon of its own judges each call anew,
on a copy of the store; nothing is done, and the daemon that serves is left alone.

  --rules DIR   the new rules
  --store DIR   where the store is (/var/lib/qubes)
  --json        an object for each call that is judged otherwise or can't be judged, and one with the sums

Judged are verdicts: permitted, denied, failed, hidden (the call names a qube that the caller may not know of). The audit has no payloads and no lists, so
calls that take a payload are not decided unless they don't come so far, and what a filter takes out of a list is not compared. Qubes, tags and all else are
as they are in the store now, and no qube runs. Grants are judged by the time of each call.

Exit status: 0 all that could be judged stays as it was, 1 something would change, 2 wrong arguments, 3 something else went wrong.
]]

local OPTIONS = { ['--rules'] = 'value', ['--store'] = 'value', ['--json'] = 'flag' }
local NEEDED = { 'source', 'method', 'destination', 'argument', 'verdict', 'time' }
local NO_SUCH_QUBE = { QubesVMNotFoundError = true, QubesValueError = true, QubesVMInvalidUUIDError = true }

-- ---- the audit ----

-- A line as a table; nil and why it is left out: 'dropped', 'console', 'refused', 'unknown', 'unreadable'.
local function read_line(text)
  local good, line = pcall(json.decode, text)
  if not good or type(line) ~= 'table' then return nil, 'unreadable' end
  if type(line.dropped) == 'number' then return nil, 'dropped', line.dropped end
  for _, name in ipairs(NEEDED) do
    if type(line[name]) ~= 'string' then return nil, 'unreadable' end
  end
  if line.console then return nil, 'console' end
  if line.verdict == 'refused' then return nil, 'refused' end -- its line with `permitted` is there, too
  if line.verdict == 'unknown-destination' then
    if not line.hidden then return nil, 'unknown' end -- no rule was in that
    line.verdict = 'hidden'
  end
  return line
end

-- Seconds since 1970 of "2026-11-23T12:56:27.408767Z" (UTC): days by the civil calendar, since os.time knows local time only.
local function seconds_of(time)
  local year, month, day, hour, minute, second = time:match('^(%d%d%d%d)%-(%d%d)%-(%d%d)T(%d%d):(%d%d):(%d%d)')
  if not year then return nil end
  year, month = tonumber(year), tonumber(month)
  if month <= 2 then year, month = year - 1, month + 12 end
  local days = 365 * year + year // 4 - year // 100 + year // 400 + (153 * (month - 3) + 2) // 5 + tonumber(day) - 719469
  return ((days * 24 + tonumber(hour)) * 60 + tonumber(minute)) * 60 + tonumber(second)
end

-- The lines that rules have decided, equal calls with equal verdicts together, in the order of their first; and how many of the others there were.
local function read_audit(path)
  local file, problem = io.stdin, nil
  if path ~= '-' then file, problem = io.open(path) end
  if not file then tool.fail(tool.USAGE, '%s', problem) end
  local groups, by_key = {}, {}
  local sums = { decisions = 0, dropped = 0, console = 0, refused = 0, unknown = 0, unreadable = 0 }
  for text in file:lines() do
    local line, what, count = read_line(text)
    if line then
      local key = table.concat({ line.source, line.method, line.destination, line.argument, line.verdict }, '\0')
      local group = by_key[key]
      if not group then
        group = { call = line, times = {} }
        by_key[key], groups[#groups + 1] = group, group
      end
      table.insert(group.times, line.time)
      sums.decisions = sums.decisions + 1
    else
      sums[what] = sums[what] + (count or 1)
    end
  end
  if file ~= io.stdin then file:close() end
  return groups, sums
end

-- ---- judging anew ----

-- The hidden qube that the exception is about.
local function hidden_of(told, call)
  for _, hidden in ipairs(told.hidden) do
    if told.message:find(("'%s'"):format(hidden.qube), 1, true) or call.destination:sub(1, 5) == 'uuid:' then return hidden end
  end
end

-- What the new rules say: { verdict =, place =, reason = }; or nil and why they can't be asked.
local function verdict_of(told, call)
  if told.payload and told.payload ~= 'none' then return nil, 'needs the payload' end
  if told.verdict == 'denied' or told.verdict == 'failed' then return { verdict = told.verdict, place = told.place, reason = told.reason } end
  if told.permitted then return { verdict = 'permitted' } end
  if told.verdict == 'undecided' then return nil, 'the method waits before it asks the rules' end
  if told.verdict == 'closed' then return nil, told.problem or told.note or 'no answer' end
  local hidden = NO_SUCH_QUBE[told.class] and hidden_of(told, call)
  if hidden then return { verdict = 'hidden', place = hidden.place, reason = hidden.reason } end
  if NO_SUCH_QUBE[told.class] then return nil, 'a qube of the call is gone' end
  return nil, ('%s: %s'):format(told.class, told.message)
end

local function judge(directory, call, time)
  if call.cut then return nil, 'the audit has not the whole call' end
  local seconds = seconds_of(time)
  local told = json.decode(tool.ask(directory, { method = 'console.Explain', payload = json.encode {
    source = call.source, method = call.method, dest = call.destination, arg = call.argument, time = seconds and tostring(seconds),
  } }))
  local new, why = verdict_of(told, call)
  return new, why, told.timed
end

local function start(options)
  local daemon = tool.start_daemon { acl = options.rules, state = tool.copy_store(options.store or '/var/lib/qubes') }
  local status = json.decode(tool.ask(daemon.directory, { method = 'console.Status' })).generation
  if status.locked then tool.fail(tool.FAILED, 'the rules do not load: %s', status.locked) end
  return daemon.directory, status.digest
end

-- Puts equal results of a group together: { call =, new =, why =, count =, first = }.
local function add(results, call, time, new, why, count)
  local last = results[#results]
  local verdict, place = new and new.verdict, new and new.place
  if last and last.call == call and last.why == why and (last.new and last.new.verdict) == verdict and (last.new and last.new.place) == place then
    last.count = last.count + count
  else
    results[#results + 1] = { call = call, new = new, why = why, count = count, first = time }
  end
end

-- A call is judged once, unless a grant is in it: then each time by its own time.
local function judge_group(directory, group, results)
  local new, why, timed = judge(directory, group.call, group.times[1])
  if not timed then return add(results, group.call, group.times[1], new, why, #group.times) end
  for i, time in ipairs(group.times) do
    if i > 1 then new, why = judge(directory, group.call, time) end
    add(results, group.call, time, new, why, 1)
  end
end

-- ---- telling ----

local function count_results(results, sums)
  sums.same, sums.changed, sums.undecided, sums.reasons = 0, 0, 0, {}
  for _, result in ipairs(results) do
    local kind = not result.new and 'undecided' or result.new.verdict == result.call.verdict and 'same' or 'changed'
    result.kind = kind
    sums[kind] = sums[kind] + result.count
    if result.why then sums.reasons[result.why] = (sums.reasons[result.why] or 0) + result.count end
  end
end

local function print_json(results, sums, digest)
  for _, result in ipairs(results) do
    local call, new = result.call, result.new or {}
    if result.kind ~= 'same' then
      print(json.encode {
        source = call.source, method = call.method, destination = call.destination, argument = call.argument, was = call.verdict, rule = call.rule,
        becomes = new.verdict or 'undecided', by = new.place, reason = new.reason or result.why, count = result.count, first = result.first,
      })
    end
  end
  local reasons = next(sums.reasons) and sums.reasons or nil
  print(json.encode {
    digest = digest, decisions = sums.decisions, same = sums.same, changed = sums.changed, undecided = sums.undecided, reasons = reasons,
    console = sums.console, refused = sums.refused, unknown = sums.unknown, dropped = sums.dropped, unreadable = sums.unreadable,
  })
end

-- What callers have written is shown so that it can't do anything to a terminal.
local function shown(text)
  return (text:gsub('[%c\127-\255]', function(byte) return ('\\x%02x'):format(byte:byte()) end))
end

local function print_changes(results)
  local rows = {}
  for _, result in ipairs(results) do
    if result.kind == 'changed' then
      local call, new = result.call, result.new
      local argument = call.argument ~= '' and '+' .. call.argument or ''
      rows[#rows + 1] = {
        ('%s -> %s'):format(call.verdict, new.verdict), ('%d x'):format(result.count), shown(('%s%s'):format(call.method, argument)),
        shown(('%s -> %s'):format(call.source, call.destination)), new.place or call.rule or '', new.reason or '',
      }
    end
  end
  tool.print_rows(rows)
  if #rows > 0 then print() end
end

local function print_sums(sums, digest)
  print(('%d decisions under the rules of digest %s: %d as they were, %d would change, %d not decided'):format(sums.decisions, digest:sub(1, 12), sums.same,
    sums.changed, sums.undecided))
  local reasons = {}
  for why in pairs(sums.reasons) do reasons[#reasons + 1] = why end
  table.sort(reasons)
  for _, why in ipairs(reasons) do print(('  not decided, %d: %s'):format(sums.reasons[why], shown(why))) end
  local others = {
    { 'unknown', 'calls to no qube, which no rule decides' }, { 'console', 'calls of the console, about which rules are not asked' },
    { 'refused', 'refusals of the core, of calls that the rules had permitted' },
    { 'dropped', 'lines that the audit lacks, since they could not be written' }, { 'unreadable', 'lines that are no lines of an audit' },
  }
  for _, other in ipairs(others) do
    if sums[other[1]] > 0 then print(('  left out, %d: %s'):format(sums[other[1]], other[2])) end
  end
end

return {
  help = HELP,
  run = function(arguments)
    local options, words = tool.options(arguments, OPTIONS)
    if #words ~= 1 or not options.rules then tool.fail(tool.USAGE, 'AUDIT --rules DIR; --help tells more') end
    local groups, sums = read_audit(words[1])
    local directory, digest = start(options)
    local results = {}
    for _, group in ipairs(groups) do judge_group(directory, group, results) end
    count_results(results, sums)
    if options.json then
      print_json(results, sums, digest)
    else
      print_changes(results)
      print_sums(sums, digest)
    end
    return sums.changed > 0 and tool.FOUND or tool.OK
  end,
}
