-- SPDX-License-Identifier: GPL-2.0-or-later
-- Reading qubes.xml into an empty model. Registers nothing; classes/hooks_xml.lua does.
--
-- Values are checked by their types and setters, as if they were set, but no event is fired: this is a state, not a change. In the end every
-- element has gone one of three ways: into the model, to what is kept (lib/qubes_xml.lua), or, a reference that leads nowhere or round in a circle,
-- to "none", which opens nothing. The last two are faults, which are listed with their lines.

local classes = import('class')
local exceptions = import('exceptions')
local labels = import('labels')
local names = import('names')
local network = import('network')
local property = import('property')
local types = import('types')
local xml = import('qubes_xml')

local raise = exceptions.raise

local QID_MAX = 65535
local FAULTS_SHOWN = 1000
local ABSTRACT = { BaseVM = true, LocalVM = true }
local MODES = { ['required'] = true, ['auto-attach'] = true, ['ask-to-attach'] = true }
local ZEROS = '00000000-0000-0000-0000-000000000000'
local NOTHING_KNOWN = {}

local function describe(node)
  local name = node.attributes.name or node.attributes.id
  return name and ('<%s %s="%s">'):format(node.name, node.attributes.name and 'name' or 'id', name) or '<' .. node.name .. '>'
end

local function fault(state, node, what)
  state.faults[#state.faults + 1] = ('line %d: %s: %s'):format(node.line, describe(node), what)
end

-- ---- what is kept ----

local function kept_of(state, object, key, node)
  local of_object = state.kept[object]
  if not of_object then
    of_object = {}
    state.kept[object] = of_object
  end
  if not of_object[key] then
    of_object[key] = xml.element(node.name)
    state.kept_order[#state.kept_order + 1] = { object, key }
  end
  return of_object[key]
end

local function keep_child(state, object, key, node, child)
  local children = kept_of(state, object, key, node).children
  child.tail = nil
  children[#children + 1] = child
end

-- Keeps the attributes that are not known, and texts where none was expected.
local function keep_rest(state, object, key, node, known, text_is_known)
  for _, pair in ipairs(node.attributes) do
    if not known[pair[1]] then
      local attributes = kept_of(state, object, key, node).attributes
      attributes[#attributes + 1] = pair
    end
  end
  local texts = {}
  if not text_is_known and not xml.is_blank(node.text) then texts[1] = node.text end
  for _, child in ipairs(node.children) do
    if not xml.is_blank(child.tail) then texts[#texts + 1] = child.tail end
  end
  if texts[1] then kept_of(state, object, key, node).text = table.concat(texts) end
end

-- The same for an element of a list, which holds no elements that are known.
local function keep_item(state, object, key, node, known, text_is_known)
  keep_rest(state, object, key, node, known, text_is_known)
  for _, child in ipairs(node.children) do keep_child(state, object, key, node, child) end
end

local function store_kept(state)
  for _, entry in ipairs(state.kept_order) do
    local of_object = state.kept[entry[1]] -- nil for a qube that was left out as a whole
    if of_object then
      local text, why = core.xml_format(of_object[entry[2]])
      if not text then error(why) end
      core.set(entry[1], xml.KEPT, entry[2], text)
    end
  end
end

-- Calls `take(child)` for each child of this name; it answers why the child can not be taken, if so. All others are kept.
local function each(state, object, key, section, name, known, take)
  keep_rest(state, object, key, section, known)
  for _, child in ipairs(section.children) do
    local why
    if child.name == name then why = take(child) end
    if child.name ~= name or why then
      if why then fault(state, child, why .. '; it is kept as it is') end
      keep_child(state, object, key, section, child)
    end
  end
end

-- ---- labels and pools ----

local function load_label(state, node)
  local index = types.parse.int((node.attributes.id or ''):match('^label%-(%d+)$') or '')
  local name, color = node.text or '', node.attributes.color or ''
  if not index or index < 1 then return 'an id like label-1 was expected' end
  if not pcall(core.validate.label_name, name) then return 'the name of a label was expected, of letters, digits and -_.' end
  if not color:find('^0x%x%x%x%x%x%x$') and not color:find('^#%x%x%x%x%x%x$') then return 'a color like 0xcc0000 was expected' end
  if labels.get(name) then return 'there is such a label already' end
  if state.label_indexes[index] then return 'there is a label with this id already' end
  if color == '0x555753' then color = '0x555555' end -- the gray of older systems, which looked green
  state.label_indexes[index] = true
  state.ids[node.attributes.id] = name
  labels.add(name, color, index)
  keep_item(state, state.app, 'labels/' .. name, node, { id = true, color = true }, true)
  return nil
end

local function fields_of(node)
  local list = {}
  for _, pair in ipairs(node.attributes) do
    if pair[1] ~= 'name' then list[#list + 1] = pair end
  end
  return xml.format_fields(list)
end

-- All attributes of a pool or volume are its configuration.
local function load_fields(state, object, kind, section, node)
  local name, text = node.attributes.name, fields_of(node)
  if not name or name == '' then return 'an attribute name was expected' end
  if not text then return 'an attribute has a line break in it' end
  if core.get(object, kind, name) then return 'there is one of this name already' end
  core.set(object, kind, name, text)
  local known = {}
  for _, pair in ipairs(node.attributes) do known[pair[1]] = true end
  keep_item(state, object, section .. '/' .. name, node, known)
  return nil
end

-- ---- properties ----

-- The properties of an object, by name, in the order of the file. The last one of a name counts.
local function collect_properties(state, object, node)
  local list, by_name = {}, {}
  for _, section in ipairs(node.children) do
    if section.name == 'properties' then
      each(state, object, 'properties', section, 'property', NOTHING_KNOWN, function(child)
        local name = child.attributes.name
        if not name or name == '' then return 'an attribute name was expected' end
        local entry = by_name[name]
        if entry then
          fault(state, entry.node, 'a later one of the same name counts')
        else
          entry = { name = name }
          list[#list + 1], by_name[name] = entry, entry
        end
        entry.node, entry.section = child, section
        return nil
      end)
    end
  end
  return list, by_name
end

local function value_of(state, entry)
  local node = entry.node
  if node.attributes.none == 'True' then return none end
  local ref = node.attributes.ref
  if ref then return state.ids[ref] or ref end
  return entry.text or node.text or ''
end

-- The qube that a value names, or nil for none.
local function qube_of(text, wanted)
  if text == none or text == '' or text == 'None' then return nil end
  local qube = core.qube(text)
  if not qube then raise('QubesPropertyValueError', ('there is no qube "%s"'):format(text)) end
  if not classes.descends(core.class(qube), wanted) then raise('QubesPropertyValueError', ('%s is no %s'):format(text, wanted)) end
  return qube
end

-- Properties whose setters look at qubes that are not whole yet. The check for loops comes last, for all of them.
local relations = {}

function relations.netvm(qube, def, text)
  local netvm = qube_of(text, def.wanted_class)
  if netvm and not property.value(netvm, 'provides_network') then
    raise('QubesPropertyValueError', text .. ' does not provide network')
  end
  core.set(qube, 'property', 'netvm', netvm or none)
end

function relations.default_netvm(object, def, text)
  core.set(object, 'property', 'default_netvm', qube_of(text, def.wanted_class) or none)
end

function relations.provides_network(qube, def, text)
  core.set(qube, 'property', def.name, types.coerce(def, text))
end

local function assign(object, def, value)
  if def.identity or def.computed or def.read_only then raise('QubesPropertyValueError', 'it can not be set') end
  if relations[def.name] then return relations[def.name](object, def, value) end
  if def.type == 'vm' then
    local qube = qube_of(value, def.wanted_class)
    if not qube and not def.allow_none then raise('QubesPropertyValueError', 'it can not be empty') end
    return property.set_quietly(object, def, qube or none)
  end
  if value == none then return core.set(object, 'property', def.name, none) end
  return property.set_quietly(object, def, value)
end

local function load_property(state, object, entry)
  local def = object:property_def(entry.name)
  if not def then
    keep_child(state, object, 'properties', entry.section, entry.node)
    state.unknown = state.unknown + 1
    return
  end
  local ok, err = pcall(assign, object, def, value_of(state, entry))
  if ok then
    keep_item(state, object, 'properties/' .. entry.name, entry.node, { name = true, ref = true, none = true }, true)
    return
  end
  local why = ('%s: %s'):format(core.name(object) or 'a global property', exceptions.message(err))
  if def.type == 'vm' and def.allow_none then
    core.set(object, 'property', entry.name, none)
    fault(state, entry.node, why .. '; it is set to none')
  else
    keep_child(state, object, 'properties', entry.section, entry.node)
    fault(state, entry.node, why .. '; it is left at its default, and kept as it is')
  end
end

local IDENTITY = { name = true, qid = true, uuid = true }

local function load_stage(state, domain, stage)
  for _, entry in ipairs(domain.properties) do
    local def = domain.qube:property_def(entry.name)
    local handled = IDENTITY[entry.name] and (def == nil or def.identity or domain.is_admin)
    if not handled and (def and def.stage or 2) == stage then load_property(state, domain.qube, entry) end
  end
end

-- ---- qubes ----

local function text_of(domain, name)
  local entry = domain.by_name[name]
  return entry and (entry.node.attributes.ref or entry.node.text) or nil
end

-- What was called otherwise before: hvm, a boolean.
local function migrate(domain)
  local entry = domain.by_name.hvm
  if not entry or domain.by_name.virt_mode or not classes.descends(domain.class, 'QubesVM') then return end
  local hvm = types.parse.bool(entry.node.text or '')
  if hvm == nil then return end
  entry.name, entry.text = 'virt_mode', hvm and 'hvm' or 'pv'
  domain.by_name.virt_mode = entry
end

-- Name, number and uuid of a qube, or why it can not be one.
local function identify(domain, node)
  if domain.is_admin then return core.qube(0) and 'there is one AdminVM already' or nil, 'dom0', 0, ZEROS end
  local name, qid_text, uuid_text = text_of(domain, 'name') or '', text_of(domain, 'qid'), text_of(domain, 'uuid')
  local qid = types.parse.int(qid_text or (node.attributes.id or ''):match('^domain%-(%d+)$') or '')
  local uuid = uuid_text and types.parse.uuid(uuid_text)
  local why = names.qube_fault(name)
  if why or name == 'dom0' then return why or 'dom0 is the name of the AdminVM' end
  if qid_text and (not qid or qid < 1 or qid > QID_MAX) then return ('a qid from 1 to %d was expected'):format(QID_MAX) end
  if uuid_text and (not uuid or uuid == ZEROS) then return 'a uuid was expected' end
  if core.qube(name) then return ('there is a qube "%s" already'):format(name) end
  if uuid and core.qube('uuid:' .. uuid) then return 'there is a qube with this uuid already' end
  if qid and (qid < 1 or qid > QID_MAX or core.qube(qid)) then
    if qid_text then return ('there is a qube with the qid %d already'):format(qid) end
    qid = nil
  end
  return nil, name, qid, uuid or nil
end

local function add_domain(state, section, node)
  local class_name = node.attributes.class
  local domain = { node = node, class = class_name, is_admin = class_name == 'AdminVM' }
  local why, name, qid, uuid
  if not class_name or not classes.find(class_name) or ABSTRACT[class_name] or not classes.descends(class_name, 'BaseVM') then
    why = ('there is no class of qubes "%s"'):format(class_name or '')
  else
    domain.scratch = {} -- stands for the qube until it is there
    domain.properties, domain.by_name = collect_properties(state, domain.scratch, node)
    why, name, qid, uuid = identify(domain, node)
  end
  if why then
    state.kept[domain.scratch or false] = nil
    fault(state, node, why .. '; the qube is left out, and kept as it is')
    keep_child(state, state.app, 'domains', section, node)
    return
  end
  migrate(domain)
  if not qid then
    state.without_qid[#state.without_qid + 1] = { section, domain, name, uuid }
    return
  end
  domain.qube = core.add_qube { name = name, class = class_name, qid = qid, uuid = uuid }
  state.domains[#state.domains + 1] = domain
end

-- Qubes without a number get one when all others have theirs.
local function number_the_rest(state)
  for _, entry in ipairs(state.without_qid) do
    local section, domain, name, uuid = table.unpack(entry, 1, 4)
    if core.qube(name) or (uuid and core.qube('uuid:' .. uuid)) then
      state.kept[domain.scratch] = nil
      fault(state, domain.node, 'there is such a qube already; it is left out, and kept as it is')
      keep_child(state, state.app, 'domains', section, domain.node)
    else
      domain.qube = core.add_qube { name = name, class = domain.class, uuid = uuid }
      state.domains[#state.domains + 1] = domain
    end
  end
end

-- What was kept before the qube was there is its own now.
local function adopt(state, domain)
  local qube, id = domain.qube, domain.node.attributes.id
  if id and not state.ids[id] then state.ids[id] = core.name(qube) end
  local kept = state.kept[domain.scratch]
  state.kept[domain.scratch] = nil
  if not kept then return end
  state.kept[qube] = kept
  for _, entry in ipairs(state.kept_order) do
    if entry[1] == domain.scratch then entry[1] = qube end
  end
end

local sections = {}

function sections.features(state, qube, section)
  each(state, qube, 'features', section, 'feature', NOTHING_KNOWN, function(node)
    local name = node.attributes.name
    if not name or name == '' then return 'an attribute name was expected' end
    core.set(qube, 'feature', name, node.text or '')
    keep_item(state, qube, 'features/' .. name, node, { name = true }, true)
    return nil
  end)
end

function sections.tags(state, qube, section)
  each(state, qube, 'tags', section, 'tag', NOTHING_KNOWN, function(node)
    local name = node.attributes.name
    if not name or name == '' or not names.is_tag(name) then return 'an attribute name was expected, of letters, digits, _ and -' end
    core.set(qube, 'tag', name, true)
    keep_item(state, qube, 'tags/' .. name, node, { name = true })
    return nil
  end)
end

local DEVICE = { ['backend-domain'] = true, id = true, mode = true, identity = true, required = true }

-- The mode; older files have `required` instead, a boolean.
local function device_mode(node)
  local required = node.attributes.required
  if not required then return node.attributes.mode or 'required' end
  local value = types.parse.bool(required)
  if value == nil then return '' end
  return value and 'required' or 'auto-attach'
end

local function load_device(state, qube, kind, section_key, node)
  local attributes = node.attributes
  local backend, port, identity, mode = attributes['backend-domain'] or '', attributes.id or '*', attributes.identity or '*', device_mode(node)
  local fields = { { 'mode', mode } }
  if not MODES[mode] then return 'a mode was expected: required, auto-attach or ask-to-attach' end
  if not core.qube(backend) then return ('%s: there is no qube "%s"'):format(core.name(qube), backend) end
  if port:find('[:+\n]') then return 'an id has neither : nor +' end
  local rest = {}
  for _, option in ipairs(node.children) do
    local name = option.name == 'option' and option.attributes.name
    if not name or #option.attributes > 1 or option.children[1] then
      rest[#rest + 1] = option
    elseif name == 'identity' then
      identity = option.text or ''
    else
      fields[#fields + 1] = { '_' .. name, option.text or '' }
    end
  end
  local text, name = xml.format_fields(fields), xml.device_name(backend, port, identity)
  if not text or name:find('\n', 1, true) then return 'it has a line break or = where none can be' end
  if core.get(qube, kind, name) then return 'there is such an assignment already' end
  core.set(qube, kind, name, text)
  local key = section_key .. '/' .. name
  keep_rest(state, qube, key, node, DEVICE)
  for _, child in ipairs(rest) do keep_child(state, qube, key, node, child) end
  return nil
end

function sections.devices(state, qube, section)
  local class_name = section.attributes.class
  if not class_name or not class_name:find('^[%w_-]+$') then return false end
  local kind, key = 'device.' .. class_name, 'devices.' .. class_name
  each(state, qube, key, section, 'device', { class = true }, function(node) return load_device(state, qube, kind, key, node) end)
  return true
end

sections['volume-config'] = function(state, qube, section)
  each(state, qube, 'volume-config', section, 'volume', NOTHING_KNOWN, function(node)
    return load_fields(state, qube, 'volume', 'volume-config', node)
  end)
end

function sections.notes(_, qube, section)
  if #section.attributes > 0 or section.children[1] or core.get(qube, 'notes', 'text') then return false end
  core.set(qube, 'notes', 'text', section.text or '')
  return true
end

local READERS = {
  string = function(text) return text end,
  integer = function(text) return types.parse.int(text) end,
  boolean = function(text) return text == 'True' end,
  none = function() return none end,
  qube = function(text) return core.qube(text) end,
}

-- Attributes of other kinds, as lib/qubes_xml_export.lua writes them.
function sections.attributes(state, object, section)
  local kind = section.attributes.kind
  if not kind or xml.PRIVATE[kind] then return false end
  each(state, object, 'attributes.' .. kind, section, 'attribute', { kind = true }, function(node)
    local read, name = READERS[node.attributes.type or ''], node.attributes.name
    local value = read and name and read(node.text or '')
    if value == nil or #node.attributes > 2 then return 'a name, a type and a value of it were expected' end
    core.set(object, kind, name, value)
    return nil
  end)
  return true
end

local function load_extras(state, domain)
  local qube, node = domain.qube, domain.node
  keep_rest(state, qube, '.', node, { id = true, class = true })
  for _, section in ipairs(node.children) do
    local read = sections[section.name]
    if section.name ~= 'properties' and (not read or read(state, qube, section) == false) then
      keep_child(state, qube, '.', node, section)
      state.unknown = state.unknown + 1
    end
  end
end

-- ---- netvms ----

local function line_of(domain)
  local entry = domain.by_name.netvm
  return entry and entry.node or domain.node
end

-- Where a loop is opened: at a qube that is in it only because of default_netvm, else at the one that comes first in the file.
local function weakest(loop, order)
  local best, best_is_default
  for _, qube in ipairs(loop) do
    local is_default = not core.get(qube, 'property', 'netvm')
    local better = best == nil or (is_default and not best_is_default) or (is_default == best_is_default and order[qube] < order[best])
    if better then best, best_is_default = qube, is_default end
  end
  return best
end

local function open_loop(state, loop, order)
  local qube, way = weakest(loop, order), {}
  for i, member in ipairs(loop) do way[i] = core.name(member) end
  core.set(qube, 'property', 'netvm', none)
  fault(state, line_of(state.domains[order[qube]]),
    ('%s: these qubes get their network from each other: %s; the netvm of %s is set to none'):format(core.name(qube), table.concat(way, ', '), core.name(qube)))
end

-- Follows every chain of netvms once.
local function check_loops(state)
  local order, done = {}, {}
  for i, domain in ipairs(state.domains) do order[domain.qube] = i end
  for _, domain in ipairs(state.domains) do
    local qube, path, at = domain.qube, {}, {}
    while qube and not done[qube] and not at[qube] and network.is_networked_class(qube) do
      path[#path + 1] = qube
      at[qube] = #path
      qube = property.value(qube, 'netvm')
    end
    if qube and at[qube] then open_loop(state, { table.unpack(path, at[qube]) }, order) end
    for _, each_qube in ipairs(path) do done[each_qube] = true end
  end
end

-- Long ago qubes that provide network had a default of their own.
local function migrate_firewall_netvm(state, by_name)
  local entry = by_name.default_fw_netvm
  if not entry then return end
  local ok, netvm = pcall(qube_of, value_of(state, entry), 'LocalVM')
  local wanted = ok and (netvm or none)
  local common = property.value(state.app, 'default_netvm')
  if not ok or netvm == common then return end
  for _, domain in ipairs(state.domains) do
    local qube = domain.qube
    if network.is_networked_class(qube) and property.value(qube, 'provides_network') and not domain.by_name.netvm then
      core.set(qube, 'property', 'netvm', wanted)
    end
  end
end

-- ---- the whole ----

local function read_sections(state, root)
  local app = state.app
  keep_rest(state, app, '.', root, { ['written-by'] = true })
  for _, section in ipairs(root.children) do
    if section.name == 'labels' then
      each(state, app, 'labels', section, 'label', NOTHING_KNOWN, function(node) return load_label(state, node) end)
    elseif section.name == 'pools' then
      each(state, app, 'pools', section, 'pool', NOTHING_KNOWN, function(node) return load_fields(state, app, 'pool', 'pools', node) end)
    elseif section.name == 'domains' then
      state.domain_sections[#state.domain_sections + 1] = section
    elseif section.name ~= 'properties' and not (section.name == 'attributes' and section.attributes.kind) then
      keep_child(state, app, '.', root, section)
      state.unknown = state.unknown + 1
    end
  end
end

local function read_domains(state)
  for _, section in ipairs(state.domain_sections) do
    each(state, state.app, 'domains', section, 'domain', NOTHING_KNOWN, function(node)
      add_domain(state, section, node)
      return nil
    end)
  end
  number_the_rest(state)
  for _, domain in ipairs(state.domains) do adopt(state, domain) end
  if not core.qube(0) then
    local dom0 = core.add_qube { name = 'dom0', class = 'AdminVM', qid = 0, uuid = ZEROS }
    if labels.get('black') then core.set(dom0, 'property', 'label', 'black') end
  end
end

local function read_properties(state, root)
  local globals, by_name = collect_properties(state, state.app, root)
  for _, domain in ipairs(state.domains) do load_stage(state, domain, 2) end
  for _, entry in ipairs(globals) do
    if entry.name ~= 'default_fw_netvm' then load_property(state, state.app, entry) end
  end
  for _, domain in ipairs(state.domains) do load_stage(state, domain, 4) end
  migrate_firewall_netvm(state, by_name)
  check_loops(state)
end

local function tell(state)
  for i, text in ipairs(state.faults) do
    if i > FAULTS_SHOWN then break end
    core.log('warning', 'qubes.xml: ' .. text)
  end
  local parts = { ('qubes.xml: imported %d qubes, %d labels and %d pools'):format(#core.qubes(), #core.names(state.app, 'label'),
    #core.names(state.app, 'pool')) }
  if #state.faults > 0 then parts[#parts + 1] = ('%d faults, listed above'):format(#state.faults) end
  if state.unknown > 0 then parts[#parts + 1] = ('%d elements that are not understood are kept for the export'):format(state.unknown) end
  parts[#parts + 1] = 'firewall and notes files beside it stay where they are'
  core.log('notice', table.concat(parts, '; '))
end

-- Reads the text of a qubes.xml into the empty model. With `mark`, its digest, a clean stop will write the file again. Raises, and changes nothing, when it is
-- not well-formed or the model is not empty.
return function(text, mark)
  local app_object = core.app()
  if #core.qubes() > 0 or #core.kinds(app_object) > 0 then
    raise('QubesException', 'the store is not empty: it has its own qubes, labels or settings, which an import would mix up')
  end
  local root, why = core.xml_parse(text)
  if not root then raise('QubesException', why) end
  if root.name ~= 'qubes' then raise('QubesException', ('line %d: <qubes> was expected, not <%s>'):format(root.line, root.name)) end
  local state = {
    app = app_object, faults = {}, unknown = 0, kept = {}, kept_order = {}, ids = {}, label_indexes = {}, domains = {}, domain_sections = {},
    without_qid = {},
  }
  read_sections(state, root)
  read_domains(state)
  read_properties(state, root)
  for _, domain in ipairs(state.domains) do load_extras(state, domain) end
  for _, section in ipairs(root.children) do
    if section.name == 'attributes' and section.attributes.kind and sections.attributes(state, app_object, section) == false then
      keep_child(state, app_object, '.', root, section)
    end
  end
  store_kept(state)
  if mark then core.set(app_object, xml.MARK_KIND, xml.MARK, mark) end
  tell(state)
end
