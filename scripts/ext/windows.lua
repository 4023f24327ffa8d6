-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers what the tools of Windows qubes ask for.

local features = import('features')
local requests = import('requests')

local DEFAULTS = { ['stubdom-qrexec'] = '1', ['audio-model'] = 'ich6', timezone = 'localtime', ['no-monitor-layout'] = '1' }
local ORDER = { 'stubdom-qrexec', 'audio-model', 'timezone', 'no-monitor-layout' }

local QREXEC_TIMEOUT = 6000 -- seconds; the first boot installs updates

on('features-request', function(qube, _, info)
  if not requests.is_heard(qube) then return end
  local untrusted_os = info.untrusted_features.os
  if untrusted_os ~= 'Windows' and untrusted_os ~= 'Linux' then return end
  local os = untrusted_os
  qube.features.os = os
  if os ~= 'Windows' or info.untrusted_features.qrexec ~= '1' then return end
  qube.features['rpc-clipboard'] = '1'
  qube.maxmem = 0
  qube.qrexec_timeout = QREXEC_TIMEOUT
  for _, feature in ipairs(ORDER) do
    if not features.with_template(qube, feature) then qube.features[feature] = DEFAULTS[feature] end
  end
end)
