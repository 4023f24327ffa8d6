-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers admin.vm.Start, Shutdown, Kill, Pause, Unpause, Suspend, Resume.

local virt = import('api/virt')

local function act(call, name, ...)
  virt.guard(name, call.dest[name], call.dest, ...)
end

local function declare(name, action, doc)
  method('admin.vm.' .. name, {
    dest = 'any', arg = 'none', payload = 'none', scope = 'local', execute = true,
    doc = doc,
  }, function(call)
    call:permission()
    act(call, action)
  end)
end

declare('Start', 'start', 'Starts the qube. One that runs already is left alone.')
declare('Kill', 'kill', 'Stops the qube at once, without asking it.')
declare('Pause', 'pause', 'Freezes the qube: it keeps its memory and gets no CPU.')
declare('Unpause', 'unpause', 'Lets a paused qube go on.')
declare('Suspend', 'suspend', 'Suspends the qube, as before the computer sleeps. One that can\'t be suspended is paused.')
declare('Resume', 'resume', 'Wakes a suspended or paused qube up.')

-- "force", "wait", or both with a "+" between them.
local function options_of(call)
  local options = { force = false, wait = false }
  for word in (call.arg ~= '' and call.arg .. '+' or ''):gmatch('([^+]*)%+') do
    call:enforce(options[word] ~= nil, 'the argument is force, wait or force+wait')
    options[word] = true
  end
  return options
end

method('admin.vm.Shutdown', {
  dest = 'any', arg = 'optional', payload = 'none', scope = 'local', execute = true,
  info = { force = 'whether other qubes may lose their network', wait = 'whether the answer waits until the qube is off' },
  doc = 'Asks the qube to shut down. Argument: "force" also when other qubes get their network from it, "wait" for its end, or "force+wait".',
}, function(call)
  local options = options_of(call)
  call:permission { force = options.force, wait = options.wait }
  act(call, 'shutdown', options)
end)
