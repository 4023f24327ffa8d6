-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers on DVMTemplateMixin: keeping as many preloaded disposables as features ask for. lib/preload.lua explains the features.

local dependencies = import('dependencies')
local features = import('features')
local preload = import('preload')
local as_seen = import('property').as_seen
local raise = import('exceptions').raise

local DVMTemplateMixin = class('DVMTemplateMixin')
local methods = DVMTemplateMixin.methods

local RELEASE_SECONDS = 30 -- for the removal of preloaded disposables, before the removal of their template is refused

-- Takes names off the list.
function methods:remove_preload_from_list(names, reason)
  local gone, left, any = {}, {}, false
  for _, name in ipairs(names) do gone[name] = true end
  for _, name in ipairs(preload.list(self)) do
    if gone[name] then any = true else left[#left + 1] = name end
  end
  if not any then return end
  core.log('info', ('%s: off the list of preloaded disposables: %s (%s)'):format(self.name, table.concat(names, ', '), reason or 'no reason given'))
  self.features['preload-dispvm'] = table.concat(left, ' ')
end

-- Gives up the preloaded disposables beyond a number.
function methods:remove_preload_excess(max, reason)
  max = max or preload.max(self)
  local list = preload.list(self)
  local excess = table.move(list, max + 1, #list, 1, {})
  if #excess == 0 then return end
  self:remove_preload_from_list(excess, reason)
  for _, name in ipairs(excess) do
    local disposable = core.qube(name)
    if disposable then core.spawn(function() disposable:cleanup() end) end
  end
end

-- Replaces the preloaded disposables that differ from what a new one would be.
function methods:refresh_outdated_preload(delay)
  local outdated = {}
  for _, disposable in ipairs(self:dispvms()) do
    if disposable.is_preload and preload.outdated(disposable) then outdated[#outdated + 1] = disposable end
  end
  if #outdated == 0 then return end
  local names = {}
  for i, disposable in ipairs(outdated) do names[i] = disposable.name end
  self:remove_preload_from_list(names, 'they are outdated')
  for _, disposable in ipairs(outdated) do core.spawn(function() disposable:cleanup() end) end
  preload.later(self, 'of outdated disposables', delay or 4)
end

-- A preloaded disposable for a caller, or nil. A gap is filled later, so as not to slow down this caller.
function methods:request_preload()
  self:fill_preload_gap()
  local any_outdated = false
  for _, name in ipairs(preload.list(self)) do
    local disposable = core.qube(name)
    local fault = not disposable and 'it is gone' or preload.outdated(disposable)
    if not fault then
      disposable:mark_preload_requested()
      return disposable
    end
    any_outdated = true
    self:remove_preload_from_list({ name }, 'outdated: ' .. fault)
    if disposable then
      core.spawn(function()
        core.sleep(2)
        disposable:cleanup()
      end)
    end
  end
  if any_outdated then self:fill_preload_gap() end
  return nil
end

function methods:fill_preload_gap()
  if not preload.has_room(self) then return end
  local delay = preload.delay(self)
  if delay >= 0 or #preload.list(self) == 0 then preload.later(self, 'there is a gap', math.max(5, delay)) end
end

local function check_services(self)
  local missing = as_seen(preload.missing_services, self)
  if #missing > 0 then raise('QubesValueError', ('%s lacks services for preloading: %s'):format(self.name, table.concat(missing, ', '))) end
end

local function work(self, delay)
  if delay and delay ~= 0 then core.sleep(math.abs(delay)) end
  if core.removed(self) then return end
  if not preload.has_room(self) then self:remove_preload_excess(nil, 'there are too many') end
  for _ = 1, preload.affordable(self, preload.max(self) - #preload.list(self)) do
    core.spawn(function() app:create_disposable(self, true) end)
  end
end

DVMTemplateMixin:after({ 'domain-preload-dispvm-start', 'domain-preload-dispvm-used' }, function(self, event, info)
  core.log('info', ('%s: %s (%s)'):format(self.name, event, info.reason or 'a disposable was used'))
  check_services(self)
  core.spawn(work, self, info.delay)
end)

-- Features

DVMTemplateMixin:on('domain-feature-pre-set:preload-dispvm-delay', function(_, _, info)
  if info.value ~= info.oldvalue then preload.check_delay(info.value) end
end)

DVMTemplateMixin:on('domain-feature-pre-set:preload-dispvm-max', function(self, _, info)
  if not features.truth(as_seen(features.with_template, self, 'qrexec')) then raise('QubesValueError', self.name .. ' does not support qrexec') end
  check_services(self)
  if info.value ~= '' and not info.value:find('^%d+$') then raise('QubesValueError', info.feature .. ': digits were expected') end
end)

DVMTemplateMixin:on('domain-feature-set:preload-dispvm-max', function(self, _, info)
  if info.value == info.oldvalue or not self.template_for_dispvms or preload.is_global(self) then return end
  preload.later(self, ("local feature was set to '%s'"):format(info.value))
end)

DVMTemplateMixin:on('domain-feature-delete:preload-dispvm-max', function(self)
  if not preload.is_global(self) then self:remove_preload_excess(0, 'local feature was deleted') end
end)

local function set_of(list)
  local set = {}
  for _, name in ipairs(list) do set[name] = true end
  return set
end

DVMTemplateMixin:on('domain-feature-pre-set:preload-dispvm', function(self, _, info)
  local old, new = preload.split(info.oldvalue), preload.split(info.value)
  local was, seen, same = set_of(old), {}, #old == #new
  for _, name in ipairs(new) do same = same and was[name] end
  if same or #new == 0 then return end
  if #new > math.max(preload.max(self), #old) then raise('QubesValueError', 'preload-dispvm: more than preload-dispvm-max allows') end
  for _, name in ipairs(new) do
    if seen[name] then raise('QubesValueError', 'preload-dispvm: a name is there twice') end
    seen[name] = true
    local disposable = core.qube(name)
    if not was[name] and not (disposable and disposable.template == self) then
      raise('QubesValueError', 'preload-dispvm: not a disposable that is based on this qube')
    end
  end
end)

DVMTemplateMixin:on('domain-feature-set:preload-dispvm', function(_, _, info)
  local old, new = set_of(preload.split(info.oldvalue)), set_of(preload.split(info.value))
  for _, pair in ipairs { { old, new }, { new, old } } do
    for name in pairs(pair[1]) do
      local disposable = not pair[2][name] and core.qube(name)
      if disposable then disposable:fire('property-reset:is_preload', { name = 'is_preload' }) end
    end
  end
end)

-- Other changes of the template

DVMTemplateMixin:on({ 'property-set:*', 'property-reset:*' }, function(self, _, info)
  if self.template_for_dispvms and not preload.OWN_PROPERTIES[info.name] then self:refresh_outdated_preload(30) end
end)

DVMTemplateMixin:on('property-set:template_for_dispvms', function(self, _, info)
  if info.newvalue ~= true or info.oldvalue == true or not preload.has_room(self) then return end
  preload.later(self, 'template_for_dispvms was set to True')
end)

DVMTemplateMixin:on('property-set:template', function(self, _, info)
  if info.newvalue == info.oldvalue or not self.template_for_dispvms or not preload.has_room(self) then return end
  preload.later(self, 'template has changed')
end)

DVMTemplateMixin:after('domain-shutdown', function(self)
  if self.template_for_dispvms then self:refresh_outdated_preload() end
end)

-- Before the template is removed: its preloaded disposables go, unless something else holds the template. Waits.
function methods:release_preloaded()
  if not self.template_for_dispvms then return end
  local system, others = dependencies.of(self)
  if #system > 0 or #others > 0 then return end
  local names, waiting = {}, {}
  for _, disposable in ipairs(self:dispvms()) do
    if disposable.is_preload then
      names[#names + 1] = disposable.name
      waiting[#waiting + 1] = disposable
    end
  end
  if #names == 0 then return end
  self:remove_preload_from_list(names, 'the template is removed')
  local deadline = core.monotonic() + RELEASE_SECONDS
  for _, disposable in ipairs(waiting) do
    disposable:cleanup(true)
    -- It may be removed by who heard first that it was stopped, and that takes a while.
    while not core.removed(disposable) and core.monotonic() < deadline do core.sleep(0.02) end
  end
end

-- After a load: those that are gone, or that were not finished or not handed out when the daemon ended, are of no use.
DVMTemplateMixin:on('domain-load', function(self)
  if not self.template_for_dispvms then return end
  local unwanted = {}
  for _, name in ipairs(preload.list(self)) do
    if not core.qube(name) then unwanted[#unwanted + 1] = name end
  end
  for _, disposable in ipairs(self:dispvms()) do
    local stopped = not disposable:is_running() and features.truth(disposable.features['preload-dispvm-completed'])
    if stopped or features.truth(disposable.features['preload-dispvm-in-progress']) then
      unwanted[#unwanted + 1] = disposable.name
      core.spawn(function() disposable:cleanup(true) end)
    end
  end
  if #unwanted > 0 then self:remove_preload_from_list(unwanted, 'they were interrupted') end
end)
