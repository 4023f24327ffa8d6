-- SPDX-License-Identifier: GPL-2.0-or-later
-- Provides qrexec policies: what a policy decides for a call, and for one caller and many targets at once. It fits what the policy daemon
-- of qrexec decides, rule for rule; where that one fails inside, the answer here is deny. Registers nothing.
--
--   local policy, failure = qrexec_policy.parse_directories(loader, { '/run/qubes/policy.d', '/etc/qubes/policy.d' })
--   local decision = policy:evaluate({ service = 'admin.vm.List', argument = '+', source = 'mgmt', target = 'work' }, system_info)
--
-- `system_info` is what internal.GetSystemInfo answers: { domains = { [name] = { type =, tags = { … }, uuid =, power_state =,
-- template_for_dispvms =, default_dispvm =, internal = } } }. It is only read, and nothing of it is kept after the call. What stands for
-- JSON's null may be anything that is no string. Keys "uuid:…" may be there too; they are not needed.
--
-- A policy never changes once parsed, so a caller may keep it until the files change.

local parser = import('qrexec_policy_parser')
local match = import('qrexec_policy_match')

local qrexec_policy = { limits = parser.limits }

local is_dom0, is_uuid = match.is_dom0, match.is_uuid

local function denied(reason, rule, is_quiet)
  return {
    action = 'deny', reason = reason, notify = not is_quiet, file = rule and rule.file, line = rule and rule.line,
  }
end

-- What follows from a rule that matches: action → function(context, rule, target).
local resolutions = {}

function resolutions.deny(_, rule) return denied('the rule denies', rule, not rule.notify) end

function resolutions.allow(context, rule, target)
  local token = rule.redirect and context:verify(rule.redirect) or (not rule.redirect and target)
  if not token then return denied('target= is no template of disposables', rule) end
  if token.kind == 'dispvm' then token = context:default_template() end
  if not token then return denied('the caller has no default template of disposables', rule) end
  if token.kind == 'default' then return denied('neither the call nor the rule names a target that exists', rule) end
  local name = token.kind == 'adminvm' and 'dom0' or token.text
  if not rule.autostart and not context:is_up(name) then
    return denied('the target would have to be started', rule, not rule.notify)
  end
  return {
    action = 'allow', target = name, user = rule.user, autostart = rule.autostart, notify = rule.notify,
    file = rule.file, line = rule.line,
  }
end

function resolutions.ask(context, rule)
  local choices
  if rule.redirect then
    choices = { is_dom0(rule.redirect.text) and 'dom0' or rule.redirect.text }
  else
    choices = context:choices()
    if not choices then return denied('the caller is unknown', rule) end
  end
  local default = rule.default_target
  if default and default.kind == 'dispvm' then default = context:default_template() end
  local wanted = default and (is_dom0(default.text) and 'dom0' or default.text)
  local targets, chosen = {}, nil
  for _, target in ipairs(choices) do
    if rule.autostart or context:is_up(target) then
      targets[#targets + 1] = target
      if target == wanted then chosen = target end
    end
  end
  if #targets == 0 then return denied('there is no target to choose from', rule) end
  return {
    action = 'ask', targets = targets, default = chosen, user = rule.user, autostart = rule.autostart, notify = rule.notify,
    file = rule.file, line = rule.line,
  }
end

-- The rule for a target as a caller wrote it, and that target as a token; or nil, nil and why there is no rule.
local function find(context, text)
  local target, message = parser.token(text == '' and '@default' or text, 'request')
  if not target then return nil, nil, message end
  target = context:verify(target)
  if not target then return nil, nil, 'the target is no template of disposables' end
  local rule, reason = context:find_rule(target)
  return rule, target, reason
end

local function decide(context, text)
  local rule, target, reason = find(context, text)
  if not rule then return denied(reason) end
  return resolutions[rule.action](context, rule, target)
end

local Policy = {}
Policy.__index = Policy

-- Rules for one service and rules for all are two lists in the order of the policy. Returns a function that walks through both at once,
-- and leaves out those for another argument.
function Policy:each_rule(service, argument)
  local named, general = self.by_service[service] or {}, self.for_any_service
  local i, j = 1, 1
  return function()
    while named[i] or general[j] do
      local rule
      if not general[j] or (named[i] and named[i].order < general[j].order) then
        rule, i = named[i].rule, i + 1
      else
        rule, j = general[j].rule, j + 1
      end
      if not rule.argument or rule.argument == argument then return rule end
    end
  end
end

function Policy:context(service, argument, source, system_info)
  return match.context(self:each_rule(service, argument), source, system_info.domains)
end

-- Decides about a call. `request` is { service =, argument =, source =, target = }: `argument` is '+' and the argument ('+' alone when there
-- is none), `source` the name of the calling qube, `target` a name, 'uuid:…', '@adminvm', '@default' (or ''), '@dispvm' or '@dispvm:NAME'.
-- Returns a table that always has `action`, and `file` and `line` where a rule decided:
--   allow  target (a name, 'dom0', '@dispvm:NAME' or 'uuid:…' as the policy has it), user (nil: the default one), autostart, notify
--   ask    targets (sorted), default (one of them or nil), user, autostart, notify
--   deny   reason (for dom0's log, not for the caller), notify
-- A call from a qube to itself is not special here: qrexec refuses it when it is made, the Admin API's lists don't.
function Policy:evaluate(request, system_info)
  if request.argument:sub(1, 1) ~= '+' then return denied('the argument does not begin with +') end
  return decide(self:context(request.service, request.argument, request.source, system_info), request.target)
end

-- Whether evaluate would say 'allow': the cheaper question where no user can be asked, since it leaves out what one could choose from.
function Policy:allows(request, system_info)
  if request.argument:sub(1, 1) ~= '+' then return false end
  local context = self:context(request.service, request.argument, request.source, system_info)
  local rule, target = find(context, request.target)
  return rule ~= nil and rule.action == 'allow' and resolutions.allow(context, rule, target).action == 'allow'
end

-- Decides about many targets of one caller, as evaluate does for each. Returns a table of those that are not denied: target → 'allow' or
-- 'ask'. Who answers without a user must take only 'allow'. The cost is that of the rules once, and of a few look-ups a target.
function Policy:allowed_targets(service, argument, source, targets, system_info)
  local answers = {}
  if argument:sub(1, 1) ~= '+' then return answers end
  local context = self:context(service, argument, source, system_info)
  context:build_index()
  local outcomes = {} -- rule → action, where it is the same for all targets
  for _, target in ipairs(targets) do
    local entry = not is_uuid(target) and not is_dom0(target) and context.domains[target]
    local action = 'deny'
    if not entry then
      action = decide(context, target).action
    else
      local rule = context:find_rule_of_qube(target, entry)
      if rule then
        action = outcomes[rule] or resolutions[rule.action](context, rule, { kind = 'name', text = target }).action
        if rule.action == 'ask' or rule.redirect then outcomes[rule] = action end
      end
    end
    if action ~= 'deny' then answers[target] = action end
  end
  return answers
end

local function build(rules, failure)
  if not rules then return nil, failure end
  local policy = setmetatable({ rules = rules, by_service = {}, for_any_service = {} }, Policy)
  for order, rule in ipairs(rules) do
    local list = policy.for_any_service
    if rule.service then
      list = policy.by_service[rule.service] or {}
      policy.by_service[rule.service] = list
    end
    list[#list + 1] = { order = order, rule = rule }
  end
  return policy
end

-- Both as in the parser, whose comments describe `loader` and `options`; they return a policy instead of its rules. A policy that doesn't
-- parse allows nothing: whoever gets nil and { file =, line =, message = } denies.
function qrexec_policy.parse(loader, entry, options)
  return build(parser.parse(loader, entry, options))
end

function qrexec_policy.parse_directories(loader, directories, options)
  return build(parser.parse_directories(loader, directories, options))
end

-- A loader of files that are in memory: path → text.
function qrexec_policy.memory_loader(files)
  return {
    read = function(path) return files[path] end,
    list = function(directory)
      local names, found = {}, false
      for path in pairs(files) do
        if path:sub(1, #directory + 1) == directory .. '/' then
          found = true
          local name = path:sub(#directory + 2)
          if not name:find('/', 1, true) then names[#names + 1] = name end
        end
      end
      table.sort(names, parser.byte_less)
      return found and names or nil
    end,
  }
end

return qrexec_policy
