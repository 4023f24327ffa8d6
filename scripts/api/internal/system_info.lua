-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers internal.GetSystemInfo, what the qrexec policy needs to know of all qubes.

local quote = import('json').quote

-- Field by field, since this is made for thousands of qubes at a time.
local FORM = '%s: {"type": %s, "label": %s, "icon": %s, "power_state": %s, "uuid": %s, "tags": [%s], "internal": %s, '
  .. '"template_for_dispvms": %s, "default_dispvm": %s, "guivm": %s, "relayvm": %s, "transport_rpc": %s}'

local function or_null(text)
  return text and quote(text) or 'null'
end

local function name_of(qube)
  return or_null(qube and qube.name)
end

local function tags_of(qube)
  local tags = {}
  for tag in pairs(qube.tags) do
    tags[#tags + 1] = quote(tag)
  end
  return table.concat(tags, ', ')
end

local function describe(qube)
  local label = qube.label
  return FORM:format(
    quote(qube.name), quote(qube.klass), or_null(label and label.color), or_null(label and 'appvm-' .. label.name), quote(qube.power),
    quote(qube.uuid), tags_of(qube), or_null(qube.features.internal), qube.template_for_dispvms and 'true' or 'false',
    name_of(qube.default_dispvm), name_of(qube.guivm), name_of(qube.relayvm), or_null(qube.transport_rpc))
end

local function build()
  local domains = {}
  for qube in app.domains:each() do
    domains[#domains + 1] = describe(qube)
  end
  return '{"domains": {' .. table.concat(domains, ', ') .. '}}'
end

method('internal.GetSystemInfo', {
  dest = 'adminvm', arg = 'none', payload = 'none', scope = 'none', read = true,
  doc = 'JSON: {"domains": {NAME: {"type", "label", "icon", "tags", "power_state", "uuid", "guivm", …}}}. Built once a change.',
}, function(call)
  call:permission {}
  return core.cached('internal.GetSystemInfo', core.version(), build)
end)
