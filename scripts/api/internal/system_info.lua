-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers internal.GetSystemInfo, what the qrexec policy needs to know of all qubes.

local hidden = import('api/hidden')
local quote = import('json').quote

-- Made for thousands of qubes at a time, so what can't need an escape (names, tags, classes, states, uuids) is not looked at for one.
local FORM = '"%s": {"type": "%s", %s, "power_state": "%s", "uuid": "%s", "tags": %s, "internal": %s, '
  .. '"template_for_dispvms": %s, "default_dispvm": %s, "guivm": %s, "relayvm": %s, "transport_rpc": %s}'

local function name_of(qube)
  return qube and '"' .. core.name(qube) .. '"' or 'null'
end

local function text_or_null(text)
  return text and quote(text) or 'null'
end

local function tags_of(qube)
  local tags = core.names(qube, 'tag')
  return #tags == 0 and '[]' or '["' .. table.concat(tags, '", "') .. '"]'
end

local function label_fields(label)
  if not label then return '"label": null, "icon": null' end
  return ('"label": %s, "icon": "appvm-%s"'):format(quote(label.color), label.name)
end

-- `label_texts` remembers the fields of labels by name.
local function describe(qube, label_texts)
  local _, label_name = core.get(qube, 'property', 'label')
  label_name = label_name or ''
  if not label_texts[label_name] then label_texts[label_name] = label_fields(qube.label) end
  return FORM:format(
    core.name(qube), core.class(qube), label_texts[label_name], core.power(qube), core.uuid(qube), tags_of(qube),
    text_or_null(qube.features.internal), qube.template_for_dispvms and 'true' or 'false',
    name_of(qube.default_dispvm), name_of(qube.guivm), name_of(qube.relayvm), text_or_null(qube.transport_rpc))
end

local function build()
  local domains, label_texts = {}, {}
  for i, qube in ipairs(core.qubes()) do
    domains[i] = describe(qube, label_texts)
  end
  return '{"domains": {' .. table.concat(domains, ', ') .. '}}'
end

method('internal.GetSystemInfo', {
  dest = 'adminvm', arg = 'none', payload = 'none', scope = 'none', read = true,
  doc = 'JSON: {"domains": {NAME: {"type", "label", "icon", "tags", "power_state", "uuid", "guivm", …}}}. Built once a change.',
}, function(call)
  call:permission()
  hidden.refuse_restricted()
  return core.cached('internal.GetSystemInfo', core.version(), build)
end)
