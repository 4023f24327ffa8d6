-- SPDX-License-Identifier: GPL-2.0-or-later
-- ./dev run: starts the daemon on libvirt's embedded test driver, with a small demo estate, and shows the main job. Each step says what it does, makes
-- its calls and checks what comes back; a step that goes wrong ends the tour with status 1. With --tour the daemon is stopped at the end.

local uv = require('luv')

local only_tour = arg[1] == '--tour'
if #arg > 1 or arg[1] and not only_tour then
  io.stderr:write('usage: ./dev run [--tour]\n')
  os.exit(2)
end

local directory = assert(uv.fs_mkdtemp('/tmp/qubesd-tour-XXXXXX'))
local rules = directory .. '/acl.d'
assert(uv.fs_mkdir(rules, 448))

local colored = uv.guess_handle(1) == 'tty'
local daemon, errors, log, exit_status
local step = 'start'
local interrupted, leaving = false, false

-- ---- the daemon ----

local function remove(path)
  os.execute(("rm -rf '%s'"):format(path))
end

-- Ends the tour at once, and leaves nothing behind.
local function leave(status)
  leaving = true
  if daemon and not exit_status then daemon:kill('sigkill') end
  remove(directory)
  os.exit(status)
end

for _, name in ipairs { 'sigint', 'sigterm' } do
  uv.new_signal():start(name, function() interrupted = true end)
end
uv.new_signal():start('sigpipe', function() end) -- a connection that the daemon has closed is no reason to die

local function wait_for(done, seconds)
  uv.update_time() -- what blocked before this must not count
  local timer, expired = uv.new_timer(), false
  timer:start(seconds * 1000, 50, function() expired = true end) -- again and again: 'once' waits after it has fired before polling
  while not done() and not expired do
    uv.run('once')
    if interrupted and not leaving then leave(130) end
  end
  timer:close()
  return done()
end

local function fail(text)
  io.stdout:flush()
  io.stderr:write(('\nstep "%s" went wrong: %s\nThe end of the daemon\'s log:\n%s'):format(step, text, log:sub(-3000)))
  leave(1)
end

local function check(condition, text)
  if not condition then fail(text) end
end

local function start()
  log, exit_status, errors = '', nil, uv.new_pipe()
  local problem
  daemon, problem = uv.spawn('build/qubesd', {
    args = {
      '--socket-dir', directory, '--state-dir', directory, '--scripts-dir', 'scripts', '--acl-dir', rules, '--policy-dir', directory .. '/policy.d',
      '--ext-dir', directory .. '/ext.d', '--qubesdb-dir', directory .. '/qubesdb', '--libvirt-uri', 'test:///default',
    },
    stdio = { nil, nil, errors },
  }, function(code, signal) exit_status = signal ~= 0 and 128 + signal or code end)
  check(daemon, 'build/qubesd: ' .. tostring(problem))
  uv.read_start(errors, function(_, data) log = log .. (data or '') end)
  wait_for(function() return log:find(' ready: ', 1, true) or exit_status end, 20)
  check(log:find(' ready: ', 1, true) and not exit_status, 'the daemon did not start')
end

local function stop(signal)
  daemon:kill(signal)
  check(wait_for(function() return exit_status end, 20), 'the daemon did not end')
  daemon:close()
  errors:close()
  return exit_status
end

-- ---- showing ----

local function title(text)
  step = text
  print(colored and ('\n\27[1m== %s\27[0m'):format(text) or '\n== ' .. text)
end

local function say(text) print('  ' .. text) end

local function show(text)
  for line in text:gmatch('[^\n]+') do print('        ' .. line) end
end

-- ---- calls ----

local function request(source, method, dest, argument, payload)
  return ('%s+%s %s name %s\0%s'):format(method, argument or '', source, dest or 'dom0', payload or '')
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
  local answer = raw(request(source, method, dest, argument, payload), socket)
  local shown = method .. ((argument or '') ~= '' and '+' .. argument or '')
  say(('%-8s -> %-8s %s%s%s'):format(source, dest or 'dom0', shown, payload and ("  '%s'"):format(payload) or '', socket and '  (on ' .. socket .. ')' or ''))
  if answer:sub(1, 2) == '0\0' then
    show(answer:sub(3) == '' and 'ok' or answer:sub(3))
    return 'ok', answer:sub(3)
  end
  local class, text = answer:match('^2%z([^%z]*)%z[^%z]*%z([^%z]*)%z$')
  text = text and text:gsub('%%%%', '%%') or 'no answer'
  show((class or 'closed') .. ': ' .. text)
  return class or 'closed', text
end

local function ok(...)
  local kind, text = call(...)
  check(kind == 'ok', ('%s: %s'):format(kind, text))
  return text
end

local function refused(class, message, ...)
  local kind, text = call(...)
  check(kind == class and (not message or text == message), ('expected %s %s, got %s: %s'):format(class, message or '', kind, text))
  return text
end

local function property(qube, name)
  return ok('dom0', 'admin.vm.property.Get', qube, name)
end

-- ---- events ----

local function subscribe(source)
  local stream = { pipe = uv.new_pipe(), bytes = '' }
  stream.pipe:connect(directory .. '/qubesd.sock', function()
    stream.pipe:write(request(source, 'admin.Events'))
    stream.pipe:shutdown()
    stream.pipe:read_start(function(_, data) stream.bytes = stream.bytes .. (data or '') end)
  end)
  check(wait_for(function() return #stream.bytes > 0 end, 5), 'no stream of events')
  return stream
end

-- The events among the bytes, each a line: 1, the subject, the name, keys and values, and an empty key at the end.
local function each_event(bytes)
  local position = 1
  return function()
    local subject, name, next_key = bytes:match('^1%z([^%z]*)%z([^%z]*)%z()', position)
    if not subject then return nil end
    local line = ('%-8s %s'):format(subject, name)
    while true do
      local key, value, after = bytes:match('^([^%z]+)%z([^%z]*)%z()', next_key)
      if not key then break end
      line, next_key = ('%s %s=%s'):format(line, key, value), after
    end
    position = next_key + 1
    return line
  end
end

-- Waits for the event, prints what has come, and ends the stream; its bytes.
local function watched(stream, who, last)
  check(wait_for(function() return stream.bytes:find(last .. '\0', 1, true) end, 5), who .. ' never saw ' .. last)
  stream.pipe:close()
  say(who .. ' has seen:')
  for line in each_event(stream.bytes) do show(line) end
  return stream.bytes
end

-- ---- rules ----

local function digest()
  local found
  for each in log:gmatch('generation %d+ serves: [^\n]* digest (%x+)') do found = each end
  return found
end

-- Changes a file in acl.d as an editor does (text nil: removes it); what the log then says of it.
local function edit(name, text, expected)
  local before, mark = digest(), #log
  if text then
    local file = assert(io.open(rules .. '/.new', 'w'))
    file:write(text)
    file:close()
    assert(os.rename(rules .. '/.new', rules .. '/' .. name))
    say('acl.d/' .. name .. ' is now:')
    show(text)
  else
    assert(os.remove(rules .. '/' .. name))
    say('acl.d/' .. name .. ' is removed')
  end
  local function line() return log:match('[^\n]*' .. (expected or 'generation %d+ serves') .. '[^\n]*', mark + 1) end
  check(wait_for(function() return line() and (expected or digest() ~= before) end, 10), 'the log says nothing of ' .. name)
  say('log: ' .. line())
  return line()
end

local function last_log(pattern)
  local found
  for line in log:gmatch('[^\n]+') do
    if line:find(pattern) then found = line end
  end
  say('log: ' .. tostring(found))
  return found or ''
end

-- ---- the tour ----

title('An estate is made, as dom0')
start()
ok('dom0', 'admin.vm.Create.TemplateVM', 'dom0', '', 'name=fedora label=black')
ok('dom0', 'admin.property.Set', 'dom0', 'default_template', 'fedora')
for _, qube in ipairs { 'sys-net red', 'work blue', 'personal yellow', 'vault black', 'mgmt purple', 'guest gray' } do
  local name, label = qube:match('(%S+) (%S+)')
  ok('dom0', 'admin.vm.Create.AppVM', 'dom0', '', ('name=%s label=%s'):format(name, label))
end
ok('dom0', 'admin.vm.property.Set', 'sys-net', 'provides_network', 'True')
ok('dom0', 'admin.vm.property.Set', 'sys-net', 'netvm', '')
ok('dom0', 'admin.property.Set', 'dom0', 'default_netvm', 'sys-net')
for _, tag in ipairs { 'work shared', 'vault vault', 'mgmt management', 'guest guest' } do
  ok('dom0', 'admin.vm.tag.Set', tag:match('(%S+) (%S+)'))
end

title('Preferences: set, refused when they make no sense, and back to the default')
ok('dom0', 'admin.vm.property.Set', 'work', 'memory', '500')
check(property('work', 'memory') == 'default=False type=int 500', 'memory is not 500')
refused('QubesValueError', nil, 'dom0', 'admin.vm.property.Set', 'work', 'memory', 'much')
ok('dom0', 'admin.vm.property.Reset', 'work', 'memory')
check(property('work', 'memory'):find('default=True', 1, true), 'memory is not the default')

title('Qubes run, and a subscriber sees it')
local stream = subscribe('dom0')
ok('dom0', 'admin.vm.Start', 'work')
local list = ok('dom0', 'admin.vm.List')
check(list:find('work class=AppVM state=Running', 1, true), 'work does not run')
check(list:find('sys-net class=AppVM state=Running', 1, true), 'its netvm does not run')
check(property('work', 'netvm') == 'default=True type=vm sys-net', 'the netvm is another')
watched(stream, 'the subscriber', 'domain-start')

title('A rule is saved, and holds: a guest sees shared qubes only')
edit('50-guests.lua', [[
on('admin-permission:admin.vm.List', function(src, event, info)
  if not src.tags.guest then return end             -- nothing to say: permitted
  return function(qube) return qube.tags.shared end -- a guest sees only these
end)
]])
list = ok('guest', 'admin.vm.List')
check(list:match('^work [^\n]*\n$'), 'the guest sees other qubes than work')

title('What is hidden does not exist, whatever is asked')
local hidden = refused('QubesVMNotFoundError', nil, 'guest', 'admin.vm.property.Get', 'vault', 'label')
local unknown = refused('QubesVMNotFoundError', nil, 'guest', 'admin.vm.property.Get', 'faults', 'label')
check(hidden:gsub('vault', '') == unknown:gsub('faults', ''), 'a hidden qube is told apart from one that is not there')
check(ok('guest', 'admin.vm.property.Get', 'work', 'netvm') == 'default=True type=vm ', 'the hidden netvm shows')
stream = subscribe('guest')
ok('dom0', 'admin.vm.feature.Set', 'vault', 'secret', '1')
ok('dom0', 'admin.vm.feature.Set', 'work', 'public', '1')
check(not watched(stream, 'guest', 'domain-feature-set:public'):find('vault', 1, true), 'an event names a hidden qube')

title('A rule with a mistake does not load: the old ones go on')
local complaint = edit('60-vaults.lua', [[
on('mgmt-permission:mgmt.vm.Start', function(src, event, info)
  if info.dest.tags.vault and src.name ~= 'dom0' then deny('a vault is started from dom0 only') en
end)
]], 'not reloaded')
check(complaint:find('acl.d/60-vaults.lua:3:', 1, true), 'the log names no line')
check(not ok('guest', 'admin.vm.List'):find('vault', 1, true), 'the old rules are gone')

title('The mistake is mended; the rule, written for the first name of the API, holds for today\'s')
edit('60-vaults.lua', [[
on('mgmt-permission:mgmt.vm.Start', function(src, event, info)
  if info.dest.tags.vault and src.name ~= 'dom0' then deny('a vault is started from dom0 only') end
end)
]])
refused('PermissionDenied', 'a vault is started from dom0 only', 'personal', 'admin.vm.Start', 'vault')
check(last_log('denied'):find('by acl.d/60-vaults.lua:1:', 1, true), 'the log names no rule')
ok('dom0', 'admin.vm.Start', 'vault')

title('A management qube manages what it has made, and nothing else')
edit('70-management.lua', [[
on('admin-permission:admin.vm.*', function(src, event, info)
  if not src.tags.management or info.dest.name == 'dom0' then return end
  if not info.dest.tags['created-by-' .. src.name] then deny('not yours') end
end)
]])
ok('mgmt', 'admin.vm.Create.AppVM', 'dom0', '', 'name=project label=green')
ok('mgmt', 'admin.vm.property.Set', 'project', 'vcpus', '1')
refused('PermissionDenied', 'not yours', 'mgmt', 'admin.vm.property.Set', 'work', 'vcpus', '1')

title('The rule is edited while the daemon runs: it may not even look')
check(ok('mgmt', 'admin.vm.List'):find('vault', 1, true), 'mgmt sees too little')
edit('70-management.lua', [[
on('admin-permission:admin.vm.List', function(src, event, info)
  if not src.tags.management then return end
  return function(qube) return qube.tags['created-by-' .. src.name] end
end)
]])
check(ok('mgmt', 'admin.vm.List'):match('^project [^\n]*\n$'), 'mgmt sees too much')
refused('QubesVMNotFoundError', nil, 'mgmt', 'admin.vm.property.Set', 'work', 'vcpus', '1')

title('A rule that never ends costs its caller the call, and nobody else')
edit('80-loop.lua', "on('admin-permission:admin.vm.tag.List', function() while true do pcall(error) end end)\n")
refused('PermissionDenied', nil, 'work', 'admin.vm.tag.List', 'work')
last_log('denied')
ok('dom0', 'admin.vm.tag.Get', 'work', 'shared')
edit('80-loop.lua')

title('A rule that locks everybody out, and the way back: the console\'s socket is outside the rules')
edit('00-nobody.lua', "on('admin-permission:*', function() deny('closed') end)\n")
refused('PermissionDenied', 'closed', 'dom0', 'admin.vm.List')
ok('dom0', 'admin.vm.tag.Get', 'work', 'shared', nil, 'qubesd.console.sock')
edit('00-nobody.lua')
ok('dom0', 'internal.Reload', 'dom0', '', nil, 'qubesd.console.sock')
ok('dom0', 'admin.vm.tag.Get', 'work', 'shared')

title('kill -9: what was answered is still there')
ok('dom0', 'admin.vm.property.Set', 'work', 'memory', '777')
ok('dom0', 'admin.vm.feature.Set', 'work', 'remember', 'me')
stop('sigkill')
say('the daemon is killed, and started again (the domains of the embedded driver end with its process: no qube runs now)')
start()
check(property('work', 'memory') == 'default=False type=int 777', 'the memory is lost')
check(ok('dom0', 'admin.vm.feature.Get', 'work', 'remember') == 'me', 'the feature is lost')
check(ok('mgmt', 'admin.vm.List'):match('^project [^\n]*\n$'), 'the qube or the rule is lost')
say('build/qubesd --check-store --state-dir ' .. directory)
local checker = assert(io.popen(("build/qubesd --check-store --state-dir '%s' 2>&1"):format(directory)))
show(checker:read('a'))
check(checker:close(), 'the store has defects')

if only_tour then
  title('The end')
  local status = stop('sigterm')
  check(status == 0, ('the daemon ended with %d'):format(status))
  say('the daemon stopped cleanly')
  remove(directory)
  os.exit(0)
end

print((([[

The daemon stays up. In another terminal, here:

  build/qubesd-query -e -c @/qubesd.sock dom0 admin.vm.List dom0
  build/qubesd-query -e -c @/qubesd.sock guest admin.vm.List dom0
  build/qubesd-query -e -c @/qubesd.sock dom0 admin.vm.property.GetAll work
  build/qubesd-query -e -c @/qubesd.sock dom0 admin.Events dom0
  $EDITOR @/acl.d/50-guests.lua

Ctrl-C ends it. Its log:
]]):gsub('@', directory)))
io.stdout:flush()
io.stderr:write(log)
errors:read_stop()
errors:read_start(function(_, data) io.stderr:write(data or '') end)
leaving = true -- from here on an interrupt is the way to end
while not interrupted and not exit_status do uv.run('once') end
local status = exit_status or stop('sigterm')
remove(directory)
os.exit(status)
