-- SPDX-License-Identifier: GPL-2.0-or-later
-- qubesd-acl explain: asks a daemon what would become of a call.

local json = require 'cjson'
local tool = require 'tool'

local HELP = [[
usage: qubesd-acl explain SOURCE METHOD DESTINATION [ARGUMENT] [OPTION …]
       qubesd-acl explain --why-hidden QUBE --from SOURCE [OPTION …]

Says what the rules would make of the call, and why. Nothing is done. The second form says what SOURCE learns of QUBE, and which filter is in the way.

  --payload TEXT        the payload of the call
  --payload-file FILE   the same, from a file
  --json                the whole answer as JSON
  --socket-dir DIR      where the daemon's sockets are (/run)
  --acl DIR             asks a daemon of its own with these rules instead, on a copy of the store; nothing is changed
  --store DIR           with --acl: where the store is (/var/lib/qubes)

Exit status: 0 permitted (not hidden), 1 not, 2 wrong arguments, 3 something else went wrong.
]]

local OPTIONS = {
  ['--payload'] = 'value', ['--payload-file'] = 'value', ['--json'] = 'flag', ['--socket-dir'] = 'value', ['--acl'] = 'value', ['--store'] = 'value',
  ['--why-hidden'] = 'value', ['--from'] = 'value',
}

local function read_file(path)
  local file, problem = io.open(path, 'rb')
  if not file then tool.fail(tool.USAGE, '%s', problem) end
  local text = file:read('a')
  file:close()
  return text
end

local function hex(bytes)
  return (bytes:gsub('.', function(byte) return ('%02x'):format(byte:byte()) end))
end

-- The directory with the sockets of the daemon that is to be asked.
local function daemon_of(options)
  if options.store and not options.acl then tool.fail(tool.USAGE, '--store is for --acl') end
  if not options.acl then return options['socket-dir'] or '/run' end
  if options['socket-dir'] then tool.fail(tool.USAGE, 'either --socket-dir or --acl') end
  return tool.start_daemon { acl = options.acl, state = tool.copy_store(options.store or '/var/lib/qubes') }.directory
end

-- The explanation as a table, and as the daemon's text.
local function explain(directory, request)
  local text = tool.ask(directory, { method = 'console.Explain', payload = json.encode(request) })
  return json.decode(text), text
end

-- ---- for people ----

local function cost(rule)
  return ('%d instructions, %d µs'):format(rule.instructions, math.ceil(rule.ns / 1000))
end

local function print_question(question)
  print(('\nrules asked about %s%s:'):format(question.method, question.arg ~= '' and '+' .. question.arg or ''))
  if #question.rules == 0 then print('  none') end
  local rows = {}
  for i, rule in ipairs(question.rules) do rows[i] = { rule.place, rule.said, cost(rule), rule.reason or '' } end
  tool.print_rows(rows)
  if #question.items == 0 then return end
  local kept
  rows, kept = {}, 0
  for i, item in ipairs(question.items) do
    rows[i] = { item.removed_by or '-', item.removed_by and 'removes' or 'kept', item.name }
    kept = kept + (item.removed_by and 0 or 1)
  end
  print(('\n%d of %d items pass:'):format(kept, #rows))
  tool.print_rows(rows)
end

local function print_hidden(hidden, source)
  if #hidden == 0 then return end
  print(('\nqubes that %s may not know of, met on the way:'):format(source))
  local rows = {}
  for i, each in ipairs(hidden) do rows[i] = { each.place or '-', each.reason and 'failed' or 'hides', each.qube, each.reason or '' } end
  tool.print_rows(rows)
end

local function print_explanation(source, told)
  print(told.verdict .. (told.place and ' by ' .. told.place or '') .. (told.reason and ': ' .. told.reason or ''))
  if told.note then print('  ' .. told.note) end
  if told.class then print(('  the caller gets %s: %s'):format(told.class, told.message)) end
  if told.stopped then print('  not run to its end: ' .. told.stopped) end
  for _, question in ipairs(told.questions) do print_question(question) end
  print_hidden(told.hidden, source)
  if told.body and told.body ~= '' then print('\nanswer:\n  ' .. told.body:gsub('\n$', ''):gsub('\n', '\n  ')) end
  if told.incomplete then print('\nthere was more than is shown') end
  print(('\ngeneration %d %s'):format(told.generation, told.digest:sub(1, 12)))
end

local function run_call(options, words)
  local source, method, dest, argument = table.unpack(words)
  if #words < 3 or #words > 4 then tool.fail(tool.USAGE, 'SOURCE METHOD DESTINATION [ARGUMENT]; --help tells more') end
  local payload = options.payload or (options['payload-file'] and read_file(options['payload-file'])) or ''
  local told, text = explain(daemon_of(options), { source = source, method = method, dest = dest, arg = argument or '', payload_hex = hex(payload) })
  if options.json then io.stdout:write(text) else print_explanation(source, told) end
  return told.verdict == 'permitted' and tool.OK or tool.FOUND
end

-- ---- why a qube is hidden ----

-- Who removed the qube from the items of the questions; nil: nobody.
local function removed_by(told, qube)
  for _, question in ipairs(told.questions) do
    for _, item in ipairs(question.items) do
      if item.name == qube and item.removed_by then return item.removed_by end
    end
  end
end

local function hider(told, qube)
  for _, each in ipairs(told.hidden) do
    if each.qube == qube then return each.place or '-', each.reason end
  end
end

-- One way in which a caller could learn of the qube: who is in the way, and what is seen.
local function way_of(title, told, qube)
  local way = { title = title, verdict = told.verdict, class = told.class, message = told.message }
  if told.verdict ~= 'permitted' and told.class ~= 'QubesVMNotFoundError' then
    way.place, way.seen = told.place, ('refused: %s: %s'):format(told.class or told.verdict, told.message or told.note or '')
    return way
  end
  way.place, way.reason = hider(told, qube)
  way.hidden = way.place ~= nil
  way.place = way.place or removed_by(told, qube)
  return way
end

local function ask_ways(directory, source, qube)
  local function ask(method, dest, argument)
    return (explain(directory, { source = source, method = method, dest = dest, arg = argument or '', subject = qube, event = 'domain-start' }))
  end
  local ways = {
    way_of('admin.vm.List', ask('admin.vm.List', 'dom0'), qube),
    way_of('admin.Events', ask('admin.Events', 'dom0'), qube),
    way_of('admin.vm.Stats', ask('admin.vm.Stats', 'dom0'), qube),
    way_of('a call to it', ask('admin.vm.property.Get', qube, 'label'), qube),
  }
  local words = { { 'not listed', 'listed' }, { 'its events are not told', 'its events are told' }, { 'not counted', 'counted' } }
  for i, way in ipairs(ways) do
    way.seen = way.seen or (words[i] and words[i][way.place and 1 or 2])
      or (way.class and ('%s: %s'):format(way.class, way.message) or 'reaches it')
  end
  return ways
end

local function run_why_hidden(options, words)
  local qube, source = options['why-hidden'], options.from
  if not source or #words > 0 then tool.fail(tool.USAGE, '--why-hidden QUBE --from SOURCE; --help tells more') end
  local directory = daemon_of(options)
  local body, class = tool.call(directory, { method = 'admin.vm.List', dest = source })
  if not body then tool.fail(tool.USAGE, 'there is no qube %s (%s)', source, class) end
  local ways = ask_ways(directory, source, qube)
  local last = ways[#ways]
  if options.json then
    print(json.encode { qube = qube, source = source, hidden = last.hidden or false, ways = ways })
  else
    print(last.hidden and ('%s hides %s from %s'):format(last.place, qube, source) or ('%s may know of %s'):format(source, qube))
    local rows = {}
    for i, way in ipairs(ways) do rows[i] = { way.place or '-', way.title, way.seen, way.reason or '' } end
    tool.print_rows(rows)
  end
  for _, way in ipairs(ways) do
    if way.place or way.verdict ~= 'permitted' then return tool.FOUND end
  end
  return tool.OK
end

return {
  help = HELP,
  run = function(arguments)
    local options, words = tool.options(arguments, OPTIONS)
    if options['why-hidden'] or options.from then return run_why_hidden(options, words) end
    return run_call(options, words)
  end,
}
