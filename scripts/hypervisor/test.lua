-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers the hypervisor of test:///, libvirt's driver that runs nothing.

local hypervisors = import('hypervisors')

local TEMPLATE = [[
<domain type="test">
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory unit="MiB">{memory}</memory>
  <vcpu>{vcpus}</vcpu>
  <os><type>hvm</type></os>
</domain>
]]

return hypervisors.add('test', {
  domain_xml = function(qube)
    return hypervisors.fill(TEMPLATE, { name = qube.name, uuid = qube.uuid, memory = qube.memory, vcpus = qube.vcpus })
  end,
})
