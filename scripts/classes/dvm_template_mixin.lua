-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers DVMTemplateMixin: a qube that disposables may be based on. Preloading is in dvm_template_preload.lua.

local dependencies = import('dependencies')
local raise = import('exceptions').raise
local views = import('views')

local DVMTemplateMixin = class('DVMTemplateMixin', { doc = 'May lend all its volumes to disposables.' })

DVMTemplateMixin:property('template_for_dispvms', { type = 'bool', default = false,
  doc = 'Whether disposables may be based on this qube.' })

-- The disposables that are based on this qube.
function DVMTemplateMixin.methods:dispvms()
  return views.based_on(self)
end

local SYSTEM_PROPERTIES = { 'default_dispvm', 'management_dispvm' }
local QUBE_PROPERTIES = { 'default_dispvm', 'management_dispvm', 'template' }

-- Not while somebody relies on it. Whether that is so must not tell of hidden qubes, so who may not know of all can't do it at all.
DVMTemplateMixin:on({ 'property-pre-set:template_for_dispvms', 'property-pre-reset:template_for_dispvms' }, function(self, _, info)
  if info.newvalue == true or info.oldvalue ~= true then return end
  local system, others = dependencies.of(self, SYSTEM_PROPERTIES, QUBE_PROPERTIES)
  if core.caller_is_restricted() and #system == 0 and #dependencies.visible(others) == 0 then
    core.refuse_caller('it could tell a caller, to whom rules show only some of the qubes, of disposables of the others')
  end
  if #system > 0 or #others > 0 then
    core.log('warning', ('%s stays a template for disposables, because of %s'):format(self.name, dependencies.describe(system, others)))
    raise('QubesVMInUseError', 'this template for disposables is in use')
  end
  self:remove_preload_excess(0, 'template_for_dispvms was set to False')
end)

DVMTemplateMixin:on('property-pre-set:template', function(self, _, info)
  if not self.template_for_dispvms or info.newvalue == info.oldvalue then return end
  for _, disposable in ipairs(self:dispvms()) do
    if disposable:is_running() and not disposable.is_preload and core.caller_sees(disposable) then
      raise('QubesVMInUseError', 'disposables that are based on this qube run, so its template can not be changed')
    end
  end
  self:remove_preload_excess(0, 'template will change')
end)
