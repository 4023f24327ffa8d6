-- SPDX-License-Identifier: GPL-2.0-or-later
-- Classes of objects: parents (linearised as Python's C3), properties, methods and handlers of events. Registers nothing by itself;
-- lib/globals.lua offers `class` to scripts.
--
-- Words: a class is *declared* by scripts in any order, its parents by name; it is *resolved* when first used, into flat tables in which
-- the nearest class has won. `class(name)` without a declaration reopens a class, so that a long one may be told in several files.

local glob = import('glob')

local classes = {}
local by_name = {}
local registrations = 0 -- counts handlers: those of one class run in the order in which they were registered

local CACHED_EVENTS = 4096 -- names of events hold names of tags and features, so the number of them is not bounded by the scripts

-- Resolved classes by name; filled on demand, emptied by any declaration.
local resolved = {}

local Class = {}
Class.__index = Class

local listeners = {}

local function forget()
  for name in pairs(resolved) do resolved[name] = nil end
  for _, listener in ipairs(listeners) do listener() end
end

-- Calls the function after each declaration: what was kept of a class may be wrong then.
function classes.on_change(listener) listeners[#listeners + 1] = listener end

local WORDS = { vm = 'vm', int = 'int', bool = 'bool', label = 'label' } -- of the API; any other type is a 'str'

-- Declares a property. docs/scripting.md lists the fields; `stage` (2 or 4) is the place of the property in lists of them: those that
-- refer to other qubes come last.
function Class:property(name, declaration)
  local def = {}
  for key, value in pairs(declaration) do def[key] = value end
  def.name = name
  def.class_name = self.name
  def.type = def.type or 'str'
  def.wanted_class = declaration.class or 'LocalVM'
  def.word = WORDS[def.type] or 'str'
  def.has_default = def.default ~= nil
  def.default_function = type(def.default) == 'function' and def.default or nil
  if def.default == none then def.default = nil end
  def.stage = def.stage or 2
  def.doc = def.doc or ''
  def.prefix_default = 'default=True type=' .. def.word .. ' '
  def.pre_set_event = 'property-pre-set:' .. name
  def.set_event = 'property-set:' .. name
  def.prefix_set = 'default=False type=' .. def.word .. ' '
  def.line_default, def.line_set = name .. ' ' .. def.prefix_default, name .. ' ' .. def.prefix_set
  self.properties[name] = def
  forget()
  return def
end

-- Registers a handler of an event, or of each of an array of events.
function Class:on(event, handler, extension, late)
  if type(event) == 'table' then
    for _, each in ipairs(event) do self:on(each, handler, extension, late) end
    return
  end
  if type(handler) ~= 'function' then error('a handler of ' .. tostring(event) .. ' has to be a function', 2) end
  registrations = registrations + 1
  local entry = { handler = handler, order = registrations, extension = extension or false, late = late }
  if glob.has_wildcard(event) then
    entry.pattern = event
    self.patterns[#self.patterns + 1] = entry
  else
    local list = self.handlers[event]
    if not list then
      list = {}
      self.handlers[event] = list
    end
    list[#list + 1] = entry
  end
  forget()
end

-- The same for one that runs when all others have run and the subscribers were told: for work that follows from the event.
function Class:after(event, handler, extension)
  self:on(event, handler, extension, true)
end

function classes.class(name, declaration)
  local class = by_name[name]
  if not class then
    class = setmetatable({ name = name, parents = {}, properties = {}, methods = {}, handlers = {}, patterns = {}, doc = '' }, Class)
    by_name[name] = class
  end
  if declaration then
    if class.declared then error('class ' .. name .. ' is declared twice', 2) end
    class.declared = true
    class.parents = declaration.parents or {}
    class.doc = declaration.doc or ''
    class.creatable = declaration.creatable or false
    forget()
  end
  return class
end

-- C3: an order that keeps every class before its parents, and parents in the order in which they were given.
local function linearise(name, seen)
  local class = by_name[name]
  if not class or not class.declared then error('class ' .. tostring(name) .. ' is not declared') end
  if seen[name] then error('class ' .. name .. ' is its own parent') end
  seen[name] = true
  local lists = {}
  for _, parent in ipairs(class.parents) do lists[#lists + 1] = linearise(parent, seen) end
  seen[name] = nil
  lists[#lists + 1] = { table.unpack(class.parents) }

  local order = { name }
  while true do
    local candidate
    local left = false
    for _, list in ipairs(lists) do
      local head = list[1]
      if head then
        left = true
        local free = true
        for _, other in ipairs(lists) do
          for i = 2, #other do
            if other[i] == head then free = false end
          end
        end
        if free then
          candidate = head
          break
        end
      end
    end
    if not left then return order end
    if not candidate then error('the parents of class ' .. name .. ' can not be put in order') end
    order[#order + 1] = candidate
    for _, list in ipairs(lists) do
      if list[1] == candidate then table.remove(list, 1) end
    end
  end
end

local function by_stage(properties)
  return function(a, b)
    local stage_a, stage_b = properties[a].stage, properties[b].stage
    if stage_a ~= stage_b then return stage_a < stage_b end
    return a < b
  end
end

local function resolve(name)
  local order = linearise(name, {})
  local r = {
    name = name, order = order, ancestors = {}, properties = {}, methods = {}, names = {}, vm_names = {},
    handlers = {}, pre_handlers = {}, cached = 0,
  }
  for i = #order, 1, -1 do -- from the furthest, so that the nearest wins
    local class = by_name[order[i]]
    r.ancestors[class.name] = true
    for key, def in pairs(class.properties) do r.properties[key] = def end
    for key, method in pairs(class.methods) do r.methods[key] = method end
  end
  for key, def in pairs(r.properties) do
    r.names[#r.names + 1] = key
    if def.type == 'vm' then r.vm_names[#r.vm_names + 1] = key end
  end
  table.sort(r.names, by_stage(r.properties))
  table.sort(r.vm_names)
  return r
end

setmetatable(resolved, { __index = function(cache, name)
  -- A qube of a class that is no longer declared (an extension that was taken away) stays readable.
  local r = resolve(by_name[name] and name or 'BaseVM')
  rawset(cache, name, r)
  return r
end })

classes.resolved = resolved

local function earlier(a, b)
  if a.extension ~= b.extension then return b.extension end
  return a.order < b.order
end

-- The handlers of an event for objects of a resolved class, in the order in which they run; those of `after` are in the field `late`, if any.
function classes.handlers(r, event, pre)
  local cache = pre and r.pre_handlers or r.handlers
  local list = cache[event]
  if list then return list end

  list = {}
  local order = r.order
  local first, last, step = #order, 1, -1
  if pre then first, last, step = 1, #order, 1 end
  for i = first, last, step do
    local class = by_name[order[i]]
    local found = {}
    for _, entry in ipairs(class.handlers[event] or {}) do found[#found + 1] = entry end
    for _, entry in ipairs(class.patterns) do
      if glob.match(entry.pattern, event) then found[#found + 1] = entry end
    end
    table.sort(found, earlier)
    for _, entry in ipairs(found) do
      local to = list
      if entry.late then
        list.late = list.late or {}
        to = list.late
      end
      to[#to + 1] = entry.handler
    end
  end

  if r.cached >= CACHED_EVENTS then
    r.handlers, r.pre_handlers, r.cached = {}, {}, 0
    cache = pre and r.pre_handlers or r.handlers
  end
  r.cached = r.cached + 1
  cache[event] = list
  return list
end

-- The declared class of a name, or nil.
function classes.find(name)
  local class = by_name[name]
  return class and class.declared and class or nil
end

-- Names of the declared classes, sorted.
function classes.names()
  local names = {}
  for name, class in pairs(by_name) do
    if class.declared then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

-- Names of the classes that a caller may create qubes of, sorted.
function classes.creatable()
  local names = {}
  for name, class in pairs(by_name) do
    if class.creatable then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

-- Whether a class is another one or descends from it.
function classes.descends(name, ancestor)
  return resolved[name].ancestors[ancestor] == true
end

-- on(): a hook of an extension on an event of qubes, of one class if it is given; on_app(): of the app. A hook on a permission event is a
-- rule, which the core keeps and asks.
function classes.on(event, hook, class_name)
  if event:find('^%a+%-permission:') then return core.on_permission(event, hook) end
  classes.class(class_name or 'LocalVM'):on(event, hook, true)
end

function classes.on_app(event, hook)
  classes.class('Qubes'):on(event, hook, true)
end

return classes
