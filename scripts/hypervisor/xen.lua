-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers the hypervisor of xen:///. Disks and devices come with the storage of a later version.

local features = import('features')
local hypervisors = import('hypervisors')
local kernels = import('kernels')

local TEMPLATE = [[
<domain type="xen">
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory unit="MiB">{maxmem}</memory>
  <currentMemory unit="MiB">{memory}</currentMemory>
  <vcpu placement="static">{vcpus}</vcpu>
]]

local BOOT_HVM = [[
  <os><type arch="x86_64" machine="xenfv">hvm</type><loader type="rom">hvmloader</loader><boot dev="cdrom"/><boot dev="hd"/></os>
]]

local BOOT_KERNEL = [[
  <os><type arch="x86_64" machine="{machine}">{type}</type><kernel>{kernel}</kernel><initrd>{initrd}</initrd><cmdline>{cmdline}</cmdline></os>
]]

local REST = [[
  <features><pae/><acpi/><apic/></features>
  <clock offset="{clock}"/>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>destroy</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
{network}    <console type="pty"><target type="xen" port="0"/></console>
  </devices>
</domain>
]]

local NETWORK = [[
    <interface type="ethernet">
      <mac address="{mac}"/>
      <ip address="{ip}"/>
      <script path="vif-route-qubes"/>
      <backenddomain name="{backend}"/>
    </interface>
]]

local function network_xml(qube)
  local netvm = qube.netvm
  if not netvm then return '' end
  return hypervisors.fill(NETWORK, { mac = qube.mac, ip = qube.ip, backend = netvm.name })
end

local function boot_xml(qube, mode)
  local kernel = qube.kernel
  if mode == 'hvm' and (not kernel or kernel == '') then return BOOT_HVM end
  local loader = mode == 'pvh' and 'pvgrub2-pvh' or 'pvgrub2'
  local directory = core.config('kernels_dir') .. '/' .. (kernel ~= '' and kernel or loader)
  return hypervisors.fill(BOOT_KERNEL, {
    machine = mode == 'pvh' and 'xenpvh' or 'xenpv', type = mode == 'pvh' and 'xenpvh' or 'linux',
    kernel = directory .. '/vmlinuz', initrd = directory .. '/initramfs', cmdline = kernels.common_options(kernel) .. ' ' .. (qube.kernelopts or ''),
  })
end

return hypervisors.add('xen', {
  network_xml = network_xml,
  domain_xml = function(qube)
    local mode = qube.virt_mode
    local memory = qube.memory
    local local_time = features.with_template(qube, 'timezone') == 'localtime'
    return hypervisors.fill(TEMPLATE, {
      name = qube.name, uuid = qube.uuid, memory = memory, maxmem = qube.maxmem > 0 and qube.maxmem or memory, vcpus = qube.vcpus,
    }) .. boot_xml(qube, mode)
      .. (REST:gsub('{network}', function() return network_xml(qube) end):gsub('{clock}', local_time and 'localtime' or 'utc'))
  end,
})
