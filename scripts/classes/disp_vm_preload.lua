-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers on DispVM: the stages of a preloaded disposable: listed, started, paused, requested, used.

local features = import('features')
local preload = import('preload')
local raise = import('exceptions').raise

local DispVM = class('DispVM')
local methods = DispVM.methods

local IN_PROGRESS, COMPLETED = 'preload-dispvm-in-progress', 'preload-dispvm-completed'

-- Listed before it is started, so that a daemon that ends meanwhile knows what to clean up.
function methods:mark_preload()
  local template = self.template
  self.features[IN_PROGRESS] = true
  local list = preload.list(template)
  list[#list + 1] = self.name
  template.features['preload-dispvm'] = table.concat(list, ' ')
  self.features.internal = true
end

function methods:mark_preload_requested()
  self.features[IN_PROGRESS] = true
  self.template:remove_preload_from_list({ self.name }, 'it was requested')
  self:set_preload_requested(true)
end

-- Hands out a requested disposable, waiting for the end of its start. False: it was not ready in time.
function methods:get_preload()
  local deadline = core.monotonic() + self.qrexec_timeout * 1.2
  while not core.removed(self) and not features.truth(self.features[COMPLETED]) do
    if core.monotonic() > deadline then
      core.spawn(function()
        core.sleep(2)
        self:cleanup()
      end)
      return false
    end
    core.sleep(0.1)
  end
  if core.removed(self) then return false end -- its start has failed
  if self:is_paused() then self:unpause() else self:use_preload() end
  return true
end

-- From now on it is a disposable like any other.
function methods:use_preload()
  if not self.is_preload then raise('QubesException', self.name .. ' is not preloaded') end
  local template = self.template
  local requested = self:preload_requested()
  if not features.truth(template.features.internal) then features.clear(self, 'internal') end
  if requested then
    self:set_preload_requested(false)
  else
    template:remove_preload_from_list({ self.name }, 'it was used without a request')
  end
  self:apply_deferred_netvm()
  if requested then features.clear(self, IN_PROGRESS) else self.features[IN_PROGRESS] = false end

  local delay = preload.delay(template)
  if delay < 0 and #preload.list(template) > 0 then return end
  core.spawn(function() template:fire('domain-preload-dispvm-used', { dispvm = self, delay = delay }) end)
end

DispVM:after('domain-start', function(self)
  if not self.is_preload then return end
  if not self:preload_requested() then self:pause() end
  self.features[COMPLETED] = true
  if not self:preload_requested() then self.features[IN_PROGRESS] = false end
end)

DispVM:after('domain-unpaused', function(self)
  if self.is_preload and features.truth(self.features[COMPLETED]) and self:is_fully_usable() then self:use_preload() end
end)
