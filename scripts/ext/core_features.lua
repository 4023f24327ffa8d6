-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers what the agents inside a qube ask for: what system it is, what it supports, how it may be booted.

local features = import('features')
local requests = import('requests')

-- YYYY-MM-DD, a day that may exist
local function is_day(text)
  local month, day = text:match('^%d%d%d%d%-(%d%d)%-(%d%d)$')
  month, day = tonumber(month), tonumber(day)
  return month ~= nil and month >= 1 and month <= 12 and day >= 1 and day <= 31
end

local function take_system(qube, untrusted)
  for _, name in ipairs { 'os-distribution', 'os-distribution-like' } do
    if features.truth(untrusted[name]) then qube.features[name] = untrusted[name] end
  end
  local version, last_day, agent = untrusted['os-version'], untrusted['os-eol'], untrusted['qubes-agent-version']
  if version and version:find('^%d[%d.-]*$') then qube.features['os-version'] = version end
  if last_day and is_day(last_day) then qube.features['os-eol'] = last_day end
  if agent and agent:find('^%d%d?%d?%.%d%d?%d?$') then qube.features['qubes-agent-version'] = agent end
end

-- boot-mode.kernelopts.MODE, .name.MODE, .default-user.MODE

local MODES_MAX = 64

local function is_mode_feature(name)
  local field, mode = name:match('^boot%-mode%.([a-z-]+)%.([^.]+)$')
  if field == 'kernelopts' or field == 'name' or field == 'default-user' then return field, mode end
  return nil
end

-- The described modes, by feature; nil when the description as a whole is not acceptable.
local function read_modes(untrusted)
  local modes, count, shown = {}, 0, {}
  for name, value in pairs(untrusted) do
    local field, mode = is_mode_feature(name)
    local known = mode and (mode == 'default' and field == 'name' or mode ~= 'default' and untrusted['boot-mode.kernelopts.' .. mode])
    if known then
      modes[name] = value
      count = count + 1
      if field ~= 'kernelopts' then
        if shown[value] then return nil end
        shown[value] = true
      end
    end
  end
  return count > 0 and count <= MODES_MAX and modes or nil
end

local function take_modes(qube, untrusted)
  local modes = read_modes(untrusted)
  if modes then
    for name in pairs(qube.features) do
      if name:find('^boot%-mode%.kernelopts%.') or name:find('^boot%-mode%.name%.') or name:find('^boot%-mode%.default%-user%.') then
        if not modes[name] then qube.features[name] = nil end
      end
    end
    local sorted = {}
    for name in pairs(modes) do sorted[#sorted + 1] = name end
    table.sort(sorted)
    for _, name in ipairs(sorted) do qube.features[name] = modes[name] end
  end
  for _, name in ipairs { 'boot-mode.active', 'boot-mode.appvm-default', 'boot-mode.standalone-default' } do
    local mode = untrusted[name]
    local applies = name ~= 'boot-mode.appvm-default' or qube:property_def('appvm_default_bootmode')
    if mode and applies and (mode == 'default' or qube.features['boot-mode.kernelopts.' .. mode]) then qube.features[name] = mode end
  end
end

local function take_flag(qube, untrusted, name)
  local value = untrusted[name]
  if value == '1' or value == '0' then qube.features[name] = value == '1' end
end

on('features-request', function(qube, _, info)
  if not requests.is_heard(qube) then return end
  local untrusted = info.untrusted_features
  take_system(qube, untrusted)
  take_modes(qube, untrusted)
  -- A qube may hide its timezone, but not show it again.
  if untrusted['anon-timezone'] == '1' then qube.features['anon-timezone'] = true end
  local had_qrexec = features.truth(qube.features.qrexec)
  for _, name in ipairs { 'qrexec', 'gui', 'gui-emulated' } do
    if not qube.features[name] then take_flag(qube, untrusted, name) end
  end
  for _, name in ipairs { 'qubes-firewall', 'vmexec' } do take_flag(qube, untrusted, name) end
  if not had_qrexec and features.truth(qube.features.qrexec) then qube:fire('template-postinstall') end
end)
