-- SPDX-License-Identifier: GPL-2.0-or-later
-- What scripts see of the app and of qubes: the fields and methods that every object has, installed as the metamethods of the core's userdata.
-- Registers the metatable of objects.
--
-- A field is looked up among the views, the properties of the object's class, then its methods, then the fields below. The way to a property is two
-- table look-ups and one call of the core, without a table or a closure made on the way. Rules ask this for each qube of long lists.

local classes = import('class')
local events = import('events')
local property = import('property')
local types = import('types')
local views = import('views')
local labels = import('labels')
local per_object = import('per_object')
local serialize = import('serialize')
local raise = import('exceptions').raise

local resolved = classes.resolved
local core_class, core_in_rule = core.class, core.in_rule
local read = property.read

local object = {}

-- Methods that every object has; those of classes are in their `methods`.
local common = {}

local function definition(o, name)
  local def = resolved[core_class(o)].properties[name]
  if not def then raise('QubesNoSuchPropertyError', ('%s has no property %s'):format(core.name(o) or 'the system', tostring(name))) end
  return def
end

function common.fire(o, event, info, pre, changes) return events.fire(o, event, info, pre, changes) end

function common.reset(o, name) return property.reset(o, definition(o, name)) end

function common.is_default(o, name) return not property.explicit(o, definition(o, name)) end

-- The default of a property; (nil, true) when it has none.
function common.get_default(o, name) return property.default(o, definition(o, name)) end

-- The value of a property; (nil, true) when it is unset.
function common.get(o, name) return read(o, definition(o, name)) end

function common.property_names(o)
  local names = resolved[core_class(o)].names
  return table.move(names, 1, #names, 1, {})
end

-- The declaration, which all calls share: a rule gets a copy.
function common.property_def(o, name)
  local def = resolved[core_class(o)].properties[name]
  if not def or not core_in_rule() then return def end
  local copy = {}
  for key, value in pairs(def) do copy[key] = value end
  return copy
end

-- The checked new value of a property, from an untrusted payload (or from text).
function common.sanitize(o, name, untrusted) return types.sanitize(definition(o, name), untrusted) end

-- `default=… type=… …`, `type=… …`, and a line for each property, as the Admin API writes them.
-- `to_text(value)`, where it is given, writes the values.
function common.property_text(o, name, to_text) return serialize.property(o, definition(o, name), to_text) end

function common.default_text(o, name, to_text) return serialize.default(o, definition(o, name), to_text) end

function common.property_values(o, names, to_text) return serialize.properties(o, names, to_text) end

function common.all_property_values(o) return serialize.all_properties(o) end

function common.is_a(o, class_name) return resolved[core_class(o)].ancestors[class_name] == true end

-- Fields that are not properties.
local qube_views = { features = views.features, tags = views.tags }

local qube_fields = {
  power = function(o) return core.power(o) end,
  klass = core_class,
}

local app_fields = {
  domains = function() return views.domains end,
  labels = function() return labels.view end,
  klass = core_class,
}

-- The flat class of an object, which never changes while scripts serve.
local class_of = per_object(function(o) return resolved[core_class(o)] end)

classes.on_change(function()
  for o in next, class_of do class_of[o] = nil end
end)

local function index(o, key)
  local r = class_of[o]
  local def = r.properties[key]
  if def then return (read(o, def)) end
  local method = r.methods[key] or common[key]
  if method then return method end
  local field = (r.name == 'Qubes' and app_fields or qube_fields)[key]
  if field then return field(o) end
  return nil
end

local function newindex(o, key, value)
  return property.set(o, definition(o, key), value)
end

local function to_string(o)
  return core.name(o) or 'Qubes'
end

object.index, object.newindex = index, newindex

-- Calls visit(name, kind) for each field that a qube of some declared class has; kind: 'qube', 'label', 'plain', 'view' or 'method'.
function object.each_field(visit)
  for name in pairs(qube_views) do visit(name, 'view') end
  for name in pairs(qube_fields) do visit(name, 'plain') end
  for name in pairs(common) do visit(name, 'method') end
  for _, class_name in ipairs(classes.names()) do
    local r = resolved[class_name]
    if r.ancestors.BaseVM then
      for name, def in pairs(r.properties) do visit(name, def.type == 'vm' and 'qube' or def.type == 'label' and 'label' or 'plain') end
      for name in pairs(r.methods) do visit(name, 'method') end
    end
  end
end

core.set_object_metatable(index, newindex, to_string, qube_views)

return object
