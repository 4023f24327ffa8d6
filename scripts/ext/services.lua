-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers the features service.NAME: services that a qube runs, or doesn't.

local base64 = import('base64')
local qubesdb = import('qubesdb')
local raise = import('exceptions').raise
local requests = import('requests')

local PREFIX, MEMORY = 'service.', 'service.meminfo-writer'
local NAME_MAX = 48 -- what a path in QubesDB leaves room for

local function service_of(feature)
  return feature:sub(1, #PREFIX) == PREFIX and feature:sub(#PREFIX + 1) or nil
end

-- Names of programs for disposables are handled apart, and may be longer.
local function is_program(service) return service:sub(1, 11) == 'app-dispvm.' end

on('domain-feature-pre-set:*', function(_, _, info)
  local service = service_of(info.feature)
  if not service then return end
  if service == '' or service == '.' or service == '..' or service:find('/', 1, true) then
    raise('QubesValueError', 'a service has a name, and no slash in it')
  end
  if #service > NAME_MAX and not is_program(service) then raise('QubesValueError', 'the name of a service is too long') end
end)

-- The name of such a program may be longer than a path of QubesDB, so it stands there under its hash.
local function export_program(qube, program, value)
  if not qubesdb.is_there(qube) then return end
  local path = '/hash-app-dispvm/' .. base64(core.sha256(program)):gsub('=', ''):gsub('%+', '-'):gsub('/', '_')
  if value and value ~= '' then
    qubesdb.write(qube, path, program)
  else
    qubesdb.remove(qube, path)
  end
end

local function export(qube, service, value)
  if is_program(service) then export_program(qube, service:sub(12), value) end
  if #service <= NAME_MAX then qubesdb.write(qube, '/qubes-service/' .. service, value ~= '' and '1' or '0') end
end

on('domain-feature-set:*', function(qube, _, info)
  if info.feature == MEMORY then
    -- What this service once switched is the property maxmem now.
    if info.value ~= '' then qube:reset('maxmem') else qube.maxmem = 0 end
    qube.features[MEMORY] = nil
    return
  end
  local service = service_of(info.feature)
  if service then export(qube, service, info.value) end
end)

on('domain-feature-delete:*', function(qube, _, info)
  local service = service_of(info.feature)
  if not service or info.feature == MEMORY then return end
  if is_program(service) then export_program(qube, service:sub(12), nil) end
  if #service <= NAME_MAX then qubesdb.remove(qube, '/qubes-service/' .. service) end
end)

on('domain-load', function(qube)
  local value = qube.features[MEMORY]
  if not value then return end
  if value == '' then qube.maxmem = 0 end
  qube.features[MEMORY] = nil
end)

on('domain-qdb-create', function(qube)
  for feature, value in pairs(qube.features) do
    local service = service_of(feature)
    if service and service ~= '' then export(qube, service, value) end
  end
  qubesdb.write(qube, '/qubes-service/meminfo-writer', qube.maxmem > 0 and '1' or '0')
end)

-- AppArmor is used from when the system inside says that it has it.
on('features-request', function(qube, _, info)
  if not requests.is_heard(qube) then return end
  requests.take_supported(qube, info.untrusted_features, 'supported-service.', {
    added = function(feature)
      if feature == 'supported-service.apparmor' and not qube.features.apparmor then qube.features.apparmor = '1' end
    end,
    removed = function(feature)
      if feature == 'supported-service.apparmor' and qube.features.apparmor == '1' then qube.features.apparmor = nil end
    end,
  })
end)
