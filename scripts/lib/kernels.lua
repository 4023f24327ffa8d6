-- SPDX-License-Identifier: GPL-2.0-or-later
-- Kernels that dom0 provides: a directory each, with `vmlinuz` and perhaps files that say which options to boot it with. Registers nothing.

local property = import('property')
local features = import('features')

local kernels = {}

kernels.OPTIONS_MAX = 512 -- Xen's boot protocol has room for 1,024 characters; the rest is for options that are always there

local DEFAULT_OPTIONS = 'swiotlb=2048'
local DEFAULT_OPTIONS_PCI = ''

-- Refuses a kernel that is not installed. Waits.
function kernels.check(object, def, kernel)
  if kernel == none or kernel == nil or kernel == '' then return end
  local directory = core.config('kernels_dir') .. '/' .. kernel
  if not core.stat(directory) then property.refuse(object, def, 'this kernel is not installed') end
  if not core.stat(directory .. '/vmlinuz') then property.refuse(object, def, 'this kernel is installed without its vmlinuz') end
end

-- The default options of a qube's kernel: those of the template, those that came with the kernel, or the built-in ones.
function kernels.default_options(qube)
  local kernel, unset = property.value(qube, 'kernel')
  if unset then return nil, true end
  if not kernel or kernel == '' then return '' end
  local pci = qube:has_pci_devices()
  if not pci then
    local template = property.value(qube, 'template')
    if template then return property.value(template, 'kernelopts') end
  end
  -- core.kernel_text: what the core read of that file when it last looked, so that a default never waits
  local text = core.kernel_text and core.kernel_text(kernel, pci and 'default-kernelopts-pci.txt' or 'default-kernelopts-nopci.txt')
  local options = text and text:match('^%s*(.-)%s*$') or (pci and DEFAULT_OPTIONS_PCI or DEFAULT_OPTIONS)
  if pci and features.truth(core.qube(0).features['suspend-s0ix']) then options = options .. ' qubes_exp_pm_use_suspend=1' end
  return options
end

return kernels
