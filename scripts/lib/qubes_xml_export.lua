-- SPDX-License-Identifier: GPL-2.0-or-later
-- Writing the model as a qubes.xml that the Python daemon reads, and lib/qubes_xml_import.lua. Registers nothing; classes/hooks_xml.lua does.
--
-- Only what is explicit is written. What a former import kept (lib/qubes_xml.lua) is put back where it came from.

local labels = import('labels')
local views = import('views')
local xml = import('qubes_xml')

local element = xml.element

local IDENTITY = { 'name', 'qid', 'uuid' }
local OWN = { property = true, feature = true, tag = true, volume = true, notes = true, label = true, pool = true }
local TYPES = { string = 'string', number = 'integer', boolean = 'boolean', ['nil'] = 'none', userdata = 'qube' }

local function add(parent, child)
  parent.children[#parent.children + 1] = child
  return child
end

-- Puts back what was kept of an element. `skip(child)`, where it is given, tells which children the model has something newer for.
local function restore(object, key, node, skip)
  local is_kept, text = core.get(object, xml.KEPT, key)
  local kept = is_kept and core.xml_parse(text)
  if not kept then return node end
  for _, pair in ipairs(kept.attributes) do node.attributes[#node.attributes + 1] = pair end
  node.text = node.text or kept.text
  for _, child in ipairs(kept.children) do
    if not (skip and skip(child)) then add(node, child) end
  end
  return node
end

local function is_restorable(object, key)
  return core.get(object, xml.KEPT, key)
end

-- A text that XML has no way to write is left out, and said so.
local function writable(object, what, text)
  if xml.is_writable(text) then return true end
  core.log('warning', ('qubes.xml: %s of %s has characters that XML can not hold, and is left out'):format(what, core.name(object) or 'the system'))
  return false
end

local function text_of(value)
  if type(value) == 'boolean' then return value and 'True' or 'False' end
  if type(value) == 'number' then return tostring(value) end
  if type(value) == 'string' then return value end
  if core.is_object(value) then return core.name(value) end
  return labels.name_of(value)
end

local function property_node(object, name, value)
  local def = object:property_def(name)
  local node = element('property', { { 'name', name } })
  if value == nil then
    -- In Python an empty text is None for a qube; for other types nothing says it, so only this daemon reads the attribute.
    if not def or def.type ~= 'vm' then node.attributes[2] = { 'none', 'True' } end
    return node
  end
  node.text = text_of(value)
  return writable(object, 'the property ' .. name, node.text) and restore(object, 'properties/' .. name, node) or nil
end

local function properties(object)
  local node = element('properties')
  local names = core.names(object, 'property')
  local explicit = {}
  if core.qid(object) > 0 then
    for _, name in ipairs(IDENTITY) do
      explicit[name] = true
      add(node, restore(object, 'properties/' .. name, element('property', { { 'name', name } }, text_of(core[name](object)))))
    end
  end
  table.sort(names)
  for _, name in ipairs(names) do
    local _, value = core.get(object, 'property', name)
    local child = property_node(object, name, value)
    explicit[name] = true
    if child then add(node, child) end
  end
  return restore(object, 'properties', node, function(child) return child.name == 'property' and explicit[child.attributes.name] end)
end

local function features(qube)
  local node = element('features')
  for _, name in ipairs(core.names(qube, 'feature')) do
    local _, value = core.get(qube, 'feature', name)
    if writable(qube, 'the feature ' .. name, name) and writable(qube, 'the feature ' .. name, value) then
      add(node, restore(qube, 'features/' .. name, element('feature', { { 'name', name } }, value)))
    end
  end
  return restore(qube, 'features', node)
end

local function tags(qube)
  local node = element('tags')
  for _, name in ipairs(core.names(qube, 'tag')) do
    add(node, restore(qube, 'tags/' .. name, element('tag', { { 'name', name } })))
  end
  return restore(qube, 'tags', node)
end

local function device(qube, class_name, name)
  local backend, port, identity = xml.parse_device_name(name)
  local _, text = core.get(qube, 'device.' .. class_name, name)
  local node = element('device', { { 'backend-domain', backend }, { 'id', port } })
  for _, field in ipairs(xml.parse_fields(text)) do
    local option = field[1]:match('^_(.*)$')
    if option then
      add(node, element('option', { { 'name', option } }, field[2]))
    elseif field[1] == 'mode' then
      node.attributes[#node.attributes + 1] = field
    end
  end
  node.attributes[#node.attributes + 1] = { 'identity', identity }
  return restore(qube, ('devices.%s/%s'):format(class_name, name), node)
end

-- All device classes that the qube has assignments of, or something that was kept.
local function device_classes(qube)
  local list, seen = {}, {}
  local function see(class_name)
    if class_name and not seen[class_name] then
      seen[class_name] = true
      list[#list + 1] = class_name
    end
  end
  for _, kind in ipairs(core.kinds(qube)) do see(kind:match('^device%.(.*)$')) end
  for _, key in ipairs(core.names(qube, xml.KEPT)) do see(key:match('^devices%.([%w_-]+)$')) end
  return list
end

local function devices(qube, domain)
  for _, class_name in ipairs(device_classes(qube)) do
    local node = element('devices', { { 'class', class_name } })
    for _, name in ipairs(core.names(qube, 'device.' .. class_name)) do
      if xml.parse_device_name(name) then add(node, device(qube, class_name, name)) end
    end
    add(domain, restore(qube, 'devices.' .. class_name, node))
  end
end

-- A pool or volume: its configuration as attributes.
local function fields_node(object, kind, section, tag, name)
  local _, text = core.get(object, kind, name)
  local node = element(tag, { { 'name', name } })
  for _, field in ipairs(xml.parse_fields(text)) do node.attributes[#node.attributes + 1] = field end
  return restore(object, section .. '/' .. name, node)
end

local function volumes(qube, domain)
  local names = core.names(qube, 'volume')
  if #names == 0 and not is_restorable(qube, 'volume-config') then return end
  local node = add(domain, element('volume-config'))
  for _, name in ipairs(names) do add(node, fields_node(qube, 'volume', 'volume-config', 'volume', name)) end
  restore(qube, 'volume-config', node)
end

-- Attributes of kinds that qubes.xml has no place for; the Python daemon passes over them.
local function other_kinds(object, parent)
  for _, kind in ipairs(core.kinds(object)) do
    if not OWN[kind] and not xml.PRIVATE[kind] and not kind:find('^device%.') and writable(object, kind, kind) then
      local node = add(parent, element('attributes', { { 'kind', kind } }))
      for _, name in ipairs(core.names(object, kind)) do
        local _, value = core.get(object, kind, name)
        local text = value == nil and '' or text_of(value)
        if writable(object, kind, name) and writable(object, name, text) then
          add(node, element('attribute', { { 'name', name }, { 'type', TYPES[type(value)] } }, text))
        end
      end
      restore(object, 'attributes.' .. kind, node)
    end
  end
end

local function notes(qube, domain)
  local has, text = core.get(qube, 'notes', 'text')
  if has and text and text ~= '' and writable(qube, 'the notes', text) then add(domain, element('notes', nil, text)) end
end

local function domain_node(qube)
  local node = element('domain', { { 'id', 'domain-' .. text_of(core.qid(qube)) }, { 'class', core.class(qube) } })
  add(node, properties(qube))
  add(node, features(qube))
  add(node, tags(qube))
  devices(qube, node)
  volumes(qube, node)
  notes(qube, node)
  other_kinds(qube, node)
  return restore(qube, '.', node)
end

local function label_nodes(object)
  local node = element('labels')
  for _, label in ipairs(labels.all()) do
    add(node, restore(object, 'labels/' .. label.name, element('label', { { 'id', 'label-' .. text_of(label.index) }, { 'color', label.color } }, label.name)))
  end
  return restore(object, 'labels', node)
end

local function pool_nodes(object)
  local node = element('pools')
  for _, name in ipairs(core.names(object, 'pool')) do add(node, fields_node(object, 'pool', 'pools', 'pool', name)) end
  return restore(object, 'pools', node)
end

-- The whole model as the text of a qubes.xml.
return function()
  local object = core.app()
  local root = element('qubes', { { 'written-by', xml.WRITER } })
  add(root, label_nodes(object))
  add(root, pool_nodes(object))
  add(root, properties(object))
  local domains = add(root, element('domains'))
  for _, qube in ipairs(views.qubes()) do add(domains, domain_node(qube)) end
  restore(object, 'domains', domains)
  other_kinds(object, root)
  restore(object, '.', root)
  local text, why = core.xml_format(root)
  if not text then error('qubes.xml can not be written: ' .. why) end
  return text
end
