-- SPDX-License-Identifier: GPL-2.0-or-later
-- What the reference (QubesOS/qubes-core-admin, main of August 2026) has: the properties of each class, with the word that the Admin API has for the type
-- and whether they can be set: `yes`, `once` (when the qube is created) or `no`. Written by hand; properties_spec.lua compares.

local function facts(text)
  local list = {}
  for name, word, set in text:gmatch('(%S+) (%S+) (%S+)%s*') do list[name] = { type = word, set = set } end
  return list
end

local function join(...)
  local all = {}
  for _, list in ipairs { ... } do
    for name, fact in pairs(list) do all[name] = fact end
  end
  return all
end

local base = facts [[
  icon str no    klass str no   label label yes
  name str once  qid int once   uuid str once
]]

local network = facts [[
  dns str no            gateway str no          gateway6 str no     ip str yes       ip6 str yes
  mac str yes           netvm vm yes            provides_network bool yes
  visible_gateway str no  visible_gateway6 str no  visible_ip str no  visible_ip6 str no  visible_netmask str no
]]

local machine = facts [[
  audiovm vm yes          autostart bool yes       backup_timestamp int yes  bootmode str yes      debug bool yes
  default_dispvm vm yes   default_user str yes     devices_denied str yes    guivm vm yes          include_in_backups bool yes
  installed_by_rpm bool yes  kernel str yes        kernelopts str yes        keyboard_layout str yes  management_dispvm vm yes
  maxmem int yes          memory int yes           qrexec_timeout int yes    shutdown_timeout int yes
  start_time str no       stubdom_mem int yes      stubdom_uuid str no       stubdom_xid int no
  updateable bool no      vcpus int yes            virt_mode str yes         xid int no
]]

local qube = join(base, network, machine)

return {
  -- the type that a `vm` property demands, where it is not just any local qube
  wanted_class = { AppVM = { template = 'TemplateVM' }, Qubes = { default_template = 'TemplateVM' } },

  -- `vm` properties that can't be none
  not_none = { AppVM = { template = true }, DispVM = { template = true } },

  classes = {
    AdminVM = join(base, facts [[
      default_dispvm vm yes  devices_denied str yes  include_in_backups bool yes  keyboard_layout str yes  maxmem int no
      name str no            qid int no              updateable bool no           uuid str no
    ]]),
    AppVM = join(qube, facts 'template vm yes template_for_dispvms bool yes'),
    DispVM = join(qube, facts 'auto_cleanup bool yes dispid int once is_preload bool no template vm yes'),
    RemoteVM = join(base, facts 'include_in_backups bool yes relayvm vm yes remote_name str yes transport_rpc str yes'),
    StandaloneVM = join(qube, facts 'template_for_dispvms bool yes'),
    TemplateVM = join(qube, facts 'appvm_default_bootmode str yes'),
    Qubes = facts [[
      check_updates_vm bool yes   clockvm vm yes              default_audiovm vm yes         default_dispvm vm yes
      default_guivm vm yes        default_kernel str yes      default_netvm vm yes           default_pool str yes
      default_pool_kernel str yes default_pool_private str yes default_pool_root str yes     default_pool_volatile str yes
      default_qrexec_timeout int yes default_shutdown_timeout int yes default_template vm yes management_dispvm vm yes
      maxmem int no               no_cpus int no              stats_interval int yes         updatevm vm yes
    ]],
  },
}
