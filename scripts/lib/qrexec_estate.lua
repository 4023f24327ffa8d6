-- SPDX-License-Identifier: GPL-2.0-or-later
-- Provides the estate as a qrexec policy sees it, `system_info` of lib/qrexec_policy.lua, and registers on which events it has changed.
--
-- A question about an event is asked while the event is told, and as in the reference it is answered from what is known from the question
-- before, if that still holds. So who loses sight of a qube by the loss of a tag is told of that, and who gains sight of it is not. Hence two
-- ways to ask: `now`, and `known`, which is what was found last until an event that changes some of it has been told.

local estate = {}

local core_class, core_uuid, core_power, core_names = core.class, core.uuid, core.power, core.names

-- What is read when it is asked for, since policies seldom do. nil stands for JSON's null.
local readers = {
  internal = function(qube) return qube.features.internal end,
  template_for_dispvms = function(qube) return qube.template_for_dispvms or false end,
  default_dispvm = function(qube)
    local template = qube.default_dispvm
    return template and core.name(template)
  end,
}

local entry_meta = { __index = function(entry, field)
  local read = readers[field]
  if read and not core.removed(entry.qube) then return read(entry.qube) end
  return nil
end }

local function read_all()
  local domains = {}
  for _, qube in ipairs(core.qubes()) do
    domains[core.name(qube)] = setmetatable({
      qube = qube, type = core_class(qube), uuid = core_uuid(qube), power_state = core_power(qube), tags = core_names(qube, 'tag'),
    }, entry_meta)
  end
  return { domains = domains, version = core.version(), epoch = core.epoch(), verdicts = {} }
end

local kept

-- Returns { domains =, verdicts = {} } of the model as it is: the same table until the model changes. `verdicts` is for whoever wants to keep
-- an answer for as long.
function estate.now()
  if not kept or kept.version ~= core.version() or kept.epoch ~= core.epoch() then kept = read_all() end
  return kept
end

-- The same for a question about an event. What a call had changed that then failed is forgotten, too.
function estate.known()
  if not kept or kept.epoch ~= core.epoch() then kept = read_all() end
  return kept
end

-- A qube that is being created is none yet: domain-add tells of it. The core counts, since after a reload a call may still run in the generation
-- before, where it fires its events.
local function forget(subject)
  if kept and not core.is_app(subject) and not kept.domains[core.name(subject)] then return end
  core.next_epoch()
end

local CHANGES = {
  'domain-spawn', 'domain-start', 'domain-shutdown', 'domain-tag-add:*', 'domain-tag-delete:*', 'domain-feature-set:internal',
  'domain-feature-delete:internal', 'property-set:template_for_dispvms', 'property-reset:template_for_dispvms', 'property-set:default_dispvm',
  'property-reset:default_dispvm', 'property-set:icon', 'property-reset:icon', 'property-set:label', 'property-reset:label',
  'property-set:guivm', 'property-reset:guivm', 'property-set:relayvm', 'property-reset:relayvm', 'property-set:transport_rpc',
  'property-reset:transport_rpc', 'property-set:uuid', 'property-reset:uuid',
}

class('Qubes'):after({ 'domain-add', 'domain-delete' }, forget, true)
class('BaseVM'):after(CHANGES, forget, true)

return estate
