-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers the audiovm: the tag audiovm-NAME on the qubes whose sound it plays, and what the guests are told.

local property = import('property')
local qubesdb = import('qubesdb')
local raise = import('exceptions').raise
local views = import('views')

local PREFIX = 'audiovm-'

-- The qubes whose sound this one plays.
local function played_by(audiovm)
  local list = {}
  for _, qube in ipairs(views.qubes()) do
    if qube ~= audiovm and property.value(qube, 'audiovm') == audiovm then list[#list + 1] = qube end
  end
  return list
end

local function tell_guest(qube)
  local audiovm = qube.audiovm
  if not audiovm then
    qubesdb.remove(qube, '/qubes-audio-domain-xid')
  elseif audiovm ~= qube and audiovm:is_running() then
    qubesdb.write(qube, '/qubes-audio-domain-xid', audiovm.xid or 0)
  end
end

local function retag(qube, audiovm)
  for tag in pairs(qube.tags) do
    if tag:sub(1, #PREFIX) == PREFIX then qube.tags[tag] = nil end
  end
  if audiovm then qube.tags[PREFIX .. audiovm.name] = true end
end

on('property-set:audiovm', function(qube, _, info)
  retag(qube, info.newvalue ~= none and info.newvalue or nil)
  tell_guest(qube)
end)

on('property-reset:audiovm', function(qube)
  retag(qube, qube.audiovm)
  tell_guest(qube)
end)

on_app('property-set:default_audiovm', function(_, _, info)
  for _, qube in ipairs(views.qubes()) do
    if qube:property_def('audiovm') and qube:is_default('audiovm') then
      qube:fire('property-set:audiovm', { name = 'audiovm', newvalue = info.newvalue, oldvalue = info.oldvalue or none })
    end
  end
end)

local function on_init(qube)
  local audiovm = qube.audiovm
  if audiovm and not qube.tags[PREFIX .. audiovm.name] then retag(qube, audiovm) end
end

on('domain-init', on_init)
on('domain-load', on_init)

on('domain-qdb-create', tell_guest)

on('domain-start', function(qube)
  for _, other in ipairs(played_by(qube)) do qubesdb.write(other, '/qubes-audio-domain-xid', qube.xid) end
end)

on('domain-pre-shutdown', function(qube, _, info)
  if info.force == true then return end
  for _, other in ipairs(played_by(qube)) do
    if other:is_running() and not other.is_preload and core.caller_sees(other) then
      raise('QubesVMInUseError', qube.name .. ' plays the sound of running qubes')
    end
  end
end)
