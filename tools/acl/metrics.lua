-- SPDX-License-Identifier: GPL-2.0-or-later
-- qubesd-acl metrics: the daemon's and the rules' numbers in Prometheus' text format, version 0.0.4.

local json = require 'cjson'
local tool = require 'tool'

local HELP = [[
usage: qubesd-acl metrics [--socket-dir DIR]

The numbers of `qubesd-acl status` and of the daemon in Prometheus' text format, for example for the textfile collector of its node exporter. Those of
rules begin at 0 with each generation.

  --socket-dir DIR   where the daemon's sockets are (/run)
]]

-- Field of core.status(), name, type, meaning.
local DAEMON = {
  { 'calls', 'qubesd_calls_total', 'counter', 'Calls that reached their method.' },
  { 'denied', 'qubesd_calls_denied_total', 'counter', 'Calls that were denied.' },
  { 'denied_expected', 'qubesd_calls_denied_expected_total', 'counter', 'Those of them that the rule had marked as expected.' },
  { 'shadow_differences', 'qubesd_shadow_differences_total', 'counter', 'Calls that shadow rules would have refused or made show less.' },
  { 'failed', 'qubesd_calls_failed_total', 'counter', 'Calls that ended in an internal error.' },
  { 'connections', 'qubesd_connections', 'gauge', 'Open connections.' },
  { 'subscribers', 'qubesd_subscribers', 'gauge', 'Open streams of events.' },
  { 'qubes', 'qubesd_qubes', 'gauge', 'Qubes, dom0 included.' },
  { 'store_commits', 'qubesd_store_commits_total', 'counter', 'Commits of the store.' },
  { 'store_failures', 'qubesd_store_failures_total', 'counter', 'Commits of the store that failed.' },
  { 'virt_jobs', 'qubesd_virt_jobs_total', 'counter', 'Jobs for libvirt, those that wait or run included.' },
  { 'virt_timeouts', 'qubesd_virt_timeouts_total', 'counter', 'Jobs for libvirt that passed their deadline.' },
  { 'virt_workers', 'qubesd_virt_workers', 'gauge', 'Threads for libvirt.' },
  { 'virt_lost_workers', 'qubesd_virt_lost_workers', 'gauge', 'Those of them that are in a call past its deadline.' },
  { 'lua_bytes', 'qubesd_lua_bytes', 'gauge', 'Memory of the serving generation.' },
}

-- Field of a rule, name, meaning, factor.
local RULE = {
  { 'calls', 'qubesd_rule_calls_total', 'Questions that the rule was asked.' },
  { 'denials', 'qubesd_rule_denials_total', 'Questions that it denied.' },
  { 'filtered', 'qubesd_rule_filtered_total', 'Items and events that its filters removed.' },
  { 'failures', 'qubesd_rule_failures_total', 'Questions in which it went wrong, which denies.' },
  { 'ns', 'qubesd_rule_seconds_total', 'Time spent in it and in its filters.', 1e-9 },
}

local ESCAPES = { ['\\'] = '\\\\', ['"'] = '\\"', ['\n'] = '\\n' }

local function label(name, value)
  return ('%s="%s"'):format(name, (tostring(value):gsub('[\\"\n]', ESCAPES)))
end

local function number(value)
  return math.type(value) == 'integer' and tostring(value) or value % 1 == 0 and ('%.0f'):format(value) or ('%.9g'):format(value)
end

local function head(name, kind, meaning)
  print(('# HELP %s %s\n# TYPE %s %s'):format(name, meaning, name, kind))
end

local function print_daemon(status)
  head('qubesd_generation_info', 'gauge', 'The serving generation of scripts and rules; always 1.')
  print(('qubesd_generation_info{%s,%s} 1'):format(label('number', number(status.generation.number)), label('digest', status.generation.digest)))
  head('qubesd_generation_since_seconds', 'gauge', 'When it served first, in seconds since 1970.')
  print('qubesd_generation_since_seconds ' .. number(status.generation.since))
  head('qubesd_rules_locked', 'gauge', 'Whether the rules did not load, so that everything is denied.')
  print('qubesd_rules_locked ' .. (status.generation.locked and 1 or 0))
  for _, metric in ipairs(DAEMON) do
    head(metric[2], metric[3], metric[4])
    print(metric[2] .. ' ' .. number(status.daemon[metric[1]]))
  end
end

-- Several rules can stand in one line of a file: the place in the order of loading tells them apart.
local function print_rules(rules)
  for _, metric in ipairs(RULE) do
    head(metric[2], 'counter', metric[3])
    for i, rule in ipairs(rules) do
      print(('%s{%s,%s,%s,%s} %s'):format(metric[2], label('file', rule.file), label('line', number(rule.line)), label('event', rule.event),
        label('rule', i), number(rule[metric[1]] * (metric[4] or 1))))
    end
  end
end

return {
  help = HELP,
  run = function(arguments)
    local options = tool.only_options('metrics', arguments, { ['--socket-dir'] = 'value' })
    local status = json.decode(tool.ask(options['socket-dir'] or '/run', { method = 'console.Status' }))
    print_daemon(status)
    print_rules(status.rules)
    return tool.OK
  end,
}
