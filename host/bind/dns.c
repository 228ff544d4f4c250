/* bind/dns.c -- moonmilter.core: questions to name servers. lua/moonmilter/dns.lua is the interface for scripts. */
#include "bind/bind.h"

#include "async/dns.h"
#include "task/told.h"

#include <arpa/inet.h>
#include <lauxlib.h>
#include <lua.h>
#include <stdlib.h>
#include <string.h>

/* ---- answers ---- */

static const char *const code_texts[] = {       /* ORDER DNS_CODE */
	"ok", "no such name", "the name has no such record", "the name server could not find an answer",
	"the name server refuses to answer",
	"no answer in time", "no name server is listening", "no such name can exist",
	"the name server's response makes no sense",
	"too many queries are under way", "out of memory",
};

static void push_piece(lua_State *L, const struct mm_dns_answer *a, struct mm_dns_piece piece)
{
	mm_push_text(L, mm_dns_text(a, piece));
}

static void push_fields(lua_State *L, const struct mm_dns_answer *a, const struct mm_dns_record *r,
	const char *const *numbers, const char *text, const char *other)
{
	lua_createtable(L, 0, 6);
	for (int i = 0; numbers[i] != NULL; i++) {
		lua_pushnumber(L, r->number[i]);
		lua_setfield(L, -2, numbers[i]);
	}
	push_piece(L, a, r->text[0]);
	lua_setfield(L, -2, text);
	if (other == NULL)
		return;
	push_piece(L, a, r->text[1]);
	lua_setfield(L, -2, other);
}

/* Pushes a string for a record with one value, a table for one with several. */
static void push_record(lua_State *L, const struct mm_dns_answer *a, const struct mm_dns_record *r)
{
	static const char *const mx[] = { "preference", NULL };
	static const char *const srv[] = { "priority", "weight", "port", NULL };
	static const char *const soa[] = { "serial", "refresh", "retry", "expire", "minimum", NULL };
	static const char *const tlsa[] = { "usage", "selector", "matching", NULL };
	static const char *const caa[] = { "flags", NULL };
	switch (mm_dns_shape_of(r->type)) {
	case MM_DNS_MX:   push_fields(L, a, r, mx, "host", NULL); break;
	case MM_DNS_SRV:  push_fields(L, a, r, srv, "host", NULL); break;
	case MM_DNS_SOA:  push_fields(L, a, r, soa, "primary", "contact"); break;
	case MM_DNS_TLSA: push_fields(L, a, r, tlsa, "data", NULL); break;
	case MM_DNS_CAA:  push_fields(L, a, r, caa, "value", "tag"); break;
	default:          push_piece(L, a, r->text[0]); break;
	}
}

/* [] -> [list] or [nil text code] */
static int push_answer(lua_State *L, void *arg)
{
	const struct mm_dns_answer *a = arg;
	if (a->code != MM_DNS_ok)
		return mm_push_failure(L, code_texts[a->code], mm_dns_code_name(a->code));
	lua_createtable(L, (int)a->count, 3);
	for (unsigned i = 0; i < a->count; i++) {
		push_record(L, a, &a->records[i]);
		lua_rawseti(L, -2, (int)i + 1);
	}
	lua_pushnumber(L, a->ttl);
	lua_setfield(L, -2, "ttl");
	push_piece(L, a, a->name);
	lua_setfield(L, -2, "name");
	if (a->is_authentic) {
		lua_pushboolean(L, 1);
		lua_setfield(L, -2, "authentic");
	}
	return 1;
}

/* ---- query ---- */

struct asking {
	struct mm_dns_query  query;
	struct mm_task      *task;      /* borrowed */
};

static void undo_query(struct mm_task *t)
{
	struct asking *a = t->waits_for;
	mm_dns_cancel(&a->query);
	free(a);
}

static void answered(struct mm_dns_query *query, const struct mm_dns_answer *answer)
{
	struct asking *a = MM_OWNER_OF(query, struct asking, query);
	struct mm_task *t = a->task;
	free(a);
	mm_task_ready(t, mm_task_push(t, push_answer, (void *)(uintptr_t)answer));
}

/* core.dns_query(name, type, timeout or nil) -> list, or nil, text, code */
static int core_dns_query(lua_State *L)
{
	size_t size;
	const char *name = luaL_checklstring(L, 1, &size);
	const char *type_name = mm_check_cstring(L, 2, "dns: type");
	lua_Number timeout = luaL_optnumber(L, 3, 0);
	uint16_t type = mm_dns_type_of_name(type_name);
	if (type == 0)
		return mm_raise_at_script(L, "dns: unknown type \"%s\"; a type is \"a\", \"mx\", \"txt\" and so on, or "
			"\"type65\" by its number", type_name);
	if (!lua_isnoneornil(L, 3) && !(timeout > 0 && timeout <= 1e6))
		return mm_raise_at_script(L, "dns: timeout of %f seconds; give more than 0", timeout);
	struct mm_task *t = mm_task_may_wait(L, "dns");
	if (t == NULL)
		return 2;
	struct mm_dns_answer bad = { .code = strlen(name) == size ? MM_DNS_memory : MM_DNS_badname };
	struct asking *a = bad.code == MM_DNS_badname ? NULL : malloc(sizeof *a);
	if (a == NULL)
		return push_answer(L, &bad);
	a->task = t;
	const struct mm_dns_answer *known = mm_dns_ask(t->generation->settings.dns, &a->query, name, type,
		timeout, answered);
	if (known == NULL)
		return mm_task_wait(L, t, "dns", undo_query, a);
	free(a);
	int count = push_answer(L, (void *)(uintptr_t)known);
	mm_told_known(L, t, "dns", count);
	return count;
}

/* ---- settings ---- */

static void check_servers(lua_State *L, int at)
{
	size_t count = lua_objlen(L, at);
	for (size_t i = 1; i <= count; i++) {
		lua_rawgeti(L, at, (int)i);
		if (lua_type(L, -1) != LUA_TSTRING)
			mm_raise_at_script(L, "dns: servers is a list of addresses, but item %d is a %s", (int)i,
				luaL_typename(L, -1));
		lua_pop(L, 1);
	}
}

/* core.dns_configure(servers or nil, resolv_conf or nil, timeout, cache): for all scripts of the worker. */
static int core_dns_configure(lua_State *L)
{
	struct mm_dns_settings settings = {
		.resolv_conf = mm_opt_cstring(L, 2, "dns: resolv_conf"),
		.timeout = luaL_optnumber(L, 3, MM_DNS_TIMEOUT),
	};
	lua_Number cache = luaL_optnumber(L, 4, MM_DNS_CACHE_MAX);
	if (!(settings.timeout > 0 && settings.timeout <= 3600 && cache >= 0 && cache <= 1e7))
		return mm_raise_at_script(L, "dns: timeout is more than 0 and at most 3600 seconds, cache from 0 to "
			"10000000 answers");
	settings.cache_max = (unsigned)cache;
	if (lua_istable(L, 1)) {
		check_servers(L, 1);
		settings.servers = mm_push_strings(L, 1, "dns: an item of servers");
	}
	struct mm_fault why;
	bool ok = mm_dns_configure(mm_generation_of(L)->settings.dns, &settings, &why);
	return ok ? 0 : luaL_error(L, "%s", why.text);
}

/* core.dns_timeout() -> seconds that a question may take: dns_timeout of the configuration, or of dns.configure */
static int core_dns_timeout(lua_State *L)
{
	lua_pushnumber(L, mm_dns_timeout(mm_generation_of(L)->settings.dns));
	return 1;
}

/* core.dns_count() -> { asked =, sent =, misfits =, in_flight =, cached = } */
static int core_dns_count(lua_State *L)
{
	struct mm_dns_counts counts = mm_dns_count(mm_generation_of(L)->settings.dns);
	const struct { const char *name; double value; } rows[] = {
		{ "asked", (double)counts.asked }, { "sent", (double)counts.sent },
		{ "misfits", (double)counts.misfits }, { "in_flight", counts.in_flight }, { "cached", counts.cached },
	};
	lua_newtable(L);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		lua_pushnumber(L, rows[i].value);
		lua_setfield(L, -2, rows[i].name);
	}
	return 1;
}

static int push_reverse_ipv4(lua_State *L, const uint8_t *address)
{
	lua_pushfstring(L, "%d.%d.%d.%d", address[3], address[2], address[1], address[0]);
	lua_pushliteral(L, "inet");
	return 2;
}

/* core.dns_reverse(ip) -> "2.0.0.192" or the nibbles of an IPv6 address, "inet" | "inet6"; nil when
 * it is not an address. */
static int core_dns_reverse(lua_State *L)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };   /* ::ffff:192.0.2.1 is an IPv4 client */
	const char *ip = mm_clean_cstring(L, 1);
	uint8_t address[16];
	char text[64], *to = text;
	if (ip == NULL)
		return 0;
	if (inet_pton(AF_INET, ip, address) == 1)
		return push_reverse_ipv4(L, address);
	if (inet_pton(AF_INET6, ip, address) != 1)
		return 0;
	if (memcmp(address, mapped, sizeof mapped) == 0)
		return push_reverse_ipv4(L, address + 12);
	for (int i = 15; i >= 0; i--) {
		*to++ = "0123456789abcdef"[address[i] & 15];
		*to++ = '.';
		*to++ = "0123456789abcdef"[address[i] >> 4];
		*to++ = '.';
	}
	lua_pushlstring(L, text, 63);
	lua_pushliteral(L, "inet6");
	return 2;
}

/* ---- register ---- */

void mm_bind_dns(lua_State *L)
{
	static const luaL_Reg functions[] = {
		{ "dns_query", core_dns_query }, { "dns_configure", core_dns_configure },
		{ "dns_timeout", core_dns_timeout }, { "dns_count", core_dns_count },
		{ "dns_reverse", core_dns_reverse }, { NULL, NULL },
	};
	_Static_assert(sizeof code_texts / sizeof *code_texts == MM_DNS_CODE_COUNT, "ORDER DNS_CODE");
	luaL_setfuncs(L, functions, 0);
}
