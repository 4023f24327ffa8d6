-- What each folder's files may use: docs/scripting.md for scripts/, acl.d/README for acl.d/.
std = 'lua54'
max_line_length = 160
cache = false
self = false -- a method need not use its object
exclude_files = { 'build/**' }

-- The standard library as scripts have it: no io, os, debug, package, load, require.
stds.script = {
  read_globals = {
    'assert', 'error', 'getmetatable', 'ipairs', 'next', 'pairs', 'pcall', 'rawequal', 'rawget', 'rawlen', 'rawset', 'select',
    'setmetatable', 'tonumber', 'tostring', 'type', 'xpcall', '_VERSION',
    math = { other_fields = true }, string = { other_fields = true }, table = { other_fields = true }, utf8 = { other_fields = true },
    'class', 'method', 'on', 'on_app', 'raise', 'none', 'app', 'core', 'import',
  },
  globals = { core_hooks = { other_fields = true } },
}

-- The sandbox of rules. table.move and everything raw is missing on purpose.
stds.rule = {
  read_globals = {
    'assert', 'error', 'ipairs', 'next', 'pairs', 'pcall', 'select', 'tonumber', 'tostring', 'type', 'xpcall',
    math = {
      fields = {
        'abs', 'acos', 'asin', 'atan', 'ceil', 'cos', 'deg', 'exp', 'floor', 'fmod', 'huge', 'log', 'max', 'maxinteger', 'min', 'mininteger', 'modf',
        'pi', 'rad', 'sin', 'sqrt', 'tan', 'tointeger', 'type', 'ult',
      },
    },
    string = { other_fields = true }, utf8 = { other_fields = true },
    table = { fields = { 'concat', 'insert', 'pack', 'remove', 'sort', 'unpack' } },
    'on', 'deny', 'filter_list', 'none', 'limit', 'grant', 'narrow',
  },
}

-- Tests of rules (tools/acl/test_words.lua).
stds.rule_test = {
  read_globals = {
    'assert', 'error', 'ipairs', 'next', 'pairs', 'pcall', 'select', 'tonumber', 'tostring', 'type', 'xpcall',
    math = { other_fields = true }, string = { other_fields = true }, utf8 = { other_fields = true }, table = { other_fields = true },
    'estate', 'rules', 'test', 'expect', 'events', 'dom0', 'none',
  },
}

files['scripts'] = { std = 'script' }
files['scripts/lib/globals.lua'] = {
  globals = { 'class', 'method', 'on', 'on_app', 'raise', 'none', 'app', 'core' },
}
files['docs/acl-examples'] = { std = 'rule', ignore = { '212' } }
files['docs/acl-examples/spec'] = { std = 'rule_test' }
files['acl.d'] = { std = 'rule', ignore = { '212' } } -- a rule need not use all of src, event, info
files['spec'] = { std = 'lua54+busted' }
