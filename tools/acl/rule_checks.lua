-- SPDX-License-Identifier: GPL-2.0-or-later
-- What can be said of a rule file without running it. rule_checks(text, vocabulary) gives an array of findings,
-- { line =, column =, severity = 'error' or 'warning', message =, advice = }. The vocabulary is what qubesd --check-acl prints of it.
--
-- Only what is certain is said. A value has a *kind* where it is known: { 'qube' }, { 'label' }, { 'view' } (tags, features), { 'qubes' } (an array),
-- { 'event', hook } and { 'info', hook }, where a hook is { methods = names that its event matches, planned = whether it matches one that is planned }.

local nearest = require 'nearest'
local syntax = require 'rule_syntax'

local Checks = {}
Checks.__index = Checks

local function add(self, node, severity, message, advice)
  self.findings[#self.findings + 1] = { line = node.line, column = self.column(node), severity = severity, message = message, advice = advice }
end

local function perhaps(name, names, otherwise)
  local near = nearest(name, names)
  return near and ('did you mean %s?'):format(near) or otherwise
end

-- ---- events ----

local function matcher(pattern)
  local lua = '^' .. pattern:gsub('[%^%$%(%)%%%.%[%]%+%-]', '%%%0'):gsub('%*', '.*'):gsub('%?', '.') .. '$'
  return function(name) return name:find(lua) ~= nil end
end

-- Whether a pattern of events means the method, whose name of today is given, under any of its spellings.
local function means(matches, method)
  local old = method:gsub('^admin%.', 'mgmt.')
  return matches('admin-permission:' .. method) or matches('mgmt-permission:' .. method)
    or matches('admin-permission:' .. old) or matches('mgmt-permission:' .. old)
end

-- The hook of an event's pattern; nil methods: it can't be known.
function Checks:hook_of(pattern)
  if not pattern or pattern.tag ~= 'String' then return { planned = true } end
  local hook, matches = { methods = {}, planned = false }, matcher(pattern[1])
  for name in pairs(self.vocabulary.methods) do
    if means(matches, name) then hook.methods[#hook.methods + 1] = name end
  end
  for _, name in ipairs(self.vocabulary.planned) do
    if means(matches, name) then hook.planned = true end
  end
  table.sort(hook.methods)
  return hook
end

-- Which of the hook's methods have filters of a kind ('qubes', …), which have some, and which have none.
local function methods_by_filters(self, hook, kind)
  local of_kind, with, without = {}, {}, {}
  for _, name in ipairs(hook.methods or {}) do
    local filters = self.vocabulary.methods[name].filters
    if filters == kind then of_kind[#of_kind + 1] = name end
    local list = filters and with or without
    list[#list + 1] = name
  end
  return of_kind, with, without
end

-- ---- kinds of values ----

local QUBE, LABEL, VIEW, QUBES = { 'qube' }, { 'label' }, { 'view' }, { 'qubes' }
local FIELD_KINDS = { qube = QUBE, label = LABEL, view = VIEW }

local function is_global(node, name)
  return node.tag == 'Id' and node[1] == name and not node.var
end

function Checks:kind_of(node)
  if node.tag == 'Paren' then return self:kind_of(node[1]) end
  if node.tag == 'Id' then return node.var and not node.var.reassigned and node.var.kind or nil end
  if node.tag ~= 'Index' then return nil end
  local of = self:kind_of(node[1])
  local key = node[2].tag == 'String' and node[2][1]
  if not of then return nil end
  if of[1] == 'info' then return key == 'dest' and QUBE or nil end
  if of[1] == 'qube' then return FIELD_KINDS[self.vocabulary.qube[key]] end
  return of[1] == 'qubes' and not key and QUBE or nil
end

-- ---- hooks and filters, found before anything is judged ----

local function set_kinds(func, ...)
  for i, kind in ipairs { ... } do
    local id = func[1][i]
    if id and id.tag == 'Id' and kind then id.var.kind = kind end
  end
end

-- The function that an argument is: written there, or a local one that is used for nothing else.
local function function_of(node)
  if not node then return nil end
  if node.tag == 'Function' then return node end
  local var = node.tag == 'Id' and node.var
  return var and not var.reassigned and var.uses == 1 and var.func or nil
end

local function every(node, visit)
  if type(node) ~= 'table' then return end
  if node.tag and visit(node) == false then return end
  for _, part in ipairs(node) do every(part, visit) end
end

-- Marks a filter, and what it is given. The call of filter_list is nil for one that judges items.
local function mark_filter(self, node, hook, call)
  local func = function_of(node)
  if not func then return end
  func.inside = 'a filter'
  local qubes = methods_by_filters(self, hook, 'qubes')
  local _, with = methods_by_filters(self, hook)
  if #qubes > 0 and #qubes == #with then set_kinds(func, call and QUBES or QUBE) end
end

local LITERALS = { True = 'true', False = 'false', Number = 'a number', String = 'a text' }

-- What a rule's function returns: its filters are marked, and judged.
local function mark_result(self, result, hook)
  if LITERALS[result.tag] then
    add(self, result, 'error', ('a rule that returns %s refuses the call'):format(LITERALS[result.tag]),
      'return nothing to permit, call deny() to refuse, return a function to filter')
    return
  end
  local filters = result.tag == 'Table' and result or { result }
  for _, filter in ipairs(filters) do
    local call = filter.tag == 'Call' and is_global(filter[1], 'filter_list') and filter or nil
    if call or filter.tag == 'Function' then
      mark_filter(self, call and call[2] or filter, hook, call)
      local _, with, without = methods_by_filters(self, hook)
      local events = methods_by_filters(self, hook, 'events')
      if hook.methods and #with == 0 and #without > 0 then
        add(self, filter, 'error', ('%s takes no filter, so this refuses the call'):format(without[1]), 'call deny() to refuse it, or return nothing')
      elseif #without > 0 then
        add(self, filter, 'warning', ('among the methods of this event %s takes no filter, so this would refuse it'):format(without[1]),
          'look at `event` first, or write a rule for each method that lists')
      elseif call and #events > 0 then
        add(self, filter, 'error', 'events come one by one, so filter_list is not for admin.Events', 'return a function that judges one event')
      end
    end
  end
end

local function mark_hook(self, call)
  local hook, func = self:hook_of(call[2]), function_of(call[3])
  if not func then return end
  func.inside = 'a rule'
  set_kinds(func, QUBE, { 'event', hook }, { 'info', hook })
  every(func[2], function(node)
    if node.tag == 'Function' then return false end
    if node.tag == 'Return' and #node == 1 then mark_result(self, node[1], hook) end
  end)
end

function Checks:mark_hooks(tree)
  every(tree, function(node)
    if node.tag == 'Call' and is_global(node[1], 'on') then mark_hook(self, node) end
  end)
end

-- ---- judging ----

function Checks:check_field_of_info(node, hook, key)
  if key == 'dest' or key == 'arg' then return end
  local fields, certain = { dest = true, arg = true }, not hook.planned
  for _, name in ipairs(hook.methods or {}) do
    for _, field in ipairs(self.vocabulary.methods[name].info) do fields[field] = true end
  end
  if fields[key] or not hook.methods or #hook.methods == 0 then return end
  local where = #hook.methods == 1 and hook.methods[1] or 'any of these methods'
  add(self, node, certain and 'error' or 'warning', ('info has no field \'%s\' in %s'):format(key, where),
    perhaps(key, fields, 'docs/api.md lists the fields of each method'))
end

function Checks:check_index(node)
  local of = self:kind_of(node[1])
  local key = node[2].tag == 'String' and node[2][1]
  if not of or not key then return end
  if of[1] == 'info' then return self:check_field_of_info(node[2], of[2], key) end
  if of[1] == 'qube' and not self.vocabulary.qube[key] then
    add(self, node[2], 'error', ('a qube has no field \'%s\''):format(key), perhaps(key, self.vocabulary.qube, 'docs/properties.md lists them'))
  elseif of[1] == 'label' and not self.label[key] then
    add(self, node[2], 'error', ('a label has no field \'%s\''):format(key), 'it has name, color and index')
  elseif of[1] == 'event' then
    add(self, node[2], 'error', ('event is a text, it has no field \'%s\''):format(key), 'the called qube is info.dest, the argument info.arg')
  end
end

-- The text that `event` is compared with: it has to be one of its hook's.
local function check_event_text(self, node, hook)
  local events = {}
  for _, name in ipairs(hook.methods or {}) do events['admin-permission:' .. name] = true end
  for _, name in ipairs(hook.planned and self.vocabulary.planned or {}) do events['admin-permission:' .. name] = true end
  for name in pairs(hook.methods and {} or self.vocabulary.methods) do events['admin-permission:' .. name] = true end
  if events[node[1]] then return end
  add(self, node, 'warning', ('event is never \'%s\' here'):format(node[1]),
    perhaps(node[1], events, 'it is admin-permission: and a method that this rule is asked about'))
end

function Checks:check_comparison(node)
  local left, right = node[2], node[3]
  if left.tag == 'String' then left, right = right, left end
  local kind = right.tag == 'String' and self:kind_of(left)
  if not kind then return end
  if kind[1] == 'qube' or kind[1] == 'label' then
    add(self, left, 'error', ('a %s is never equal to a text'):format(kind[1]), 'write .name behind it')
  elseif kind[1] == 'event' then
    check_event_text(self, right, kind[2])
  end
end

function Checks:check_operation(node)
  if node[1] == 'eq' or node[1] == 'ne' then return self:check_comparison(node) end
  if node[1] ~= 'concat' then return end
  for i = 2, 3 do
    local kind = self:kind_of(node[i])
    if kind and (kind[1] == 'qube' or kind[1] == 'label') then
      add(self, node[i], 'error', ('a %s can\'t be part of a text'):format(kind[1]), 'write .name behind it')
    end
  end
end

function Checks:check_assignment(node)
  for _, target in ipairs(node[1]) do
    local of = target.tag == 'Index' and self:kind_of(target[1])
    if of and of[1] ~= 'qubes' then
      add(self, target, 'error', 'a rule can only look: it changes nothing', 'leave this out; deny() refuses, a filter hides')
    end
  end
end

function Checks:check_call(node, inside)
  if inside and is_global(node[1], 'on') then
    add(self, node, 'error', ('on() stands inside %s, where it fails'):format(inside), 'put it at the top of the file')
  end
end

function Checks:check_invoke(node)
  local of, name = self:kind_of(node[1]), node[2][1]
  if of and of[1] == 'qube' and not self.vocabulary.qube[name] then
    add(self, node[2], 'error', ('a qube has no function \'%s\''):format(name), 'a rule only looks: qube.name, qube.tags.NAME, qube.PROPERTY')
  end
end

local function note_locals(self, node)
  for i, id in ipairs(node[1]) do
    local value = node[2] and node[2][i]
    if id.var and value and not id.var.kind then id.var.kind = self:kind_of(value) end
  end
end

-- for _, qube in ipairs(qubes)
local function note_loop(self, node)
  local call = node[2][1]
  if not (call.tag == 'Call' and is_global(call[1], 'ipairs') and call[2] and node[1][2]) then return end
  local kind = self:kind_of(call[2])
  if kind and kind[1] == 'qubes' then node[1][2].var.kind = QUBE end
end

local judges = {
  Index = Checks.check_index, Op = Checks.check_operation, Invoke = Checks.check_invoke, Set = Checks.check_assignment, Local = note_locals, Forin = note_loop,
}

function Checks:judge(node, inside)
  if type(node) ~= 'table' then return end
  if node.tag == 'Call' then self:check_call(node, inside) end
  local judge = judges[node.tag]
  if judge then judge(self, node) end
  if node.tag == 'Function' then inside = node.inside or inside end
  for _, part in ipairs(node) do self:judge(part, inside) end
end

-- ---- what luacheck says ----

local FOREIGN = { io = true, os = true, require = true, load = true, loadstring = true, dofile = true, loadfile = true, print = true, coroutine = true,
  debug = true, package = true, collectgarbage = true, setmetatable = true, getmetatable = true, rawget = true, rawset = true, core = true, app = true }

local WARNINGS = { -- of luacheck, that are worth an admin's time
  ['211'] = 'leave it out, or use it', ['221'] = 'give it a value', ['231'] = 'leave it out, or use it', ['311'] = 'leave it out, or use it',
  ['511'] = 'look at the return or loop before it', ['531'] = 'give each variable a value', ['532'] = 'give as many values as variables',
  ['542'] = 'say what is to be done here, or leave it out',
}

local lint = {}

lint['111'] = function(warning)
  return 'warning', ('\'%s\' is not declared, so the whole file shares it'):format(warning.name), 'write local before its first use'
end

lint['113'] = function(warning, vocabulary, set)
  if set[warning.name] then return nil end
  local message = ('there is no \'%s\' for rules'):format(warning.name)
  if FOREIGN[warning.name] then return 'error', message, 'a rule only looks: it has no files, programs, clock or output' end
  return 'error', message, perhaps(warning.name, vocabulary.globals, 'docs/acl.md lists what there is')
end

lint['121'] = function(warning)
  return 'error', ('\'%s\' is what rules are made with'):format(warning.name), 'choose another name, and write local before it'
end
lint['122'] = lint['121']

lint['143'] = function(warning, vocabulary)
  local fields = vocabulary.globals[warning.name]
  return 'error', ('there is no %s.%s for rules'):format(warning.name, warning.field),
    type(fields) == 'table' and perhaps(warning.field, fields) or 'docs/acl.md lists what there is'
end

function Checks:lint(text)
  local set = {}
  local warnings = syntax.lint(text, self.vocabulary.globals)
  for _, warning in ipairs(warnings) do
    if warning.code == '111' then set[warning.name] = true end
  end
  for _, warning in ipairs(warnings) do
    local severity, message, advice
    if lint[warning.code] then
      severity, message, advice = lint[warning.code](warning, self.vocabulary, set)
    elseif WARNINGS[warning.code] then
      severity, message, advice = 'warning', warning.message, WARNINGS[warning.code]
    end
    if severity then
      self.findings[#self.findings + 1] = {
        line = warning.line, column = warning.column, severity = severity, message = message, advice = advice, global = warning.code == '113' and warning.name,
      }
    end
  end
end

return function(text, vocabulary)
  local self = setmetatable({ vocabulary = vocabulary, findings = {}, label = {} }, Checks)
  for _, field in ipairs(vocabulary.label) do self.label[field] = true end
  local tree, column = syntax.parse(text)
  if not tree then return {} end -- the loader has said so
  self.column = column
  self:mark_hooks(tree)
  self:judge(tree)
  self:lint(text)
  return self.findings
end
