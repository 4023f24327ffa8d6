-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers StandaloneVM.

local StandaloneVM = class('StandaloneVM', { parents = { 'DVMTemplateMixin', 'QubesVM' }, creatable = true,
  doc = 'Has a root volume of its own, and is updated by itself.' })

-- A clone of a template boots as the template says that clones should.
StandaloneVM:on('domain-import-volume', function(self, _, info)
  if info.name ~= 'root' then return end
  local mode = self.features['boot-mode.standalone-default']
  if not mode then return end
  if mode == 'default' or self.features['boot-mode.kernelopts.' .. mode] then self.features['boot-mode.active'] = mode end
end)
