#include "script/arguments.h"

#include "bind/bind.h"
#include "script/load.h"
#include "task/memory.h"

#include <lua.h>

static int push_connect(lua_State *co, const struct mm_session *facts, bool both)
{
	lua_pushstring(co, facts->client_host);
	if (!both || facts->client_address == NULL)
		return 1;
	lua_pushstring(co, facts->client_address);
	return 2;
}

static int push_address(lua_State *co, struct mm_text raw, struct mm_text params, bool both)
{
	struct mm_text bare = mm_address_bare(raw);
	lua_pushlstring(co, bare.bytes, bare.size);
	if (!both)
		return 1;
	mm_push_params(co, params, raw);
	return 2;
}

static int push_offer(lua_State *co, const struct mm_offer *offer)
{
	lua_createtable(co, 0, 3);
	lua_pushnumber(co, offer->version);
	lua_setfield(co, -2, "version");
	lua_pushnumber(co, offer->actions);
	lua_setfield(co, -2, "actions");
	lua_pushnumber(co, offer->steps);
	lua_setfield(co, -2, "steps");
	return 1;
}

static int push_result(lua_State *co, const struct mm_event *event)
{
	lua_createtable(co, 0, 2);
	lua_pushstring(co, mm_verdict_name(event->result));
	lua_setfield(co, -2, "verdict");
	if (event->result_reply.size > 0) {
		lua_pushlstring(co, event->result_reply.bytes, event->result_reply.size);
		lua_setfield(co, -2, "reply");
	}
	return 1;
}

static int push_field(lua_State *co, const struct mm_command *c, bool both)
{
	lua_pushlstring(co, c->text.bytes, c->text.size);
	if (!both)
		return 1;
	lua_pushlstring(co, c->value.bytes, c->value.size);
	return 2;
}

int mm_arguments_push(lua_State *co, const struct mm_script_session *ss, unsigned seen)
{
	const struct mm_event *event = &ss->event;
	const struct mm_command *c = event->command;
	bool both = seen >= MM_ARGUMENTS_ALL;
	if (seen < 2)
		return 0;
	switch (event->stage) {
	case MM_STAGE_negotiate: return push_offer(co, &c->offer);
	case MM_STAGE_connect:   return push_connect(co, ss->facts, both);
	case MM_STAGE_mail:
	case MM_STAGE_rcpt:      return push_address(co, c->text, c->strings, both);
	case MM_STAGE_header:
		if (ss->generation->plan->handlers[ss->script_at].fields == NULL)
			return push_field(co, c, both);
		lua_pushlstring(co, c->value.bytes, c->value.size);
		return 1;
	case MM_STAGE_body:
		mm_memory_pay(ss->generation, c->text.size);
		/* fall through */
	case MM_STAGE_helo:
	case MM_STAGE_unknown:
		lua_pushlstring(co, c->text.bytes, c->text.size);
		return 1;
	case MM_STAGE_done:      return push_result(co, event);
	default:                 return 0;
	}
}
