-- SPDX-License-Identifier: GPL-2.0-or-later
-- Kernels that dom0 provides: a directory each, with `vmlinuz` and perhaps files that say which options to boot it with. Registers nothing.
--
-- A default can not wait for a file. So what the files say is kept in attributes of the app, kind `kernel`, and read again when the daemon starts, a
-- kernel is chosen, or a qube is started.

local property = import('property')
local features = import('features')

local kernels = {}

kernels.OPTIONS_MAX = 512 -- Xen's boot protocol has room for 1,024 characters; the rest is for options that are always there

local KIND = 'kernel'

-- Each use of options: the file, and what counts without one.
local USES = {
  { name = 'nopci', file = 'default-kernelopts-nopci.txt', default = 'swiotlb=2048' },
  { name = 'pci', file = 'default-kernelopts-pci.txt', default = '' },
  { name = 'common', file = 'default-kernelopts-common.txt',
    default = 'root=/dev/mapper/dmroot ro nomodeset console=hvc0 rd_NO_PLYMOUTH rd.plymouth.enable=0 plymouth.enable=0 xen_privcmd.unrestricted' },
}

local function directory_of(kernel)
  return core.config('kernels_dir') .. '/' .. kernel
end

local function key(kernel, use) return kernel .. '/' .. use end

-- The text of the file, trimmed, or nil: there is none, or it is no line of options.
local function read(path)
  local text, problem = core.read_file(path)
  text = text and text:match('^%s*(.-)%s*$')
  if text and (#text > kernels.OPTIONS_MAX or text:find('[^ -~]')) then
    text, problem = nil, ('one line of at most %d ASCII characters was expected'):format(kernels.OPTIONS_MAX)
  end
  if problem then core.log('warning', ('%s: %s; the built-in options count'):format(path, problem)) end
  return text
end

-- Reads the files of a kernel again. Waits.
function kernels.refresh(kernel)
  if not kernel or kernel == '' then return end
  local app_object = core.app()
  for _, use in ipairs(USES) do
    local text, name = read(directory_of(kernel) .. '/' .. use.file), key(kernel, use.name)
    local is_set, old = core.get(app_object, KIND, name)
    if text and text ~= old then
      core.set(app_object, KIND, name, text)
    elseif is_set and not text then
      core.unset(app_object, KIND, name)
    end
  end
end

-- Reads the files of all kernels, and forgets those that are gone. Waits.
function kernels.refresh_all()
  local installed, app_object = {}, core.app()
  for _, kernel in ipairs(core.list_directory(core.config('kernels_dir')) or {}) do
    installed[kernel] = true
    kernels.refresh(kernel)
  end
  for _, name in ipairs(core.names(app_object, KIND)) do
    if not installed[name:match('^(.*)/')] then core.unset(app_object, KIND, name) end
  end
end

local function options_of(kernel, use)
  local is_set, text = core.get(core.app(), KIND, key(kernel, use.name))
  if is_set then return text end
  return use.default
end

-- Refuses a kernel that is not installed. Waits.
function kernels.check(object, def, kernel)
  if kernel == none or kernel == nil or kernel == '' then return end
  if not core.stat(directory_of(kernel)) then property.refuse(object, def, 'this kernel is not installed') end
  if not core.stat(directory_of(kernel) .. '/vmlinuz') then property.refuse(object, def, 'this kernel is installed without its vmlinuz') end
  kernels.refresh(kernel)
end

-- The default options of a qube's kernel: those of the template, those that came with the kernel, or the built-in ones.
function kernels.default_options(qube)
  local kernel, unset = property.value(qube, 'kernel')
  if unset then return nil, true end
  if not kernel or kernel == '' then return '' end
  if not qube:has_pci_devices() then
    local template = property.value(qube, 'template')
    if template then return property.value(template, 'kernelopts') end
    return options_of(kernel, USES[1])
  end
  local options = options_of(kernel, USES[2])
  if features.truth(core.qube(0).features['suspend-s0ix']) then options = options .. ' qubes_exp_pm_use_suspend=1' end
  return options
end

-- The options that are there besides those of the property.
function kernels.common_options(kernel)
  return options_of(kernel, USES[3])
end

return kernels
