-- SPDX-License-Identifier: GPL-2.0-or-later
-- Checks of new property values that several properties share. Registers nothing.
--
-- A setter gets (object, value, definition), answers the value to keep, and raises when there is none.

local refuse = import('property').refuse
local coerce = import('types').coerce
local raise = import('exceptions').raise
local kernels = import('kernels')

local setters = {}

function setters.positive(self, value, def)
  value = coerce(def, value)
  if value <= 0 then refuse(self, def, 'it has to be greater than zero') end
  return value
end

function setters.not_negative(self, value, def)
  value = coerce(def, value)
  if value < 0 then refuse(self, def, 'it can not be negative') end
  return value
end

-- A qube that disposables may be based on, or None.
function setters.disposable_template(self, value, def)
  if value and not value.template_for_dispvms then refuse(self, def, value.name .. ' is no template for disposables') end
  return value
end

function setters.user_name(self, value, def)
  if value:find('[^a-zA-Z0-9_+,.-]') then refuse(self, def, 'only letters, digits and _-+,. are allowed') end
  return value
end

function setters.virt_mode(self, value, def)
  value = value:lower()
  if value ~= 'hvm' and value ~= 'pv' and value ~= 'pvh' then refuse(self, def, 'one of hvm, pv and pvh was expected') end
  if value == 'pvh' and self:has_pci_devices() then refuse(self, def, 'a qube with PCI devices can not be pvh') end
  return value
end

function setters.kernel(self, value, def)
  if value:find('/', 1, true) then refuse(self, def, 'a kernel name has no slash') end
  return value
end

function setters.kernel_options(self, value, def)
  if #value > kernels.OPTIONS_MAX then refuse(self, def, ('at most %d characters are allowed'):format(kernels.OPTIONS_MAX)) end
  return value
end

-- layout+variant+options, as for setxkbmap
function setters.keyboard_layout(self, value, def)
  local layout, variant, options = value:match('^([^+]*)%+([^+]*)%+([^+]*)$')
  if not layout then refuse(self, def, 'layout+variant+options was expected') end
  if not layout:find('^%a+$') then refuse(self, def, 'a layout consists of letters') end
  if variant:find('[^%w_-]') then refuse(self, def, 'a variant consists of letters, digits, underscores and hyphens') end
  if options:find('[^%w_:,-]') then refuse(self, def, 'options consist of letters, digits and _-:,') end
  return value
end

function setters.mac(self, value, def)
  value = value:lower()
  if not value:find('^%x%x:%x%x:%x%x:%x%x:%x%x:%x%x$') then refuse(self, def, 'six pairs of hexadecimal digits were expected') end
  return value
end

-- Codes of device interfaces, seven characters each: a letter of the device class (or ?, *) and six hexadecimal digits (or *). They are kept
-- sorted, each once.
function setters.interfaces(self, value, def)
  local codes, seen = {}, {}
  if #value % 7 ~= 0 then raise('QubesValueError', def.name .. ': codes of seven characters were expected') end
  for at = 1, #value, 7 do
    local code = value:sub(at, at + 6)
    if not code:find('^[bump*][0-9a-f*]+$') then refuse(self, def, 'a code is one of b, u, m, p and *, then six hexadecimal digits or *') end
    if not seen[code] then
      seen[code] = true
      codes[#codes + 1] = code
    end
  end
  table.sort(codes)
  return table.concat(codes)
end

return setters
