-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers what the qrexec policy says of lists and events: admin.vm.List and admin.Events show a caller only what it would be allowed to ask
-- for by itself. `ask` counts as no, since nobody is there to be asked. dom0 sees everything.
--
-- The policy decides what is listed, not what exists: whether a caller may name a qube in a call, qrexec has judged when the call arrives here.
-- Where none of the directories exists, qrexec is not there, and rules alone decide.

local qrexec_policy = import('qrexec_policy')
local estate = import('qrexec_estate')

local source = core.policy()

local function failure_text(failure)
  if type(failure) ~= 'table' then return tostring(failure) end
  local place = failure.line and ('%s:%d'):format(failure.file, failure.line) or failure.file
  return ('%s: %s'):format(place, failure.message)
end

-- The policy, or nil: then nothing is allowed. A load that must not go on without it ends here.
local function read_policy()
  local ran, policy, failure = pcall(qrexec_policy.parse_directories, source, source.directories)
  if ran and policy then return policy end
  source.failed(failure_text(not ran and policy or failure))
  return nil
end

local function judge(method, question)
  core.on_permission('admin-permission:' .. method, function(caller, _, info)
    if core.class(caller) == 'AdminVM' then return nil end
    return question(caller, info)
  end, { visibility = false })
end

local function deny() core.deny('the qrexec policy cannot be read') end

-- target → 'allow' or 'ask', 'deny' too for these names.
local function verdicts_on(policy, caller, arg, names)
  local info = estate.now()
  local key = core.name(caller) .. ' ' .. arg
  local known = info.verdicts[key]
  if not known then
    known = {}
    info.verdicts[key] = known
  end
  local unknown = {}
  for _, name in ipairs(names) do
    if not known[name] then unknown[#unknown + 1] = name end
  end
  if #unknown == 0 then return known end
  local allowed = policy:allowed_targets('admin.vm.List', '+' .. arg, core.name(caller), unknown, info)
  for _, name in ipairs(unknown) do known[name] = allowed[name] or 'deny' end
  return known
end

local function list_filter(policy)
  return function(caller, info)
    local arg = info.arg
    return core.filter_list(function(qubes)
      local names, kept = {}, {}
      for i, qube in ipairs(qubes) do names[i] = core.name(qube) end
      local verdicts = verdicts_on(policy, caller, arg, names)
      for i, qube in ipairs(qubes) do
        if verdicts[names[i]] == 'allow' then kept[#kept + 1] = qube end
      end
      return kept
    end)
  end
end

-- An event of the app is about the qube that it names, as domain-add is; otherwise it is dom0's.
local function target_of(subject, info)
  if not core.is_app(subject) then return core.name(subject) end
  if core.is_object(info.vm) then return core.name(info.vm) end
  return '@adminvm'
end

local function event_filter(policy)
  return function(caller)
    return function(subject, event, info)
      return policy:allows({
        service = 'admin.Events', argument = '+' .. event:gsub(':', '_'), source = core.name(caller), target = target_of(subject, info),
      }, estate.known())
    end
  end
end

if #source.directories > 0 then
  local policy = read_policy()
  judge('admin.vm.List', policy and list_filter(policy) or deny)
  judge('admin.Events', policy and event_filter(policy) or deny)
end
