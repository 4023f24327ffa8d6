-- SPDX-License-Identifier: GPL-2.0-or-later
-- Defaults that come from elsewhere: the template, or a global property. A default is unset where its source is. Registers nothing.

local value_of = import('property').value

local inherit = {}

-- The template's value of the property; without a template, the fallback (a value or a function of the qube).
function inherit.from_template(name, fallback)
  local compute = type(fallback) == 'function' and fallback
  return function(self)
    local template = value_of(self, 'template')
    if template then return value_of(template, name) end
    if compute then return compute(self) end
    return fallback
  end
end

local core_app = core.app

-- The value of a global property.
function inherit.from_app(name)
  return function() return value_of(core_app(), name) end
end

return inherit
