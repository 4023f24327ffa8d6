-- SPDX-License-Identifier: GPL-2.0-or-later
-- What a qube finds in its QubesDB when it starts, but for what extensions add. Registers nothing.

local base64 = import('base64')
local features = import('features')

local SEED_BYTES = 64

local entries = {}

local function random_seed()
  local bytes = {}
  for i = 1, SEED_BYTES do bytes[i] = string.char(core.random(256)) end
  return base64(table.concat(bytes))
end

local function add_servers(list, qube, prefix)
  local primary, secondary = (qube.dns or ''):match('^(%S+) (%S+)$')
  list['/qubes-' .. prefix .. 'primary-dns'], list['/qubes-' .. prefix .. 'secondary-dns'] = primary, secondary
end

local function add_network(list, qube)
  if qube.provides_network then
    list['/qubes-netvm-network'] = qube.gateway -- only looked at for being there
    list['/qubes-netvm-gateway'] = qube.gateway
    list['/qubes-netvm-gateway6'] = qube.gateway6
    list['/qubes-netvm-netmask'] = qube:netmask()
    add_servers(list, qube, 'netvm-')
  end
  if qube.netvm then
    list['/qubes-mac'] = qube.mac
    list['/qubes-ip'], list['/qubes-ip6'] = qube.visible_ip, qube.visible_ip6
    list['/qubes-netmask'] = qube.visible_netmask
    list['/qubes-gateway'], list['/qubes-gateway6'] = qube.visible_gateway, qube.visible_gateway6
    add_servers(list, qube, '')
  end
end

local function timezone(qube)
  local name = core.config('timezone')
  return name and not features.truth(features.with_template(qube, 'anon-timezone')) and name or nil
end

-- The entries, path → value; and the paths of those that have to go.
function entries.of(qube)
  local list = {
    ['/name'] = qube.name,
    ['/type'] = qube.klass,
    ['/default-user'] = qube:user(),
    ['/qubes-vm-updateable'] = qube.updateable and 'True' or 'False',
    ['/qubes-vm-persistence'] = qube.klass == 'DispVM' and 'none' or qube.updateable and 'full' or 'rw-only',
    ['/qubes-debug-mode'] = qube.debug and '1' or '0',
    ['/qubes-base-template'] = qube.template and qube.template.name or '',
    ['/qubes-random-seed'] = random_seed(),
    ['/qubes-timezone'] = timezone(qube),
    ['/qubes-block-devices'] = '',
    ['/qubes-usb-devices'] = '',
  }
  add_network(list, qube)
  return list, not list['/qubes-timezone'] and { '/qubes-timezone' } or {}
end

return entries
