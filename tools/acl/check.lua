-- SPDX-License-Identifier: GPL-2.0-or-later
-- qubesd-acl check: what is wrong with a directory of rules, before they are live.

local json = require 'cjson'
local uv = require 'luv'
local nearest = require 'nearest'
local rule_checks = require 'rule_checks'
local syntax = require 'rule_syntax'
local tool = require 'tool'

local HELP = [[
usage: qubesd-acl check [DIR] [--json] [--strict]

Loads the rules in DIR (/etc/qubes/acl.d) as qubesd would, into nowhere, and looks through their text. Says all that is wrong, with file, line and column.

  --json     one JSON object a finding and line: file, line, column, severity (error, warning), message, advice
  --strict   warnings count as errors

Exit status: 0 nothing, or warnings only; 1 errors; 2 wrong arguments; 3 something else went wrong.
]]

local SECONDS = 60

local ADVICE = { -- for what the loader says: pattern of the message → what to do
  { '^there is no .+ yet, so this rule waits for it$', 'nothing, if you know that this daemon can\'t do it yet' },
  { 'rules? judges? events named', 'write admin-permission: and a method; docs/api.md lists the methods' },
  { ' near ', 'mend the line, or the one before it' },
  { '^too m', 'rules are read within a budget: make it simpler' },
  { '^attempt to ', 'look at what stands on this line: something in it is nothing (nil) or of another kind' },
}

local function advice_of(message, vocabulary)
  local method = message:match('there is no method \'([^\']*)\'')
  local near = method and nearest(method, vocabulary.methods)
  if near then return ('did you mean %s?'):format(near) end
  for _, each in ipairs(ADVICE) do
    if message:find(each[1]) then return each[2] end
  end
  return 'mend this line: until then none of the new rules is in force'
end

-- The names of the rule files, those of shadow rules too.
local function rule_files(directory)
  local names = {}
  for _, folder in ipairs { '', 'shadow/' } do
    local scan, problem = uv.fs_scandir(directory .. '/' .. folder)
    if not scan and folder == '' then tool.fail(tool.USAGE, '%s', problem) end
    for name in function() return scan and uv.fs_scandir_next(scan) end do
      if name:match('^[^.].*%.lua$') then names[#names + 1] = folder .. name end
    end
  end
  table.sort(names)
  return names
end

-- What the loader says: the vocabulary of rules, and its findings.
local function load_rules(directory)
  local arguments = { '--check-acl', directory }
  tool.add_scripts(arguments)
  local status, output, said = tool.run(tool.program(), arguments, SECONDS)
  if status ~= 0 then tool.fail(tool.FAILED, '%s', said) end
  local vocabulary, findings
  for line in output:gmatch('[^\n]+') do
    local object = json.decode(line)
    if findings then
      findings[#findings + 1] = object
    else
      vocabulary, findings = object.vocabulary, {}
    end
  end
  return vocabulary, findings
end

-- ---- columns ----

local function lines_of(text)
  local lines = {}
  for line in (text .. '\n'):gmatch('(.-)\r?\n') do lines[#lines + 1] = line end
  return lines
end

-- The first place of a piece of text in a line, as a column; nil.
local function column_of(line, piece)
  local at = piece and piece ~= '' and line:find(piece, 1, true)
  return at and utf8.len(line, 1, at) or at
end

-- Where in its line the thing stands that the loader complains of.
local function place(finding, line)
  local message = finding.message
  local method = message:match('there is no method that (%S+)') or message:match('there is no method \'?([^;\']+)') or message:match('there is no (%S+) yet')
  return column_of(line, message:match(' near \'(.+)\'$')) or column_of(line, method)
    or column_of(line, message:match('%(%a+ \'(.-)\'%)')) or column_of(line, line:match('%S+')) or 1
end

local function finish(finding, lines, vocabulary)
  local message, question = finding.message:match('^(.*); (did you mean .*)$')
  finding.column = finding.column or place(finding, lines[finding.line] or '')
  finding.advice = question or finding.advice or advice_of(finding.message, vocabulary)
  finding.message = message or finding.message
end

-- ---- both together ----

-- Whether what the loader ran into was found in the text, too.
local function is_told(finding, found)
  local global = finding.message:match('%(global \'(.-)\'%)')
  for _, each in ipairs(found) do
    if each.line == finding.line and each.severity == 'error' and (each.global == global and global or each.message == finding.message) then return true end
  end
  return false
end

local function check_file(path, vocabulary, loaded)
  local text = tool.read_file(path, tool.FAILED)
  local lines = lines_of(text)
  local found = syntax.problem and {} or rule_checks(text, vocabulary)
  for _, finding in ipairs(loaded) do
    if not is_told(finding, found) then found[#found + 1] = finding end
  end
  for _, finding in ipairs(found) do
    finish(finding, lines, vocabulary)
    finding.file, finding.global = path, nil
  end
  table.sort(found, function(a, b)
    if a.line ~= b.line then return a.line < b.line end
    if a.column ~= b.column then return a.column < b.column end
    return a.message < b.message
  end)
  return found
end

local function check(directory)
  local names = rule_files(directory)
  local vocabulary, loaded = load_rules(directory)
  local by_file, findings = {}, {}
  for _, finding in ipairs(loaded) do
    local name = finding.file ~= json.null and finding.file:match('^acl%.d/(.*)$') or ''
    by_file[name] = by_file[name] or {}
    table.insert(by_file[name], finding)
  end
  for _, name in ipairs(names) do
    table.move(check_file(directory .. '/' .. name, vocabulary, by_file[name] or {}), 1, 1 << 20, #findings + 1, findings)
    by_file[name] = nil
  end
  for name, rest in pairs(by_file) do -- what belongs to no file that is read here: narrow rules
    for _, finding in ipairs(rest) do
      finish(finding, {}, vocabulary)
      finding.file = name == '' and directory or directory .. '/' .. name
      findings[#findings + 1] = finding
    end
  end
  return findings, #names
end

local function print_finding(finding)
  print(('%s:%d:%d: %s: %s: %s'):format(finding.file, finding.line, finding.column, finding.severity, finding.message, finding.advice))
end

local function plural(count, what)
  return ('%d %s%s'):format(count, what, count == 1 and '' or 's')
end

return {
  help = HELP,
  run = function(arguments)
    local options, words = tool.options(arguments, { ['--json'] = 'flag', ['--strict'] = 'flag' })
    if #words > 1 then tool.fail(tool.USAGE, 'one directory; --help tells more') end
    local directory = (words[1] or '/etc/qubes/acl.d'):gsub('(.)/+$', '%1')
    local findings, files = check(directory)
    local count = { error = 0, warning = 0 }
    for _, finding in ipairs(findings) do
      count[finding.severity] = count[finding.severity] + 1
      if options.json then print(json.encode(finding)) else print_finding(finding) end
    end
    if syntax.problem then
      io.stderr:write('qubesd-acl: ', syntax.problem, ': the files were loaded, but their text was not looked through for names that there are none of\n')
    end
    if not options.json then print(('%s: %s, %s'):format(plural(files, 'file'), plural(count.error, 'error'), plural(count.warning, 'warning'))) end
    return (count.error > 0 or options.strict and count.warning > 0) and tool.FOUND or tool.OK
  end,
}
