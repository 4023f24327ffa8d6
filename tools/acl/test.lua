-- SPDX-License-Identifier: GPL-2.0-or-later
-- qubesd-acl test: unit tests of rules.

local uv = require 'luv'
local coverage = require 'coverage'
local Session = require 'session'
local tool = require 'tool'
local words = require 'test_words'

local HELP = [[
usage: qubesd-acl test [DIR] [OPTION …]

Runs the tests in DIR/spec/*.lua of the rules in DIR (/etc/qubes/acl.d). Each test has a qubesd of its own, with the qubes that it asks for; the one that
serves this machine is left alone. docs/acl.md says how a test is written.

  --spec DIR          where the tests are, if not in DIR/spec
  --from-store DIR    tests of estate 'store' run on a copy of the store in DIR (/var/lib/qubes)
  --coverage          shows which lines of the rules have never run
  --tap               output for programs: the Test Anything Protocol
  --scripts DIR, --ext DIR, --qubesd FILE
                      other scripts, extensions (none) and another qubesd
  --digest SHA256     only if scripts, extensions and rules are those of this digest (code_digest of qubesd-acl status --json)
  --seconds N         what has not ended after this time has failed

Exit status: 0 all tests passed, 1 not, or there are none, 2 wrong arguments, 3 something else went wrong.
]]

local OPTIONS = {
  ['--spec'] = 'value', ['--from-store'] = 'value', ['--coverage'] = 'flag', ['--tap'] = 'flag', ['--scripts'] = 'value', ['--ext'] = 'value',
  ['--qubesd'] = 'value', ['--digest'] = 'value', ['--seconds'] = 'value',
}

-- ---- files ----

local function entries(directory)
  local scan, problem = uv.fs_scandir(directory)
  if not scan then tool.fail(tool.USAGE, '%s', problem) end
  local list = {}
  for name, kind in function() return uv.fs_scandir_next(scan) end do list[#list + 1] = { name = name, kind = kind } end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

local function is_lua(entry) return entry.kind ~= 'directory' and entry.name:match('^[^.].*%.lua$') ~= nil end

-- Gives a copy the owner and mode of the original, as far as we may.
local function make_alike(path, status)
  uv.fs_chown(path, status.uid, status.gid)
  uv.fs_chmod(path, status.mode & 511)
end

-- Copies what qubesd would read of a directory of rules; a link stays one. `wanted` (a set of names; nil: all) chooses among the files at the top.
local function copy_rules(from, to, wanted)
  for _, entry in ipairs(entries(from)) do
    local source, target = from .. '/' .. entry.name, to .. '/' .. entry.name
    local status = uv.fs_lstat(source)
    local kind = status and status.type
    if kind == 'directory' and entry.name ~= 'spec' then
      uv.fs_mkdir(target, 448)
      copy_rules(source, target)
      make_alike(target, status)
    elseif kind == 'file' and is_lua(entry) and (not wanted or wanted[entry.name]) then
      local copied, problem = uv.fs_copyfile(source, target)
      if not copied then tool.fail(tool.FAILED, '%s', problem) end
      make_alike(target, status)
    elseif kind == 'link' and is_lua(entry) and (not wanted or wanted[entry.name]) then
      uv.fs_symlink(uv.fs_realpath(source) or source, target)
    end
  end
end

-- ---- running ----

local Run = {}
Run.__index = Run

-- The directory with the rules of a test: a copy of all, or of those that it names.
function Run:rules_of(test)
  if not test.rules then return self.rules end
  local wanted, key = {}, table.concat(test.rules, '\n')
  if self.subsets[key] then return self.subsets[key] end
  for _, name in ipairs(test.rules) do
    if not name:match('%.lua$') then name = name .. '.lua' end
    if not uv.fs_stat(self.rules .. '/' .. name) then error(('there is no file %s among the rules'):format(name), 0) end
    wanted[name] = true
  end
  local directory = tool.temporary_directory()
  copy_rules(self.rules, directory, wanted)
  self.subsets[key] = directory
  return directory
end

function Run:session_of(test)
  local options = self.options
  return Session.start {
    acl = self:rules_of(test), estate = test.estate, system = test.system, scripts = options.scripts, ext = options.ext, program = options.qubesd,
    digest = not test.rules and options.digest or nil, state = test.store and tool.copy_store(self.store) or nil,
    coverage = options.coverage and function(text) coverage.take(self.ran, text) end or nil,
  }
end

function Run:run_test(test)
  if test.store and not self.store then
    test.skipped = 'no --from-store'
    return
  end
  local started, session = pcall(self.session_of, self, test)
  if not started and type(session) == 'table' then error(session, 0) end -- the tool's own
  if not started then
    test:fail { line = test.line, title = session }
    return
  end
  test:run(session, self.current)
  session:stop()
end

-- The tests of all spec files. A file that does not load is a test that fails.
local function collect(directory, current)
  local tests = {}
  for _, entry in ipairs(uv.fs_stat(directory) and entries(directory) or {}) do
    if is_lua(entry) then
      local path = directory .. '/' .. entry.name
      local loaded, problem = pcall(words.load, path, tests, current)
      if not loaded then tests[#tests + 1] = { title = 'loads', file = path, failures = { { title = tostring(problem) } } } end
    end
  end
  return tests
end

-- ---- telling ----

-- What is said of a failure, in lines; `form` is that of a word and what it is about.
local function failure_lines(test, failure, form)
  local where = failure.line and ('%s:%d: '):format(test.file, failure.line) or ''
  local lines = { where .. failure.title }
  for _, each in ipairs { 'expected', 'came', 'decided' } do
    if failure[each] then lines[#lines + 1] = form:format(each, failure[each]) end
  end
  return lines
end

local function name_of(test) return test.file:match('[^/]*$') end

local function tell(test)
  local word = test.skipped and 'skipped' or #test.failures > 0 and 'FAILED' or 'ok'
  print(('%-7s  %s: %s%s'):format(word, name_of(test), test.title, test.skipped and (' (%s)'):format(test.skipped) or ''))
  for _, failure in ipairs(test.failures) do
    for _, line in ipairs(failure_lines(test, failure, '  %-9s %s')) do print('         ' .. line) end
  end
  io.stdout:flush()
end

local function tell_tap(test, number)
  print(('%s %d - %s: %s%s'):format(#test.failures > 0 and 'not ok' or 'ok', number, name_of(test), test.title:gsub('#', ''),
    test.skipped and ' # SKIP ' .. test.skipped or ''))
  for _, failure in ipairs(test.failures) do
    for _, line in ipairs(failure_lines(test, failure, '%s: %s')) do print('# ' .. line:gsub('\n', ' ')) end
  end
  io.stdout:flush()
end

local function tell_coverage(self, tap)
  local prefix = tap and '# ' or ''
  print(prefix .. 'lines of rules that have run:')
  for _, entry in ipairs(entries(self.rules)) do
    if is_lua(entry) then
      local text = tool.read_file(self.rules .. '/' .. entry.name, tool.USAGE)
      local all, run, never = coverage.summary(coverage.lines(text), self.ran['acl.d/' .. entry.name] or {})
      print(('%s  %3d %%  %s%s'):format(prefix, all == 0 and 100 or run * 100 // all, entry.name, never ~= '' and '   never: ' .. never or ''))
    end
  end
end

-- ---- the command ----

local function watch_clock(seconds)
  if not seconds then return function() end end
  local limit = tonumber(seconds) or tool.fail(tool.USAGE, '--seconds wants a number')
  local stop = uv.hrtime() + limit * 1e9
  return function()
    if uv.hrtime() > stop then tool.fail(tool.FAILED, 'the tests have not ended after %s seconds', seconds) end
  end
end

local function run_all(self, tests)
  local count = { passed = 0, failed = 0, skipped = 0 }
  local check_clock = watch_clock(self.options.seconds)
  for number, test in ipairs(tests) do
    check_clock()
    if test.body then self:run_test(test) end
    local word = test.skipped and 'skipped' or #test.failures > 0 and 'failed' or 'passed'
    count[word] = count[word] + 1
    if self.options.tap then tell_tap(test, number) else tell(test) end
  end
  if self.options.tap then print(('1..%d'):format(#tests)) end
  if self.options.coverage then tell_coverage(self, self.options.tap) end
  print(('%s%d passed, %d failed%s'):format(self.options.tap and '# ' or '', count.passed, count.failed,
    count.skipped > 0 and (', %d skipped'):format(count.skipped) or ''))
  return count.failed == 0
end

-- The whole set of rules as it was copied is what was asked for.
local function check_digest(self)
  if not self.options.digest then return end
  Session.start { acl = self.rules, scripts = self.options.scripts, ext = self.options.ext, program = self.options.qubesd, digest = self.options.digest }:stop()
end

return {
  help = HELP,
  run = function(arguments)
    local options, names = tool.options(arguments, OPTIONS)
    if #names > 1 then tool.fail(tool.USAGE, 'one directory; --help tells more') end
    local directory = (names[1] or '/etc/qubes/acl.d'):gsub('(.)/+$', '%1')
    local self = setmetatable({ options = options, ran = {}, subsets = {}, current = {}, rules = tool.temporary_directory() }, Run)
    copy_rules(directory, self.rules)
    if options['from-store'] then self.store = tool.copy_store(options['from-store']) end
    check_digest(self)
    local specs = options.spec or directory .. '/spec'
    local tests = collect(specs, self.current)
    if #tests == 0 then
      io.stderr:write(('qubesd-acl: there are no tests in %s\n'):format(specs))
      return tool.FOUND
    end
    return run_all(self, tests) and tool.OK or tool.FOUND
  end,
}
