-- SPDX-License-Identifier: GPL-2.0-or-later
-- Runs tools/qubesd-acl for specs.

local uv = require('luv')
local daemon = require('spec.support.daemon')

-- Runs the tool with these arguments; its exit status, what it printed and what it said on standard error. Options: `before` (Lua code that runs first),
-- `seconds`, `tmpdir`, `env` (an array of more variables, NAME=value).
return function(arguments, options)
  options = options or {}
  local out, err, status = uv.new_pipe(), uv.new_pipe(), nil
  local texts, open = { [out] = '', [err] = '' }, 2
  local process = assert(uv.spawn('lua5.4', {
    args = { '-e', options.before or '', 'tools/qubesd-acl', table.unpack(arguments) }, stdio = { nil, out, err },
    env = {
      'PATH=' .. os.getenv('PATH'), 'QD_BUILD_DIR=' .. daemon.build_dir, 'ASAN_OPTIONS=detect_leaks=1',
      'TMPDIR=' .. (options.tmpdir or os.getenv('TMPDIR') or '/tmp'), table.unpack(options.env or {}),
    },
  }, function(code) status = code end))
  for pipe in pairs(texts) do
    pipe:read_start(function(_, data)
      if data then texts[pipe] = texts[pipe] .. data else open = open - 1 end
    end)
  end
  local ended = daemon.run_until(function() return status and open == 0 end, options.seconds or 120)
  if not ended then process:kill('sigkill') end
  for _, handle in ipairs { out, err, process } do handle:close() end
  uv.run('nowait')
  assert(ended, 'qubesd-acl did not end')
  return status, texts[out], texts[err]
end
