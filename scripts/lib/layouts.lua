-- SPDX-License-Identifier: GPL-2.0-or-later
-- The keyboard layout of a qube: its own, or that of the qube that shows its windows. Registers nothing.

local classes = import('class')
local property = import('property')
local setters = import('setters')

local core_class, core_get = core.class, core.get

local layouts = {}

local FALLBACK = 'us++'
local CHAIN = 64 -- nobody checks that guivms form no loop

-- The layout along the chain of guivms; nil when the chain never ends.
local function inherited(self)
  for _ = 1, CHAIN do
    local guivm = property.value(self, 'guivm')
    if not guivm then return FALLBACK end
    local is_set, layout = core_get(guivm, 'property', 'keyboard_layout')
    if is_set then return layout end
    if not classes.descends(core_class(guivm), 'QubesVM') then return FALLBACK end
    self = guivm
  end
  return nil
end

function layouts.default(self)
  return inherited(self) or FALLBACK
end

-- A new value tells others what the old one was, and in a loop of guivms there is none.
function layouts.check_loop(self, def)
  if not core_get(self, 'property', 'keyboard_layout') and not property.as_seen(inherited, self) then
    property.refuse(self, def, 'the guivms of this qube form a loop: change the guivm first')
  end
end

function layouts.set(self, value, def)
  layouts.check_loop(self, def)
  return setters.keyboard_layout(self, value, def)
end

return layouts
