-- SPDX-License-Identifier: GPL-2.0-or-later
-- A caller that only looks.

local looks = {
  List = true, Get = true, GetAll = true, GetDefault = true, Help = true, Index = true,
  CurrentState = true, Stats = true, Events = true,
}

on('admin-permission:admin.*', function(src, event, info)
  local last = event:match('[^.]*$') -- the last part of the method's name
  if src.name == 'monitor' and not looks[last] then deny('monitor only looks') end
end)
