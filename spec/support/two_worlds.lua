-- SPDX-License-Identifier: GPL-2.0-or-later
-- Two estates, one with hidden qubes and one without, what happens in them, and random calls: for two_worlds_spec.lua. All chance comes from math.random.
--
-- What the world without has instead of a hidden qube: nothing. A property of a visible qube, or of the system, that refers to a hidden one there is
-- explicitly none here, as it reads for the caller. What is not drawn since hiding can't hide it is said where it would be drawn, beginning with
-- "Not drawn"; docs/acl.md tells admins.

local M = {}

local random = math.random

local function pick(list) return list[random(#list)] end
local function chance(percent) return random(100) <= percent end
M.pick, M.chance = pick, chance

M.CALLER = 'guest'

-- Hidden: by name, and by a tag, which disposables take over from their template.
local RULES = [[
on('admin-permission:admin.vm.List', function(src)
  if src.name ~= 'guest' then return end
  local function shown(qube) return not qube.name:match('^hid%%-') and not qube.tags.secret end
  if not %s then return shown end
  return filter_list(function(qubes)
    local kept = {}
    for _, qube in ipairs(qubes) do if shown(qube) then kept[#kept + 1] = qube end end
    return kept
  end)
end)
on('admin-permission:admin.vm.Create.*', function(src, event, info)
  if src.name == 'guest' and not info.name:match('^fresh') then deny('names begin with fresh') end
end)
on('admin-permission:admin.vm.Remove', function(src, event, info)
  local name = info.dest.name
  if src.name == 'guest' and (name == 'guest' or name == 'v1' or name == 'net') then deny('these are needed to the end') end
end)
on('admin-permission:admin.vm.tag.*', function(src, event, info)
  if src.name == 'guest' and info.arg == 'secret' then deny('this tag is set from dom0') end
end)
]]

-- With a filter, or one of whole lists.
function M.rules() return RULES:format(pick { 'true', 'false' }) end

-- For the console of both worlds: the methods that there are; raw values, for an estate that the API would not let be; and chance that is the same in
-- both: draws for what happens in both worlds are the same numbers, whatever is drawn in between for hidden qubes. Those are odd, so they never meet.
M.SCRIPT = [[
local json = import('json')

local function console(name, payload, read, handler)
  method('console.spec.' .. name, {
    dest = 'any', arg = 'none', payload = payload, scope = 'none', read = read, write = not read, doc = 'For this spec.',
  }, handler)
end

console('Declarations', 'none', true, function(call)
  call:permission()
  local all = {}
  for name, d in pairs(core.declarations()) do
    all[#all + 1] = { name = name, dest = d.dest, arg = d.arg, payload = d.payload, filters = d.filters }
  end
  table.sort(all, function(a, b) return a.name < b.name end)
  return json.encode(json.array(all))
end)

console('None', 'required', false, function(call, untrusted_payload)
  local name = untrusted_payload:ascii()
  call:permission()
  core.set(call.dest, 'property', name, none)
end)

-- Until libvirt's news of what has happened have arrived, and what follows from them is stored, and told.
console('Settle', 'none', false, function(call)
  call:permission()
  local before, now
  repeat
    before = now
    core.sleep(0.001)
    now = ('%d %d'):format(core.version(), core.status().virt_jobs)
  until now == before
  core.set(core.app(), 'spec', 'settled', now)
end)

local counters, hidden = { [0] = 0, [1] = 0 }, 0

console('Hidden', 'required', true, function(call, untrusted_payload)
  hidden = math.tointeger(tonumber(untrusted_payload:ascii()))
  call:permission()
end)

local function draw(most)
  counters[hidden] = counters[hidden] + 1
  local bytes = core.sha256(('%d %d'):format(hidden, counters[hidden]))
  local a, b, c = bytes:byte(1, 3)
  return ((a << 8 | b) << 8 | c) % (most // 2) * 2 + hidden, bytes
end

core.random = function(most)
  return most == 256 and 0 or (draw(most)) -- 256: bytes for the guest, which nobody else sees
end

local add_qube = core.add_qube
core.add_qube = function(request)
  if not request.uuid then
    local _, bytes = draw(2)
    local digits = bytes:sub(1, 16):gsub('.', function(byte) return ('%02x'):format(byte:byte()) end)
    request.uuid = digits:gsub('^(%x%x%x%x%x%x%x%x)(%x%x%x%x)%x(%x%x%x)%x(%x%x%x)(%x*)$', '%1-%2-4%3-8%4-%5')
  end
  return add_qube(request)
end

core.time = function() return 1700000000.5 end
]]

-- ---- estates ----

local VISIBLE = { 'fresh', 'fresh1', 'fresh2', 'guest', 'tpl', 'tpl2', 'net', 'net2', 'dvm', 'dvm2', 'v1', 'v2', 'v3', 'v4', 'solo', 'far', 'ndisp' }
local NEW = { 'new1', 'new2', 'new3' } -- dom0 makes and removes them; no hidden qube refers to them
local HIDDEN = { 'hid-tpl', 'hid-net', 'hid-net2', 'hid-dvm', 'hid-gui', 'hid-app', 'hid-run', 'hid-disp', 'hid-far', 'hid-new' }
local LOCAL = { 'guest', 'net', 'net2', 'dvm', 'dvm2', 'v1', 'v2', 'v3', 'v4', 'solo' }

-- Which hidden qubes a property of a visible qube may name, and which visible ones.
local REFERENCES = {
  netvm = { { 'hid-net', 'hid-net2' }, { 'net', 'net2', '' } },
  default_dispvm = { { 'hid-dvm' }, { 'dvm', '' } },
  management_dispvm = { { 'hid-dvm' }, { 'dvm', '' } },
  guivm = { { 'hid-gui', 'hid-run' }, { 'v1', 'dom0', '' } },
  audiovm = { { 'hid-gui', 'hid-run' }, { 'v2', 'dom0', '' } },
  template = { { 'hid-tpl' }, { 'tpl', 'tpl2' } },
}
local REFERENCE_NAMES = { 'netvm', 'default_dispvm', 'management_dispvm', 'guivm', 'audiovm' }

local SYSTEM = {
  default_netvm = { 'hid-net', 'net' }, default_template = { 'hid-tpl', 'tpl' }, default_dispvm = { 'hid-dvm', 'dvm' }, default_guivm = { 'hid-gui', 'dom0' },
  default_audiovm = { 'hid-gui', 'dom0' }, clockvm = { 'hid-run', 'net' }, updatevm = { 'hid-net', 'net' }, management_dispvm = { 'hid-dvm', 'dvm' },
}
local SYSTEM_NAMES = {}
for name in pairs(SYSTEM) do SYSTEM_NAMES[#SYSTEM_NAMES + 1] = name end
table.sort(SYSTEM_NAMES)

local function is_hidden(name) return name:sub(1, 4) == 'hid-' end

-- Who does what: `both`, `with` and `without` make a call of dom0 in these worlds, which has to succeed; `none` makes a property of a qube of the world
-- without explicitly none.

local function visible_qubes(worlds)
  local both = worlds.both
  both('admin.vm.Create.TemplateVM', 'dom0', '', 'name=tpl label=black')
  both('admin.vm.Create.TemplateVM', 'dom0', '', 'name=tpl2 label=black')
  both('admin.property.Set', 'dom0', 'default_template', 'tpl')
  both('admin.label.Create', 'dom0', 'pink', '0xff00ff')
  both('admin.label.Create', 'dom0', 'teal', '0x00ffff')
  for _, name in ipairs { 'guest', 'net', 'net2', 'dvm', 'dvm2', 'v1', 'v2', 'v3', 'v4' } do
    both('admin.vm.Create.AppVM', 'dom0', pick { '', 'tpl2' }, ('name=%s label=%s'):format(name, pick { 'red', 'green' }))
  end
  both('admin.vm.Create.StandaloneVM', 'dom0', '', 'name=solo label=red')
  both('admin.vm.Create.RemoteVM', 'dom0', '', 'name=far label=red')
  both('admin.vm.property.Set', 'net', 'provides_network', 'True')
  both('admin.vm.property.Set', 'net2', 'provides_network', 'True')
  both('admin.vm.property.Set', 'dvm', 'template_for_dispvms', 'True')
  both('admin.vm.property.Set', 'dvm2', 'template_for_dispvms', 'True') -- only hidden qubes use it
  both('admin.vm.Create.DispVM', 'dom0', 'dvm', 'name=ndisp label=red')
  both('admin.property.Set', 'dom0', 'stats_interval', '3600')
end

local function hidden_qubes(worlds)
  local with = worlds.with
  with('admin.vm.Create.TemplateVM', 'dom0', '', 'name=hid-tpl label=pink')
  for name, value in pairs {
    memory = '555', vcpus = '3', default_user = 'hid-user', kernelopts = 'hid-option', qrexec_timeout = '77', shutdown_timeout = '78',
  } do
    with('admin.vm.property.Set', 'hid-tpl', name, value)
  end
  for _, name in ipairs { 'hid-net', 'hid-net2', 'hid-dvm', 'hid-gui', 'hid-app', 'hid-run' } do
    with('admin.vm.Create.AppVM', 'dom0', pick { 'tpl', 'tpl2', 'hid-tpl' }, ('name=%s label=pink'):format(name))
  end
  with('admin.vm.Create.RemoteVM', 'dom0', '', 'name=hid-far label=pink')
  for _, name in ipairs { 'hid-net', 'hid-net2' } do
    with('admin.vm.property.Set', name, 'provides_network', 'True')
    with('admin.vm.property.Set', name, 'netvm', '')
    with('admin.vm.feature.Set', name, 'ipv6', '1')
  end
  with('admin.vm.property.Set', 'hid-dvm', 'template_for_dispvms', 'True')
  with('admin.vm.tag.Set', 'hid-dvm', 'secret')
  with('admin.vm.Create.DispVM', 'dom0', 'dvm2', 'name=hid-disp label=red')
  with('admin.vm.property.Set', 'hid-gui', 'keyboard_layout', 'de++')
  for _, name in ipairs { 'qrexec', 'supported-rpc.qubes.WaitForRunningSystem', 'supported-rpc.qubes.WaitForSession' } do
    with('admin.vm.feature.Set', 'hid-tpl', name, '1')
  end
  for _, name in ipairs { 'hid-tpl', 'hid-net', 'hid-gui' } do with('admin.vm.feature.Set', name, 'f1', 'hidden value') end
end

-- Hidden qubes that use visible ones.
local function hidden_users(worlds)
  local with = worlds.with
  with('admin.vm.property.Set', 'hid-run', 'netvm', 'net')
  with('admin.vm.property.Set', 'hid-run', 'guivm', 'v1')
  with('admin.vm.property.Set', 'hid-run', 'audiovm', 'v2')
  with('admin.vm.property.Set', 'hid-run', 'default_dispvm', 'dvm2')
  with('admin.vm.property.Set', 'hid-disp', 'netvm', pick { 'net', 'net2' })
  with('admin.vm.property.Set', 'hid-app', 'netvm', pick { 'net', 'net2' })
  with('admin.vm.property.Set', 'hid-far', 'relayvm', pick { 'v1', 'v3' })
  if chance(70) then
    for _, name in ipairs { 'net', 'net2', 'v1', 'v2' } do worlds.both('admin.vm.Start', name) end
    with('admin.vm.Start', 'hid-run')
    with('admin.vm.Start', 'hid-disp')
  end
end

-- A property of a visible qube names a hidden one: there. Here it is none.
local function refer(worlds, holder, name, hidden, method)
  method = method or 'admin.vm.property.Set'
  worlds.with(method, holder, name, hidden)
  if name == 'template' then worlds.none(holder, name) else worlds.without(method, holder, name, '') end
end

local function references(worlds)
  for _, holder in ipairs(LOCAL) do
    for _, name in ipairs(REFERENCE_NAMES) do
      local r = random(100)
      if r <= 30 then
        -- Not drawn: a hidden netvm that has a visible one, which would start along with it. (api_hidden_spec.lua has loops of those.)
        refer(worlds, holder, name, pick(REFERENCES[name][1]))
      elseif r <= 50 and not (name == 'netvm' and holder:sub(1, 3) == 'net') then
        worlds.both('admin.vm.property.Set', holder, name, pick(REFERENCES[name][2]))
      end
    end
  end
  -- Not drawn: the caller's own template. What a qube is made of, it sees inside.
  for _, holder in ipairs { 'v1', 'v3', 'dvm' } do
    if chance(40) then refer(worlds, holder, 'template', 'hid-tpl') end
  end
  if chance(50) then refer(worlds, 'far', 'relayvm', 'hid-run') end
  for _, name in ipairs(SYSTEM_NAMES) do
    local r = random(100)
    if r <= 40 then
      refer(worlds, 'dom0', name, SYSTEM[name][1], 'admin.property.Set')
    elseif r <= 60 and name ~= 'default_netvm' then
      worlds.both('admin.property.Set', 'dom0', name, SYSTEM[name][2])
    end
  end
end

function M.build(worlds)
  visible_qubes(worlds)
  hidden_qubes(worlds)
  references(worlds)
  hidden_users(worlds)
end

-- ---- what dom0 does meanwhile ----

local function some_hidden() return pick { 'hid-tpl', 'hid-net', 'hid-net2', 'hid-dvm', 'hid-gui', 'hid-app', 'hid-run', 'hid-disp' } end

-- Not drawn: a hidden qube whose start would bring a visible netvm up. dom0 starts those first, in both worlds.
local function start_hidden(try, w)
  w.try('admin.vm.Start', 'net')
  w.try('admin.vm.Start', 'net2')
  try('admin.vm.Start', some_hidden())
end

-- Something that happens to hidden qubes only: of the world with them. It may fail.
local hidden_events = {
  start_hidden, start_hidden,
  function(try) try(pick { 'admin.vm.Kill', 'admin.vm.Pause', 'admin.vm.Unpause', 'admin.vm.Shutdown' }, some_hidden()) end,
  function(try) try('admin.vm.tag.Set', some_hidden(), pick { 't1', 't2' }) end,
  function(try) try('admin.vm.tag.Remove', some_hidden(), pick { 't1', 't2' }) end,
  function(try) try('admin.vm.feature.Set', some_hidden(), pick { 'f1', 'f2', 'internal', 'service.x' }, pick { '', '1' }) end,
  function(try) try('admin.vm.property.Set', 'hid-net', 'ip', pick { '10.137.0.77', '10.137.0.78' }) end,
  function(try) try('admin.vm.property.Reset', 'hid-net', 'ip') end,
  function(try) try('admin.vm.property.Set', 'hid-net', 'ip6', pick { 'fd00::7', 'fd00::8' }) end,
  function(try) try('admin.vm.property.Set', 'hid-tpl', pick { 'memory', 'vcpus', 'qrexec_timeout' }, tostring(random(300, 600))) end,
  function(try) try('admin.vm.property.Set', 'hid-tpl', 'management_dispvm', pick { 'hid-dvm', '' }) end,
  function(try) try('admin.vm.property.Set', 'hid-tpl', 'appvm_default_bootmode', pick { 'a', 'b' }) end,
  function(try) try('admin.vm.property.Set', 'hid-gui', 'keyboard_layout', pick { 'fr++', 'de++' }) end,
  function(try) try('admin.vm.property.Set', pick { 'hid-run', 'hid-app' }, 'netvm', pick { 'net', 'net2', 'hid-net', '' }) end,
  function(try) try('admin.vm.property.Reset', pick { 'hid-run', 'hid-app' }, 'netvm') end,
  function(try) try('admin.vm.property.Set', pick { 'hid-run', 'hid-app' }, 'guivm', pick { 'v1', 'v2', 'hid-gui', '' }) end,
  function(try) try('admin.vm.property.Set', pick { 'hid-run', 'hid-app' }, 'audiovm', pick { 'v1', 'v2', 'hid-gui', '' }) end,
  function(try) try('admin.vm.property.Set', 'hid-app', 'template', pick { 'tpl', 'tpl2', 'hid-tpl' }) end,
  function(try) try('admin.vm.property.Set', 'hid-app', 'label', pick { 'pink', 'teal', 'red' }) end,
  function(try) try('admin.vm.Create.AppVM', 'dom0', pick { 'tpl', 'hid-tpl' }, 'name=hid-new label=' .. pick { 'pink', 'teal' }) end,
  function(try) try('admin.vm.Remove', pick { 'hid-new', 'hid-far', 'hid-app' }) end,
  function(try) try('admin.vm.CreateDisposable', 'hid-dvm') end,
  function(try) try('admin.vm.notes.Set', some_hidden(), '', 'hidden notes') end,
  function(try) try('admin.vm.firewall.Set', some_hidden(), '', 'action=drop') end,
}

function M.hidden_event(try, w) pick(hidden_events)(try, w) end

-- Something that dom0 does in both worlds. Not drawn: what only a hidden user of a visible qube keeps dom0 from doing.
local visible_events = {
  function(w) w.try('admin.vm.Create.AppVM', 'dom0', pick { 'tpl', 'tpl2' }, ('name=%s label=red'):format(pick(NEW))) end,
  function(w) w.try('admin.vm.Remove', pick(NEW)) end,
  function(w) w.try('admin.vm.CreateDisposable', 'dvm') end,
  function(w) w.try(pick { 'admin.vm.Start', 'admin.vm.Kill' }, pick { 'v1', 'v2', 'v3', 'v4', 'net', 'net2', 'solo', 'ndisp' }) end,
  function(w) w.try('admin.vm.tag.Set', pick(LOCAL), pick { 't1', 't2' }) end,
  function(w) w.try('admin.vm.property.Set', pick(LOCAL), 'memory', tostring(random(300, 600))) end,
  function(w) w.try('admin.vm.feature.Set', pick { 'tpl', 'tpl2', 'net', 'dom0' }, 'f1', pick { '', 'some' }) end,
}

-- dom0 gives a property of a visible qube, or of the system, a hidden qube: in the world without, none.
local function new_reference(w, hidden)
  if chance(20) then
    -- Not drawn: a paused qube, or one of a hidden netvm that does not run. What is left to do is done when that one starts.
    for _, name in ipairs { 'v1', 'v2', 'v3', 'v4', 'guest', 'dvm', 'solo' } do w.try('admin.vm.Unpause', name) end
    for _, name in ipairs { 'net', 'net2' } do w.try('admin.vm.Start', name) end
    for _, name in ipairs { 'hid-net', 'hid-net2' } do
      hidden('admin.vm.Start', name)
      hidden('admin.vm.Unpause', name)
    end
    if chance(30) then
      return w.pair('admin.property.Set', 'dom0', 'default_netvm', pick { 'hid-net', '' }, '')
    end
    return w.pair('admin.vm.property.Set', pick { 'v1', 'v2', 'v3', 'v4', 'solo' }, 'netvm', pick { 'hid-net', 'hid-net2' }, '')
  end
  if chance(30) then
    local name = pick { 'default_audiovm', 'clockvm', 'updatevm', 'management_dispvm', 'default_dispvm', 'default_guivm' }
    local r = random(3)
    if r == 1 then return w.try('admin.property.Reset', 'dom0', name) end
    return w.pair('admin.property.Set', 'dom0', name, r == 2 and SYSTEM[name][1] or '', '')
  end
  local holder, name = pick { 'v1', 'v2', 'v3', 'v4' }, pick { 'default_dispvm', 'guivm', 'audiovm', 'management_dispvm' }
  if chance(30) then return w.try('admin.vm.property.Reset', holder, name) end
  w.pair('admin.vm.property.Set', holder, name, pick(REFERENCES[name][1]), '')
end

function M.visible_event(w)
  if chance(40) then new_reference(w, w.hidden) else pick(visible_events)(w) end
end

-- ---- calls ----

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

M.is_hidden = is_hidden

return M
