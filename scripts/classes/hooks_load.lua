-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers core_hooks.load: what is made when the store is empty, and what is put right after it was read.

local kernels = import('kernels')
local labels = import('labels')
local views = import('views')

local LABELS = {
  { 'red', '0xcc0000' }, { 'orange', '0xf57900' }, { 'yellow', '0xedd400' }, { 'green', '0x73d216' },
  { 'gray', '0x555555' }, { 'blue', '0x3465a4' }, { 'purple', '0x75507b' }, { 'black', '0x000000' },
}

local POOLS = {
  { 'varlibqubes', 'driver=file\ndir_path=/var/lib/qubes\nrevisions_to_keep=1\nephemeral_volatile=False\n' },
  { 'linux-kernel', 'driver=linux-kernel\ndir_path=/var/lib/qubes/vm-kernels\n' },
}

local ZEROS = '00000000-0000-0000-0000-000000000000'

local function has(kind)
  return #core.names(core.app(), kind) > 0
end

local function add_labels()
  for index, label in ipairs(LABELS) do labels.add(label[1], label[2], index) end
end

local function add_pools()
  for _, pool in ipairs(POOLS) do core.set(core.app(), 'pool', pool[1], pool[2]) end
  core.set(core.app(), 'property', 'default_pool_kernel', 'linux-kernel')
end

-- The newest kernel that is installed, by the numbers in the names.
local function newest_kernel()
  local best, best_key
  for _, name in ipairs(core.list_directory(core.config('kernels_dir')) or {}) do
    local key = name:gsub('%d+', function(digits) return ('%012d'):format(math.tointeger(tonumber(digits)) or 0) end)
    if name:find('^%d') and (not best or key > best_key) then best, best_key = name, key end
  end
  return best
end

local function add_dom0()
  local dom0 = core.add_qube { name = 'dom0', class = 'AdminVM', qid = 0, uuid = ZEROS }
  core.set(dom0, 'property', 'label', 'black')
end

-- Once, after the store was read.
function core_hooks.load()
  if not has('label') then add_labels() end
  if not has('pool') then add_pools() end
  if not core.qube(0) then
    local kernel = newest_kernel() or '' -- none in dom0: qubes boot their own
    add_dom0()
    core.set(core.app(), 'property', 'default_kernel', kernel)
  end
  kernels.refresh_all()
  for _, qube in ipairs(views.qubes()) do
    if not qube:is_a('QubesVM') then core.set_power(qube, 'Running', qube.klass == 'AdminVM' and 0 or -1) end
    core.unset(qube, 'transient', 'waking')
  end
  for _, qube in ipairs(views.qubes()) do
    if not core.removed(qube) then qube:fire('domain-load') end
  end
end
