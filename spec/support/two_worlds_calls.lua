-- SPDX-License-Identifier: GPL-2.0-or-later
-- Random calls of the restricted caller in the two estates of two_worlds.lua: for two_worlds_spec.lua. All chance comes from math.random.

local worlds = require('spec.support.two_worlds')

local pick, chance = worlds.pick, worlds.chance
local VISIBLE, HIDDEN, REFERENCES, REFERENCE_NAMES, SYSTEM_NAMES = worlds.VISIBLE, worlds.HIDDEN, worlds.REFERENCES, worlds.REFERENCE_NAMES, worlds.SYSTEM_NAMES
local random = math.random

local M = {}

local TAGS = {
  't1', 't2', 'secret', 'created-by-guest', 'created-by-hid-app', 'guivm-hid-gui', 'audiovm-hid-run', 'relayvm-hid-run', 'disp-created-by-hid-app', 'guivm-v1',
  'not a tag', '', 'created-by-nobody', 'guivm-nobody', 'relayvm-nobody', 'hid-app',
}
local FEATURES = {
  'f1', 'f2', 'internal', 'ipv6', 'service.x', 'gui', 'qrexec', 'os', 'set-created-guivm', 'tag-created-vm-with', 'deferred-netvm-original', 'preload-dispvm',
  'preload-dispvm-max', 'net.fake-ip', 'net.fake-gateway', 'net.fake-netmask', 'hid-app', 'servicevm', 'prohibit-start', 'boot-mode.active', 'vm-config.a',
  'custom-persist.a', 'check-updates', '', 'bad name',
}
local LABELS = { 'red', 'pink', 'pink', 'teal', 'green', 'none-such', 'label-9', '9', '1', 'hid-app', 'fresh', '' }
local PROPERTIES = {
  'netvm', 'netvm', 'netvm', 'template', 'template', 'default_dispvm', 'management_dispvm', 'guivm', 'guivm', 'audiovm', 'label', 'provides_network',
  'provides_network', 'template_for_dispvms', 'template_for_dispvms', 'ip', 'ip6', 'visible_ip', 'visible_ip6', 'visible_gateway', 'visible_gateway6',
  'visible_netmask', 'dns', 'gateway', 'gateway6', 'memory', 'maxmem', 'vcpus', 'kernel', 'kernelopts', 'default_user', 'qrexec_timeout', 'shutdown_timeout',
  'keyboard_layout', 'bootmode', 'appvm_default_bootmode', 'virt_mode', 'name', 'qid', 'uuid', 'klass', 'icon', 'xid', 'relayvm', 'dispid', 'is_preload',
  'auto_cleanup', 'include_in_backups', 'installed_by_rpm', 'no-such', 'hid-app', 'updateable', 'start_time', 'stubdom_xid', 'autostart', 'mac',
}
local SYSTEM_PROPERTIES = { 'default_kernel', 'default_pool', 'stats_interval', 'maxmem', 'no_cpus', 'default_qrexec_timeout', 'no-such', 'check_updates_vm' }
for _, name in ipairs(SYSTEM_NAMES) do SYSTEM_PROPERTIES[#SYSTEM_PROPERTIES + 1] = name end

local function some_name(w)
  local r = random(100)
  if r <= 82 then return pick(VISIBLE) end
  if r <= 92 then return pick(HIDDEN) end
  if r <= 97 then return pick(w.uuids) end
  return pick { 'dom0', 'nobody', 'none', '', 'bad name', '1x', ('x'):rep(40), 'uuid:0', 'new1', 'new2', 'default', pick(w.uuids):sub(6) }
end

local function argument(w, method)
  if method.arg == 'none' then return chance(97) and '' or pick { 'x', 'hid-app' } end
  if chance(3) then return pick { '', 'a+b', '\xe4', ('x'):rep(300), '%s', '..' } end
  local name = method.name
  if name:match('^admin%.property%.') then return pick(SYSTEM_PROPERTIES) end
  if name:match('%.property%.') then return pick(PROPERTIES) end
  if name:match('%.tag%.') then return pick(TAGS) end
  if name:match('%.feature%.') then return pick(FEATURES) end
  if name:match('%.label%.') then return pick(LABELS) end
  if name:match('%.Shutdown$') then return pick { '', '', 'force', 'wait', 'force+wait', 'no' } end
  if name:match('%.CreateDisposable$') then return pick { '', '', '', 'x' } end -- Not drawn: preload, which works on for minutes
  if name:match('%.Create%.') then return pick { '', 'tpl', 'dvm', 'hid-tpl', 'hid-dvm', some_name(w) } end
  return pick { '', some_name(w), some_name(w) .. '+1' }
end

local SETTINGS = {
  label = { 'red', 'pink', 'teal', 'hid-app', '9' }, provides_network = { 'True', 'False', 'False' }, template_for_dispvms = { 'True', 'False', 'False' },
  ip = { '10.0.0.1', 'x' }, keyboard_layout = { 'us++', 'de++', 'x' }, appvm_default_bootmode = { 'a', 'default' }, autostart = { 'True' },
  memory = { '300', '400', '-1' }, vcpus = { '1', '2' }, stats_interval = { '3600' }, -- others would have streams of stats differ in time
}

local function property_value(w, name)
  if chance(5) then return pick { '', 'x y', '\xe4', ('y'):rep(3000), '\0' } end
  if SETTINGS[name] and chance(90) then return pick(SETTINGS[name]) end
  local known = REFERENCES[name]
  if known and chance(60) then return pick(pick(known)) end
  if chance(70) then return some_name(w) end
  return pick { 'True', 'False', '7', '', '300' }
end

local function new_qube(w)
  local name = chance(20) and pick(HIDDEN) or pick { 'fresh', 'fresh1', 'fresh2', some_name(w) }
  return ('name=%s label=%s'):format(name, pick(LABELS))
end

local function payload(w, method, arg)
  if method.payload == 'none' then return chance(97) and '' or pick { 'x', 'hid-app' } end
  if chance(3) then return pick { '', '\0', '\xff', ('y'):rep(3000) } end
  local name = method.name
  if name:match('%.Create%.') then return new_qube(w) end
  if name:match('%.property%.Set$') then return property_value(w, arg) end
  if name:match('%.feature%.') then return pick { '', '1', 'hid-app', 'hid-gui', 'v1', 'disp1 hid-app', 'Linux', '10.0.0.9', 'default' } end
  if name:match('%.label%.') then return pick { '0x123456', '0xff0000', 'red' } end
  if name:match('firewall') then return pick { 'action=accept', 'action=drop dsthost=hid-app', 'action=drop comment=hid-app', 'nonsense' } end
  if name:match('CreateDisposable') then return pick { '', '', 'uuid', 'x' } end
  return pick { '1', '0', 'some text', 'Hello, you', 'hid-app', 'h\xc3\xa4d' }
end

-- What changes so much that an estate with many of them is soon a heap of ruins is drawn less often.
local WEIGHTS = {
  ['admin.vm.property.Set'] = 9, ['admin.vm.property.Get'] = 6, ['admin.vm.property.GetAll'] = 2, ['admin.vm.property.Reset'] = 5,
  ['admin.vm.property.GetDefault'] = 4,
  ['admin.vm.Start'] = 3, ['admin.vm.Shutdown'] = 2, ['admin.vm.Remove'] = 2, ['admin.vm.tag.Set'] = 2, ['admin.vm.feature.Set'] = 4, ['admin.vm.List'] = 2,
  ['admin.property.Set'] = 2, ['admin.vm.CreateDisposable'] = 2, ['admin.label.Remove'] = 2,
}

-- A list in which methods stand as often as they are to be drawn.
function M.weighted(methods)
  local list = {}
  for _, method in ipairs(methods) do
    for _ = 1, WEIGHTS[method.name] or 1 do list[#list + 1] = method end
  end
  return list
end

-- What hidden qubes are likeliest to stand against, or to show in: method, destinations, arguments, payloads.
local NONE = { '' }
local POINTED = {
  { 'admin.vm.Shutdown', { 'v1', 'v2', 'net', 'net2' }, { '', '', 'wait' }, NONE },
  { 'admin.vm.Start', { 'v1', 'v2', 'v3', 'v4', 'net', 'net2' }, NONE, NONE },
  { 'admin.vm.Pause', { 'v1', 'v2', 'v3', 'v4' }, NONE, NONE },
  { 'admin.vm.Unpause', { 'v1', 'v2', 'v3', 'v4' }, NONE, NONE },
  { 'admin.vm.property.Set', { 'net', 'net2' }, { 'provides_network' }, { 'False' } },
  { 'admin.vm.property.Set', { 'net', 'net2' }, { 'netvm' }, { 'net', 'net2', '', 'hid-net' } },
  { 'admin.vm.property.Set', { 'dvm', 'dvm2' }, { 'template_for_dispvms' }, { 'False' } },
  { 'admin.vm.property.Set', { 'dvm', 'dvm2' }, { 'template' }, { 'tpl', 'tpl2' } },
  { 'admin.vm.property.Set', { 'v1', 'v2', 'v3', 'v4', 'guest' }, { 'netvm' }, { 'net', 'net2', '', 'hid-net' } },
  { 'admin.vm.property.Reset', { 'net', 'net2', 'dvm', 'dvm2', 'v1', 'v2', 'v3', 'v4' }, { 'netvm', 'provides_network', 'template_for_dispvms' }, NONE },
  { 'admin.vm.property.Reset', { 'v1', 'v2', 'v3', 'v4' }, REFERENCE_NAMES, NONE },
  { 'admin.vm.property.GetAll', VISIBLE, NONE, NONE },
  { 'admin.vm.Remove', { 'tpl2', 'dvm2', 'v1', 'v3', 'net2', 'far', 'solo', 'new1' }, NONE, NONE },
  { 'admin.label.Remove', { 'dom0' }, { 'pink', 'teal' }, NONE },
  { 'admin.vm.feature.Set', { 'guest' }, { 'set-created-guivm' }, { 'hid-gui', 'v1', 'nobody' } },
  { 'admin.vm.feature.Set', { 'dom0' }, { 'preload-dispvm-max' }, { '', '0', '1', 'x' } },
  { 'admin.vm.feature.Set', { 'dvm', 'v1' }, { 'preload-dispvm-max' }, { '', 'x' } }, -- Not drawn: numbers, for which it would work on for minutes
  { 'admin.vm.feature.List', VISIBLE, NONE, NONE },
  { 'admin.vm.tag.List', VISIBLE, NONE, NONE },
  { 'admin.vm.CreateDisposable', { 'dvm', 'dvm2', 'dom0' }, NONE, { '', 'uuid' } },
  { 'admin.vm.Create.AppVM', { 'dom0' }, { '', 'tpl', 'hid-tpl' },
    { 'name=hid-app label=red', 'name=fresh label=pink', 'name=fresh1 label=red', 'name=v1 label=red' } },
  { 'admin.vm.property.Set', { 'v1', 'v2' }, { 'keyboard_layout' }, { 'de++', 'us++' } },
}

local function pointed_call(weighted)
  local drawn = pick(POINTED)
  for _, method in ipairs(weighted) do
    if method.name == drawn[1] then
      return { method = method.name, dest = pick(drawn[2]), arg = pick(drawn[3]), payload = pick(drawn[4]), declared = method }
    end
  end
  error('there is no method ' .. drawn[1])
end

-- A call of one of the methods: method, dest, arg, payload. `w.uuids` are names `uuid:…` of qubes, visible and hidden; `w.made`, of disposables.
function M.call(w, weighted)
  if chance(25) then return pointed_call(weighted) end
  local method = pick(weighted)
  local dest = method.dest == 'adminvm' and chance(96) and 'dom0' or some_name(w)
  if method.name:match('%.Create') and chance(30) then dest = pick { 'dvm', 'hid-dvm', 'dom0' } end
  if #w.made > 0 and chance(5) then dest = pick(w.made) end
  local name = chance(10) and method.name:gsub('^admin%.', 'mgmt.') or method.name
  if chance(1) then name = name .. 'x' end
  local arg = argument(w, method)
  return { method = name, dest = dest, arg = arg, payload = payload(w, method, arg), declared = method }
end

return M
