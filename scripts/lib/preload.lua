-- SPDX-License-Identifier: GPL-2.0-or-later
-- Preloaded disposables: the features that describe them, on their template and on dom0. Registers nothing.
--
-- A template lists its preloaded disposables in the feature `preload-dispvm`, and says in `preload-dispvm-max` how many there should be. For the
-- global default_dispvm, the feature of dom0 comes first.

local raise = import('exceptions').raise
local features = import('features')

local core_get = core.get
local core_app = core.app

local preload = {}

local LIST, MAX = 'preload-dispvm', 'preload-dispvm-max'

function preload.split(text)
  local names = {}
  for name in (text or ''):gmatch('[^ ]+') do names[#names + 1] = name end
  return names
end

-- Names of the preloaded disposables of a template.
function preload.list(template)
  local _, text = core_get(template, 'feature', LIST)
  return preload.split(text)
end

function preload.is_listed(template, name)
  local is_set, text = core_get(template, 'feature', LIST)
  return is_set and (' ' .. text .. ' '):find(' ' .. name .. ' ', 1, true) ~= nil
end

local function number(text)
  return math.tointeger(tonumber(text)) or 0
end

-- dom0's wish for the default_dispvm; nil when it has none.
function preload.global_max()
  local is_set, text = core_get(core.qube(0), 'feature', MAX)
  if is_set then return number(text) end
  return nil
end

function preload.local_max(template)
  local _, text = core_get(template, 'feature', MAX)
  return number(text)
end

function preload.max(template)
  local wanted = core_app().default_dispvm == template and preload.global_max()
  return wanted or preload.local_max(template)
end

function preload.is_global(template)
  return core_app().default_dispvm == template and preload.global_max() ~= nil
end

function preload.has_room(template)
  return #preload.list(template) < preload.max(template)
end

-- Seconds until a disposable that was used is replaced; negative: not before the list is empty.
function preload.delay(template)
  local text = features.with_adminvm(template, 'preload-dispvm-delay')
  return tonumber(text or 3) or 0
end

-- The file in which the memory balancer says how much is free, in bytes.
local FREE_MEMORY = '/var/run/qubes/qmemman-avail-mem'

-- How many of `wanted` disposables of a template the free memory allows, with what dom0's threshold keeps back; all where nobody tells. Waits.
function preload.affordable(template, wanted)
  local text = wanted > 0 and core.read_file(FREE_MEMORY)
  local free = text and math.tointeger(tonumber(text))
  if not free then return wanted end
  local _, threshold = core_get(core.qube(0), 'feature', 'preload-dispvm-threshold')
  local count = (free - (number(threshold) << 20)) // (template.memory << 20)
  if count < wanted then
    core.log('warning', ('%s: the free memory allows %d of %d preloaded disposables'):format(template.name, math.max(0, count), wanted))
  end
  return math.max(0, math.min(count, wanted))
end

function preload.check_delay(text)
  if text ~= '' and not (tonumber(text) and not text:find('[xX]')) then
    raise('QubesValueError', 'preload-dispvm-delay: a number was expected')
  end
end

local SERVICES = { 'qubes.WaitForRunningSystem', 'qubes.WaitForSession' }

-- Services that a template has to offer before disposables of it can be preloaded.
function preload.missing_services(template)
  local missing = {}
  for _, service in ipairs(SERVICES) do
    if not features.truth(features.with_template(template, 'supported-rpc.' .. service)) then missing[#missing + 1] = service end
  end
  return missing
end

-- Has a template look, soon, whether there are too few or too many.
function preload.later(template, reason, delay)
  if not template then return end
  core.spawn(function() template:fire('domain-preload-dispvm-start', { reason = reason, delay = delay }) end)
end

-- The default_dispvm was changed from or to this template: what dom0 wishes counts for it no more, or from now on.
function preload.adopt_global(template, reason)
  local wanted = template and preload.global_max()
  if wanted and wanted ~= preload.local_max(template) then preload.later(template, reason) end
end

-- Properties in which a disposable may differ from its template without being outdated.
preload.OWN_PROPERTIES = {}
for name in ([[autostart backup_timestamp default_dispvm dispid gateway gateway6 icon include_in_backups installed_by_rpm ip ip6 klass name qid
  start_time stubdom_uuid stubdom_xid template template_for_dispvms updateable uuid visible_gateway visible_gateway6 visible_ip visible_ip6
  xid]]):gmatch('%S+') do
  preload.OWN_PROPERTIES[name] = true
end

-- The first property in which a preloaded disposable differs from its template; nil when it is up to date.
function preload.outdated(disposable)
  local template = disposable.template
  for _, name in ipairs(disposable:property_names()) do
    if not preload.OWN_PROPERTIES[name] and template:property_def(name) and disposable[name] ~= template[name] then return name end
  end
  return nil
end

return preload
