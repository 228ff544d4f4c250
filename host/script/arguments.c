#include "script/arguments.h"

#include "bind/bind.h"
#include "script/load.h"
#include "task/memory.h"
#include "task/profile.h"

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

static void set_text(lua_State *co, const char *key, struct mm_text text)
{
	lua_pushlstring(co, text.bytes, text.size);
	lua_setfield(co, -2, key);
}

static void set_number(lua_State *co, const char *key, double number)
{
	lua_pushnumber(co, number);
	lua_setfield(co, -2, key);
}

/* [result]: the recipients that were added, or deleted */
static void set_recipients(lua_State *co, const char *key, const struct mm_message *m, bool deleted, bool is_made)
{
	int n = 0;
	lua_newtable(co);
	for (uint32_t i = 0; is_made && i < m->edits.envelope_count; i++) {
		const struct mm_envelope_edit *edit = &m->envelope_edits[i];
		if ((edit->letter == SMFIR_DELRCPT) != deleted)
			continue;
		struct mm_text bare = mm_address_bare(mm_message_text(m, edit->address));
		lua_pushlstring(co, bare.bytes, bare.size);
		lua_rawseti(co, -2, ++n);
	}
	lua_setfield(co, -2, key);
}

/* [result] */
static void set_refused(lua_State *co, const struct mm_message *m)
{
	int n = 0;
	lua_newtable(co);
	for (uint32_t i = 0; i < m->recipient_count; i++) {
		const struct mm_recipient *r = &m->recipients[i];
		if (!r->is_refused)
			continue;
		lua_createtable(co, 0, 2);
		set_text(co, "address", mm_address_bare(mm_message_text(m, r->address)));
		lua_pushstring(co, r->refused_with == MM_VERDICT_continue ? "mta"
			: mm_verdict_name((enum mm_verdict_kind)r->refused_with));
		lua_setfield(co, -2, "verdict");
		lua_rawseti(co, -2, ++n);
	}
	lua_setfield(co, -2, "refused");
}

static int push_result(lua_State *co, const struct mm_script_session *ss)
{
	const struct mm_event *event = ss->event;
	const struct mm_message *m = ss->facts->message;
	bool is_made = event->result_edits > 0;
	lua_createtable(co, 0, 14);
	lua_pushstring(co, mm_verdict_name(event->result));
	lua_setfield(co, -2, "verdict");
	if (event->result_reply.size > 0)
		set_text(co, "reply", event->result_reply);
	lua_pushstring(co, mm_stage_name(event->ended_at));
	lua_setfield(co, -2, "stage");
	if (event->result_by[0] != '\0') {
		lua_pushstring(co, event->result_by);
		lua_setfield(co, -2, "decided_by");
	}
	set_number(co, "edits", event->result_edits);
	set_recipients(co, "added", m, false, is_made);
	set_recipients(co, "deleted", m, true, is_made);
	set_refused(co, m);
	if (is_made && m->edits.quarantines)
		set_text(co, "quarantine", mm_message_text(m, m->edits.quarantine_reason));
	set_number(co, "seconds", m->decided_at - m->began_at);
	set_number(co, "waited", m->waited);
	set_number(co, "computed", ss->generation->settings.profile != NULL
		? mm_profile_seconds(ss->generation->settings.profile, m->busy) : 0);
	return 1;
}

static int push_end(lua_State *co, const struct mm_event *event, bool both)
{
	lua_pushstring(co, mm_stage_name(event->ended_at));
	if (!both)
		return 1;
	lua_pushstring(co, mm_end_name(event->ended_by));
	return 2;
}

static int push_macros(lua_State *co, const struct mm_script_session *ss, bool both)
{
	lua_pushstring(co, mm_macro_set_name(ss->event->macros_at));
	if (!both)
		return 1;
	mm_push_macros(co, ss->generation, &ss->facts->macros, ss->event->macros_at);
	return 2;
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
	const struct mm_event *event = ss->event;
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
	case MM_STAGE_abort:     return push_end(co, event, both);
	case MM_STAGE_macros:    return push_macros(co, ss, both);
	case MM_STAGE_done:      return push_result(co, ss);
	default:                 return 0;
	}
}
