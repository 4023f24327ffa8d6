-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers the features supported-feature.* and supported-rpc.*, by which a qube says what the system inside it can do.

local requests = import('requests')

on('features-request', function(qube, _, info)
  if requests.is_heard(qube) then requests.take_supported(qube, info.untrusted_features, 'supported-feature.') end
end)

on('features-request', function(qube, _, info) requests.take_supported(qube, info.untrusted_features, 'supported-rpc.') end)
