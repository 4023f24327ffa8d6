/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The string library of qd/bind_string.h beside the stock one, in one state, called with the same arguments.
 * For test_pattern.c and fuzz/fuzz_pattern.c.
 */
#ifndef QD_PATTERN_COMPARE_H
#define QD_PATTERN_COMPARE_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "qd/bind_string.h"

/*
 * Given both libraries, the chunk returns `compare(subject, pattern, replacement, init, limit)`: nil when all
 * functions that match agree, in results and in errors, else a text that says what differs. Cases that ours
 * finds too costly are left out, so the stock matcher is never asked to backtrack without end; compare's
 * second result counts them.
 */
static const char pattern_compare_chunk[] =
    "local stock, ours = ...\n"
    "local pack, concat, select, pcall, type, tostring = table.pack, table.concat, select, pcall, type, "
    "tostring\n"
    "local function show(list)\n"
    "  local shown = {}\n"
    "  for i = 1, list.n do\n"
    "    local v = list[i]\n"
    "    shown[i] = type(v) == 'string' and stock.format('%q', v) or type(v) == 'table' and show(v) or "
    "tostring(v)\n"
    "  end\n"
    "  return '{' .. concat(shown, ', ') .. '}'\n"
    "end\n"
    "local function noted(lib, s, p, limit, answer)\n"
    "  local calls = {}\n"
    "  local result = pack(lib.gsub(s, p, function(...)\n"
    "    calls[#calls + 1] = show(pack(...))\n"
    "    return answer(#calls, ...)\n"
    "  end, limit))\n"
    "  result.n = result.n + 1\n"
    "  result[result.n] = concat(calls)\n"
    "  return result\n"
    "end\n"
    "local operations = {\n"
    "  find = function(lib, s, p, r, init) return pack(lib.find(s, p, init)) end,\n"
    "  find_plain = function(lib, s, p, r, init) return pack(lib.find(s, p, init, true)) end,\n"
    "  match = function(lib, s, p, r, init) return pack(lib.match(s, p, init)) end,\n"
    "  gmatch = function(lib, s, p, r, init)\n"
    "    local all = { n = 0 }\n"
    "    local next = lib.gmatch(s, p, init)\n"
    "    for _ = 1, 200 do\n"
    "      local list = pack(next())\n"
    "      all.n = all.n + 1\n"
    "      all[all.n] = show(list)\n"
    "      if list.n == 0 then break end\n"
    "    end\n"
    "    return all\n"
    "  end,\n"
    "  gsub_string = function(lib, s, p, r, init, limit) return pack(lib.gsub(s, p, r, limit)) end,\n"
    "  gsub_function = function(lib, s, p, r, init, limit)\n"
    "    return noted(lib, s, p, limit, function(n, first)\n"
    "      if n % 4 == 1 then return r elseif n % 4 == 2 then return first elseif n % 4 == 3 then return n "
    "end\n"
    "    end)\n"
    "  end,\n"
    "  gsub_identity = function(lib, s, p, r, init, limit)\n"
    "    return noted(lib, s, p, limit, function() return false end)\n"
    "  end,\n"
    "  gsub_wrong = function(lib, s, p, r, init, limit)\n"
    "    return noted(lib, s, p, limit, function(n) return n < 3 and r or {} end)\n"
    "  end,\n"
    "  gsub_table = function(lib, s, p, r, init, limit) return pack(lib.gsub(s, p, { a = r, b = 2, [1] = "
    "'one' }, limit)) end,\n"
    "}\n"
    "local names = {}\n"
    "for name in pairs(operations) do names[#names + 1] = name end\n"
    "table.sort(names)\n"
    "return function(s, p, r, init, limit)\n"
    "  local costly = 0\n"
    "  for _, name in ipairs(names) do\n"
    "    local ok1, result1 = pcall(operations[name], ours, s, p, r, init, limit)\n"
    "    if not ok1 and stock.find(result1, 'too costly', 1, true) then\n"
    "      costly = costly + 1\n"
    "    else\n"
    "      local ok2, result2 = pcall(operations[name], stock, s, p, r, init, limit)\n"
    "      local shown1 = ok1 and show(result1) or result1\n"
    "      local shown2 = ok2 and show(result2) or result2\n"
    "      if ok1 ~= ok2 or shown1 ~= shown2 then\n"
    "        return stock.format('%s(%q, %q, %q, %s, %s)\\n  ours:  %s\\n  stock: %s', name, s, p, r, init, "
    "limit, shown1,\n"
    "          shown2), costly\n"
    "      end\n"
    "    end\n"
    "  end\n"
    "  return nil, costly\n"
    "end\n";

/* A new state with all stock libraries; on its stack compare, at 1, and our table, at 2, which is also the
 * global `ours`. The stock one is `string`. */
static inline lua_State *pattern_compare_new(void)
{
    lua_State *L = luaL_newstate();

    if (!L)
        return NULL;
    luaL_openlibs(L);
    if (luaL_loadbufferx(L, pattern_compare_chunk, sizeof(pattern_compare_chunk) - 1, "=compare", "t") !=
        LUA_OK)
        return NULL;
    lua_getglobal(L, "string");
    qd_bind_string_open(L);
    lua_pushvalue(L, -1);
    lua_setglobal(L, "ours");
    lua_pushvalue(L, -1);
    lua_insert(L, 1);
    if (lua_pcall(L, 2, 1, 0) != LUA_OK)
        return NULL;
    lua_insert(L, 1);
    return L;
}

#endif
