-- SPDX-License-Identifier: GPL-2.0-or-later
-- The primitives of the C core in plain Lua and in memory, for unit specs of scripts and for replays without a daemon. Nothing waits, and writes are
-- always allowed. docs/scripting.md is what it imitates.
--
--   local world = require('spec.support.fake_core').new { scripts = 'scripts' }
--   world:load()                    -- runs the folders of scripts, then core_hooks.load
--   world:task(function() … end)    -- as a task: what it spawned runs after it; on an error its changes are taken back
--   world.events                    -- what subscribers of admin.Events would have seen

local lfs_ok, lfs = pcall(require, 'lfs')

local World = {}
World.__index = World

local NONE = setmetatable({}, { __tostring = function() return 'none' end })

local function failure(class, message)
  error({ class = class, message = message }, 0)
end

local function list_lua(path)
  local names = {}
  if lfs_ok then
    if lfs.attributes(path, 'mode') ~= 'directory' then return names end
    for name in lfs.dir(path) do names[#names + 1] = name end
  else
    local pipe = assert(io.popen("ls -a '" .. path .. "' 2>/dev/null"))
    for name in pipe:lines() do names[#names + 1] = name end
    pipe:close()
  end
  table.sort(names)
  return names
end

-- The model: objects are empty tables with the scripts' metatable; what is known of them is in `data`.

local function undoable(world, undo)
  local journal = world.journal
  if journal then journal[#journal + 1] = undo end
  world.version = world.version + 1
end

local function kind_of(data, kind)
  local attributes = data.kinds[kind]
  if not attributes then
    attributes = { names = {}, values = {} }
    data.kinds[kind] = attributes
  end
  return attributes
end

local function position(list, item)
  for i, each in ipairs(list) do
    if each == item then return i end
  end
end

local function set_attribute(world, object, kind, name, value)
  local data = world.data[object]
  if data.removed then error('this qube was removed', 3) end
  assert(type(kind) == 'string' and type(name) == 'string', 'kind and name are strings')
  if value == nil then value = NONE end
  local attributes = kind_of(data, kind)
  local old = attributes.values[name]
  if old == nil then attributes.names[#attributes.names + 1] = name end
  attributes.values[name] = value
  undoable(world, function()
    attributes.values[name] = old
    if old == nil then table.remove(attributes.names, position(attributes.names, name)) end
  end)
end

local function unset_attribute(world, object, kind, name)
  local attributes = kind_of(world.data[object], kind)
  local old = attributes.values[name]
  if old == nil then return false end
  local at = position(attributes.names, name)
  attributes.values[name] = nil
  table.remove(attributes.names, at)
  undoable(world, function()
    attributes.values[name] = old
    table.insert(attributes.names, at, name)
  end)
  return true
end

local function new_object(world, data)
  local object = setmetatable({}, world.metatable)
  data.kinds = {}
  world.data[object] = data
  return object
end

local function uuid_number(number)
  return ('%08x-0000-4000-8000-%012x'):format(number, number)
end

local function sorted_qubes(world)
  local list = {}
  for _, object in pairs(world.by_name) do list[#list + 1] = object end
  table.sort(list, function(a, b) return world.data[a].name < world.data[b].name end)
  return list
end

local function model_primitives(world)
  local data = world.data
  local core = {}

  local function field(name)
    return function(object)
      local known = data[object]
      if not known then error('a qube or the app was expected', 2) end
      return known[name]
    end
  end

  core.name, core.uuid, core.qid, core.class = field('name'), field('uuid'), field('qid'), field('class')
  core.power, core.domain_id, core.removed = field('power'), field('domain_id'), field('removed')

  function core.app() return world.app end
  function core.is_object(value) return type(value) == 'table' and data[value] ~= nil end
  function core.is_app(value) return value == world.app end
  function core.qubes() return sorted_qubes(world) end
  function core.all_qubes() return sorted_qubes(world) end -- in the core a word for all, which filters and core.format understand

  function core.qube(key)
    if type(key) == 'string' and key:sub(1, 5) ~= 'uuid:' then return world.by_name[key] end
    for _, object in pairs(world.by_name) do
      if data[object].qid == key or 'uuid:' .. data[object].uuid == key then return object end
    end
    return nil
  end

  function core.get(object, kind, name)
    local attributes = data[object].kinds[kind]
    local value = attributes and attributes.values[name]
    if value == nil then return false end
    if value == NONE or (data[value] and data[value].removed) then return true, nil end
    return true, value
  end

  function core.view_type(kind, metamethods)
    local owners = setmetatable({}, { __mode = 'k' })
    metamethods.__index = function(view, name)
      if type(name) ~= 'string' then return nil end
      local is_set, value = core.get(owners[view], kind, name)
      return is_set and value or nil
    end
    local function new(object)
      local view = setmetatable({}, metamethods)
      owners[view] = object
      return view
    end
    return new, function(view) return owners[view] end
  end

  function core.set(object, kind, name, value) set_attribute(world, object, kind, name, value) end
  function core.unset(object, kind, name) return unset_attribute(world, object, kind, name) end

  function core.names(object, kind)
    local attributes = data[object].kinds[kind]
    return attributes and { table.unpack(attributes.names) } or {}
  end

  function core.add_qube(wanted)
    local qid = wanted.qid
    if not qid then
      qid = 1
      while core.qube(qid) do qid = qid + 1 end
    end
    world.uuids = world.uuids + 1
    local uuid = wanted.uuid or uuid_number(world.uuids)
    if world.by_name[wanted.name] or core.qube(qid) or core.qube('uuid:' .. uuid) then
      failure('QubesVMAlreadyExistsError', 'there is such a qube already')
    end
    local object = new_object(world, {
      name = wanted.name, class = wanted.class, qid = qid, uuid = uuid, power = 'Halted', domain_id = -1, removed = false,
    })
    world.by_name[wanted.name] = object
    undoable(world, function()
      world.by_name[wanted.name] = nil
      data[object].removed = true
    end)
    return object
  end

  function core.delete_qube(object)
    local known = data[object]
    assert(not known.removed, 'this qube was removed')
    known.removed = true
    world.by_name[known.name] = nil
    undoable(world, function()
      known.removed = false
      world.by_name[known.name] = object
    end)
  end

  function core.set_power(object, word, domain_id)
    data[object].power, data[object].domain_id = word, domain_id or -1
    world.version = world.version + 1
  end

  function core.publish(object, event, info, attempt)
    local copy = {}
    for key, value in pairs(info or {}) do copy[key] = value end
    world.outbox[#world.outbox + 1] = { subject = object, event = event, info = copy, attempt = attempt or false }
  end

  -- Nobody hides anything here.
  function core.caller_sees() return true end
  function core.caller_is_restricted() return false end
  function core.caller_may_miss() return false end
  function core.rules_may_hide() return false end

  function core.label_value(name) return name end
  function core.version() return world.version end
  function core.epoch() return world.version end
  function core.next_epoch() end

  function core.format(qubes, template)
    local lines = {}
    for i, qube in ipairs(qubes == world.app and core.qubes() or qubes) do
      local known = data[qube]
      lines[i] = template:gsub('{(%w+)}', {
        name = known.name, class = known.class, state = known.power, uuid = known.uuid, qid = tostring(known.qid),
      })
    end
    return table.concat(lines)
  end

  return core
end

-- A libvirt on which everything works at once.
local TRANSITIONS = { create = 'Paused', resume = 'Running', suspend = 'Paused', shutdown = 'Halted', destroy = 'Halted', pm_wakeup = 'Running' }

local function other_primitives(world, core)
  function core.virt(qube, operation, argument)
    if world.virt then
      local result = world.virt(qube, operation, argument)
      if result ~= nil then return result end
    end
    if operation == 'pm_suspend' then failure('LibvirtError', 'this driver does not support it') end
    local power = TRANSITIONS[operation]
    if operation == 'create' then world.domain_ids = world.domain_ids + 1 end
    if power then core.set_power(qube, power, power == 'Halted' and -1 or world.domain_ids) end
    return power and core.domain_id(qube) or 0
  end

  function core.virt_stats() return {} end
  function core.host() return world.host end
  function core.config(name) return world.config[name] end
  function core.sleep(seconds) world.clock = world.clock + seconds end
  function core.wait(_, seconds)
    world.clock = world.clock + seconds
    return false
  end
  function core.lock() end
  function core.unlock() end
  function core.commit() end
  function core.spawn(task, ...) world.spawned[#world.spawned + 1] = { task, table.pack(...) } end
  function core.stat(path) return world.files[path] end
  function core.read_file(path) return world.files[path] and world.files[path].text end
  function core.list_directory(path)
    local names = {}
    for file in pairs(world.files) do
      local name = file:sub(1, #path + 1) == path .. '/' and file:sub(#path + 2)
      if name and not name:find('/', 1, true) then names[#names + 1] = name end
    end
    table.sort(names)
    return names
  end
  function core.time() return world.clock end
  function core.monotonic() return world.clock end
  function core.random(limit) return math.random(0, limit - 1) end
  function core.new_uuid()
    world.uuids = world.uuids + 1
    return uuid_number(world.uuids)
  end
  function core.cached(_, _, build) return build() end
  function core.log(level, text) world.log[#world.log + 1] = level .. ': ' .. text end
  function core.serves() return true end
  function core.status() return {} end
  function core.reload() return true, 1, '' end
  function core.qubesdb_list() return {} end
  function core.in_rule() return false end

  function core.declarations() return world.methods end
  function core.policy() return { directories = {} } end -- no qrexec
  function core.on_permission(pattern, hook) world.hooks[#world.hooks + 1] = { pattern = pattern, hook = hook } end
  function core.set_object_metatable(index, newindex, to_string, views)
    local function read(object, key)
      if views[key] then return views[key][object] end
      return index(object, key)
    end
    world.metatable.__index, world.metatable.__newindex, world.metatable.__tostring = read, newindex, to_string
  end
  core.validate = require('spec.support.fake_calls').validators
end

-- What a world may be made of: `scripts` (the folder), `host`, `config`, `files` (path → { type =, size = }), `virt` (a function).
local function new(options)
  local world = setmetatable({
    scripts = options.scripts or 'scripts',
    host = options.host or { memory_kib = 163840 * 1024, cpus = 8, type = 'Test' },
    config = options.config or { kernels_dir = '/kernels', state_dir = '/state' },
    files = options.files or {
      ['/kernels/6.12.1'] = { type = 'directory' },
      ['/kernels/6.12.1/vmlinuz'] = { type = 'file', size = 1 },
    },
    virt = options.virt,
    data = {}, metatable = {}, by_name = {}, methods = {}, hooks = {}, log = {}, events = {}, outbox = {}, spawned = {}, imported = {},
    version = 0, uuids = 0, domain_ids = 0, clock = 1767225600,
  }, World)
  local core = model_primitives(world)
  other_primitives(world, core)
  world.core = core
  world.environment = setmetatable({ core = core, none = NONE, core_hooks = {} }, { __index = _G })
  world.environment._G = world.environment
  function world.environment.import(name) return world:import(name) end
  function world.environment.method(name, declaration, handler) world.methods[name] = { declaration = declaration, handler = handler } end
  world.app = new_object(world, { class = 'Qubes', qid = -1, uuid = '', power = 'NA', domain_id = -1, removed = false })
  world.environment.app = world.app
  return world
end

function World:import(name)
  if self.imported[name] == nil then
    local chunk = assert(loadfile(('%s/lib/%s.lua'):format(self.scripts, name), 't', self.environment))
    self.imported[name] = chunk()
  end
  return self.imported[name]
end

local function load_folder(world, path)
  local names = list_lua(path)
  for _, name in ipairs(names) do
    if name:find('%.lua$') then assert(loadfile(path .. '/' .. name, 't', world.environment))() end
  end
  for _, name in ipairs(names) do
    if not name:find('.', 1, true) then load_folder(world, path .. '/' .. name) end
  end
end

-- Runs the scripts; with `without_model`, without core_hooks.load.
function World:load(without_model)
  self:import('globals')
  for _, folder in ipairs { 'classes', 'hypervisor', 'storage', 'ext', 'api' } do load_folder(self, self.scripts .. '/' .. folder) end
  if not without_model then assert(self:task(self.environment.core_hooks.load)) end
  self.events = {}
  return self
end

local function deliver(world, failed)
  for _, event in ipairs(world.outbox) do
    if not failed or event.attempt then world.events[#world.events + 1] = event end
  end
  world.outbox = {}
end

-- Runs a function as the core runs a call or a task. True and its result; or false and the error, and nothing of what it changed stays.
function World:task(run, ...)
  local spawned
  self.journal, self.outbox, self.spawned = {}, {}, {}
  local ok, result = xpcall(run, function(err)
    return type(err) == 'table' and err or { class = false, message = debug.traceback(err) }
  end, ...)
  if not ok then
    for i = #self.journal, 1, -1 do self.journal[i]() end
    self.spawned = {}
  end
  deliver(self, not ok)
  self.journal, spawned, self.spawned = nil, self.spawned, {}
  for _, task in ipairs(spawned) do self:task(task[1], table.unpack(task[2], 1, task[2].n)) end
  return ok, result
end

return { new = new, none = NONE }
