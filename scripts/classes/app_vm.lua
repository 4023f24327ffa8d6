-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers AppVM.

local raise = import('exceptions').raise

local AppVM = class('AppVM', { parents = { 'DVMTemplateMixin', 'QubesVM' }, creatable = true,
  doc = 'Shares the root volume of its template; its home is its own.' })

AppVM:property('template', { type = 'vm', stage = 4, class = 'TemplateVM', doc = 'The template whose root volume the qube uses.' })

AppVM:property('icon', { computed = true,
  default = function(self)
    local label = self.template_for_dispvms and self.label
    if label then return 'templatevm-' .. label.name end
    return self:base_icon()
  end,
  doc = 'The name of the icon that stands for the qube, by its class and label.' })

AppVM:on('property-pre-reset:template', function()
  raise('QubesValueError', 'a template can not be unset; set it to another one')
end)

AppVM:on('property-pre-set:template', function(self)
  if not self:is_halted() then raise('QubesVMNotHaltedError', self.name .. ' runs: its template can not be changed now') end
end)
