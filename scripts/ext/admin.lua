-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers what callers may not change although they may change such things, and the tags that a creator's feature asks for.

local raise = import('exceptions').raise

-- These hooks are rules like those of acl.d/: an error in them denies, and its text is the reason that is logged.

-- Features that the daemon keeps for itself.
local OWN_FEATURES = {
  ['deferred-netvm-original'] = true, ['preload-dispvm'] = true, ['preload-dispvm-completed'] = true, ['preload-dispvm-in-progress'] = true,
}

local function check_feature(_, _, info)
  if OWN_FEATURES[info.arg] then core.deny('this feature is changed by the system only') end
end

core.on_permission('admin-permission:admin.vm.feature.Set', check_feature)
core.on_permission('admin-permission:admin.vm.feature.Remove', check_feature)

-- Who created a qube is for dom0 to say.
local function check_tag(source, _, info)
  if info.arg:sub(1, 11) == 'created-by-' and source.klass ~= 'AdminVM' then
    core.deny('a created-by tag is changed by dom0 only')
  end
end

core.on_permission('admin-permission:admin.vm.tag.Set', check_tag)
core.on_permission('admin-permission:admin.vm.tag.Remove', check_tag)

-- The feature tag-created-vm-with of the creator lists tags for the qubes that it creates.
on('domain-tag-add:created-by-*', function(qube, _, info)
  local creator = core.qube(info.tag:sub(12)) or raise('QubesVMNotFoundError', 'the tag names no qube')
  for tag in (creator.features['tag-created-vm-with'] or ''):gmatch('%S+') do qube.tags[tag] = true end
end)
