-- SPDX-License-Identifier: GPL-2.0-or-later
-- ./dev run: starts the daemon on libvirt's embedded test driver, with a small demo estate, and shows the main job. Each step says what it does, makes
-- its calls and checks what comes back; a step that goes wrong ends the tour with status 1. With --tour the daemon is stopped at the end.

local uv = require('luv')

local only_tour = arg[1] == '--tour'
if arg[1] and not only_tour then
  io.stderr:write('usage: ./dev run [--tour]\n')
  os.exit(2)
end

local directory = assert(uv.fs_mkdtemp('/tmp/qubesd-tour-XXXXXX'))
local rules = directory .. '/acl.d'
assert(uv.fs_mkdir(rules, 448))

local daemon, log, exit_code, errors = nil, '', nil, nil

local function wait_for(done, seconds)
  local timer, expired = uv.new_timer(), false
  timer:start(seconds * 1000, 0, function() expired = true end)
  while not done() and not expired do uv.run('once') end
  timer:close()
  return done()
end

local function start()
  log, exit_code, errors = '', nil, uv.new_pipe()
  local pid
  daemon, pid = uv.spawn('build/qubesd', {
    args = { '--socket-dir', directory, '--state-dir', directory, '--scripts-dir', 'scripts', '--acl-dir', rules, '--libvirt-uri', 'test:///default' },
    stdio = { nil, nil, errors },
  }, function(code) exit_code = code end)
  assert(daemon, pid)
  uv.read_start(errors, function(_, data) log = log .. (data or '') end)
  if not wait_for(function() return log:find(' ready: ', 1, true) or exit_code end, 20) or exit_code then
    io.stderr:write(log, 'the daemon did not start\n')
    os.exit(1)
  end
end

local function stop(signal)
  daemon:kill(signal)
  wait_for(function() return exit_code end, 20)
  daemon:close()
  errors:close()
  return exit_code
end

local function remove(path)
  os.execute(("rm -rf '%s'"):format(path))
end

local step = 'start'

local function fail(text)
  io.stderr:write(('\nstep "%s" went wrong: %s\n%s'):format(step, text, log:sub(-3000)))
  daemon:kill('sigkill')
  remove(directory)
  os.exit(1)
end

local function check(condition, text)
  if not condition then fail(text) end
end

local function title(text)
  step = text
  print('\n\27[1m== ' .. text .. '\27[0m')
end

local function raw(bytes, socket)
  local pipe, parts, ended = uv.new_pipe(), {}, false
  pipe:connect(directory .. '/' .. (socket or 'qubesd.sock'), function(problem)
    if problem then
      ended = true
      return
    end
    pipe:read_start(function(_, data)
      if data then parts[#parts + 1] = data else ended = true end
    end)
    pipe:write(bytes)
    pipe:shutdown()
  end)
  wait_for(function() return ended end, 20)
  pipe:close()
  return table.concat(parts)
end

-- Makes a call, prints it with its answer, and returns both parts: 'ok' and the text, or the exception's class and message.
local function call(source, method, dest, argument, payload, socket)
  local answer = raw(('%s+%s %s name %s\0%s'):format(method, argument or '', source, dest or 'dom0', payload or ''), socket)
  local shown = ('%s%s'):format(method, (argument or '') ~= '' and '+' .. argument or '')
  print(('  %-9s -> %-9s %s%s'):format(source, dest or 'dom0', shown, payload and ('   ' .. payload) or ''))
  local kind, text
  if answer:sub(1, 2) == '0\0' then
    kind, text = 'ok', answer:sub(3)
  elseif answer:sub(1, 2) == '2\0' then
    kind, text = answer:match('^2%z([^%z]*)%z[^%z]*%z([^%z]*)%z$')
    text = text:gsub('%%%%', '%%')
  else
    kind, text = 'closed', ''
  end
  for line in (kind == 'ok' and text or kind .. ': ' .. text):gmatch('[^\n]+') do print('        ' .. line) end
  return kind, text
end

local function ok(...)
  local kind, text = call(...)
  check(kind == 'ok', tostring(kind) .. ' ' .. tostring(text))
  return text
end

local function write_rule(name, text)
  local file = assert(io.open(rules .. '/.' .. name, 'w'))
  file:write(text)
  file:close()
  assert(os.rename(rules .. '/.' .. name, rules .. '/' .. name))
  print('  acl.d/' .. name .. ' is now:')
  for line in text:gmatch('[^\n]+') do print('        ' .. line) end
end

local function wait_log(text)
  check(wait_for(function() return log:find(text, 1, true) end, 10), 'the log never said "' .. text .. '"')
end

local function last_log(pattern)
  local found
  for line in log:gmatch('[^\n]+') do
    if line:find(pattern) then found = line end
  end
  print('  log: ' .. tostring(found))
end

title('An estate is made, as dom0')
start()
ok('dom0', 'admin.vm.Create.TemplateVM', 'dom0', '', 'name=fedora label=black')
ok('dom0', 'admin.property.Set', 'dom0', 'default_template', 'fedora')
for _, qube in ipairs { 'sys-net red', 'work blue', 'personal yellow', 'vault black', 'guest gray' } do
  local name, label = qube:match('(%S+) (%S+)')
  ok('dom0', 'admin.vm.Create.AppVM', 'dom0', '', ('name=%s label=%s'):format(name, label))
end
ok('dom0', 'admin.vm.property.Set', 'sys-net', 'provides_network', 'True')
ok('dom0', 'admin.vm.property.Set', 'sys-net', 'netvm', '')
ok('dom0', 'admin.property.Set', 'dom0', 'default_netvm', 'sys-net')
ok('dom0', 'admin.vm.tag.Set', 'work', 'shared')
ok('dom0', 'admin.vm.tag.Set', 'vault', 'vault')
ok('dom0', 'admin.vm.tag.Set', 'guest', 'guest')

title('Qubes run, and a subscriber sees it')
local stream, events = uv.new_pipe(), ''
stream:connect(directory .. '/qubesd.sock', function()
  stream:write('admin.Events+ dom0 name dom0\0')
  stream:shutdown()
  stream:read_start(function(_, data) events = events .. (data or '') end)
end)
check(wait_for(function() return #events > 0 end, 5), 'no stream of events')
ok('dom0', 'admin.vm.Start', 'work')
local list = ok('dom0', 'admin.vm.List')
check(list:find('work class=AppVM state=Running', 1, true), 'work does not run')
ok('dom0', 'admin.vm.property.Get', 'work', 'netvm')
check(wait_for(function() return events:find('domain-start\0', 1, true) end, 5), 'no event of the start')
print('  the subscriber has seen: domain-pre-start … domain-start of work')
stream:close()

title('A rule: a guest sees shared qubes only')
write_rule('50-guests.lua', [[
on('admin-permission:admin.vm.List', function(src, event, info)
  if not src.tags.guest then return end             -- nothing to say: permitted
  return function(qube) return qube.tags.shared end -- a guest sees only these
end)
]])
wait_log('generation 2 serves')
list = ok('guest', 'admin.vm.List')
check(list:find('work ', 1, true) and not list:find('vault', 1, true), 'the guest sees the wrong qubes')

title('What is hidden does not exist, whatever is asked')
local kind, hidden = call('guest', 'admin.vm.property.Get', 'vault', 'label')
local _, unknown = call('guest', 'admin.vm.property.Get', 'faults', 'label')
check(kind == 'QubesVMNotFoundError' and hidden:gsub('vault', '') == unknown:gsub('faults', ''), 'a hidden qube is told apart from one that is not there')
check(ok('guest', 'admin.vm.property.Get', 'work', 'netvm') == 'default=True type=vm ', 'the hidden netvm shows')

title('A rule with a mistake does not load: the old ones go on')
write_rule('60-vaults.lua', [[
on('mgmt-permission:mgmt.vm.Start', function(src, event, info)
  if info.dest.tags.vault and src.name ~= 'dom0' then deny('a vault is started from dom0 only') en
end)
]])
wait_log('not reloaded')
last_log('not reloaded')
list = ok('guest', 'admin.vm.List')
check(not list:find('vault', 1, true), 'the old rules are gone')

title('The mistake is mended; the rule, written for the first name of the API, holds for today\'s')
write_rule('60-vaults.lua', [[
on('mgmt-permission:mgmt.vm.Start', function(src, event, info)
  if info.dest.tags.vault and src.name ~= 'dom0' then deny('a vault is started from dom0 only') end
end)
]])
wait_log('generation 3 serves')
local refusal, reason = call('personal', 'admin.vm.Start', 'vault')
check(refusal == 'PermissionDenied' and reason == 'a vault is started from dom0 only', 'the vault was not refused')
last_log('denied')
ok('dom0', 'admin.vm.Start', 'vault')

title('A rule that never ends costs its caller the call, and nobody else')
write_rule('70-loop.lua', "on('admin-permission:admin.vm.tag.List', function() while true do pcall(error) end end)\n")
wait_log('generation 4 serves')
check(call('work', 'admin.vm.tag.List', 'work') == 'PermissionDenied', 'the loop was permitted')
ok('dom0', 'admin.vm.tag.Get', 'work', 'shared')

title('A rule that locks everybody out, and the way back: the console\'s socket is outside the rules')
write_rule('00-nobody.lua', "on('admin-permission:*', function() deny('closed') end)\n")
wait_log('generation 5 serves')
check(call('dom0', 'admin.vm.List') == 'PermissionDenied', 'the rule does not hold')
ok('dom0', 'admin.vm.tag.Get', 'work', 'shared', nil, 'qubesd.console.sock')
os.remove(rules .. '/00-nobody.lua')
os.remove(rules .. '/70-loop.lua')
ok('dom0', 'internal.Reload', 'dom0', '', nil, 'qubesd.console.sock')
ok('dom0', 'admin.vm.tag.Get', 'work', 'shared')

title('kill -9: what was answered is still there')
ok('dom0', 'admin.vm.property.Set', 'work', 'memory', '777')
ok('dom0', 'admin.vm.feature.Set', 'work', 'remember', 'me')
stop('sigkill')
start()
check(ok('dom0', 'admin.vm.property.Get', 'work', 'memory'):find('777', 1, true), 'the memory is lost')
check(ok('dom0', 'admin.vm.feature.Get', 'work', 'remember') == 'me', 'the feature is lost')

if only_tour then
  check(stop('sigterm') == 0, 'the daemon did not stop cleanly')
  remove(directory)
  print('\nThe tour is over; the daemon stopped cleanly.')
  os.exit(0)
end

print(([[

The daemon stays up. In another terminal:

  build/qubesd-query -e -c %s/qubesd.sock dom0 admin.vm.List dom0
  build/qubesd-query -e -c %s/qubesd.sock guest admin.vm.List dom0
  $EDITOR %s/50-guests.lua

Ctrl-C ends it.]]):format(directory, directory, rules))
local ending = false
for _, name in ipairs { 'sigint', 'sigterm' } do
  uv.new_signal():start(name, function() ending = true end)
end
while not ending and not exit_code do uv.run('once') end
local code = exit_code or stop('sigterm')
remove(directory)
os.exit(code)
