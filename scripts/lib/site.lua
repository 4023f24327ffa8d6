-- SPDX-License-Identifier: GPL-2.0-or-later
-- The site's own extensions, files of ext.d: the environment in which one runs, and what surrounds its hooks, so that one that fails stops nobody
-- else. Sets core_hooks.site_begin and core_hooks.site_end, which the core calls around each file. docs/extensions.md is the contract.
--
-- What a file registers counts when it has run to its end: one that fails half-way leaves nothing.

local classes = import('class')
local exceptions = import('exceptions')

local globals = _G -- luacheck: ignore 113

local site = {}

local BASE = { 'assert', 'error', 'ipairs', 'next', 'pairs', 'pcall', 'select', 'tonumber', 'tostring', 'type', 'xpcall', 'none' }
local LIBRARIES = { 'string', 'table', 'math', 'utf8' }
local CORE = {
  'commit', 'config', 'list_directory', 'log', 'monotonic', 'new_uuid', 'qubesdb', 'random', 'read_file',
  'run', 'sleep', 'stat', 'time', 'wait', 'xml_format', 'xml_parse',
}

-- Events that are fired where a call waits anyway: their hooks may wait. They belong to the start and the shutdown of a qube.
local MAY_WAIT = {
  ['domain-pre-start'] = true, ['domain-pre-spawn'] = true, ['domain-spawn'] = true, ['domain-pre-unpaused'] = true, ['domain-start'] = true,
  ['domain-start-failed'] = true, ['domain-pre-shutdown'] = true,
}

-- Exceptions that a hook has raised itself, rather than ran into.
local deliberate = setmetatable({}, { __mode = 'k' })

local function is_announcement(event)
  return event:match('^[^:]*'):find('-pre-', 1, true) ~= nil
end

local function complain(file, what, err, place)
  local text = tostring(exceptions.message(err))
  if place and text:sub(1, #place + 2) == place .. ': ' then text = text:sub(#place + 3) end
  core.log('error', ('%s: %s: %s'):format(place or file, what, text))
end

-- A hook that runs in the event's call.
local function guarded(file, hook)
  return function(object, event, info)
    local ok, err, place = core.guarded(MAY_WAIT[event] == true, hook, object, event, info)
    if ok then return end
    if deliberate[err] and is_announcement(event) then error(err, 0) end
    complain(file, ('%s of %s'):format(event, tostring(object)), err, place)
  end
end

local function run_task(file, what, task, ...)
  local ok, err, place = core.guarded(true, task, ...)
  if ok then return end
  complain(file, what, err, place)
  error(err, 0) -- so that nothing of what it has changed stays
end

-- A hook that runs as a task of its own, when the event's call has ended well.
local function later(file, hook)
  return function(object, event, info)
    local copy = {}
    for key, value in pairs(info) do copy[key] = value end
    local ok, err = pcall(core.spawn, run_task, file, event, hook, object, event, copy)
    if not ok then complain(file, event, err) end
  end
end

local function copy_of(library, names)
  local copy = {}
  if names then
    for _, name in ipairs(names) do copy[name] = library[name] end
  else
    for name, value in pairs(library) do copy[name] = value end
  end
  return copy
end

local function check(event, hook)
  for _, name in ipairs(type(event) == 'table' and event or { event }) do
    if type(name) ~= 'string' then error('the name of an event is a string', 3) end
    if name:find('^%a+%-permission:') then error(name .. ': what a caller may do is for rules, in acl.d', 3) end
  end
  if type(hook) ~= 'function' then error('a hook is a function', 3) end
end

-- The environment of a file, and what it registers in `list`.
local function environment(file, list)
  local env = copy_of(globals, BASE)
  for _, name in ipairs(LIBRARIES) do env[name] = copy_of(globals[name]) end
  env.core = copy_of(core, CORE)

  local function register(class_name, event, hook, make)
    if not list then error('hooks are registered by the file itself, not by the functions in it', 3) end
    if class_name ~= nil and not classes.find(class_name) then error('there is no class ' .. tostring(class_name), 3) end
    list[#list + 1] = { class_name or 'LocalVM', event, make(file, hook) }
  end

  function env.on(event, hook, class_name)
    check(event, hook)
    register(class_name, event, hook, guarded)
  end

  function env.after(event, hook, class_name)
    check(event, hook)
    register(class_name, event, hook, later)
  end

  function env.on_app(event, hook)
    check(event, hook)
    register('Qubes', event, hook, guarded)
  end

  function env.after_app(event, hook)
    check(event, hook)
    register('Qubes', event, hook, later)
  end

  function env.core.spawn(task, ...)
    if type(task) ~= 'function' then error('a task is a function', 2) end
    core.spawn(run_task, file, 'a task', task, ...)
  end

  function env.raise(class_name, message)
    local ok, err = pcall(exceptions.raise, class_name, message)
    if not ok and type(err) == 'table' then deliberate[err] = true end
    error(err, 0)
  end

  -- `app` is there only when the scripts serve.
  local function close() list = nil end
  return setmetatable(env, { __index = function(_, name) return name == 'app' and app or nil end, __metatable = false }), close
end

local pending, close_pending

function core_hooks.site_begin(file)
  pending = {}
  local env
  env, close_pending = environment(file, pending)
  return env
end

function core_hooks.site_end()
  for _, each in ipairs(pending) do
    local class_name, event, hook = table.unpack(each)
    classes.class(class_name):on(event, hook, true)
  end
  close_pending()
  pending = nil
end

return site
