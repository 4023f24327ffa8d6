-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers the hypervisor of qemu:///: a guest without disks, on KVM where the machine has it, else emulated.

local hypervisors = import('hypervisors')

local TEMPLATE = [[
<domain type="{type}">
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory unit="MiB">{memory}</memory>
  <vcpu>{vcpus}</vcpu>
  <os><type arch="x86_64">hvm</type></os>
  <features><acpi/></features>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>destroy</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <serial type="null"><target port="0"/></serial>
    <memballoon model="none"/>
  </devices>
</domain>
]]

return hypervisors.add('qemu', {
  domain_xml = function(qube)
    return hypervisors.fill(TEMPLATE, {
      type = core.host().kvm and 'kvm' or 'qemu', name = qube.name, uuid = qube.uuid, memory = qube.memory, vcpus = qube.vcpus,
    })
  end,
})
