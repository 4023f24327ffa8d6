-- SPDX-License-Identifier: GPL-2.0-or-later
-- Makes the qubes of a test in a daemon of one's own, by calls of dom0 on the console, which no rule judges.
--
--   { work = { klass =, label =, template =, tags = { 'shared' }, features = { NAME = 'value' }, running = true, PROPERTY = value }, … }

local tool = require 'tool'

local ORDER = { TemplateVM = 1, StandaloneVM = 2, AppVM = 3, DispVM = 4 }
local FIRST = { 'provides_network', 'template_for_dispvms' } -- properties that other qubes depend on
local OWN = { -- what is no property, or set at another time
  klass = true, label = true, template = true, tags = true, features = true, running = true, provides_network = true, template_for_dispvms = true,
}
local DEFAULT_TEMPLATE = 'template'

local function sorted_keys(list)
  local keys = {}
  for key in pairs(list) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

local function to_text(value)
  if value == true then return 'True' end
  if value == false then return 'False' end
  return tostring(value)
end

-- The names, templates first. Adds a template when there is none and somebody needs it.
local function complete(qubes)
  local all, needs, has = {}, false, false
  for name, qube in pairs(qubes) do
    if type(name) ~= 'string' or type(qube) ~= 'table' then error('an estate is { NAME = { … }, … }', 0) end
    all[name] = qube
    local klass = qube.klass or 'AppVM'
    if name ~= 'dom0' and not ORDER[klass] then error(('%s: there is no class %s to make'):format(name, tostring(klass)), 0) end
    needs = needs or name ~= 'dom0' and klass == 'AppVM' and not qube.template
    has = has or klass == 'TemplateVM'
  end
  if needs and not has then all[DEFAULT_TEMPLATE] = { klass = 'TemplateVM' } end
  local names = sorted_keys(all)
  table.sort(names, function(a, b)
    local order_a, order_b = ORDER[all[a].klass or 'AppVM'], ORDER[all[b].klass or 'AppVM']
    if order_a ~= order_b then return order_a < order_b end
    return a < b
  end)
  return all, names
end

local Maker = {}
Maker.__index = Maker

function Maker:ask(method, dest, arg, payload)
  local body, class, message = tool.call(self.directory, { method = method, dest = dest, arg = arg, payload = payload })
  if body then return body end
  error(('the estate: %s%s of %s: %s'):format(method, arg and '+' .. arg or '', dest, class and class .. ': ' .. message or 'no answer'), 0)
end

function Maker:create(name, qube)
  if name == 'dom0' then return end
  local klass = qube.klass or 'AppVM'
  self:ask('admin.vm.Create.' .. klass, 'dom0', qube.template, ('name=%s label=%s'):format(name, qube.label or 'red'))
  if klass == 'TemplateVM' and not self.template then
    self.template = name
    self:ask('admin.property.Set', 'dom0', 'default_template', name)
  end
end

function Maker:set_first(name, qube)
  for _, property in ipairs(FIRST) do
    if qube[property] ~= nil then self:ask('admin.vm.property.Set', name, property, to_text(qube[property])) end
  end
end

function Maker:set_others(name, qube)
  for _, property in ipairs(sorted_keys(qube)) do
    if not OWN[property] then self:ask('admin.vm.property.Set', name, property, to_text(qube[property])) end
  end
end

function Maker:set_tags_and_features(name, qube)
  for _, tag in ipairs(qube.tags or {}) do self:ask('admin.vm.tag.Set', name, tag) end
  for _, feature in ipairs(sorted_keys(qube.features or {})) do
    self:ask('admin.vm.feature.Set', name, feature, to_text(qube.features[feature]))
  end
end

-- Makes the estate; `system` are properties of the system. Raises a text when something is not accepted.
return function(directory, qubes, system)
  local self = setmetatable({ directory = directory }, Maker)
  local all, names = complete(qubes)
  for _, name in ipairs(names) do
    self:create(name, all[name])
    self:set_first(name, all[name])
  end
  for _, name in ipairs(names) do self:set_others(name, all[name]) end
  for _, property in ipairs(sorted_keys(system or {})) do self:ask('admin.property.Set', 'dom0', property, to_text(system[property])) end
  for _, name in ipairs(names) do self:set_tags_and_features(name, all[name]) end
  for _, name in ipairs(names) do
    if all[name].running then self:ask('admin.vm.Start', name) end
  end
end
