-- SPDX-License-Identifier: GPL-2.0-or-later
-- Provides what qrexec's policy needs to know of an estate: which qubes a token means, and which rule is the first to match a target.
-- Part of lib/qrexec_policy.lua, which documents `system_info`. Registers nothing.

local parser = import('qrexec_policy_parser')

local DOM0_UUID = 'uuid:00000000-0000-0000-0000-000000000000'

-- Names of dom0: they all match each other.
local function is_dom0(text)
  return text == '@adminvm' or text == 'dom0' or text == DOM0_UUID
end

local function is_uuid(text)
  return text:sub(1, 5) == 'uuid:'
end

-- system_info has Python's notion of truth: the feature "internal" is there and empty on a qube that is not internal.
local function is_true(value)
  return value == true or (type(value) == 'string' and value ~= '') or (type(value) == 'number' and value ~= 0)
end

local function has_tag(entry, tag)
  if type(entry.tags) ~= 'table' then return false end
  for _, each in ipairs(entry.tags) do
    if each == tag then return true end
  end
  return false
end

-- A context is a call without its target: { source =, rules =, domains = }. `rules` are those that match but for the target, in order.
-- What is seldom needed and costs much is made when it is first asked for.

local Context = {}
Context.__index = Context

-- Name of the qube that a key means, a name or "uuid:…"; nil when there is none.
function Context:name_of(key)
  if not is_uuid(key) then return self.domains[key] and key end
  if not self.names then
    self.names = {}
    for name, entry in pairs(self.domains) do
      if not is_uuid(name) and type(entry.uuid) == 'string' then
        local known = self.names[entry.uuid]
        if not known or parser.byte_less(name, known) then self.names[entry.uuid] = name end
      end
    end
  end
  return self.names[key:sub(6)]
end

function Context:entry_of(key)
  local name = self:name_of(key)
  return name and self.domains[name]
end

-- Whether two names or "uuid:…" mean one qube.
function Context:is_same(a, b)
  if is_uuid(a) == is_uuid(b) then return a == b end
  if is_uuid(b) then a, b = b, a end
  local entry = self.domains[b]
  return entry ~= nil and entry.uuid == a:sub(6)
end

-- The token that '@dispvm' means for this caller, or nil.
function Context:default_template()
  local entry = self:entry_of(self.source)
  if not entry or type(entry.default_dispvm) ~= 'string' then return nil end
  return { kind = 'dispvm_template', text = '@dispvm:' .. entry.default_dispvm, value = entry.default_dispvm }
end

-- Whether a rule's token means the other token: kind → function(context, token, other). `nil` says that this can't be told, and then
-- nothing that follows in the policy may count.
local matches = {}

function matches.any() return true end
function matches.adminvm(_, _, other) return is_dom0(other.text) end
function matches.anyvm(_, _, other) return not is_dom0(other.text) end
function matches.default(_, _, other) return other.kind == 'default' end
function matches.dispvm(_, _, other) return other.kind == 'dispvm' end

function matches.name(context, token, other)
  if is_dom0(token.text) then return is_dom0(other.text) end
  return context:is_same(token.text, other.text)
end

-- '@adminvm' as a target has no type and no tags; 'dom0' has.
function matches.type(context, token, other)
  local entry = context:entry_of(other.text)
  return entry ~= nil and entry.type == token.value
end

function matches.tag(context, token, other)
  local entry = context:entry_of(other.text)
  return entry ~= nil and has_tag(entry, token.value)
end

function matches.dispvm_template(context, token, other)
  if other.kind == 'dispvm' then
    local template = context:default_template()
    if not template then return nil end
    return token.text == template.text -- as the reference: a template by uuid doesn't match here
  end
  return other.kind == 'dispvm_template' and context:is_same(token.value, other.value)
end

function matches.dispvm_tag(context, token, other)
  if other.kind == 'dispvm' then other = context:default_template() end
  if not other or other.kind ~= 'dispvm_template' then return false end
  local entry = context:entry_of(other.value)
  if not entry then return nil end
  return is_true(entry.template_for_dispvms) and has_tag(entry, token.value)
end

-- A target that exists: the token itself, or '@default' for a qube that doesn't. nil for a template of disposables that is none.
function Context:verify(token)
  if token.kind == 'name' and not self:name_of(token.text) then
    return { kind = 'default', text = '@default' }
  end
  if token.kind == 'dispvm_template' then
    local entry = self:entry_of(token.value)
    if not entry or not is_true(entry.template_for_dispvms) then return nil end
  end
  return token
end

-- Whether a call can reach the target without starting anything.
function Context:is_up(target)
  if is_dom0(target) then return true end
  local entry = self:entry_of(target)
  return entry ~= nil and entry.power_state == 'Running'
end

-- What the tokens of rules stand for in a list to choose from: kind → function(context, token, add).
local expansions = {}

function expansions.name(context, token, add)
  local name = context:name_of(token.text)
  if name then add(name) end
end

function expansions.adminvm(_, token, add) add(token.text) end
function expansions.dispvm(_, token, add) add(token.text) end
function expansions.default() end

local function each_domain(context, visit)
  for name, entry in pairs(context.domains) do
    if not is_uuid(name) then visit(name, entry) end
  end
end

function expansions.any(context, token, add)
  each_domain(context, function(name, entry)
    if token.kind == 'any' or not is_dom0(name) then add(name) end
    if is_true(entry.template_for_dispvms) then add('@dispvm:' .. name) end
  end)
  add('@dispvm')
end

expansions.anyvm = expansions.any

function expansions.type(context, token, add)
  each_domain(context, function(name, entry)
    if entry.type == token.value then add(name) end
  end)
end

function expansions.tag(context, token, add)
  each_domain(context, function(name, entry)
    if has_tag(entry, token.value) then add(name) end
  end)
end

function expansions.dispvm_template(context, token, add)
  local name = context:name_of(token.value)
  if name and is_true(context.domains[name].template_for_dispvms) then add('@dispvm:' .. name) end
end

function expansions.dispvm_tag(context, token, add)
  each_domain(context, function(name, entry)
    if is_true(entry.template_for_dispvms) and has_tag(entry, token.value) then add('@dispvm:' .. name) end
  end)
end

-- What a user may choose from when a rule asks without target=: whatever any rule lets this caller reach, sorted; nil for an unknown
-- caller. From the last rule to the first, since the first one that mentions a target has the say.
function Context:choices()
  if self.chosen then return self.chosen end
  local source = self:name_of(self.source)
  if not source then return nil end
  local set = {}
  for i = #self.rules, 1, -1 do
    local rule = self.rules[i]
    local allowed = rule.action ~= 'deny' or nil
    local token = rule.redirect or rule.target
    expansions[token.kind](self, token, function(target) set[target] = allowed end)
  end
  if set['@dispvm'] then
    set['@dispvm'] = nil
    local template = self:default_template()
    if template then set[template.text] = true end
  end
  if set['@adminvm'] then
    set['@adminvm'] = nil
    set.dom0 = true
  end
  set[source] = nil
  local chosen = {}
  for target in pairs(set) do
    local entry = self:entry_of(target:match('^@dispvm:(.*)$') or target)
    if entry and not is_true(entry.internal) then chosen[#chosen + 1] = target end
  end
  table.sort(chosen, parser.byte_less)
  self.chosen = chosen
  return chosen
end

-- The first rule that matches a verified target; nil and a reason where there is none.
function Context:find_rule(target)
  for _, rule in ipairs(self.rules) do
    local match = matches[rule.target.kind](self, rule.target, target)
    if match then return rule end
    if match == nil then return nil, 'a rule for a disposable cannot be judged: the caller has no default template' end
  end
  return nil, 'no rule matches'
end

-- Where the first rule of each kind of target stands, for Context:find_rule_of_qube.
function Context:build_index()
  local index = { every = math.huge, name = {}, type = {}, tag = {} }
  for i, rule in ipairs(self.rules) do
    local token = rule.target
    local firsts = index[token.kind]
    if token.kind == 'any' or token.kind == 'anyvm' then
      index.every = math.min(index.every, i)
    elseif firsts then
      local key = token.value or token.text
      firsts[key] = firsts[key] or i
    end
  end
  self.index = index
end

-- The same as find_rule for a qube that exists and is not dom0, given by name: its cost doesn't depend on the number of rules.
function Context:find_rule_of_qube(name, entry)
  local index = self.index
  local first = math.min(index.every, index.name[name] or math.huge, index.type[entry.type] or math.huge)
  if type(entry.uuid) == 'string' then
    first = math.min(first, index.name['uuid:' .. entry.uuid] or math.huge)
  end
  if type(entry.tags) == 'table' then
    for _, tag in ipairs(entry.tags) do
      first = math.min(first, index.tag[tag] or math.huge)
    end
  end
  return self.rules[first]
end

local match = {}

match.is_dom0, match.is_uuid = is_dom0, is_uuid

-- Returns a context: those of the rules that next_rule() returns, until nil, whose source means `source`.
function match.context(next_rule, source, domains)
  local context = setmetatable({ source = source, rules = {}, domains = domains }, Context)
  local token = { kind = 'name', text = source }
  for rule in next_rule do
    if matches[rule.source.kind](context, rule.source, token) then
      context.rules[#context.rules + 1] = rule
    end
  end
  return context
end

return match
