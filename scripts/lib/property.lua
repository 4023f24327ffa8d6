-- SPDX-License-Identifier: GPL-2.0-or-later
-- Reading, setting and resetting properties, with their checks and events. Registers nothing; lib/object.lua puts these on objects.
--
-- A property is *explicit* when a value is stored for it, even a None; else it has its default, if it has one. Functions answer (value, true)
-- for a property that has neither: it is unset.

local events = import('events')
local labels = import('labels')
local types = import('types')
local classes = import('class')
local raise = import('exceptions').raise

local fire = events.fire
local resolved = classes.resolved
local core_get, core_class, core_name, core_is_object = core.get, core.class, core.name, core.is_object

local property = {}

-- Whether properties are read as the caller of the running call sees them: a qube that it may not know of is none, and so it is for whatever is
-- computed from it (law 1).
local as_seen = false

local function shown(value)
  if core_is_object(value) and not core.caller_sees(value) then return nil end
  return value
end

-- Calls the function so. It may not wait.
function property.as_seen(f, ...)
  if as_seen or not core.caller_may_miss() then return f(...) end
  as_seen = true
  local results = table.pack(pcall(f, ...))
  as_seen = false
  if not results[1] then error(results[2], 0) end
  return table.unpack(results, 2, results.n)
end

-- Whether the property is explicit, and its value as it is stored.
local function explicit(object, def)
  local identity = def.identity
  if identity then return true, identity(object) end
  if def.computed then return false end
  return core_get(object, 'property', def.name)
end

local function default(object, def)
  local compute = def.default_function
  if compute then return compute(object) end
  return def.default, not def.has_default
end

-- The value of a property. Says at once what the two above say together: this is the hottest function of all scripts.
local function read(object, def)
  local identity = def.identity
  if identity then return identity(object) end
  if not def.computed then
    local is_explicit, value = core_get(object, 'property', def.name)
    if is_explicit then
      if def.type == 'label' and value ~= nil then return labels.get(value) end
      if as_seen then return shown(value) end
      return value
    end
  end
  local compute = def.default_function
  if compute then return compute(object) end
  return def.default, not def.has_default
end

-- The same by name, for scripts on the way from qube to qube: nil for a property that the object's class does not have, a label's name for a label.
function property.value(object, name)
  local is_explicit, value = core_get(object, 'property', name)
  if is_explicit then
    if as_seen then return shown(value) end
    return value
  end
  local def = resolved[core_class(object)].properties[name]
  if not def then return nil end
  if def.identity then return def.identity(object) end
  local compute = def.default_function
  if compute then return compute(object) end
  return def.default, not def.has_default
end

property.explicit, property.default, property.read = explicit, default, read

local function describe(object)
  return core_name(object) or 'the system'
end

function property.refuse(object, def, why)
  raise('QubesPropertyValueError', ('%s of %s: %s'):format(def.name, describe(object), why))
end

local function check_writable(object, def)
  if def.write_once and explicit(object, def) then property.refuse(object, def, 'it is set once and for all') end
end

-- The qube that a new value of a `vm` property means, or nil for None.
local function qube_of(object, def, value)
  if value == none or value == '' or value == nil then
    if not def.allow_none then property.refuse(object, def, 'it can not be empty') end
    return nil
  end
  local qube = value
  if type(value) == 'string' then qube = core.qube(value) end
  if qube == nil or not core.is_object(qube) or core.is_app(qube) or core.removed(qube) then
    property.refuse(object, def, 'there is no such qube')
  end
  if not classes.descends(core_class(qube), def.wanted_class) then
    property.refuse(object, def, ('%s is no %s'):format(core_name(qube), def.wanted_class))
  end
  return qube
end

-- What is kept for a new value. Raises when it is not allowed.
local function accept(object, def, value)
  if def.read_only or def.computed then property.refuse(object, def, 'it can not be set') end
  if def.type ~= 'vm' and value == none then value = nil end
  if def.set then value = def.set(object, value, def) end
  return types.coerce(def, value)
end

local function store(object, def, value)
  if value == nil then
    value = none
  elseif def.type == 'label' then
    value = labels.stored(value)
  end
  core.set(object, 'property', def.name, value)
end

local function or_none(value)
  if value == nil then return none end
  return value
end

-- The info of an event about a change, with the old value (events.fire).
local function info_of(object, def, old, unset)
  local info = { name = def.name }
  if not unset then info.oldvalue = or_none(old) end
  if def.default_function and core.rules_may_hide() and not explicit(object, def) then info._inherited = true end
  return info
end

function property.set(object, def, value)
  if value == nil then error(('%s: nil is no value; say `none`, or reset it'):format(def.name), 2) end
  if def.type == 'vm' then value = qube_of(object, def, value) end
  check_writable(object, def)
  local old, unset = read(object, def)
  value = accept(object, def, value)

  local info = info_of(object, def, old, unset)
  info.newvalue = or_none(value)
  fire(object, def.pre_set_event, info, true)
  store(object, def, value)
  fire(object, def.set_event, info)
end

-- Sets a property of a qube that is being created: the checks without the events.
function property.set_quietly(object, def, value)
  if def.type == 'vm' then value = qube_of(object, def, value) end
  store(object, def, accept(object, def, value))
end

function property.reset(object, def)
  check_writable(object, def)
  local old, unset = read(object, def)
  local info = info_of(object, def, old, unset)
  fire(object, 'property-pre-reset:' .. def.name, info, true)
  fire(object, 'property-pre-del:' .. def.name, info, true) -- the older name of the same event, until Qubes 5
  if not def.computed then core.unset(object, 'property', def.name) end
  fire(object, 'property-reset:' .. def.name, info)
  fire(object, 'property-del:' .. def.name, info)
end

-- Whatever is stored explicitly for these properties of another object, without events for each of them.
function property.clone(object, from, names)
  local properties = resolved[core_class(object)].properties
  for _, name in ipairs(names) do
    local is_explicit, value = core_get(from, 'property', name)
    if is_explicit and properties[name] then core.set(object, 'property', name, value == nil and none or value) end
  end
end

return property
