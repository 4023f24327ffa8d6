-- SPDX-License-Identifier: GPL-2.0-or-later
-- qubesd-acl status: the generations, and what became of each rule.

local json = require 'cjson'
local tool = require 'tool'

local HELP = [[
usage: qubesd-acl status [--json] [--socket-dir DIR]

The rules that serve and those before them, and what became of each rule since its generation was loaded: how often it was asked, denied, removed an item
by a filter or failed, how long it took, and when it was asked last. Rules that were never asked stand at the end.

  --json             the same as JSON
  --socket-dir DIR   where the daemon's sockets are (/run)
]]

local function describe(generation)
  return ('generation %d, digest %s, since %s, %d rules'):format(
    generation.number, generation.digest:sub(1, 12), os.date('%Y-%m-%d %H:%M:%S', generation.since), generation.rules)
end

local function duration(ns)
  if ns < 1000000 then return ('%.0f µs'):format(ns / 1000) end
  return ns < 1e9 and ('%.1f ms'):format(ns / 1e6) or ('%.1f s'):format(ns / 1e9)
end

local function count(number) return ('%d'):format(number) end

local function print_rules(rules)
  local rows, never = { { 'rule', 'calls', 'denials', 'filtered', 'failures', 'time', 'asked last', 'event' } }, {}
  for _, rule in ipairs(rules) do
    local place = rule.file .. ':' .. count(rule.line)
    if rule.calls == 0 and rule.filtered == 0 then
      never[#never + 1] = { place, rule.event }
    else
      rows[#rows + 1] = {
        place, count(rule.calls), count(rule.denials), count(rule.filtered), count(rule.failures), duration(rule.ns),
        os.date('%m-%d %H:%M:%S', rule.asked), rule.event,
      }
    end
  end
  print()
  if #rows > 1 then tool.print_rows(rows, { [2] = true, [3] = true, [4] = true, [5] = true, [6] = true }) end
  if #never == 0 then return end
  print('\nnever asked:')
  tool.print_rows(never)
end

return {
  help = HELP,
  run = function(arguments)
    local options = tool.only_options('status', arguments, { ['--json'] = 'flag', ['--socket-dir'] = 'value' })
    local text = tool.ask(options['socket-dir'] or '/run', { method = 'console.Status' })
    if options.json then
      io.stdout:write(text)
      return tool.OK
    end
    local status = json.decode(text)
    print(describe(status.generation))
    if status.generation.locked then print('  the rules did not load, so everything is denied: ' .. status.generation.locked) end
    print(status.previous ~= json.null and 'rollback leads to ' .. describe(status.previous) or 'there is none to go back to')
    for _, narrow in ipairs(status.narrows) do
      if narrow.problem then print(('narrow rules do not load, so qubes with %s are closed: %s'):format(narrow.tag, narrow.problem)) end
    end
    print_rules(status.rules)
    return tool.OK
  end,
}
