-- SPDX-License-Identifier: GPL-2.0-or-later
-- Starts daemons, each with a state directory of its own, and fills them with qubes through API calls.

local api = require 'api'
local json = require 'cjson'
local measure = require 'measure'
local process = require 'process'

local daemon = {}

local READY_SECONDS = 120
local CREATE_SECONDS = 600
local CREATE_CONNECTIONS = 64
local OVERHEAD = 2 -- dom0 and the template count as qubes

daemon.FEATURE = 'bench-feature'
daemon.FEATURE_VALUE = 'some-value'

local function write_names(path, appvms)
  local lines = {}
  for index = 1, appvms do
    lines[index] = ('bench%d\n'):format(index)
  end
  process.write_file(path, table.concat(lines))
end

-- setup: root, build, scripts, libvirt_uri. Starts a daemon on the directory NAME below root, which is made when needed. variant, optional: program (qubesd),
-- env (NAME → value, added to what there is).
function daemon.start(setup, name, acl, variant)
  local self = { name = name, directory = process.make_directory(setup.root .. '/' .. name) }
  self.socket = self.directory .. '/qubesd.sock'
  self.internal_socket = self.directory .. '/qubesd.internal.sock'
  self.list = self.directory .. '/bench-list'
  self.log = self.directory .. '/bench-log'
  process.write_file(self.log, '')
  local began = process.now()
  self.process = process.spawn(setup.build .. '/' .. (variant and variant.program or 'qubesd'), {
    '--socket-dir', self.directory, '--state-dir', self.directory, '--scripts-dir', setup.scripts,
    '--acl-dir', acl or process.make_directory(setup.root .. '/acl'), '--policy-dir', setup.root .. '/policy.d', '--libvirt-uri', setup.libvirt_uri,
  }, { stdout = self.log, stderr = self.log, env = variant and variant.env })
  local ready = process.wait_until(function()
    return self.process.code or process.read_file(self.log):find('%f[%w]ready%f[%W]')
  end, READY_SECONDS)
  if not ready or self.process.code then
    local log = process.read_file(self.log):sub(-2000)
    process.stop(self.process)
    error(('the daemon did not start on %s\n%s'):format(self.directory, log), 0)
  end
  self.start_seconds = process.now() - began
  self.pid = self.process.pid
  self.start_cpu_seconds = process.cpu_seconds(self.pid)
  return self
end

function daemon.stop(self)
  local code = process.stop(self.process)
  if code ~= 0 then
    error(('the daemon on %s did not stop cleanly (%s)\n%s'):format(self.directory,
      code and 'exit status ' .. code or 'signal ' .. self.process.signal, process.read_file(self.log):sub(-2000)), 0)
  end
end

function daemon.status(self)
  return json.decode((api.ok(self.internal_socket, { method = 'internal.Status' })))
end

local function count(self)
  local _, lines = api.ok(self.socket, { method = 'admin.vm.List' }):gsub('\n', '\n')
  return lines
end

-- Makes so many qubes, dom0 and one template among them, each AppVM with a feature. What an earlier run left is kept.
-- Returns the rate of creation, or nil when nothing was to do.
function daemon.fill(setup, self, qubes)
  local appvms, marker, rate = qubes - OVERHEAD, self.directory .. '/bench-filled', nil
  write_names(self.list, appvms)
  if process.read_file(marker) == tostring(qubes) then
    return nil
  end
  local present = count(self)
  if present < OVERHEAD then
    api.ok(self.socket, { method = 'admin.vm.Create.TemplateVM', payload = 'name=bench-template label=black' })
    api.ok(self.socket, { method = 'admin.property.Set', arg = 'default_template', payload = 'bench-template' })
    present = OVERHEAD
  end
  local job = { socket = self.socket, connections = CREATE_CONNECTIONS, limit = CREATE_SECONDS }
  if present < qubes then
    job.method, job.payload, job.first = 'admin.vm.Create.AppVM', 'name=bench%d label=red', present - OVERHEAD + 1
    job.calls = qubes - present
    rate = measure.run(setup, job).rate
  end
  job.method, job.arg, job.payload = 'admin.vm.feature.Set', daemon.FEATURE, daemon.FEATURE_VALUE
  job.dest_list, job.calls = self.list, appvms
  measure.run(setup, job)
  if count(self) ~= qubes then
    error(('%s: %d qubes instead of %d'):format(self.directory, count(self), qubes), 0)
  end
  process.write_file(marker, tostring(qubes))
  return rate
end

return daemon
