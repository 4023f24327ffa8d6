-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers the class of the app, with the global properties. Its events are in app_events.lua.

local labels = import('labels')
local network = import('network')
local pools = import('pools')
local property = import('property')
local setters = import('setters')

local Qubes = class('Qubes', { doc = 'The system as a whole: its properties are the global ones.' })

Qubes:property('default_guivm', { type = 'vm', allow_none = true, default = function() return core.qube(0) end,
  doc = 'The qube that shows the windows of qubes which name no other.' })

Qubes:property('default_audiovm', { type = 'vm', allow_none = true, default = function() return core.qube(0) end,
  doc = 'The qube that plays the sound of qubes which name no other.' })

Qubes:property('default_netvm', { type = 'vm', allow_none = true, default = none, set = network.check_default_netvm,
  doc = 'The qube that provides network to qubes which name no other. At first there is none.' })

Qubes:property('default_template', { type = 'vm', class = 'TemplateVM', allow_none = true,
  doc = 'The template of new qubes for which no other is given.' })

Qubes:property('updatevm', { type = 'vm', allow_none = true, default = none,
  doc = 'The qube through which dom0 and templates fetch updates.' })

Qubes:property('clockvm', { type = 'vm', allow_none = true, default = none, doc = "The qube that dom0's clock is set by." })

Qubes:property('default_kernel', { doc = 'The kernel, of those in dom0, of qubes which name no other.' })

Qubes:property('default_dispvm', { type = 'vm', allow_none = true, default = none, set = setters.disposable_template,
  doc = 'The template of the disposables that are started for qubes which name no other.' })

Qubes:property('management_dispvm', { type = 'vm', allow_none = true, default = none, set = setters.disposable_template,
  doc = 'The template of the disposables from which qubes are managed.' })

-- Pools

local function pool_setter(self, value, def)
  if not pools.get(value) then property.refuse(self, def, 'there is no such pool') end
  return value
end

local function default_pool()
  local name = pools.default()
  return name, name == nil
end

Qubes:property('default_pool', { default = default_pool, set = pool_setter, doc = 'The pool for volumes for which no other is given.' })

for volume, what in pairs { private = 'private volumes', root = 'root volumes', volatile = 'volatile volumes', kernel = 'kernels' } do
  Qubes:property('default_pool_' .. volume, { set = pool_setter,
    default = function(self) return self:get('default_pool') end,
    doc = 'The pool for ' .. what .. ' for which no other is given.' })
end

-- Numbers

Qubes:property('default_qrexec_timeout', { type = 'int', default = 60,
  doc = 'How many seconds a qube has, from its start, until it takes service calls.' })

Qubes:property('default_shutdown_timeout', { type = 'int', default = 60, doc = 'How many seconds a qube has to shut down.' })

Qubes:property('stats_interval', { type = 'int', default = 3, doc = 'How many seconds lie between two reports of memory and processor use.' })

Qubes:property('check_updates_vm', { type = 'bool', default = true, doc = 'Whether new qubes look for updates.' })

Qubes:property('maxmem', { type = 'int', read_only = true, computed = true, default = function() return core.host().memory_kib // 1024 end,
  doc = 'The memory of the machine, in MiB.' })

Qubes:property('no_cpus', { type = 'int', read_only = true, computed = true, default = function() return core.host().cpus end,
  doc = 'The number of processors of the machine.' })

-- Labels

-- The label that a text means: a name or an index. Raises QubesLabelNotFoundError.
function Qubes.methods:label(text) return labels.find(text) end

function Qubes.methods:add_label(name, color) return labels.add(name, color) end

function Qubes.methods:remove_label(label) labels.remove(label) end
