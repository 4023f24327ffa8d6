-- SPDX-License-Identifier: GPL-2.0-or-later
-- Draws random rule sets, estates and calls, for specs that compare two ways to the same answer. All chance comes from math.random.

local M = {}

local random = math.random

local function pick(list) return list[random(#list)] end
local function chance(percent) return random(100) <= percent end
M.pick, M.chance = pick, chance

local TAGS = { 't1', 't2', 't3' }
local FEATURES = { 'f1', 'f2', 'gui', 'net.fake-ip' }
local LABELS = { 'red', 'green', 'blue', 'black', 'none-such' }
local CLASSES = { 'AppVM', 'TemplateVM', 'StandaloneVM', 'DispVM', 'AdminVM' }
local PROPERTIES = {
  'label', 'netvm', 'template', 'memory', 'maxmem', 'vcpus', 'autostart', 'default_dispvm', 'provides_network', 'template_for_dispvms', 'kernel', 'ip',
  'guivm', 'name', 'klass', 'qid', 'visible_ip', 'visible_gateway', 'default_template', 'clockvm', 'updatevm', 'default_netvm', 'no-such', 'kernelopts',
}
M.NAMES = { 'q1', 'q2', 'q3', 'q4', 'q5', 'q6', 'q7', 'q8' }

-- ---- rules ----

-- Methods that take filters, or any.
local function some_method(methods, filters)
  local method
  repeat method = pick(methods) until not filters or method.filters
  return method
end

local function pattern_of(methods, filters)
  local name = some_method(methods, filters).name
  local r = random(10)
  if filters and r <= 3 then
    name = 'admin.vm.List'
  elseif r <= 5 then
    name = pick { 'admin.vm.*', 'admin.vm.*', 'admin.vm.property.*', 'admin.vm.tag.*', 'admin.vm.feature.*', 'admin.label.*', '*.List', '*Get*', '*' }
  elseif r <= 7 then
    name = pick { 'admin.*', 'admin.vm.List', 'admin.Events', 'admin.vm.property.Get', 'admin.vm.property.GetAll', 'admin.vm.Stats' }
  elseif r == 8 then
    name = name:gsub('%.%a', '.?', 1)
  end
  if chance(30) then name = name:gsub('^admin%.', 'mgmt.') end
  return pick { 'admin', 'admin', 'mgmt' } .. '-permission:' .. name
end

-- A condition on `src`, `event` and `info`.
local function condition()
  return pick {
    function() return ("src.name == '%s'"):format(pick(M.NAMES)) end,
    function() return ('src.tags.%s'):format(pick(TAGS)) end,
    function() return ('not src.tags.%s'):format(pick(TAGS)) end,
    function() return ('info.dest.tags.%s'):format(pick(TAGS)) end,
    function() return ("info.dest.features['%s']"):format(pick(FEATURES)) end,
    function() return ("info.dest.klass == '%s'"):format(pick(CLASSES)) end,
    function() return ("info.arg == '%s'"):format(pick { 'label', 'netvm', 't1', 'f1', 'red', '' }) end,
    function() return ("info.arg:match('^%s')"):format(pick { '%l', 't%d', 'n', 'default' }) end,
    function() return ("info.dest.netvm and info.dest.netvm.name == '%s'"):format(pick(M.NAMES)) end,
    function() return ("src.label.name == '%s'"):format(pick(LABELS)) end,
    function() return ('info.newvalue ~= nil and tostring(info.newvalue):len() %% 2 == %d'):format(random(0, 1)) end,
    function() return 'info.dest == src' end,
    function() return "event:match('Set$')" end,
    function() return ('#src.name + #info.dest.name + #info.arg > %d'):format(random(3, 12)) end,
    function() return ("info.dest.power == '%s'"):format(pick { 'Halted', 'Running' }) end,
  }()
end

-- A condition on an item of a list: a qube, a name, or the subject of an event.
local function item_condition()
  return pick {
    function() return ('#name_of(item) %% %d == 0'):format(random(1, 3)) end,
    function() return ("not name_of(item):match('[%s]')"):format(pick { 'aeiou', 'q3', '12', 'lm' }) end,
    function() return ("name_of(item) ~= '%s'"):format(pick(M.NAMES)) end,
    function() return ("is_qube(item) and item.tags.%s == true or not is_qube(item)"):format(pick(TAGS)) end,
    function() return ("not (is_qube(item) and item.klass == '%s')"):format(pick(CLASSES)) end,
    function() return ('not (is_qube(item) and item.netvm == src)') end,
    function() return ("(event or ''):sub(1, 10) ~= 'domain-tag'") end,
  }()
end

local function one_filter()
  if chance(4) then return pick { 'function() return 1 end', "function() error('filter') end", 'function(item) item.tags.x = true return true end' } end
  return ('function(item, event) return %s end'):format(item_condition())
end

local function list_filter()
  local body = pick {
    function() return ('for _, item in ipairs(items) do if %s then keep[#keep + 1] = item end end'):format(item_condition()) end,
    function() return ('for i = 1, #items, %d do keep[#keep + 1] = items[i] end'):format(random(1, 3)) end,
    function() return 'for i = #items, 1, -1 do if i ~= 2 then keep[#keep + 1] = items[i] end end' end,
    function() return "if #items > 3 then keep[1] = 'no item of the list' end" end,
    function() return 'items[1] = nil keep = items' end,
  }()
  return ('filter_list(function(items) local keep, event = {}, nil %s return keep end)'):format(body)
end

local REASONS = { "'no'", "'50% off %s'", "'two\\nlines'", "'ä'", '', "('x'):rep(300)", "src.name .. ' may not'" }

local function action()
  local r = random(100)
  if r <= 45 then return ('deny(%s)'):format(pick(REASONS)) end
  if r <= 60 then return "error('oops')" end
  return pick {
    'error({})', 'error(nil)', 'return 42', 'return {}', 'return true', "pcall(deny, 'caught') return", 'src.tags.x = true', 'info.arg = 1',
    'local x = src.no_such_property.deeper', "return { function() return true end, 'no filter' }", 'local function f() return f() + 1 end f()',
    'return', 'return nil', "for i = 1, 1000 do if info.arg:rep(10) == 'x' then return end end",
  }
end

-- A limit that gives nothing new while a spec runs. It counts no calls that are only explained.
local function limit(methods)
  return ("limit { src = '%s', method = '%s', rate = 0.0001, burst = %d%s }"):format(
    pick { '*', 'tag:t1', 'type:AppVM', pick(M.NAMES) }, pick { 'admin.*', 'admin.vm.*', pick(methods).name }, random(1, 12),
    chance(30) and ", reason = 'no more'" or '')
end

local function grant(methods)
  return ("grant { src = '%s', method = '%s', dest = '%s'%s }"):format(
    pick { 'tag:t2', pick(M.NAMES), pick(M.NAMES) }, pick { 'admin.vm.tag.*', 'admin.vm.*', pick(methods).name },
    pick { '*', 'tag:t3', pick(M.NAMES) }, pick { '', '', ", expires = '2001-01-01T00:00:00Z'", ", arg = 't*'" })
end

local function filter_action()
  local r = random(100)
  if r <= 50 then return 'return ' .. one_filter() end
  if r <= 85 then return 'return ' .. list_filter() end
  return ('return { %s, %s }'):format(one_filter(), pick { one_filter, list_filter }())
end

-- Costs the daemon tens of milliseconds each time, so there is seldom one, and it holds for few callers.
local COSTLY = {
  'while true do end', 'local t = {} while true do t[#t + 1] = {} end', "local s = 'xxxxxxxx' while true do s = s .. s end",
  "pcall(function() while true do end end) while true do pcall(error) end",
}

-- The text of a rule file, for methods (declarations with `name`).
function M.rules(methods)
  local parts = {
    "local function is_qube(item) return type(item) ~= 'string' and item.klass ~= nil end",
    "local function name_of(item) return type(item) == 'string' and item or item.name or '' end",
  }
  for _ = 1, random(0, 12) do
    local conditions = {}
    for i = 1, pick { 1, 1, 2 } do conditions[i] = ('(%s)'):format(condition()) end
    local filters = chance(55)
    if filters and chance(50) then conditions = { 'true' } end
    parts[#parts + 1] = ("on('%s', function(src, event, info)\n  if %s then %s end\nend)"):format(
      pattern_of(methods, filters and chance(95)), table.concat(conditions, pick { ' and ', ' and ', ' or ' }), filters and filter_action() or action())
  end
  if chance(10) then parts[#parts + 1] = limit(methods) end
  if chance(15) then parts[#parts + 1] = grant(methods) end
  if chance(2) then
    parts[#parts + 1] = ("on('%s', function(src, event, info)\n  if src.name == '%s' and info.dest.name == '%s' then %s end\nend)"):format(
      pattern_of(methods), pick(M.NAMES), pick(M.NAMES), pick(COSTLY))
  end
  return table.concat(parts, '\n') .. '\n'
end

-- ---- calls ----

local function some_name()
  return chance(85) and pick(M.NAMES) or pick { 'fedora', 'dom0', 'nobody', '', 'none', 'bad name', '1x', ('x'):rep(40), 'uuid:0' }
end

-- Mostly what the method wants, sometimes anything.
local function argument(method)
  if method.arg == 'none' then return chance(95) and '' or 'x' end
  if chance(4) then return pick { '', 'a+b', 'ä', ('x'):rep(300), '%s', '..' } end
  local family = method.name:match('^admin%.vm%.(%a+)') or method.name:match('^admin%.(%a+)')
  if family == 'property' then return pick(PROPERTIES) end
  if family == 'tag' then return pick { 't1', 't2', 't3', 'created-by-q1', 'not a tag', 'guivm-q2' } end
  if family == 'feature' then return pick(FEATURES) end
  if family == 'label' then return pick(LABELS) end
  if family == 'Shutdown' then return pick { '', 'force', 'wait', 'force+wait', 'no' } end
  if family == 'CreateDisposable' then return pick { '', '', 'preload', 'x' } end
  return pick { '', 'fedora', some_name() }
end

local function payload(method)
  if method.payload == 'none' then return chance(95) and '' or 'x' end
  if chance(4) then return pick { '', '\0', '\xff', ('y'):rep(5000) } end
  local name = method.name
  if name:match('%.Create%.') then return ('name=%s label=%s'):format(some_name(), pick(LABELS)) end
  if name:match('%.property%.Set$') then
    return pick { some_name(), pick(LABELS), tostring(random(0, 3000)), 'True', 'False', '', 'None' }
  end
  if name:match('label') then return pick { '0x123456', '0xff0000', 'red' } end
  if name:match('firewall') then return pick { 'action=accept', 'action=drop dst4=10.0.0.0/8', 'action=drop', 'nonsense' } end
  if name:match('CreateDisposable') then return pick { '', 'uuid', 'x' } end
  return pick { '1', '0', 'some text', 'Hello, you', '7' }
end

-- A call of one of the methods (each a declaration with `name`): source, method, dest, arg, payload.
function M.call(methods)
  local method = some_method(methods, chance(30))
  local dest = method.dest == 'adminvm' and 'dom0' or chance(93) and pick(M.NAMES) or some_name()
  if chance(3) then dest = pick { 'dom0', some_name() } end
  local name = chance(15) and method.name:gsub('^admin%.', 'mgmt.') or method.name
  if chance(1) then name = name .. 'x' end
  return {
    source = chance(96) and pick(M.NAMES) or pick { 'dom0', 'nobody', 'bad name', '1' },
    method = name, dest = dest, arg = argument(method), payload = payload(method), declared = method,
  }
end

-- ---- estates ----

-- Has `ok(method, dest, arg, payload)` make those qubes that are not there, and set some of their tags, features and properties. `exists` is a set.
function M.estate(ok, try, exists)
  if not exists.fedora then try('admin.vm.Create.TemplateVM', 'dom0', '', 'name=fedora label=black') end
  try('admin.property.Set', 'dom0', 'default_template', 'fedora')
  for _, name in ipairs(M.NAMES) do
    if not exists[name] then ok('admin.vm.Create.AppVM', 'dom0', 'fedora', ('name=%s label=%s'):format(name, pick { 'red', 'green', 'blue' })) end
    if chance(40) then try(pick { 'admin.vm.tag.Set', 'admin.vm.tag.Set', 'admin.vm.tag.Remove' }, name, pick(TAGS)) end
    if chance(20) then try('admin.vm.feature.Set', name, pick(FEATURES), '1') end
    if chance(10) then try('admin.vm.property.Set', name, 'provides_network', 'True') end
    if chance(15) then try('admin.vm.property.Set', name, 'netvm', pick(M.NAMES)) end
    if chance(5) then try('admin.vm.property.Set', name, 'template_for_dispvms', 'True') end
  end
end

return M
