-- SPDX-License-Identifier: GPL-2.0-or-later
-- The vocabulary of tests of rules (docs/acl.md): what a file of spec/ has as globals. A file runs once, and says which tests there are; a test runs
-- later, with a daemon of its own. An expectation that is not met is noted, and the test goes on.

local BASE = { 'assert', 'error', 'ipairs', 'math', 'next', 'pairs', 'pcall', 'select', 'string', 'table', 'tonumber', 'tostring', 'type', 'utf8', 'xpcall' }

local words = {}

-- The line of the spec file that runs now.
local function line_of(file)
  for level = 2, 100 do
    local frame = debug.getinfo(level, 'Sl')
    if not frame then return 0 end
    if frame.source == '@' .. file then return frame.currentline end
  end
  return 0
end

-- ---- what came ----

local function describe(result)
  if result.kind == 'ok' or result.kind == 'events' then return 'permitted' end
  if result.kind == 'closed' then return 'the connection was closed without an answer' end
  if result.failure then return ('refused, since a rule failed: %s'):format(result.failure) end
  if result.class == 'PermissionDenied' then return 'denied: ' .. result.message end
  return result.class .. ': ' .. result.message
end

local function title_of(request)
  return ('%s %s%s %s'):format(request.src, request.method, request.arg and '+' .. request.arg or '', request.dest or 'dom0')
end

-- Who decided: the place of a rule, or what is known instead. Of a list only the `missing` items (a set) are of interest.
local function decider(session, request, result, missing)
  if result.place then return result.place end
  local told = request and session:explain(request)
  if not told then return 'no rule' end
  local parts = {}
  for _, hidden in ipairs(missing and {} or told.hidden) do
    local failure = hidden.reason and (', since it failed: %s'):format(hidden.reason) or ''
    parts[#parts + 1] = ('%s hides %s%s'):format(hidden.place or 'the core', hidden.qube, failure)
  end
  for _, question in ipairs(told.questions) do
    for _, item in ipairs(question.items) do
      if item.removed_by and missing and missing[item.name] then parts[#parts + 1] = ('%s removes %s'):format(item.removed_by, item.name) end
    end
  end
  return #parts > 0 and table.concat(parts, ', ') or 'no rule'
end

-- ---- expectations ----

local Expectation = {}
Expectation.__index = Expectation

local function judge(self, met, expected, came, missing)
  self.judged = true
  if met then return self end
  self.test:fail {
    line = line_of(self.test.file), title = self.title, expected = expected, came = came or describe(self.result),
    decided = decider(self.test.session, self.request, self.result, missing),
  }
  return self
end

function Expectation:permitted()
  return judge(self, self.result.kind == 'ok' or self.result.kind == 'events', 'permitted')
end

function Expectation:denied(reason)
  local result = self.result
  local met = result.class == 'PermissionDenied' and not result.failure and (not reason or result.message == reason)
  return judge(self, met, reason and 'denied: ' .. reason or 'denied')
end

function Expectation:unknown()
  return judge(self, self.result.class == 'QubesVMNotFoundError', 'QubesVMNotFoundError, as if there were no such qube')
end

function Expectation:fails(class)
  return judge(self, self.result.class == class, class)
end

function Expectation:answers(text)
  local came = self.result.kind == 'ok' and ('the answer %q'):format(self.result.body) or nil
  return judge(self, self.result.body == text, ('the answer %q'):format(text), came)
end

local function as_set(list)
  local set = {}
  for _, item in ipairs(list) do set[item] = true end
  return set
end

-- Those of a list that are not in a set, as an array and as text.
local function without(list, set)
  local rest = {}
  for _, item in ipairs(list) do
    if not set[item] then rest[#rest + 1] = item end
  end
  table.sort(rest)
  return rest, table.concat(rest, ', ')
end

-- The first word of each line.
function Expectation:lists(names)
  local listed, came = {}, {}
  local expected = #names == 0 and 'an empty list' or 'a list of ' .. table.concat(names, ', ')
  if self.result.kind ~= 'ok' then return judge(self, false, expected) end
  for name in self.result.body:gmatch('([^ \n]+)[^\n]*\n?') do listed[#listed + 1] = name end
  local missing, missing_text = without(names, as_set(listed))
  local more, more_text = without(listed, as_set(names))
  if #missing > 0 then came[1] = 'without ' .. missing_text end
  if #more > 0 then came[#came + 1] = 'also ' .. more_text end
  return judge(self, #came == 0, expected, table.concat(came, ', '), as_set(missing))
end

-- No byte of what came names it.
function Expectation:never_names(name)
  local bytes = self.events and self.events.bytes or self.result.bytes
  return judge(self, not bytes:find(name, 1, true), ('nothing that names %s'):format(name), 'it is named')
end

local function list_text(list)
  return #list == 0 and 'no events' or table.concat(list, ', ')
end

function Expectation:sees(list)
  if not self.events or self.events.refused then return judge(self, false, list_text(list)) end
  local seen = self.events:take(#list)
  return judge(self, table.concat(seen, '\n') == table.concat(list, '\n'), list_text(list), list_text(seen))
end

function Expectation:includes(list)
  if not self.events or self.events.refused then return judge(self, false, list_text(list)) end
  local seen = self.events:take(#list)
  local missing, missing_text = without(list, as_set(seen))
  return judge(self, #missing == 0, 'among others: ' .. list_text(list), 'without ' .. missing_text)
end

local function expectation(test, fields)
  fields.test, fields.line = test, line_of(test.file)
  local self = setmetatable(fields, Expectation)
  table.insert(test.expectations, self)
  return self
end

-- ---- a test while it runs ----

local Test = {}
Test.__index = Test

function Test:fail(failure)
  table.insert(self.failures, failure)
end

-- An error in the spec file, whose message need not say again where.
local function problem_of(file, err)
  if type(err) == 'table' then return err end
  local text = tostring(err)
  return { line = line_of(file), text = text:match('^[^\n]-[^/\n]+%.lua:%d+: (.*)$') or text }
end

-- Runs it on a session, and notes what is not as expected.
function Test:run(session, current)
  self.session, self.expectations = session, {}
  current.test = self
  local ran, problem = xpcall(self.body, function(err) return problem_of(self.file, err) end)
  current.test = nil
  if not ran and problem.status then error(problem, 0) end -- the tool's own
  if not ran then self:fail { line = problem.line, title = problem.text } end
  for _, each in ipairs(self.expectations) do
    if not each.judged then self:fail { line = each.line, title = each.title, expected = 'a word on what is expected: :permitted(), :denied(), …' } end
  end
  self.session = nil
end

-- ---- the globals ----

local function running(current, word)
  if not current.test then error(word .. '() is for the function of a test', 3) end
  return current.test
end

local function text(value, what)
  if type(value) ~= 'string' then error(what .. ' has to be a text', 3) end
  return value
end

-- Runs a spec file. Adds its tests to the array: { title, file, line, estate, system, store, rules, failures, run = … }.
function words.load(file, tests, current)
  local now = { estate = {} }
  local environment = { none = '' }
  for _, name in ipairs(BASE) do environment[name] = _G[name] end

  function environment.estate(qubes, system)
    now.store = qubes == 'store'
    if not now.store and type(qubes) ~= 'table' then error('estate { NAME = { … }, … } or estate \'store\'', 2) end
    now.estate, now.system = not now.store and qubes or nil, system
  end

  function environment.rules(names)
    now.rules = type(names) == 'string' and { names } or names
  end

  function environment.test(title, body)
    text(title, 'the title of a test')
    if type(body) ~= 'function' then error('test(TITLE, function() … end)', 2) end
    tests[#tests + 1] = setmetatable({
      title = title, body = body, file = file, line = line_of(file), failures = {},
      estate = now.estate, system = now.system, store = now.store, rules = now.rules,
    }, Test)
  end

  function environment.expect(src, method, dest, arg, payload)
    local test = running(current, 'expect')
    local request = { src = text(src, 'the source'), method = text(method, 'the method'), dest = dest, arg = arg, payload = payload }
    return expectation(test, { title = title_of(request), request = request, result = test.session:call(request) })
  end

  function environment.events(src, body, dest)
    local test = running(current, 'events')
    local stream = test.session:subscribe(text(src, 'the source'), dest)
    if not stream.refused then body() end
    return expectation(test, { title = ('events that %s sees'):format(src), events = stream, result = stream.refused or { kind = 'events' } })
  end

  function environment.dom0(method, dest, arg, payload)
    return running(current, 'dom0').session:console(text(method, 'the method'), dest, arg, payload)
  end

  local chunk, problem = loadfile(file, 't', environment)
  if not chunk then error(problem, 0) end
  chunk()
end

return words
