-- SPDX-License-Identifier: GPL-2.0-or-later
-- lib/qrexec_policy and its parts: what parses, what doesn't and where, and what a policy decides.
-- spec/conformance_policy.lua compares decisions with the reference's.

-- What scripts have, so that a use of io, os or require fails here too.
local imported = {}
local sandbox = {
  assert = assert, error = error, ipairs = ipairs, pairs = pairs, pcall = pcall, setmetatable = setmetatable, type = type,
  math = math, string = string, table = table, utf8 = utf8,
}

function sandbox.import(name)
  imported[name] = imported[name] or assert(loadfile('scripts/lib/' .. name .. '.lua', 't', sandbox))()
  return imported[name]
end

local qrexec_policy = sandbox.import('qrexec_policy')
local null = io.stdout -- any value that is no string may stand for JSON's null

local uuid = '00000000-0000-0000-0000-%012d'

local function estate()
  return { domains = {
    dom0 = { type = 'AdminVM', tags = {}, uuid = uuid:format(0), power_state = 'Running', default_dispvm = null },
    work = { type = 'AppVM', tags = { 'office' }, uuid = uuid:format(1), power_state = 'Running', default_dispvm = 'dvm' },
    vault = { type = 'AppVM', tags = { 'office', 'secret' }, uuid = uuid:format(2), power_state = 'Halted', default_dispvm = null },
    dvm = { type = 'AppVM', tags = { 'base' }, uuid = uuid:format(3), power_state = 'Halted', template_for_dispvms = true },
    fedora = { type = 'TemplateVM', tags = {}, uuid = uuid:format(4), power_state = 'Halted', internal = '' },
    audio = { type = 'AppVM', tags = {}, uuid = uuid:format(5), power_state = 'Running', internal = '1' },
  } }
end

local function parse(text, options)
  local files = type(text) == 'table' and text or { main = text }
  return qrexec_policy.parse(qrexec_policy.memory_loader(files), 'main', options)
end

-- decide(policy text, 'service+argument source target')
local function decide(text, call)
  local policy = assert(parse(text))
  local service, argument, source, target = call:match('^([^+]*)(%+%S*) (%S+) ?(.*)$')
  return policy:evaluate({ service = service, argument = argument, source = source, target = target }, estate())
end

local function assert_action(expected, text, call) assert.equal(expected, decide(text, call).action) end

local function assert_fails(file, line, message, text, options)
  local policy, failure = parse(text, options)
  assert.is_nil(policy)
  assert.equal(file, failure.file)
  assert.equal(line, failure.line)
  assert.matches(message, failure.message, 1, true)
end

describe('a policy file', function()
  it('may have comments, empty lines, white space of all kinds and any line end', function()
    local text = '# one\r\n\r\n  \t# two\n\u{a0}a\u{2003}*\x1f@anyvm\v@anyvm  allow \r'
    assert.equal(4, decide(text, 'a+ work vault').line)
  end)

  for text, message in pairs {
    ['a * work vault'] = 'needs a service',
    ['a+b * work vault allow'] = 'other characters',
    ['a/b * work vault allow'] = 'other characters',
    ['a +b/c work vault allow'] = 'other characters',
    ['a b work vault allow'] = 'begin with +',
    ['* + work vault allow'] = 'must be * too',
    ['a * @default vault allow'] = '"@default" cannot be a source',
    ['a * @dispvm vault allow'] = '"@dispvm" cannot be a source',
    ['a * work @foo allow'] = '"@foo" cannot be a target',
    ['a * work @tag: allow'] = 'nothing follows "@tag:"',
    ['a * work @dispvm:@tag: allow'] = 'nothing follows "@dispvm:@tag:"',
    ['a * work @dispvm:@type:AppVM allow'] = 'cannot be a target',
    ['a * work vault allow target=@anyvm'] = 'cannot be a redirect',
    ['a * work vault allow target=*'] = 'cannot be a redirect',
    ['a * work vault allow target='] = 'is empty',
    ['a * work vault ask default_target=@tag:x'] = 'cannot be a redirect',
    ['a * work vault permit'] = 'must be allow, ask or deny',
    ['a * work vault allow user'] = 'NAME=VALUE',
    ['a * work vault allow user=a user=b'] = 'twice',
    ['a * work vault allow default_target=work'] = 'no parameter "default_target"',
    ['a * work vault deny user=a'] = 'no parameter "user"',
    ['a * work vault allow autostart=true'] = 'yes or no',
    ['a * work @default allow'] = 'must say target=',
    ['!include'] = 'takes 1 parameters',
    ['!include-service a *'] = 'takes 3 parameters',
    ['!compat-4.0 now'] = 'takes 0 parameters',
    ['!import other'] = '"!import" is not known',
    ['!include other'] = 'no file other',
    ['!include-dir other'] = 'no directory other',
    ['!compat-4.0'] = 'no directory /etc/qubes-rpc/policy',
  } do
    it('is refused for ' .. text, function()
      assert_fails('main', 2, message, '# first\n' .. text .. '\n')
    end)
  end

  it('must be UTF-8', function()
    assert_fails('main', nil, 'UTF-8', '# \xff\n')
  end)

  it('is part of the policy where it is included, and errors name it', function()
    local files = { main = '!include ./sub//one\na * @anyvm @anyvm allow', ['sub/one'] = '\na + work vault deny' }
    local decision = decide(files, 'a+ work vault')
    assert.same({ 'deny', 'sub/one', 2 }, { decision.action, decision.file, decision.line })
    assert_action('allow', files, 'a+x work vault')
    files['sub/one'] = '!include none'
    assert_fails('sub/one', 1, 'no file none', files)
  end)

  it('of the older format gets its service and argument from who includes it', function()
    local files = {
      main = '!include-service a +x sub/old\n!include-service b * sub/old',
      ['sub/old'] = '$tag:office $adminvm allow,user=root\n$include:sub/more',
      ['sub/more'] = 'work,vault,ask',
    }
    assert.equal('root', decide(files, 'a+x vault dom0').user)
    assert_action('deny', files, 'a+y vault dom0')
    assert_action('allow', files, 'b+y vault dom0')
    assert_action('ask', files, 'b+ work vault')
    files['sub/more'] = '!compat-4.0'
    assert_fails('sub/more', 1, 'not known', files)
    files['sub/more'] = '@anyvm @anyvm'
    assert_fails('sub/more', 1, 'needs a source', files)
  end)
end)

describe('directories', function()
  local function load(files)
    return qrexec_policy.parse_directories(qrexec_policy.memory_loader(files), { '/run/p', '/etc/p' })
  end

  local function files_of(policy)
    local files = {}
    for i, rule in ipairs(policy.rules) do files[i] = rule.file end
    return files
  end

  local rule = 'a * work vault allow'

  it('are merged by name in byte order; the first one stands in for the others', function()
    local policy = load {
      ['/run/p/20-b.policy'] = '!include x', ['/run/p/x'] = rule,
      ['/etc/p/20-b.policy'] = rule, ['/etc/p/x'] = '', ['/etc/p/30.policy'] = rule, ['/etc/p/3.policy'] = rule, ['/etc/p/3_.policy'] = rule,
      ['/etc/p/README'] = 'not one', ['/etc/p/.hidden.policy'] = 'not one', ['/etc/p/1.policy.rpmnew'] = 'not one',
    }
    assert.same({ '/run/p/x', '/etc/p/3.policy', '/etc/p/30.policy', '/etc/p/3_.policy' }, files_of(policy))
  end)

  it('with a name that looks like a policy and is none are refused', function()
    local policy, failure = load { ['/run/p/x.policy'] = '', ['/etc/p/B.policy'] = '' }
    assert.is_nil(policy)
    assert.equal('/etc/p/B.policy', failure.file)
  end)

  it('can be included', function()
    local policy = load {
      ['/run/p/x.policy'] = '!include-dir d', ['/run/p/d/2.policy'] = rule, ['/run/p/d/1.policy'] = rule, ['/run/p/d/note'] = '?',
      ['/etc/p/x'] = '',
    }
    assert.same({ '/run/p/d/1.policy', '/run/p/d/2.policy' }, files_of(policy))
  end)

  it('of the older format end each file of one argument with a denial', function()
    local old = '/etc/qubes-rpc/policy/'
    local policy = load {
      ['/run/p/x.policy'] = '!compat-4.0\na * @anyvm @anyvm ask\na * @anyvm @adminvm ask', ['/etc/p/x'] = '',
      [old .. 'a'] = '@anyvm $tag:office allow', [old .. 'a+x'] = 'work vault allow',
      [old .. 'a.rpmsave'] = '?', [old .. '.a'] = '?', [old .. 'a b'] = '?',
    }
    local function action(argument, source, target)
      return policy:evaluate({ service = 'a', argument = argument, source = source, target = target }, estate()).action
    end
    assert.equal('allow', action('+x', 'work', 'vault'))
    assert.equal('deny', action('+x', 'vault', 'work'))
    assert.equal('deny', action('+x', 'vault', 'dom0'))
    assert.equal('allow', action('+y', 'vault', 'work'))
    assert.equal('ask', action('+y', 'vault', 'fedora'))
  end)
end)

describe('limits', function()
  it('stop files that include each other', function()
    assert_fails('main', 1, 'deep', '!include main')
    assert_fails('old', 1, 'deep', { main = '!include-service a * old', old = '!include old' })
    local files = {}
    for i = 1, 14 do -- short of the depth, and 2^14 files
      files[i == 1 and 'main' or 'f' .. i] = ('!include f%d\n!include f%d\n'):format(i + 1, i + 1)
    end
    files.f15 = ''
    assert_fails('f14', 2, 'more than 15 files', files, { limits = { files = 15 } })
    assert_fails('main', 1, 'lines', { main = '!include one', one = '\n\n' }, { limits = { lines = 0 } })
  end)

  it('bound lines and rules', function()
    assert.truthy(parse('#' .. ('x'):rep(8191)))
    assert_fails('main', 1, 'longer than 8192 bytes', '#' .. ('x'):rep(8192))
    assert_fails('main', 3, 'more than 2 rules', ('a * work vault allow\n'):rep(3), { limits = { rules = 2 } })
  end)

  it('are not changed by a caller\'s own', function()
    local own = { rules = 2 }
    parse('', { limits = own })
    assert.same({ rules = 2 }, own)
    assert.equal(20000, qrexec_policy.limits.rules)
  end)

  it('errors of a loader pass through', function()
    local loader = { read = function() error('disk') end }
    assert.has_error(function() qrexec_policy.parse(loader, 'main') end)
  end)
end)

describe('a decision', function()
  it('is deny where no rule matches', function()
    assert_action('deny', '', 'a+ work vault')
    assert_action('deny', 'a * work vault allow', 'b+ work vault')
    assert_action('deny', 'a +x work vault allow', 'a+ work vault')
    assert_action('deny', 'a + work vault allow', 'a+x work vault')
  end)

  it('is the first rule\'s, across rules for one service and for all', function()
    assert.equal(1, decide('* * work vault deny\na * work vault allow', 'a+ work vault').line)
    assert.equal(1, decide('a * work vault deny\n* * work vault allow', 'a+ work vault').line)
    assert.equal(2, decide('b * work vault deny\n* * work vault allow\na * work vault deny', 'a+ work vault').line)
  end)

  it('refuses an argument without +', function()
    local policy = parse('* * * * allow')
    assert.equal('deny', policy:evaluate({ service = 'a', argument = '', source = 'work', target = 'vault' }, estate()).action)
    assert.is_false(policy:allows({ service = 'a', argument = 'x', source = 'work', target = 'vault' }, estate()))
    assert.same({}, policy:allowed_targets('a', '', 'work', { 'vault' }, estate()))
  end)

  -- source token → the sources that it means
  for token, sources in pairs {
    ['*'] = 'dom0 work vault nosuch', ['@anyvm'] = 'work vault nosuch', ['@adminvm'] = 'dom0', ['dom0'] = 'dom0', ['work'] = 'work',
    ['uuid:' .. uuid:format(2)] = 'vault', ['uuid:' .. uuid:format(0)] = 'dom0', ['@tag:office'] = 'work vault', ['@tag:none'] = '',
    ['@type:AppVM'] = 'work vault', ['@type:AdminVM'] = 'dom0', ['@dispvm:dvm'] = '', ['@dispvm:@tag:base'] = '',
  } do
    it('knows the source ' .. token, function()
      for _, source in ipairs { 'dom0', 'work', 'vault', 'nosuch' } do
        local expected = (' ' .. sources .. ' '):find(' ' .. source .. ' ', 1, true) and 'allow' or 'deny'
        assert_action(expected, ('a * %s * allow target=dvm'):format(token), ('a+ %s fedora'):format(source))
      end
    end)
  end

  -- target token → the targets that it means, for calls of "work"
  for token, targets in pairs {
    ['*'] = 'dom0 @adminvm work vault nosuch @default @dispvm @dispvm:dvm',
    ['@anyvm'] = 'work vault nosuch @default @dispvm @dispvm:dvm',
    ['@adminvm'] = 'dom0 @adminvm', ['dom0'] = 'dom0 @adminvm', ['@default'] = '@default nosuch', ['nosuch'] = '',
    ['vault'] = 'vault', ['uuid:' .. uuid:format(2)] = 'vault', ['@tag:secret'] = 'vault', ['@type:AppVM'] = 'work vault',
    ['@type:AdminVM'] = 'dom0', ['@dispvm'] = '@dispvm', ['@dispvm:dvm'] = '@dispvm @dispvm:dvm',
    ['@dispvm:uuid:' .. uuid:format(3)] = '@dispvm:dvm', ['@dispvm:@tag:base'] = '@dispvm @dispvm:dvm', ['@dispvm:@tag:office'] = '',
  } do
    it('knows the target ' .. token, function()
      for _, target in ipairs { 'dom0', '@adminvm', 'work', 'vault', 'nosuch', '@default', '@dispvm', '@dispvm:dvm' } do
        local expected = (' ' .. targets .. ' '):find(' ' .. target .. ' ', 1, true) and 'allow' or 'deny'
        assert_action(expected, ('a * * %s allow target=fedora'):format(token), 'a+ work ' .. target)
      end
    end)
  end

  it('refuses targets that can\'t be asked for', function()
    for _, target in ipairs { '*', '@anyvm', '@tag:office', '@dispvm:', '@dispvm:work', '@dispvm:nosuch' } do
      assert_action('deny', '* * * * allow target=work', 'a+ work ' .. target)
    end
    assert_action('allow', '* * * @default allow target=vault', 'a+ work ')
  end)

  it('does not pass a rule for a template of disposables that it can\'t judge', function()
    assert_action('deny', 'a * * @dispvm:dvm deny\na * * * allow target=work', 'a+ vault @dispvm')
  end)
end)

describe('allow', function()
  it('says target, user, autostart and the rule\'s place', function()
    assert.same({ action = 'allow', target = 'vault', autostart = true, notify = false, file = 'main', line = 1 },
      decide('a * work vault allow', 'a+ work vault'))
    assert.same({ action = 'allow', target = 'dom0', user = 'root', autostart = false, notify = true, file = 'main', line = 1 },
      decide('a * work vault allow target=@adminvm user=root autostart=no notify=yes', 'a+ work vault'))
  end)

  it('makes of @dispvm the caller\'s template', function()
    assert.equal('@dispvm:dvm', decide('a * * @dispvm allow', 'a+ work @dispvm').target)
    assert.equal('@dispvm:dvm', decide('a * * @anyvm allow target=@dispvm', 'a+ work vault').target)
    assert_action('deny', 'a * * @dispvm allow', 'a+ vault @dispvm')
  end)

  it('needs a target that exists', function()
    assert_action('deny', 'a * * @anyvm allow', 'a+ work nosuch')
    assert_action('deny', 'a * * @anyvm allow target=nosuch', 'a+ work vault')
    assert_action('deny', 'a * * @anyvm allow target=@dispvm:work', 'a+ work vault')
    assert.equal('uuid:' .. uuid:format(2), decide('a * * @anyvm allow target=uuid:' .. uuid:format(2), 'a+ work work').target)
  end)

  it('with autostart=no needs one that runs', function()
    local text = 'a * * * allow autostart=no'
    assert_action('allow', text, 'a+ vault work')
    assert_action('allow', text, 'a+ work @adminvm')
    assert_action('deny', text, 'a+ work vault')
    assert_action('deny', text, 'a+ work @dispvm:dvm')
  end)
end)

describe('ask', function()
  local function targets(text, source)
    return decide(text, 'a+ ' .. (source or 'work') .. ' ').targets
  end

  it('offers what the rules let the caller reach: not itself, nothing internal', function()
    assert.same({ '@dispvm:dvm', 'dom0', 'dvm', 'fedora', 'vault' }, targets('a * * * ask'))
    assert.same({ '@dispvm:dvm', 'dvm', 'fedora', 'vault' }, targets('a * * @anyvm ask'))
    assert.same({ 'vault' }, targets('a * * @default ask\na * * @tag:office allow'))
    assert.same({ 'dvm', 'vault' }, targets('a * * @default ask\na * * fedora deny\na * * @type:AppVM ask\na * * fedora allow'))
    assert.same({ 'dom0' }, targets('a * * @default ask\na * * vault allow target=@adminvm\nb * * * allow'))
    assert.same({ '@dispvm:dvm' }, targets('a * * @default ask\na * * @dispvm allow\na * * @dispvm:nosuch allow'))
  end)

  it('with target= offers that one', function()
    assert.same({ 'dom0' }, targets('a * * * ask target=@adminvm'))
    assert.same({ '@dispvm' }, targets('a * * * ask target=@dispvm'))
  end)

  it('is deny where there is nothing to choose', function()
    assert_action('deny', 'a * * @default ask', 'a+ work ')
    assert_action('deny', 'a * * * ask target=vault autostart=no', 'a+ work ')
    assert_action('deny', 'a * * * ask', 'a+ nosuch vault')
  end)

  it('has a default when that is on offer', function()
    assert.equal('vault', decide('a * * * ask default_target=vault', 'a+ work ').default)
    assert.equal('dom0', decide('a * * * ask default_target=@adminvm', 'a+ work ').default)
    assert.equal('@dispvm:dvm', decide('a * * * ask default_target=@dispvm', 'a+ work ').default)
    assert.is_nil(decide('a * * * ask default_target=work', 'a+ work ').default)
    assert.is_nil(decide('a * * * ask default_target=vault autostart=no', 'a+ work ').default)
  end)
end)

describe('deny', function()
  it('tells the user unless the rule is quiet', function()
    assert.is_true(decide('a * * * deny', 'a+ work vault').notify)
    assert.is_false(decide('a * * * deny notify=no', 'a+ work vault').notify)
    assert.is_true(decide('', 'a+ work vault').notify)
  end)
end)

describe('allowed_targets', function()
  local everything = {
    'dom0', '@adminvm', 'work', 'vault', 'dvm', 'fedora', 'audio', 'nosuch', '', '@default', '@dispvm', '@dispvm:dvm', '*',
    'uuid:' .. uuid:format(1), 'uuid:' .. uuid:format(9),
  }

  it('says of each target what evaluate says, and allows says whether it is allow', function()
    local texts = {
      'a * work vault allow\na * * @tag:office ask\na * * @anyvm deny\n* * * * allow',
      'a * * uuid:' .. uuid:format(2) .. ' deny\na * * @type:AppVM allow\na * * @adminvm ask\na * * * ask target=vault autostart=no',
      'a * * @tag:office allow autostart=no\na * * @dispvm:@tag:base allow\na * * @default ask\na * * fedora allow target=nosuch',
      '* * * @type:AdminVM deny\n* * * @tag:secret ask\n* * @anyvm @anyvm allow target=@adminvm\n* * * dom0 allow',
      'a * * @anyvm deny', 'b * * * allow', '',
    }
    for _, text in ipairs(texts) do
      local policy = assert(parse(text))
      for _, source in ipairs { 'dom0', 'work', 'vault', 'nosuch' } do
        local answers = policy:allowed_targets('a', '+', source, everything, estate())
        for _, target in ipairs(everything) do
          local call = { service = 'a', argument = '+', source = source, target = target }
          local action = policy:evaluate(call, estate()).action
          assert.equal(action, answers[target] or 'deny', ('%s: %s to %s'):format(text, source, target))
          assert.equal(action == 'allow', policy:allows(call, estate()))
        end
      end
    end
  end)

  it('costs no more with many rules', function()
    local lines, domains, targets = {}, { mgmt = { type = 'AppVM', tags = {}, uuid = uuid:format(0) } }, {}
    for i = 1, 1000 do
      lines[i] = ('a * mgmt @tag:t%d allow'):format(i)
      targets[i] = 'vm' .. i
      domains[targets[i]] = { type = 'AppVM', tags = { 't' .. 2 * i }, uuid = uuid:format(i) }
    end
    local policy = assert(parse(table.concat(lines, '\n')))
    local thousands = 0
    local answers
    local run = coroutine.create(function() answers = policy:allowed_targets('a', '+', 'mgmt', targets, { domains = domains }) end)
    debug.sethook(run, function() thousands = thousands + 1 end, '', 1000)
    assert(coroutine.resume(run))
    assert.equal('allow', answers.vm500)
    assert.is_nil(answers.vm501)
    assert.is_true(thousands < 500, thousands .. ' thousand instructions')
  end)
end)
