-- SPDX-License-Identifier: GPL-2.0-or-later
-- Features that are inherited: from the template, from the qube that provides network, from dom0. Registers nothing.
--
-- Each function answers the value of the nearest qube that has the feature, or nil. An empty value counts as one: it says "no" explicitly.

local value_of = import('property').value

local core_get = core.get

local features = {}

local CHAIN = 64 -- longer than any chain that the checks of `template` and `netvm` let grow

local function along(qube, attribute, name)
  for _ = 1, CHAIN do
    local is_set, value = core_get(qube, 'feature', name)
    if is_set then return value end
    qube = attribute and value_of(qube, attribute)
    if not qube then return nil end
  end
  return nil
end

local function of_adminvm(qube, name)
  local adminvm = core.qube(0)
  if adminvm and adminvm ~= qube then
    local is_set, value = core_get(adminvm, 'feature', name)
    if is_set then return value end
  end
  return nil
end

function features.with_template(qube, name) return along(qube, 'template', name) end

function features.with_netvm(qube, name) return along(qube, 'netvm', name) end

function features.with_adminvm(qube, name) return along(qube, nil, name) or of_adminvm(qube, name) end

function features.with_template_and_adminvm(qube, name) return along(qube, 'template', name) or of_adminvm(qube, name) end

-- Whether a value means yes: there is one, and it is not empty.
function features.truth(value)
  return value ~= nil and value ~= ''
end

-- Takes a feature away if it is there.
function features.clear(qube, name)
  if core_get(qube, 'feature', name) then qube.features[name] = nil end
end

return features
