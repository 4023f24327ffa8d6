-- SPDX-License-Identifier: GPL-2.0-or-later
-- `qube.features`, `qube.tags` and `app.domains`: views that look like tables, read the model and fire the events of a change.
-- Registers nothing.
--
-- A view is a value of its own type, so that every assignment goes through its metamethods: rules have these views too. Methods would hide names, so
-- there are none.

local events = import('events')
local names = import('names')
local per_object = import('per_object')
local raise = import('exceptions').raise

local fire = events.fire
local core_get = core.get

local views = {}

local function iterate(kind, qube)
  local list, i = core.names(qube, kind), 0
  return function()
    while true do
      i = i + 1
      local name = list[i]
      if name == nil then return nil end
      local is_set, value = core_get(qube, kind, name)
      if is_set then return name, value end -- a loop may take items away
    end
  end
end

local function delete_feature(qube, name)
  local info = { feature = name }
  fire(qube, 'domain-feature-pre-delete:' .. name, info)
  if not core.unset(qube, 'feature', name) then
    raise('QubesFeatureNotFoundError', ('feature %s is not set on %s'):format(name, core.name(qube)))
  end
  fire(qube, 'domain-feature-delete:' .. name, info)
end

local function set_feature(qube, name, value)
  if value == none or value == false then
    value = ''
  elseif value == true then
    value = '1'
  else
    value = tostring(value)
  end
  local had, old = core_get(qube, 'feature', name)
  local info = { feature = name, value = value, oldvalue = had and old or nil }
  fire(qube, 'domain-feature-pre-set:' .. name, info, true)
  core.set(qube, 'feature', name, value)
  fire(qube, 'domain-feature-set:' .. name, info)
end

local new_features, new_tags, features_owner, tags_owner

new_features, features_owner = core.view_type('feature', {
  __newindex = function(view, name, value)
    if type(name) ~= 'string' then error('the name of a feature is a string', 2) end
    if value == nil then return delete_feature(features_owner(view), name) end
    return set_feature(features_owner(view), name, value)
  end,
  __pairs = function(view) return iterate('feature', features_owner(view)) end,
})

-- A tag is kept as true.
new_tags, tags_owner = core.view_type('tag', {
  __newindex = function(view, tag, value)
    local qube = tags_owner(view)
    if type(tag) ~= 'string' then error('a tag is a string', 2) end
    local is_set = core_get(qube, 'tag', tag)
    local info = { tag = tag }
    if not value then
      if not is_set then raise('QubesTagNotFoundError', ('%s has no tag %s'):format(core.name(qube), tag)) end
      core.unset(qube, 'tag', tag)
      fire(qube, 'domain-tag-delete:' .. tag, info)
      return
    end
    if not names.is_tag(tag) then raise('QubesValueError', 'a tag consists of letters, digits, underscores and hyphens') end
    if is_set then return end
    core.set(qube, 'tag', tag, true)
    fire(qube, 'domain-tag-add:' .. tag, info)
  end,
  __pairs = function(view) return iterate('tag', tags_owner(view)) end,
})

local function view_of(new)
  return function(object)
    if core.is_app(object) then return nil end
    return new(object)
  end
end

-- The views by qube, each made once.
views.features, views.tags = per_object(view_of(new_features)), per_object(view_of(new_tags))

local function each_qube()
  local list, i = core.qubes(), 0
  return function()
    i = i + 1
    return list[i]
  end
end

-- All qubes in the order in which events tell of them: dom0, then the others by name.
function views.qubes()
  local list = core.qubes()
  for i, qube in ipairs(list) do
    if core.qid(qube) == 0 then
      table.insert(list, 1, table.remove(list, i))
      break
    end
  end
  return list
end

-- The qubes whose template it is, in that order.
function views.based_on(template)
  local list = {}
  for _, qube in ipairs(views.qubes()) do
    local is_set, value = core_get(qube, 'property', 'template')
    if is_set and value == template then list[#list + 1] = qube end
  end
  return list
end

views.domains = setmetatable({}, {
  __index = function(_, key)
    if key == 'each' then return each_qube end
    if key == nil then return nil end
    if core.is_object(key) then return not core.removed(key) and key or nil end
    return core.qube(key)
  end,
  __newindex = function() error('app.domains is read-only: app:add_new_vm{…}, app:remove_vm(qube)', 2) end,
  __pairs = function()
    local next_qube = each_qube()
    return function()
      local qube = next_qube()
      if qube then return core.name(qube), qube end
    end
  end,
  __len = function() return #core.qubes() end,
})

return views
