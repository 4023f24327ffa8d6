-- SPDX-License-Identifier: GPL-2.0-or-later
-- Who refers to a qube by a property: what stops its removal. Registers nothing.

local classes = import('class')
local raise = import('exceptions').raise
local views = import('views')

local core_class, core_get = core.class, core.get
local resolved = classes.resolved
local core_app = core.app

local dependencies = {}

local function set_of(list)
  if not list then return nil end
  local set = {}
  for _, name in ipairs(list) do set[name] = true end
  return set
end

-- A preloaded disposable goes away with its template, so it holds it by nothing but other qubes' properties.
local function goes_along(other, name, qube)
  if not other.is_preload then return false end
  if name == 'template' then return true end
  return (name == 'default_dispvm' or name == 'management_dispvm') and other.template == qube
end

-- Two arrays: names of global properties whose value (also a default one) is the qube, and `{ qube, property }` of other qubes that name it
-- explicitly. The optional arrays limit which properties count.
function dependencies.of(qube, system_names, qube_names)
  local system, others = {}, {}
  local wanted = set_of(system_names)
  for _, name in ipairs(resolved.Qubes.vm_names) do
    if (not wanted or wanted[name]) and core_app()[name] == qube then system[#system + 1] = name end
  end
  wanted = set_of(qube_names)
  for _, other in ipairs(views.qubes()) do
    if other ~= qube then
      for _, name in ipairs(resolved[core_class(other)].vm_names) do
        local is_explicit, value = core_get(other, 'property', name)
        if is_explicit and value == qube and (not wanted or wanted[name]) and not goes_along(other, name, qube) then
          others[#others + 1] = { other, name }
        end
      end
    end
  end
  return system, others
end

-- The dependencies as text for the log: `name:property`.
function dependencies.describe(system, others)
  local words = {}
  for _, name in ipairs(system) do words[#words + 1] = 'system:' .. name end
  for _, pair in ipairs(others) do words[#words + 1] = pair[1].name .. ':' .. pair[2] end
  return table.concat(words, ', ')
end

-- Raises QubesVMInUseError when anything refers to the qube. Does not wait.
function dependencies.refuse_if_needed(qube)
  local system, others = dependencies.of(qube)
  if #system == 0 and #others == 0 then return end
  core.log('warning', ('%s can not be removed, because of %s'):format(qube.name, dependencies.describe(system, others)))
  raise('QubesVMInUseError', ("%s is in use: the daemon's log says by whom"):format(qube.name))
end

return dependencies
