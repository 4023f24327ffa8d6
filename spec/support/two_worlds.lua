-- SPDX-License-Identifier: GPL-2.0-or-later
-- Two estates, one with hidden qubes and one without, and what happens in them: for two_worlds_spec.lua. All chance comes from math.random.
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

M.VISIBLE, M.HIDDEN, M.REFERENCES, M.REFERENCE_NAMES, M.SYSTEM_NAMES = VISIBLE, HIDDEN, REFERENCES, REFERENCE_NAMES, SYSTEM_NAMES
M.is_hidden = is_hidden

return M
