-- SPDX-License-Identifier: GPL-2.0-or-later
-- What a qube says of itself in qubes.FeaturesRequest, and what is believed of it. Registers nothing.

local requests = {}

-- Whether the qube speaks for itself: what one sees that is based on a template comes from there.
function requests.is_heard(qube)
  return qube.template == nil
end

-- Features PREFIX*, each of which says that something is supported. The requested set replaces the present one; an empty request changes nothing.
function requests.take_supported(qube, untrusted_features, prefix, hooks)
  local wanted, list = {}, {}
  for feature, untrusted_value in pairs(untrusted_features) do
    if feature:sub(1, #prefix) == prefix and untrusted_value == '1' then
      wanted[feature] = true
      list[#list + 1] = feature
    end
  end
  if #list == 0 then return end
  table.sort(list)
  for _, feature in ipairs(list) do
    if (qube.features[feature] or '') == '' then
      qube.features[feature] = '1'
      if hooks and hooks.added then hooks.added(feature) end
    end
  end
  for feature, value in pairs(qube.features) do
    if feature:sub(1, #prefix) == prefix and value ~= '' and not wanted[feature] then
      qube.features[feature] = nil
      if hooks and hooks.removed then hooks.removed(feature) end
    end
  end
end

return requests
