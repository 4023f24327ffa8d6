-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers internal.SuspendPre and internal.SuspendPost, which the system's sleep hooks call.

local hidden = import('api/hidden')
local preload = import('preload')

-- Qubes that slept before the computer did keep sleeping after it: their names are stored between the two calls.
local KIND, NAME = 'suspend', 'asleep-before'

local function sleeps(qube)
  return qube.power == 'Paused' or qube.power == 'Suspended'
end

local function is_local_guest(qube)
  return qube.klass ~= 'AdminVM' and qube.klass ~= 'RemoteVM'
end

-- Templates of disposables that are kept ready.
local function preloading()
  local list = {}
  for qube in app.domains:each() do
    if qube.template_for_dispvms and preload.max(qube) > 0 then list[#list + 1] = qube end
  end
  return list
end

-- Calls `action` of each of the qubes; what failed is told in one error at the end.
local function each(qubes, action)
  local problems = {}
  for _, qube in ipairs(qubes) do
    local done, problem = pcall(qube[action], qube)
    if not done then
      problems[#problems + 1] = qube.name
      core.log('error', ('%s: %s failed: %s'):format(qube.name, action, tostring(problem)))
    end
  end
  if #problems > 0 then
    raise('QubesException', ('could not %s %s'):format(action, table.concat(problems, ', ')))
  end
end

method('internal.SuspendPre', {
  dest = 'adminvm', arg = 'none', payload = 'none', scope = 'none', execute = true,
  doc = 'Before the computer sleeps: removes preloaded disposables and suspends all running qubes.',
}, function(call)
  call:permission()
  hidden.refuse_restricted()
  for _, template in ipairs(preloading()) do
    template:remove_preload_excess(0, 'the computer will sleep')
  end
  local asleep, running = {}, {}
  for qube in app.domains:each() do
    if sleeps(qube) then
      asleep[#asleep + 1] = qube.name
    elseif is_local_guest(qube) and qube.power == 'Running' then
      running[#running + 1] = qube
    end
  end
  core.set(app, KIND, NAME, table.concat(asleep, ' '))
  each(running, 'suspend')
end)

method('internal.SuspendPost', {
  dest = 'adminvm', arg = 'none', payload = 'none', scope = 'none', execute = true,
  doc = 'After the computer slept: wakes the qubes that were suspended for it, and preloads disposables again.',
}, function(call)
  call:permission()
  hidden.refuse_restricted()
  local _, names = core.get(app, KIND, NAME)
  local kept = {}
  for name in (names or ''):gmatch('%S+') do
    kept[name] = true
  end
  core.unset(app, KIND, NAME)
  local suspended = {}
  for qube in app.domains:each() do
    if is_local_guest(qube) and sleeps(qube) and not kept[qube.name] then
      suspended[#suspended + 1] = qube
    end
  end
  for _, template in ipairs(preloading()) do
    preload.later(template, 'the computer slept')
  end
  each(suspended, 'resume')
end)
