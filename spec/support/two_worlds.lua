-- SPDX-License-Identifier: GPL-2.0-or-later
-- Estates with and without hidden qubes, and calls of a caller from whom they are hidden, for two_worlds_spec.lua. All chance comes from math.random.

local M = {}

local random = math.random

local function pick(list) return list[random(#list)] end
local function chance(percent) return random(100) <= percent end

-- What hides, and what keeps the names of new qubes apart: without the second rule a name that is taken would tell (docs/acl.md, "What hiding can't hide").
M.RULES = [[
on('admin-permission:admin.vm.List', function(src)
  if src.name ~= 'guest' then return end
  return function(qube)
    return not qube.name:match('^secret') and not (qube.klass == 'DispVM' and qube.template.name:match('^secret'))
  end
end)
on('admin-permission:admin.vm.Create.*', function(src, event, info)
  if src.name == 'guest' and not info.name:match('^guest%-') then deny('names begin with guest-') end
end)
]]

-- Calls of dom0 that make what both worlds have.
M.BASE = {
  { 'admin.vm.Create.TemplateVM', 'dom0', '', 'name=fedora label=black' },
  { 'admin.property.Set', 'dom0', 'default_template', 'fedora' },
  { 'admin.vm.Create.TemplateVM', 'dom0', '', 'name=debian label=black' },
  { 'admin.vm.Create.AppVM', 'dom0', '', 'name=guest label=red' },
  { 'admin.vm.Create.AppVM', 'dom0', '', 'name=sys-net label=red' },
  { 'admin.vm.property.Set', 'sys-net', 'provides_network', 'True' },
  { 'admin.vm.property.Set', 'sys-net', 'netvm', '' },
  { 'admin.vm.Create.AppVM', 'dom0', '', 'name=sys-fw label=green' },
  { 'admin.vm.property.Set', 'sys-fw', 'provides_network', 'True' },
  { 'admin.vm.property.Set', 'sys-fw', 'netvm', 'sys-net' },
  { 'admin.vm.Create.AppVM', 'dom0', '', 'name=work label=blue' },
  { 'admin.vm.property.Set', 'work', 'netvm', 'sys-fw' },
  { 'admin.vm.Create.StandaloneVM', 'dom0', '', 'name=vault label=black' },
  { 'admin.vm.Create.AppVM', 'dom0', 'debian', 'name=dvm label=gray' },
  { 'admin.vm.property.Set', 'dvm', 'template_for_dispvms', 'True' },
  { 'admin.vm.Create.RemoteVM', 'dom0', '', 'name=far label=red' },
  { 'admin.label.Create', 'dom0', 'pink', '0xff00ff' },
  { 'admin.vm.tag.Set', 'work', 'shared' },
  { 'admin.vm.feature.Set', 'fedora', 'of-template', '1' },
}

-- Calls of dom0 that make the hidden qubes.
M.HIDDEN = {
  { 'admin.vm.Create.TemplateVM', 'dom0', '', 'name=secret-tpl label=black' },
  { 'admin.vm.Create.AppVM', 'dom0', 'debian', 'name=secret-app label=pink' },
  { 'admin.vm.property.Set', 'secret-app', 'netvm', 'sys-fw' },
  { 'admin.vm.property.Set', 'secret-app', 'guivm', 'work' },
  { 'admin.vm.property.Set', 'secret-app', 'audiovm', 'vault' },
  { 'admin.vm.property.Set', 'secret-app', 'default_dispvm', 'dvm' },
  { 'admin.vm.Create.AppVM', 'dom0', 'secret-tpl', 'name=secret-net label=red' },
  { 'admin.vm.property.Set', 'secret-net', 'provides_network', 'True' },
  { 'admin.vm.property.Set', 'secret-net', 'netvm', '' },
  { 'admin.vm.Create.AppVM', 'dom0', 'fedora', 'name=secret-dvm label=red' },
  { 'admin.vm.property.Set', 'secret-dvm', 'template_for_dispvms', 'True' },
  { 'admin.vm.Create.DispVM', 'dom0', 'dvm', 'name=secret-disp label=red' },
  { 'admin.vm.feature.Set', 'secret-net', 'of-net', '1' },
  { 'admin.vm.tag.Set', 'secret-app', 'shared' },
}

-- Visible references: what they are with hidden qubes, and what a caller is to take them for.
M.REFERENCES = {
  { 'admin.vm.property.Set', 'vault', 'netvm', 'secret-net' },
  { 'admin.vm.property.Set', 'work', 'default_dispvm', 'secret-dvm' },
  { 'admin.vm.property.Set', 'guest', 'default_dispvm', 'secret-dvm' },
  { 'admin.vm.property.Set', 'guest', 'guivm', 'secret-app' },
  { 'admin.vm.property.Set', 'work', 'audiovm', 'secret-app' },
  { 'admin.vm.property.Set', 'work', 'management_dispvm', 'secret-dvm' },
  { 'admin.vm.property.Set', 'far', 'relayvm', 'secret-app' },
  { 'admin.property.Set', 'dom0', 'clockvm', 'secret-app' },
  { 'admin.property.Set', 'dom0', 'updatevm', 'secret-net' },
  { 'admin.property.Set', 'dom0', 'default_netvm', 'secret-net' },
  { 'admin.property.Set', 'dom0', 'default_dispvm', 'secret-dvm' },
}

local SEEN = { 'work', 'vault', 'sys-net', 'sys-fw', 'dvm', 'far', 'fedora', 'debian', 'guest' }
local SECRET = { 'secret-app', 'secret-net', 'secret-dvm', 'secret-tpl', 'secret-disp', 'secret-new' }
local NEW = { 'guest-1', 'guest-2', 'guest-3', 'guest-net' }
local LABELS = { 'red', 'green', 'pink', 'black', 'own', 'none-such' }
local PROPERTIES = {
  'label', 'netvm', 'netvm', 'netvm', 'template', 'memory', 'maxmem', 'autostart', 'default_dispvm', 'provides_network', 'provides_network',
  'template_for_dispvms', 'kernel', 'ip', 'guivm', 'audiovm', 'name', 'klass', 'qid', 'uuid', 'visible_ip', 'visible_gateway', 'dns', 'management_dispvm',
  'relayvm', 'xid', 'start_time', 'mac', 'no-such',
}
local GLOBALS = {
  'default_netvm', 'default_dispvm', 'default_template', 'clockvm', 'updatevm', 'management_dispvm', 'default_guivm', 'default_audiovm',
  'default_kernel',
}
local TAGS = {
  't1', 'shared', 'created-by-guest', 'created-by-secret-app', 'guivm-secret-app', 'audiovm-secret-app', 'guivm-work', 'disp-created-by-secret-app',
  'relayvm-secret-app',
}
local FEATURES = { 'f1', 'of-template', 'of-net', 'gui', 'net.fake-ip', 'preload-dispvm', 'service.clocksync', 'deferred-netvm-original' }

local function some_qube()
  local r = random(100)
  if r <= 62 then return pick(SEEN) end
  if r <= 80 then return pick(NEW) end
  if r <= 96 then return pick(SECRET) end
  return pick { 'dom0', 'nobody', '', 'bad name', '@disposable', '@disposable' }
end

local function argument(method)
  if method.arg == 'none' then return chance(98) and '' or 'x' end
  if chance(2) then return pick { '', 'a+b', 'ä', ('x'):rep(300), 'secret-app' } end
  local name = method.name
  local family = name:match('^admin%.vm%.(%a+)') or name:match('^admin%.(%a+)')
  if name:match('^admin%.property') then return pick(GLOBALS) end
  if family == 'property' then return pick(PROPERTIES) end
  if family == 'tag' then return pick(TAGS) end
  if family == 'feature' then return pick(FEATURES) end
  if family == 'label' then return pick(LABELS) end
  if family == 'Shutdown' then return pick { '', '', 'force', 'force+wait' } end
  if family == 'CreateDisposable' then return pick { '', '', '', 'preload' } end
  if family == 'Create' then return pick { '', 'fedora', 'debian', 'dvm', 'secret-tpl', some_qube() } end
  if family == 'device' then return pick { '', 'work', 'secret-app' } end
  return pick { '', 'fedora', some_qube() }
end

local function property_value(arg)
  if arg == 'provides_network' or arg == 'template_for_dispvms' or arg == 'autostart' then return pick { 'True', 'False', 'False' } end
  if arg == 'label' then return pick(LABELS) end
  if arg == 'memory' or arg == 'maxmem' then return tostring(random(100, 3000)) end
  if arg == 'netvm' then return pick { 'sys-net', 'sys-fw', 'guest-net', 'secret-net', '', some_qube() } end
  return pick { some_qube(), '', some_qube(), 'True', '10.1.2.3' }
end

local function payload(method, arg)
  if method.payload == 'none' then return chance(98) and '' or 'x' end
  if chance(2) then return pick { '', '\0', '\xff', 'secret-app' } end
  local name = method.name
  if name:match('%.Create%.') then
    return ('name=%s label=%s'):format(chance(85) and pick(NEW) or some_qube(), pick { 'red', 'pink', 'own', 'green' })
  end
  if name:match('%.property%.Set$') then return property_value(arg) end
  if name:match('label') then return pick { '0x123456', '0xff0000', 'red' } end
  if name:match('firewall') then return pick { 'action=accept', 'action=drop dst4=10.0.0.0/8', 'action=accept dsthost=secret-app', 'nonsense' } end
  if name:match('CreateDisposable') then return pick { '', 'uuid' } end
  return pick { '1', '0', 'some text', 'secret-app', '' }
end

local FREQUENT = {
  'admin.vm.property.Set', 'admin.vm.property.Set', 'admin.vm.property.Reset', 'admin.vm.Create.AppVM', 'admin.vm.Start', 'admin.vm.Shutdown',
  'admin.vm.Kill', 'admin.vm.Remove', 'admin.vm.property.GetAll', 'admin.vm.List', 'admin.vm.CreateDisposable', 'admin.property.Set',
}

-- A call of the caller. `by_name` is a table of the declarations, `methods` an array.
function M.call(methods, by_name)
  local method = chance(45) and by_name[pick(FREQUENT)] or pick(methods)
  local dest = method.dest == 'adminvm' and 'dom0' or some_qube()
  if chance(2) then dest = pick { 'dom0', some_qube() } end
  if method.name == 'admin.vm.CreateDisposable' and chance(80) then dest = pick { 'dom0', 'dvm', 'dvm' } end
  if method.name:match('Remove$') and dest == 'guest' then dest = 'work' end
  local arg = argument(method)
  return { method = chance(5) and method.name:gsub('^admin%.', 'mgmt.') or method.name, dest = dest, arg = arg, payload = payload(method, arg) }
end

-- A call of dom0 that is about hidden qubes, for the world that has them. `runs(name)` says whether a qube runs: what is started must not start a visible
-- netvm, since that would be seen and is no secret. Nor has the hidden netvm of visible qubes one that is visible: it would start with them.
function M.secret_call(runs, netvm_of)
  local name = pick(SECRET)
  local netvm = netvm_of(name)
  local r = random(9)
  if r <= 2 and (netvm == '' or runs(netvm)) then return { 'admin.vm.Start', name } end
  if r == 3 then return { 'admin.vm.Kill', name } end
  if r == 4 and name ~= 'secret-net' then return { 'admin.vm.property.Set', name, 'netvm', pick { 'sys-net', 'sys-fw', '', 'work', 'guest-net' } } end
  if r == 5 then
    return { 'admin.vm.property.Set', name, pick { 'guivm', 'audiovm', 'default_dispvm', 'management_dispvm' }, pick { 'work', 'vault', 'dvm', '' } }
  end
  if r == 6 then return { 'admin.vm.property.Set', name, 'label', pick { 'red', 'pink', 'own' } } end
  if r == 7 then return { 'admin.vm.tag.Set', name, pick { 't1', 'guivm-work', 'created-by-guest' } } end
  if r == 8 then return { 'admin.vm.Create.AppVM', 'dom0', pick { 'fedora', 'debian' }, 'name=secret-new label=pink' } end
  return pick { { 'admin.vm.Remove', 'secret-new' }, { 'admin.vm.feature.Set', name, 'f1', '1' }, { 'admin.vm.notes.Set', name, '', 'x' } }
end

return M
