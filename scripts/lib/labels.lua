-- SPDX-License-Identifier: GPL-2.0-or-later
-- Labels: `app.labels`, and how they are kept. Registers nothing.
--
-- A label is an attribute of the app, kind `label`, whose value is its index and its colour: `"1 0xcc0000"`. To scripts it is a table with
-- `name`, `index` and `color`, equal to any other of the same name; a property keeps the name only.

local raise = import('exceptions').raise
local types = import('types')

local core_get = core.get
local core_app = core.app

local labels = {}

local BUILT_IN = 8 -- those with an index up to this can't be removed

local Label = { __name = 'label' }

function Label:__tostring() return self.name end

function Label.__eq(a, b) return a.name == b.name end

-- The name in a stored value of a property: a string, or the core's own form of a label.
function labels.name_of(value)
  if type(value) == 'string' then return value end
  return value.name
end

-- The label of a name or stored value; nil when there is none.
function labels.get(value)
  local name = labels.name_of(value)
  local exists, text = core_get(core_app(), 'label', name)
  if not exists then return nil end
  local index, color = text:match('^(%d+) (.*)$')
  return setmetatable({ name = name, index = math.tointeger(tonumber(index)), color = color }, Label)
end

-- What a property keeps of a label.
function labels.stored(label)
  return core.label_value(labels.name_of(label))
end

-- All labels, by index.
function labels.all()
  local list = {}
  for _, name in ipairs(core.names(core_app(), 'label')) do list[#list + 1] = labels.get(name) end
  table.sort(list, function(a, b) return a.index < b.index end)
  return list
end

-- The label that a text means: its name, its index, or `label-` and its index.
function labels.find(text)
  local index = text:match('^label%-(.*)$')
  local label = not index and labels.get(text)
  if label then return label end
  local number = types.parse.int(index or text)
  for _, each in ipairs(number and labels.all() or {}) do
    if each.index == number then return each end
  end
  raise('QubesLabelNotFoundError', 'there is no such label')
end

function labels.add(name, color, index)
  if labels.get(name) then raise('QubesLabelInUseError', 'there is such a label already') end
  if not index then
    index = BUILT_IN
    for _, label in ipairs(labels.all()) do index = math.max(index, label.index) end
    index = index + 1
  end
  core.set(core_app(), 'label', name, ('%d %s'):format(index, color))
  return labels.get(name)
end

function labels.is_built_in(label)
  return label.index <= BUILT_IN
end

function labels.in_use(label)
  for _, qube in ipairs(core.qubes()) do
    local is_set, value = core_get(qube, 'property', 'label')
    if is_set and value ~= nil and labels.name_of(value) == label.name then return true end
  end
  return false
end

function labels.remove(label)
  if labels.is_built_in(label) then raise('ProtocolError', 'a label that is built in can not be removed') end
  if labels.in_use(label) then raise('QubesLabelInUseError', 'a qube has this label') end
  core.unset(core_app(), 'label', label.name)
end

-- app.labels
labels.view = setmetatable({}, {
  __index = function(_, key)
    if key == 'each' then
      return function()
        local list, i = labels.all(), 0
        return function()
          i = i + 1
          return list[i]
        end
      end
    end
    return type(key) == 'string' and labels.get(key) or nil
  end,
  __newindex = function() error('app.labels is read-only: app:add_label(name, color)', 2) end,
  __pairs = function()
    local list, i = labels.all(), 0
    return function()
      i = i + 1
      local label = list[i]
      if label then return label.name, label end
    end
  end,
})

return labels
