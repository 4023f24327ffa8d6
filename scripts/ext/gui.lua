-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers the guivm: the tag guivm-NAME on the qubes whose windows it shows, and what the guests are told.

local features = import('features')
local property = import('property')
local qubesdb = import('qubesdb')
local raise = import('exceptions').raise
local views = import('views')

local PREFIX = 'guivm-'

-- The qubes whose windows this one shows.
local function shown_by(guivm)
  local list = {}
  for _, qube in ipairs(views.qubes()) do
    if property.value(qube, 'guivm') == guivm then list[#list + 1] = qube end
  end
  return list
end

local function retag(qube, guivm)
  local wanted = guivm and PREFIX .. guivm.name
  local found = false
  for tag in pairs(qube.tags) do
    if tag == wanted then
      found = true
    elseif tag:sub(1, #PREFIX) == PREFIX then
      qube.tags[tag] = nil
    end
  end
  if wanted and not found then qube.tags[wanted] = true end
end

on('property-set:guivm', function(qube, _, info) retag(qube, info.newvalue ~= none and info.newvalue or nil) end)

on('property-reset:guivm', function(qube) retag(qube, qube.guivm) end)

on_app('property-set:default_guivm', function(_, _, info)
  for _, qube in ipairs(views.qubes()) do
    if qube:property_def('guivm') and qube:is_default('guivm') then
      qube:fire('property-set:guivm', { name = 'guivm', newvalue = info.newvalue, oldvalue = info.oldvalue or none })
    end
  end
end)

local function on_init(qube)
  local guivm = qube.guivm
  if guivm and not qube.tags[PREFIX .. guivm.name] then retag(qube, guivm) end
end

on('domain-init', on_init)
on('domain-load', on_init)

-- The feature set-created-guivm of the creator names the guivm of the qubes that it creates.
on('domain-tag-add:created-by-*', function(qube, _, info)
  local creator = core.qube(info.tag:sub(12)) or raise('QubesVMNotFoundError', 'the tag names no qube')
  local name = creator.features['set-created-guivm']
  if not features.truth(name) or not qube:property_def('guivm') then return end
  qube.guivm = core.qube(name) or raise('QubesVMNotFoundError', 'set-created-guivm names no qube')
end)

on('property-reset:keyboard_layout', function(qube) qubesdb.write(qube, '/keyboard-layout', qube.keyboard_layout) end)

on('property-set:keyboard_layout', function(qube, _, info)
  if info.newvalue == info.oldvalue and not info._inherited then return end
  qubesdb.write(qube, '/keyboard-layout', info.newvalue)
  for _, other in ipairs(shown_by(qube)) do
    if other:is_default('keyboard_layout') then
      local follows = { name = 'keyboard_layout', oldvalue = info.oldvalue or none, _inherited = info._inherited }
      other:fire('property-reset:keyboard_layout', follows, false, { none, qube })
    end
  end
end)

on('domain-qdb-create', function(qube)
  for _, feature in ipairs { 'gui-videoram-overhead', 'gui-videoram-min' } do
    local value = features.with_template_and_adminvm(qube, feature)
    if value then qubesdb.write(qube, '/qubes-' .. feature, value) end
  end
  local guivm = qube.guivm
  qubesdb.write(qube, '/qubes-gui-enabled', guivm and qube.features.gui ~= '' and 'True' or 'False')
  if guivm and guivm ~= qube then
    qubesdb.write(qube, '/keyboard-layout', qube.keyboard_layout)
    if guivm:is_running() then qubesdb.write(qube, '/qubes-gui-domain-xid', guivm.xid or 0) end
  end
  if features.truth(qube.features['service.guivm']) then
    qubesdb.write(qube, '/guivm-windows-prefix', qube.features['guivm-windows-prefix'] or 'GuiVM')
  end
end)

on('domain-start', function(qube)
  for _, other in ipairs(shown_by(qube)) do
    if other:is_running() then
      qubesdb.write(other, '/qubes-gui-enabled', other.features.gui ~= '' and 'True' or 'False')
      qubesdb.write(other, '/qubes-gui-domain-xid', qube.xid)
    end
  end
end)

on('domain-pre-shutdown', function(qube, _, info)
  if info.force == true then return end
  for _, other in ipairs(shown_by(qube)) do
    if other:is_running() and core.caller_sees(other) then raise('QubesVMError', qube.name .. ' shows the windows of running qubes') end
  end
end)
