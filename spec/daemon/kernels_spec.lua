-- SPDX-License-Identifier: GPL-2.0-or-later
-- What a kernel says of the options to boot it with: read when the daemon starts, when the kernel is chosen and when a qube starts, and never waited for
-- by who asks for a default.

local uv = require('luv')
local daemon = require('spec.support.daemon')

-- An assigned PCI device changes the options. There is no method for it yet.
local ASSIGN = [[
method('example.AssignPci', { dest = 'any', arg = 'none', payload = 'none', scope = 'local', write = true, doc = 'For a spec.' }, function(call)
  call:permission()
  core.set(call.dest, 'device.pci', 'dom0+00_1a.0:*', 'mode=required\n')
end)
method('example.CommandLine', { dest = 'any', arg = 'none', payload = 'none', scope = 'local', read = true, doc = 'For a spec.' }, function(call)
  call:permission()
  return import('kernels').common_options(call.dest.kernel)
end)
]]

describe('kernels', function()
  local d, directory

  local function write(kernel, file, text)
    uv.fs_mkdir(directory .. '/kernels', 448)
    uv.fs_mkdir(directory .. '/kernels/' .. kernel, 448)
    daemon.write_file(('%s/kernels/%s/%s'):format(directory, kernel, file), text)
  end

  local function start()
    d = daemon.start { directory = directory, extra_scripts = { ['api/assign.lua'] = ASSIGN } }
  end

  before_each(function()
    directory = daemon.temporary_directory()
    write('6.1', 'vmlinuz', '')
    write('6.1', 'default-kernelopts-nopci.txt', '  quiet a=b \n')
    write('6.1', 'default-kernelopts-pci.txt', 'iommu=soft\n')
    write('6.1', 'default-kernelopts-common.txt', 'root=/dev/x console=hvc0\n')
  end)

  after_each(function() d:kill() end)

  local function options(name)
    return d:ok('admin.vm.property.Get', name, 'kernelopts')
  end

  it('that are there at the start are known', function()
    start()
    d:estate { 'work' }
    d:ok('admin.vm.Create.StandaloneVM', 'dom0', '', 'name=alone label=red')
    assert.equal('default=True type=str quiet a=b', options('alone'))
    assert.equal('default=True type=str quiet a=b', options('work')) -- by way of its template
    assert.equal('root=/dev/x console=hvc0', d:ok('example.CommandLine', 'work'))
    d:ok('admin.vm.property.Set', 'fedora', 'kernelopts', 'mine')
    assert.equal('default=True type=str mine', options('work'))
    d:ok('example.AssignPci', 'work')
    assert.equal('default=True type=str iommu=soft', options('work'))
    d:ok('admin.vm.feature.Set', 'dom0', 'suspend-s0ix', '1')
    assert.equal('default=True type=str iommu=soft qubes_exp_pm_use_suspend=1', options('work'))
    d:ok('admin.vm.property.Set', 'work', 'kernel', '')
    assert.equal('default=True type=str ', options('work'))
  end)

  it('that are installed later are known once they are chosen', function()
    start()
    d:estate { 'work' }
    write('6.2', 'vmlinuz', '')
    write('6.2', 'default-kernelopts-nopci.txt', 'new')
    d:ok('admin.vm.property.Set', 'fedora', 'kernel', '6.2')
    assert.equal('default=True type=str new', options('fedora'))
    write('6.3', 'vmlinuz', '')
    d:ok('admin.property.Set', 'dom0', 'default_kernel', '6.3')
    d:ok('admin.vm.property.Reset', 'fedora', 'kernel')
    assert.equal('default=True type=str swiotlb=2048', options('fedora')) -- it says nothing, so the built-in options count
  end)

  it('are looked at again when a qube starts', function()
    start()
    d:estate { 'work' }
    write('6.1', 'default-kernelopts-nopci.txt', 'changed')
    assert.equal('default=True type=str quiet a=b', options('work'))
    d:ok('admin.vm.Start', 'work')
    assert.equal('default=True type=str changed', options('work'))
  end)

  it('that say nonsense are passed over, and the log says so', function()
    write('6.1', 'default-kernelopts-nopci.txt', ('x'):rep(70000))
    write('6.1', 'default-kernelopts-pci.txt', 'two\nlines\n')
    write('6.1', 'default-kernelopts-common.txt', 'n\xc3\xa4h')
    start()
    d:estate { 'work' }
    assert.equal('default=True type=str swiotlb=2048', options('work'))
    assert.truthy(d.log:find('default-kernelopts-nopci.txt: File too large', 1, true), d.log)
    assert.truthy(d.log:find('default-kernelopts-pci.txt: one line', 1, true), d.log)
    assert.truthy(d.log:find('default-kernelopts-common.txt: one line', 1, true), d.log)
  end)

  it('that are no files hold nobody up', function()
    os.remove(directory .. '/kernels/6.1/default-kernelopts-nopci.txt')
    os.remove(directory .. '/kernels/6.1/default-kernelopts-pci.txt')
    assert(os.execute(("mkfifo '%s/kernels/6.1/default-kernelopts-nopci.txt'"):format(directory)))
    uv.fs_mkdir(directory .. '/kernels/6.1/default-kernelopts-pci.txt', 448)
    start()
    d:estate { 'work' }
    assert.equal('default=True type=str swiotlb=2048', options('work'))
    assert.truthy(d.log:find('default-kernelopts-nopci.txt: Invalid argument', 1, true), d.log)
  end)
end)
