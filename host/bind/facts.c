/* bind/facts.c -- the facts in ctx about the session and its message: client, envelope, macros, the MTA. Read only. */
#include "base/text.h"
#include "bind/bind.h"
#include "bind/ctx.h"
#include "bind/whole.h"

#include <lauxlib.h>
#include <lua.h>

#include <stdlib.h>

/* ---- getters: [ctx key nil] -> [... value] ---- */

static int get_id(lua_State *L, struct mm_script_session *ss)
{
	lua_pushstring(L, ss->facts->id);
	return 1;
}

static int get_stage(lua_State *L, struct mm_script_session *ss)
{
	if (!ss->has_event)
		return 0;
	lua_pushstring(L, mm_stage_name(ss->stage));
	return 1;
}

/* Raises for a fact that we did not ask the MTA for: it is not known, and nil would be a wrong fact. */
static void require_step(lua_State *L, struct mm_script_session *ss, enum mm_stage stage, const char *fact)
{
	if (ss->facts->is_negotiated && !(ss->generation->wanted.stages & 1u << stage))
		luaL_error(L, "ctx.%s: the MTA was not asked for it, because no script seemed to need it; add "
			"options = { facts = { \"%s\" } } to this script", fact, fact);
}

/* [client key]: a field that this client lacks (a unix client has no ip) is nil; a field that no client has
 * (client.address) is a mistake that would go unnoticed, so it raises. */
static int client_index(lua_State *L)
{
	static const char *const known[] = { "family", "host", "ip", "path", "port", NULL };
	const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : NULL;
	for (const char *const *name = known; key != NULL && *name != NULL; name++)
		if (strcmp(key, *name) == 0)
			return 0;
	return luaL_error(L, "ctx.client has no member \"%s\"; there are family, host, ip, path and port",
		key != NULL ? key : luaL_typename(L, 2));
}

static int get_client(lua_State *L, struct mm_script_session *ss)
{
	const struct mm_session *f = ss->facts;
	require_step(L, ss, MM_STAGE_connect, "client");
	if (ss->client_table != MM_NO_REF) {
		mm_vault_push(ss->generation, L, ss->client_table);
		return 1;
	}
	lua_createtable(L, 0, 5);
	mm_vault_push(ss->generation, L, ss->generation->client_metatable);
	lua_setmetatable(L, -2);
	lua_pushstring(L, mm_family_name(f->client_family));
	lua_setfield(L, -2, "family");
	if (f->client_host != NULL)
		mm_set_text(L, "host", mm_text_of(f->client_host));
	if (f->client_address != NULL)
		mm_set_text(L, f->client_family == MM_FAMILY_UNIX ? "path" : "ip", mm_text_of(f->client_address));
	if (f->client_family == MM_FAMILY_INET || f->client_family == MM_FAMILY_INET6) {
		lua_pushinteger(L, f->client_port);
		lua_setfield(L, -2, "port");
	}
	if (f->knows_client) {
		lua_pushvalue(L, -1);
		ss->client_table = mm_vault_put(L);
	}
	return 1;
}

static int get_helo(lua_State *L, struct mm_script_session *ss)
{
	require_step(L, ss, MM_STAGE_helo, "helo");
	if (ss->facts->helo == NULL)
		return 0;
	lua_pushstring(L, ss->facts->helo);
	return 1;
}

/* NULL: no message is open. */
static const struct mm_message *message_with_sender(lua_State *L, struct mm_script_session *ss)
{
	require_step(L, ss, MM_STAGE_mail, "sender");
	return ss->facts->message;
}

static int get_sender(lua_State *L, struct mm_script_session *ss)
{
	const struct mm_message *m = message_with_sender(L, ss);
	if (m == NULL)
		return 0;
	mm_push_text(L, mm_address_bare(mm_message_text(m, m->sender)));
	return 1;
}

static int get_sender_raw(lua_State *L, struct mm_script_session *ss)
{
	const struct mm_message *m = message_with_sender(L, ss);
	if (m == NULL)
		return 0;
	mm_push_text(L, mm_message_text(m, m->sender));
	return 1;
}

static int get_sender_params(lua_State *L, struct mm_script_session *ss)
{
	const struct mm_message *m = message_with_sender(L, ss);
	if (m == NULL)
		return 0;
	mm_push_params(L, mm_message_text(m, m->sender_params), mm_message_text(m, m->sender));
	return 1;
}

/* ctx.recipients is one table that grows with the message, so that reading it at each recipient stays cheap. */
static int get_recipients(lua_State *L, struct mm_script_session *ss)
{
	require_step(L, ss, MM_STAGE_rcpt, "recipients");
	const struct mm_message *m = ss->facts->message;
	if (m == NULL) {
		lua_newtable(L);
		return 1;
	}
	if (ss->recipients_table == MM_NO_REF) {
		lua_newtable(L);
		ss->recipients_table = mm_vault_put(L);
		ss->recipients_synced = 0;
	}
	mm_check_whole(L, ss, MM_PART_RECIPIENTS, "ctx.recipients");
	mm_vault_push(ss->generation, L, ss->recipients_table);
	if (ss->over_logged & 1u << MM_PART_RECIPIENTS) {
		if (m->recipients_unkept > 0)
			lua_pushboolean(L, 1);
		else
			lua_pushnil(L);         /* the one that was too many has been refused */
		lua_setfield(L, -2, "truncated");
	}
	/* the last one's verdict may be new */
	uint32_t first = ss->recipients_synced > 0 ? ss->recipients_synced - 1 : 0;
	for (uint32_t i = first; i < m->recipient_count; i++) {
		const struct mm_recipient *r = &m->recipients[i];
		if (i < ss->recipients_synced) {
			lua_rawgeti(L, -1, (int)i + 1);
		} else {
			struct mm_text raw = mm_message_text(m, r->address);
			lua_createtable(L, 0, 4);
			mm_set_text(L, "address", mm_address_bare(raw));
			mm_set_text(L, "raw", raw);
			mm_push_params(L, mm_message_text(m, r->params), (struct mm_text){ NULL, 0 });
			lua_setfield(L, -2, "params");
			lua_pushvalue(L, -1);
			lua_rawseti(L, -3, (int)i + 1);
		}
		if (lua_istable(L, -1)) {       /* a script may have put something else there */
			lua_pushboolean(L, r->is_refused);
			lua_setfield(L, -2, "refused");
		}
		lua_pop(L, 1);
	}
	ss->recipients_synced = m->recipient_count;
	return 1;
}

static int get_queue_id(lua_State *L, struct mm_script_session *ss)
{
	struct mm_text id = mm_session_macro(ss->facts, "i");
	if (id.size == 0)
		return 0;
	mm_push_text(L, id);
	return 1;
}

struct macro_field {
	const char *key, *macro;
	bool        is_proof;           /* it is set for such clients only */
};

/* Pushes a table of the macros that are set and not empty; pushes nothing when none of them proves the fact. Which of
 * them come is up to the MTA's configuration. */
static int push_macros(lua_State *L, const struct mm_session *s, const struct macro_field *rows)
{
	const struct macro_field *row = rows;
	while (row->key != NULL && (!row->is_proof || mm_session_macro(s, row->macro).size == 0))
		row++;
	if (row->key == NULL)
		return 0;
	lua_newtable(L);
	for (row = rows; row->key != NULL; row++) {
		struct mm_text value = mm_session_macro(s, row->macro);
		if (value.size > 0)
			mm_set_text(L, row->key, value);
	}
	return 1;
}

static int get_auth(lua_State *L, struct mm_script_session *ss)
{
	/* {auth_author} is what the client gives as AUTH= with MAIL: Sendmail sets it for anyone, and says "XXX define
	 * this always or only if trusted?". */
	static const struct macro_field rows[] = {
		{ "type", "{auth_type}", true }, { "authen", "{auth_authen}", true }, { "ssf", "{auth_ssf}", true },
		{ "author", "{auth_author}", false }, { NULL, NULL, false },
	};
	return push_macros(L, ss->facts, rows);
}

static int get_tls(lua_State *L, struct mm_script_session *ss)
{
	static const struct macro_field rows[] = {
		{ "version", "{tls_version}", true }, { "cipher", "{cipher}", true }, { "bits", "{cipher_bits}", true },
		{ "subject", "{cert_subject}", true }, { "issuer", "{cert_issuer}", true }, { NULL, NULL, false },
	};
	return push_macros(L, ss->facts, rows);
}

static void set_words(lua_State *L, const char *key, char *words)
{
	lua_newtable(L);
	for (char *save, *word = strtok_r(words, " ", &save); word != NULL; word = strtok_r(NULL, " ", &save)) {
		lua_pushboolean(L, 1);
		lua_setfield(L, -2, word);
	}
	lua_setfield(L, -2, key);
}

static int get_mta(lua_State *L, struct mm_script_session *ss)
{
	struct mm_session *f = ss->facts;
	char words[1024];
	lua_newtable(L);
	lua_pushstring(L, mm_mta_kind_name(mm_session_mta(f)));
	lua_setfield(L, -2, "kind");
	lua_pushinteger(L, f->is_negotiated ? f->grants.version : f->grants.offer.version);
	lua_setfield(L, -2, "version");
	set_words(L, "actions", mm_actions_text(f->is_negotiated ? f->grants.actions : f->grants.offer.actions, words,
		sizeof words));
	set_words(L, "steps", mm_steps_text(f->is_negotiated ? f->grants.steps : f->grants.offer.steps, words,
		sizeof words));
	if (f->peer != NULL)
		mm_set_text(L, "address", mm_text_of(f->peer));
	struct mm_text software = mm_session_macro(f, "v"), host = mm_session_macro(f, "j");
	if (software.size > 0)
		mm_set_text(L, "software", software);
	if (host.size > 0)
		mm_set_text(L, "host", host);
	return 1;
}

static int get_host(lua_State *L, struct mm_script_session *ss)
{
	mm_vault_push(ss->generation, L, ss->generation->host_object);
	return 1;
}

static int get_in_message(lua_State *L, struct mm_script_session *ss)
{
	lua_pushboolean(L, ss->facts->message != NULL);
	return 1;
}

static int get_body_size(lua_State *L, struct mm_script_session *ss)
{
	lua_pushnumber(L, ss->facts->message != NULL ? (lua_Number)ss->facts->message->body_size : 0);
	return 1;
}

static int get_error_code(lua_State *L, struct mm_script_session *ss)
{
	if (ss->error_reason == MM_REASON_IS_NONE)
		return 0;
	lua_pushstring(L, mm_fault_word((enum mm_fault_reason)ss->error_reason));
	return 1;
}

/* Why the session or the message has ended. */
static int get_reason(lua_State *L, struct mm_script_session *ss)
{
	if (!ss->has_event || ss->event->ended_by == MM_END_none)
		return 0;
	lua_pushstring(L, mm_end_name(ss->event->ended_by));
	return 1;
}

static int get_message_number(lua_State *L, struct mm_script_session *ss)
{
	if (ss->facts->message == NULL)
		return 0;
	lua_pushnumber(L, (lua_Number)ss->facts->message->number);
	return 1;
}

static const struct mm_ctx_fact facts[] = {
	{ "id", get_id }, { "stage", get_stage }, { "client", get_client }, { "helo", get_helo },
		{ "sender", get_sender },
	{ "sender_raw", get_sender_raw }, { "sender_params", get_sender_params }, { "recipients", get_recipients },
	{ "queue_id", get_queue_id }, { "auth", get_auth }, { "tls", get_tls }, { "mta", get_mta },
	{ "host", get_host },
	{ "in_message", get_in_message }, { "body_size", get_body_size }, { "error_code", get_error_code },
	{ "message_number", get_message_number }, { "reason", get_reason }, { NULL, NULL },
};

/* ---- methods ---- */

/* ctx:macro(name) -> string or nil; braces optional (protocol 6.1). */
static int ctx_macro(lua_State *L)
{
	struct mm_script_session *ss = mm_ctx_check(L, "macro");
	struct mm_text name = mm_check_text(L, 2), value;
	if (mm_macros_lookup(&ss->facts->macros, name, &value))
		mm_push_text(L, value);
	else
		lua_pushnil(L);         /* nil, not no value: tostring(ctx:macro(name)) must not raise */
	return 1;
}

/* [macros "{name}"] -> what is there without the braces */
static int macros_index(lua_State *L)
{
	size_t size;
	const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tolstring(L, 2, &size) : NULL;
	if (name == NULL || size < 3 || name[0] != '{' || name[size - 1] != '}')
		return 0;
	lua_pushlstring(L, name + 1, size - 2);
	lua_rawget(L, 1);
	return 1;
}

void mm_push_macros(lua_State *L, const struct mm_generation *g, const struct mm_macros *all, enum mm_macro_set set)
{
	struct mm_text name, value;
	lua_newtable(L);
	for (size_t at = 0; mm_macros_next(all, set, &at, &name, &value);) {
		mm_push_text(L, mm_macro_bare(name));
		mm_push_text(L, value);
		lua_rawset(L, -3);
	}
	mm_vault_push(g, L, g->macros_metatable);
	lua_setmetatable(L, -2);
}

/* ctx:can(action) -> boolean: whether the edit is negotiated with this MTA. */
static int ctx_can(lua_State *L)
{
	struct mm_script_session *ss = mm_ctx_check(L, "can");
	const char *word = mm_check_cstring(L, 2, "can: the action");
	uint32_t action = mm_action_bit(word), step = mm_step_bit(word);
	if (action == 0 && step == 0)
		return luaL_error(L, "can: \"%s\" is not an action; actions are add_header insert_header change_header "
			"delete_header replace_body add_recipient add_recipient_params delete_recipient change_from "
			"quarantine", word);
	lua_pushboolean(L, (ss->facts->grants.actions & action) != 0 || (ss->facts->grants.steps & step) != 0);
	return 1;
}

void mm_bind_facts(lua_State *L)
{
	static const luaL_Reg methods[] = { { "macro", ctx_macro }, { "can", ctx_can }, { NULL, NULL } };
	lua_newtable(L);
	lua_pushcfunction(L, client_index);
	lua_setfield(L, -2, "__index");
	mm_generation_of(L)->client_metatable = mm_vault_put(L);
	lua_newtable(L);
	lua_pushcfunction(L, macros_index);
	lua_setfield(L, -2, "__index");
	mm_generation_of(L)->macros_metatable = mm_vault_put(L);
	mm_ctx_add_facts(L, facts);
	mm_ctx_add_methods(L, methods);
}
