-- SPDX-License-Identifier: GPL-2.0-or-later
-- What a rule's event may be a name of, besides the methods that are there. Sets core_hooks.unmatched_rule, which the core asks about each rule
-- that no method's event matches: such a rule would never be asked, so what it was written to refuse would be permitted.

local glob = import('glob')

local api_names = {}

local PERMISSION = { 'admin%-permission:', 'mgmt%-permission:' }

-- Methods of the Admin API that this daemon does not have yet. A rule may be written for them in advance, since nobody can call them either.
local PLANNED = {
  'admin.backup.Cancel', 'admin.backup.Execute', 'admin.backup.Info', 'admin.pool.Add', 'admin.pool.Info', 'admin.pool.List', 'admin.pool.ListDrivers',
  'admin.pool.Remove', 'admin.pool.Set.ephemeral_volatile', 'admin.pool.Set.revisions_to_keep', 'admin.pool.UsageDetails', 'admin.pool.volume.CloneFrom',
  'admin.pool.volume.CloneTo', 'admin.pool.volume.Import', 'admin.pool.volume.Info', 'admin.pool.volume.List', 'admin.pool.volume.ListSnapshots',
  'admin.pool.volume.Resize', 'admin.pool.volume.Revert', 'admin.pool.volume.Set.ephemeral', 'admin.pool.volume.Set.revisions_to_keep',
  'admin.pool.volume.Set.rw', 'admin.pool.volume.Snapshot', 'admin.property.HelpRst', 'admin.vm.Console', 'admin.vm.CreateInPool.AppVM',
  'admin.vm.CreateInPool.DispVM', 'admin.vm.CreateInPool.StandaloneVM', 'admin.vm.CreateInPool.TemplateVM', 'admin.vm.property.HelpRst',
  'admin.vm.volume.Clear', 'admin.vm.volume.CloneFrom', 'admin.vm.volume.CloneTo', 'admin.vm.volume.Import', 'admin.vm.volume.ImportWithSize',
  'admin.vm.volume.Info', 'admin.vm.volume.List', 'admin.vm.volume.ListSnapshots', 'admin.vm.volume.Resize', 'admin.vm.volume.Revert',
  'admin.vm.volume.Set.ephemeral', 'admin.vm.volume.Set.revisions_to_keep', 'admin.vm.volume.Set.rw',
}

for _, class_name in ipairs { 'block', 'mic', 'pci', 'usb' } do
  for _, action in ipairs { 'Assign', 'Assigned', 'Attach', 'Attached', 'Available', 'Detach', 'Set.assignment', 'Set.required', 'Unassign' } do
    PLANNED[#PLANNED + 1] = ('admin.vm.device.%s.%s'):format(class_name, action)
  end
end

-- How many bytes have to be changed, added or left out to make one of the other. https://en.wikipedia.org/wiki/Levenshtein_distance
local function distance(a, b)
  local row = {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    local diagonal = row[0]
    row[0] = i
    for j = 1, #b do
      local above = row[j]
      local changed = diagonal + (a:byte(i) == b:byte(j) and 0 or 1)
      row[j] = math.min(changed, above + 1, row[j - 1] + 1)
      diagonal = above
    end
  end
  return row[#b]
end

local function nearest(name)
  local best, least
  for method_name in pairs(core.declarations()) do
    local d = distance(name:lower(), method_name:lower())
    if not least or d < least or d == least and method_name < best then best, least = method_name, d end
  end
  return best
end

-- The name of today, from a rule's event.
local function method_of(event)
  for _, prefix in ipairs(PERMISSION) do
    local name = event:match('^' .. prefix .. '(.*)$')
    if name then return (name:gsub('^mgmt%.', 'admin.')) end
  end
  return event
end

api_names.planned = PLANNED

-- From a rule's event that no method has: nil when it is all right, or what is wrong with it.
function core_hooks.unmatched_rule(event)
  local name = method_of(event)
  local is_pattern = glob.has_wildcard(name)
  for _, planned in ipairs(PLANNED) do
    if name == planned or is_pattern and (glob.match(name, planned) or glob.match(event, 'admin-permission:' .. planned)) then return nil end
  end
  if is_pattern then return ('there is no method that %s could mean'):format(name) end
  return ('there is no method %s; did you mean %s?'):format(name, nearest(name))
end

return api_names
