/* filter.c -- filters in C as an embedder sees them, one situation per run: filter SITUATION DIRECTORY. Prints what
 * happened; filter_spec.lua has the expected lines. */
#define _GNU_SOURCE
#include <moonmilter.h>
#include <moonmilter_testing.h>

#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ALL_ACTIONS 0x1ffu
#define ALL_STEPS   0x1fffffu

static const char *directory;
static const struct mm_player_macro macros[] = { { "mail", "{auth_authen}", "ann" }, { NULL, NULL, NULL } };

static const char *yes(bool claim)
{
	return claim ? "yes" : "no";
}

/* ---- Lua states: these two stand before LuaJIT's own ---- */

static unsigned states_made;

struct lua_State *luaL_newstate(void);
struct lua_State *lua_newstate(void *(*allocate)(void *, void *, size_t, size_t), void *self);

struct lua_State *luaL_newstate(void)
{
	struct lua_State *(*make)(void);
	*(void **)&make = dlsym(RTLD_NEXT, "luaL_newstate");
	states_made++;
	return make();
}

struct lua_State *lua_newstate(void *(*allocate)(void *, void *, size_t, size_t), void *self)
{
	struct lua_State *(*make)(void *(*)(void *, void *, size_t, size_t), void *);
	*(void **)&make = dlsym(RTLD_NEXT, "lua_newstate");
	states_made++;
	return make(allocate, self);
}

/* ---- the MTA ---- */

struct mta {
	struct mm_host   *host;
	struct mm_feed   *feed;
	struct mm_player *player;
};

static void no_log(void *self, enum mm_level level, const char *line, size_t size)
{
	(void)self;
	(void)level;
	(void)line;
	(void)size;
}

static void exchange(struct mta *m)
{
	size_t n;
	const void *bytes = mm_player_output(m->player, &n);
	struct mm_error error;
	mm_feed_bytes(m->feed, bytes, n, &error);
	mm_player_consume(m->player, n);
	for (int i = 0; i < 500 && (mm_player_is_waiting(m->player) || mm_feed_is_waiting(m->feed)); i++) {
		mm_host_turn(m->host, 0.01);
		bytes = mm_feed_output(m->feed, &n);
		mm_player_hear(m->player, bytes, n);
		mm_feed_consume(m->feed, n);
		if (i > 5 && !mm_feed_is_waiting(m->feed))
			break;
	}
}

static struct mta begin(const struct mm_filter *filter, const char *script, const char *set, unsigned actions)
{
	char path[300];
	struct mm_error error;
	struct mm_host_options options = MM_HOST_OPTIONS;
	struct mm_player_profile profile = { .kind = "postfix", .name = "mx.example", .version = 6, .actions = actions,
		.steps = ALL_STEPS, .macros = macros };
	struct mta m = { NULL, NULL, NULL };
	snprintf(path, sizeof path, "%s/%s", directory, script != NULL ? script : "");
	options.no_sockets = true;
	options.scripts = script != NULL ? (const char *[]){ path, NULL } : NULL;
	options.set = set != NULL ? (const char *[]){ set, NULL } : NULL;
	options.filters = (const struct mm_filter *[]){ filter, NULL };
	options.log = no_log;
	m.host = mm_host_new(&options, &error);
	if (m.host == NULL || !mm_host_start(m.host, &error)) {
		printf("no start: %s\n", error.text);
		exit(1);
	}
	m.feed = mm_feed_open(m.host, NULL, &error);
	m.player = mm_player_open(&profile, &error);
	mm_player_negotiate(m.player);
	exchange(&m);
	return m;
}

static void greet(struct mta *m)
{
	static const struct mm_player_client client = { .family = "inet", .host = "[192.0.2.1]",
		.address = "192.0.2.1", .port = 40000, .auth_user = "ann" };
	mm_player_connect(m->player, &client);
	exchange(m);
	mm_player_helo(m->player, "client.example", 14);
	exchange(m);
}

static void mail(struct mta *m, const char *sender)
{
	mm_player_mail(m->player, sender, strlen(sender), "", 0);
	exchange(m);
}

static char verdict_of(struct mta *m)
{
	const struct mm_player_reply *r = mm_player_reply(m->player);
	return r != NULL ? r->verdict[0] : '-';
}

static void content(struct mta *m)
{
	mm_player_rcpt(m->player, "<b@example.org>", 15, "", 0);
	exchange(m);
	mm_player_data(m->player);
	exchange(m);
	mm_player_header(m->player, "Subject", 7, "hello", 5);
	exchange(m);
	mm_player_eoh(m->player);
	exchange(m);
	mm_player_body(m->player, "body\r\n", 6);
	exchange(m);
	mm_player_eom(m->player);
	exchange(m);
}

static void end(struct mta *m)
{
	mm_feed_close(m->feed);
	mm_player_close(m->player);
	mm_host_free(m->host);
}

/* ---- a filter that tells everything ---- */

static void destroyed(void *data)
{
	printf("destroy %d\n", *(int *)data);
	free(data);
}

static int *number(int value)
{
	int *data = malloc(sizeof *data);
	*data = value;
	return data;
}

static enum mm_decision tell_connect(struct mm_event *e, const char *host, const char *address)
{
	printf("connect %s %s\n", host, address);
	mm_event_keep_for_client(e, number(100), destroyed);
	return MM_DECISION_CONTINUE;
}

static enum mm_decision tell_helo(struct mm_event *e, const char *name)
{
	(void)e;
	printf("helo %s\n", name);
	return MM_DECISION_CONTINUE;
}

static enum mm_decision tell_mail(struct mm_event *e, const char *sender)
{
	const char *auth = mm_event_message_number(e) == 1 ? mm_event_macro(e, "auth_authen") : NULL;
	printf("mail %s, message %lu, auth %s\n", sender, mm_event_message_number(e), auth != NULL ? auth : "nil");
	mm_event_keep_for_message(e, number((int)mm_event_message_number(e)), destroyed);
	return MM_DECISION_CONTINUE;
}

static enum mm_decision tell_rcpt(struct mm_event *e, const char *recipient)
{
	(void)e;
	printf("rcpt %s\n", recipient);
	return MM_DECISION_CONTINUE;
}

static enum mm_decision tell_stage(struct mm_event *e)
{
	printf("%s\n", mm_event_stage(e));
	return MM_DECISION_CONTINUE;
}

static enum mm_decision tell_header(struct mm_event *e, const char *name, const char *value)
{
	(void)e;
	printf("header %s=%s\n", name, value);
	return MM_DECISION_CONTINUE;
}

static enum mm_decision tell_body(struct mm_event *e, const void *bytes, size_t size)
{
	(void)e;
	(void)bytes;
	printf("body %zu bytes\n", size);
	return MM_DECISION_CONTINUE;
}

static enum mm_decision tell_eom(struct mm_event *e)
{
	char sender[100];
	snprintf(sender, sizeof sender, "%s", mm_event_sender(e));
	printf("eom %s to %s, message data %d\n", sender, mm_event_recipient(e, 0, NULL), *(int *)mm_event_of_message(e));
	mm_event_add_header(e, "X-A", "a", NULL);
	mm_event_insert_header(e, 0, "X-B", "b", NULL);
	mm_event_add_recipient(e, "new@example.org", NULL, NULL);
	mm_event_change_from(e, "from@example.org", NULL, NULL);
	mm_event_replace_body(e, "new", 3, NULL);
	mm_event_quarantine(e, "odd", NULL);
	return MM_DECISION_CONTINUE;
}

static void tell_abort(struct mm_event *e, const char *stage, enum mm_end_reason reason)
{
	(void)e;
	printf("abort at %s by %d\n", stage, (int)reason);
}

static void tell_done(struct mm_event *e, const struct mm_result *r)
{
	(void)e;
	printf("done %d at %s, %u edits\n", (int)r->answer, r->stage, r->edits);
}

static void tell_close(struct mm_event *e, enum mm_end_reason reason)
{
	(void)e;
	printf("close %d\n", (int)reason);
}

static void events(void)
{
	static const struct mm_filter tells = { .size = sizeof tells, .name = "tells", .on_connect = tell_connect,
		.on_helo = tell_helo, .on_mail = tell_mail, .on_rcpt = tell_rcpt, .on_data = tell_stage,
		.on_header = tell_header, .on_eoh = tell_stage, .on_body = tell_body, .on_eom = tell_eom,
		.on_abort = tell_abort, .on_done = tell_done, .on_close = tell_close };
	struct mta m = begin(&tells, NULL, NULL, ALL_ACTIONS);
	greet(&m);
	mail(&m, "<a@example.org>");
	content(&m);
	mail(&m, "<c@example.org>");
	mm_player_abort(m.player);
	exchange(&m);
	mm_player_quit(m.player);
	exchange(&m);
	end(&m);
}

/* ---- facts, and a step that is skipped ---- */

static enum mm_decision ask_connect(struct mm_event *e, const char *host, const char *address)
{
	(void)host;
	(void)address;
	printf("client %s %s\n", mm_event_client_host(e), mm_event_client_address(e));
	mm_event_keep_for_client(e, number(100), destroyed);
	return MM_DECISION_CONTINUE;
}

static enum mm_decision ask_mail(struct mm_event *e, const char *sender)
{
	(void)sender;
	printf("client data %d, may add %s, may quarantine %s, may juggle %s\n", *(int *)mm_event_of_client(e),
		yes(mm_event_can(e, "add_header")), yes(mm_event_can(e, "quarantine")), yes(mm_event_can(e, "juggle")));
	return MM_DECISION_CONTINUE;
}

static enum mm_decision ask_unknown(struct mm_event *e, const char *command)
{
	printf("%s %s\n", mm_event_stage(e), command);
	return MM_DECISION_REJECT;
}

static enum mm_decision skip_body(struct mm_event *e, const void *bytes, size_t size)
{
	(void)e;
	printf("skip %.*s\n", (int)size - 2, (const char *)bytes);
	return MM_DECISION_SKIP;
}

static void facts(void)
{
	static const struct mm_filter asks = { .size = sizeof asks, .name = "asks", .on_connect = ask_connect,
		.on_mail = ask_mail, .on_unknown = ask_unknown, .on_body = skip_body, .on_done = tell_done,
		.on_close = tell_close };
	struct mta m = begin(&asks, NULL, NULL, ALL_ACTIONS & ~0x20u);
	greet(&m);
	mm_player_unknown(m.player, "XJUGGLE 3", 9);
	exchange(&m);
	printf("verdict %c\n", verdict_of(&m));
	mail(&m, "<a@example.org>");
	mm_player_rcpt(m.player, "<b@example.org>", 15, "", 0);
	exchange(&m);
	mm_player_data(m.player);
	exchange(&m);
	mm_player_eoh(m.player);
	exchange(&m);
	for (int i = 1; i <= 2; i++) {
		mm_player_body(m.player, i == 1 ? "one\r\n" : "two\r\n", 5);
		exchange(&m);
		printf("verdict %c\n", verdict_of(&m));
	}
	mm_player_eom(m.player);
	exchange(&m);
	mm_player_quit(m.player);
	exchange(&m);
	end(&m);
}

/* ---- macros, and the whole result ---- */

static void tell_macros(struct mm_event *e, const char *stage, const struct mm_macro *m)
{
	printf("macros of %s at %s:", stage, mm_event_stage(e));
	for (; m->name != NULL; m++)
		printf(" %s=%s", m->name, m->value);
	printf(", sender %s\n", mm_event_sender(e) != NULL ? mm_event_sender(e) : "nil");
}

static enum mm_decision tell_recipient(struct mm_event *e, const char *recipient)
{
	bool is_refused;
	printf("rcpt %s", recipient);
	for (unsigned i = 0; mm_event_recipient(e, i, &is_refused) != NULL; i++)
		printf(", %s %s", mm_event_recipient(e, i, &is_refused), yes(is_refused));
	printf("\n");
	if (strncmp(recipient, "no@", 3) == 0)
		return MM_DECISION_REJECT;
	return strncmp(recipient, "later@", 6) == 0 ? MM_DECISION_TEMPFAIL : MM_DECISION_CONTINUE;
}

static enum mm_decision edit_recipients(struct mm_event *e)
{
	struct mm_error error;
	if (!mm_event_add_recipient(e, "new@example.org", "NOTIFY=NEVER", &error)
	    || !mm_event_add_recipient(e, "more@example.org", NULL, &error)
	    || !mm_event_delete_recipient(e, "b@example.org", &error)
	    || !mm_event_change_header(e, "Subject", 1, "changed", &error)
	    || !mm_event_change_header(e, "Old", 1, NULL, &error)
	    || !mm_event_quarantine(e, "odd", &error))
		printf("no edit: %s\n", error.text);
	return strcmp(mm_event_sender(e), "bad@example.org") == 0 ? MM_DECISION_REJECT : MM_DECISION_CONTINUE;
}

static void tell_result(struct mm_event *e, const struct mm_result *r)
{
	(void)e;
	printf("done %d at %s by \"%s\", reply \"%s\", %u edits, %u recipients, %u refused, quarantine %s, times %s\n",
		(int)r->answer, r->stage, r->decided_by, r->reply, r->edits, r->recipients, r->refused,
		r->quarantine != NULL ? r->quarantine : "nil",
		yes(r->seconds >= r->waited && r->waited == 0 && r->computed > 0 && r->computed < 10));
	printf("added");
	for (const char *const *a = r->added; *a != NULL; a++)
		printf(" %s", *a);
	printf(", deleted");
	for (const char *const *d = r->deleted; *d != NULL; d++)
		printf(" %s", *d);
	printf(", refused");
	for (const struct mm_refusal *f = r->refusals; f->address != NULL; f++)
		printf(" %s=%s", f->address, f->verdict);
	printf("\n");
}

static void rcpt(struct mta *m, const char *address)
{
	mm_player_rcpt(m->player, address, strlen(address), "", 0);
	exchange(m);
}

static void result(void)
{
	static const struct mm_filter tells = { .size = sizeof tells, .name = "tells", .on_macros = tell_macros,
		.on_rcpt = tell_recipient, .on_header = tell_header, .on_eom = edit_recipients,
		.on_done = tell_result };
	struct mta m = begin(&tells, NULL, NULL, ALL_ACTIONS);
	size_t n;
	greet(&m);
	mail(&m, "<a@example.org>");
	rcpt(&m, "<no@example.org>");
	rcpt(&m, "<later@example.org>");
	rcpt(&m, "<b@example.org>");
	mm_player_data(m.player);
	exchange(&m);
	mm_player_header(m.player, "Old", 3, "field", 5);
	exchange(&m);
	mm_player_header(m.player, "Subject", 7, "hello", 5);
	exchange(&m);
	mm_player_eoh(m.player);
	exchange(&m);
	mm_player_eom(m.player);
	exchange(&m);
	size_t size;
	const char *message = mm_player_message(m.player, &size);
	const char *quarantine = mm_player_quarantine(m.player, &n);
	bool is_changed = memmem(message, size, "Subject: changed", 16) != NULL && memmem(message, size, "Old:", 4) == NULL;
	printf("%.*s, quarantine %.*s\n", is_changed ? 7 : (int)size, is_changed ? "changed" : message, (int)n, quarantine);
	mail(&m, "<bad@example.org>");
	content(&m);
	end(&m);
}

/* ---- errors ---- */

static void print_reason(const char *what, bool ok, const struct mm_error *error)
{
	printf("%s: %s\n", what, ok ? "fine" : mm_error_word(error->reason));
}

static enum mm_decision edit_early(struct mm_event *e, const char *host, const char *address)
{
	struct mm_error error;
	(void)host;
	(void)address;
	print_reason("connect", mm_event_add_header(e, "X", "y", &error), &error);
	return MM_DECISION_CONTINUE;
}

static enum mm_decision edit_badly(struct mm_event *e)
{
	static char large[70000];
	struct mm_error error;
	memset(large, 'x', sizeof large - 1);
	print_reason("name", mm_event_add_header(e, "X Y", "z", &error), &error);
	print_reason("value", mm_event_add_header(e, "X", large, &error), &error);
	print_reason("reply", mm_event_reply(e, 250, NULL, (const char *[]){ "x", NULL }, &error), &error);
	print_reason("not_granted", mm_event_quarantine(e, "x", &error), &error);
	return MM_DECISION_CONTINUE;
}

static void errors(void)
{
	static const struct mm_filter edits = { .size = sizeof edits, .name = "edits", .on_connect = edit_early,
		.on_eom = edit_badly };
	struct mta m = begin(&edits, NULL, NULL, 0x01);
	greet(&m);
	mail(&m, "<a@example.org>");
	content(&m);
	end(&m);
}

/* ---- verdicts ---- */

static enum mm_decision accept_mail(struct mm_event *e, const char *sender)
{
	(void)e;
	(void)sender;
	return MM_DECISION_ACCEPT;
}

static enum mm_decision refuse_mail(struct mm_event *e, const char *sender)
{
	(void)e;
	(void)sender;
	return MM_DECISION_REJECT;
}

static enum mm_decision never(struct mm_event *e)
{
	(void)e;
	printf("on_eom runs after an accept\n");
	return MM_DECISION_CONTINUE;
}

static void accept_then_script(void)
{
	static const struct mm_filter accepts = { .size = sizeof accepts, .name = "accepts", .on_mail = accept_mail,
		.on_eom = never };
	struct mta m = begin(&accepts, "tag.lua", NULL, ALL_ACTIONS);
	size_t n;
	greet(&m);
	mail(&m, "<a@example.org>");
	printf("mail %c\n", verdict_of(&m));
	content(&m);
	printf("eom %c\n", verdict_of(&m));
	const char *message = mm_player_message(m.player, &n);
	const char *field = message != NULL ? memmem(message, n, "X-Script", 8) : NULL;
	printf("%.14s\n", field != NULL ? field : "no field");
	end(&m);
}

static void refuse(void)
{
	static const struct mm_filter refuses = { .size = sizeof refuses, .name = "refuses", .on_mail = refuse_mail };
	struct mta m = begin(&refuses, "tag.lua", NULL, ALL_ACTIONS);
	greet(&m);
	mail(&m, "<a@example.org>");
	printf("mail %c\n", verdict_of(&m));
	end(&m);
}

/* ---- without Lua ---- */

static void on_reloaded(void *self, bool ok, const struct mm_error *error)
{
	(void)error;
	*(int *)self = ok ? 1 : -1;
}

static void reload(struct mta *m)
{
	int result = 0;
	mm_host_reload(m->host, on_reloaded, &result);
	for (int i = 0; i < 2000 && result == 0; i++)
		mm_host_turn(m->host, 0.01);
	printf("reload: %s\n", result > 0 ? "ok" : "failed");
}

static void reopen(struct mta *m)
{
	struct mm_player_profile profile = { .kind = "postfix", .name = "mx.example", .version = 6,
		.actions = ALL_ACTIONS, .steps = ALL_STEPS, .macros = macros };
	mm_feed_close(m->feed);
	mm_player_close(m->player);
	m->feed = mm_feed_open(m->host, NULL, NULL);
	m->player = mm_player_open(&profile, NULL);
	mm_player_negotiate(m->player);
	exchange(m);
}

static void one_message(struct mta *m)
{
	size_t n;
	greet(m);
	mail(m, "<a@example.org>");
	content(m);
	const char *message = mm_player_message(m->player, &n);
	printf("filter %s, script %s\n", yes(message != NULL && memmem(message, n, "X-Rcpt-Count: 1", 15) != NULL),
		yes(message != NULL && memmem(message, n, "X-Script: seen", 14) != NULL));
}

static enum mm_decision add_count(struct mm_event *e)
{
	char count[16];
	snprintf(count, sizeof count, "%u", mm_event_recipient_count(e));
	mm_event_add_header(e, "X-Rcpt-Count", count, NULL);
	return MM_DECISION_CONTINUE;
}

static void say(void *self, const char *line)
{
	(void)self;
	printf("%s\n", line);
}

static void without_lua(void)
{
	static const struct mm_filter adds = { .size = sizeof adds, .name = "adds", .on_eom = add_count };
	char from[300], to[300];
	snprintf(from, sizeof from, "%s/tag.lua", directory);
	snprintf(to, sizeof to, "%s/scripts/tag.lua", directory);
	struct mta m = begin(&adds, "scripts", NULL, ALL_ACTIONS);
	one_message(&m);
	mm_host_describe(m.host, say, NULL);
	printf("states made: %s\n", yes(states_made > 0));
	if (symlink(from, to) != 0)
		printf("no link\n");
	reload(&m);
	reopen(&m);
	one_message(&m);
	printf("states made: %s\n", yes(states_made > 0));
	unsigned before = states_made;
	unlink(to);
	reload(&m);
	reopen(&m);
	one_message(&m);
	printf("states made: %s\n", yes(states_made > before));
	end(&m);
}

/* ---- later ---- */

static struct mm_event *promised;

static enum mm_decision promise(struct mm_event *e)
{
	printf("later\n");
	promised = e;
	return MM_DECISION_LATER;
}

static enum mm_decision promise_mail(struct mm_event *e, const char *sender)
{
	(void)sender;
	return promise(e);
}

static enum mm_decision finish_at_once(struct mm_event *e)
{
	printf("finish: %s\n", yes(mm_event_finish(e, MM_DECISION_REJECT)));
	printf("finish: %s\n", yes(mm_event_finish(e, MM_DECISION_CONTINUE)));
	return MM_DECISION_LATER;
}

static void cancelled(struct mm_event *e)
{
	(void)e;
	printf("cancelled\n");
}

static void give_up(void)
{
	static const struct mm_filter waits = { .size = sizeof waits, .name = "waits", .on_mail = promise_mail,
		.on_abort = tell_abort, .on_cancel = cancelled };
	struct mta m = begin(&waits, NULL, NULL, ALL_ACTIONS);
	size_t n;
	greet(&m);
	mm_player_mail(m.player, "<a@example.org>", 15, "", 0);
	const void *bytes = mm_player_output(m.player, &n);
	mm_feed_bytes(m.feed, bytes, n, NULL);
	mm_feed_bytes(m.feed, "\0\0\0\1A", 5, NULL);
	printf("finish: %s\n", yes(mm_event_finish(promised, MM_DECISION_ACCEPT)));
	end(&m);
}

static void deadline(void)
{
	static const struct mm_filter waits = { .size = sizeof waits, .name = "waits", .on_eom = promise,
		.on_cancel = cancelled };
	struct mta m = begin(&waits, NULL, "eom_deadline=1", ALL_ACTIONS);
	greet(&m);
	mail(&m, "<a@example.org>");
	content(&m);
	printf("eom %c\n", verdict_of(&m));
	printf("finish: %s\n", yes(mm_event_finish(promised, MM_DECISION_ACCEPT)));
	end(&m);
}

static void at_once(void)
{
	static const struct mm_filter finishes = { .size = sizeof finishes, .name = "finishes",
		.on_eom = finish_at_once };
	struct mta m = begin(&finishes, NULL, NULL, ALL_ACTIONS);
	greet(&m);
	mail(&m, "<a@example.org>");
	content(&m);
	printf("eom %c\n", verdict_of(&m));
	end(&m);
}

/* ---- sessions and counts ---- */

static struct mm_host *host_of_session;

static bool tell_session(void *self, const struct mm_session_info *s)
{
	printf("session milter=%s feed=%s negotiated=%s client=%s helo=%s sender=%s recipients=%u messages=%lu "
		"waits_at=%s waited=%s age=%s held=%s id=%s\n", s->milter, yes(s->is_feed), yes(s->is_negotiated),
		s->client_address != NULL ? s->client_address : "nil", s->helo != NULL ? s->helo : "nil",
		s->sender != NULL ? s->sender : "nil", s->recipients, s->messages,
		s->waits_at != NULL ? s->waits_at : "nil", yes(s->waited >= 0 && s->waited < 60),
		yes(s->age >= 0 && s->age < 60), yes(s->held < 1000000), yes(strlen(s->id) > 8));
	if (self != NULL)
		strcpy(self, s->id);
	return true;
}

static bool stop_at_first(void *self, const struct mm_session_info *s)
{
	(void)s;
	++*(int *)self;
	return false;
}

static void tell_statistics(struct mm_host *host)
{
	struct mm_statistics s = { .size = sizeof s };
	mm_host_statistics(host, &s);
	printf("sessions %lu of %lu, messages %lu: %lu %lu %lu %lu %lu, aborted %lu, errors %lu, generation %lu, lua %s, "
		"held %s, seconds %s\n", s.sessions, s.sessions_begun, s.messages, s.verdicts[MM_DECISION_CONTINUE],
		s.verdicts[MM_DECISION_ACCEPT], s.verdicts[MM_DECISION_REJECT], s.verdicts[MM_DECISION_TEMPFAIL],
		s.verdicts[MM_DECISION_DISCARD], s.aborted, s.script_errors, s.generation, yes(s.lua_bytes > 0),
		yes(s.held_bytes > 0), yes(s.seconds >= 0 && s.seconds < 600));
}

static enum mm_decision by_sender(struct mm_event *e)
{
	static const struct { char first; enum mm_decision answer; } answers[] = {
		{ 'c', MM_DECISION_CONTINUE }, { 'a', MM_DECISION_ACCEPT }, { 'r', MM_DECISION_REJECT },
		{ 't', MM_DECISION_TEMPFAIL }, { 'd', MM_DECISION_DISCARD }, { 'w', MM_DECISION_LATER },
	};
	for (size_t i = 0; i < sizeof answers / sizeof *answers; i++)
		if (mm_event_sender(e)[0] == answers[i].first)
			return answers[i].answer;
	return MM_DECISION_CONTINUE;
}

static enum mm_decision end_myself(struct mm_event *e, const char *recipient)
{
	if (strncmp(recipient, "end@", 4) == 0)
		printf("ends itself: %s\n", yes(mm_host_end_session(host_of_session, mm_event_id(e), NULL)));
	return MM_DECISION_CONTINUE;
}

static enum mm_decision edit_nothing(struct mm_event *e, const char *host, const char *address)
{
	(void)e;
	(void)host;
	(void)address;
	return MM_DECISION_CONTINUE;
}

static void sessions(void)
{
	static const struct mm_filter counts = { .size = sizeof counts, .name = "counts", .on_connect = edit_nothing,
		.on_helo = tell_helo, .on_rcpt = end_myself, .on_eom = by_sender, .on_abort = tell_abort,
		.on_close = tell_close, .on_cancel = cancelled };
	struct mta m = begin(&counts, NULL, NULL, ALL_ACTIONS);
	struct mm_error error;
	char id[64];
	int seen = 0;
	size_t n;
	host_of_session = m.host;
	tell_statistics(m.host);
	greet(&m);
	for (const char *const *sender = (const char *[]){ "<c@x>", "<a@x>", "<r@x>", "<t@x>", "<d@x>", NULL };
	    *sender != NULL; sender++) {
		mail(&m, *sender);
		content(&m);
	}
	mail(&m, "<abort@x>");
	mm_player_abort(m.player);
	exchange(&m);
	tell_statistics(m.host);
	mail(&m, "<waits@x>");
	content(&m);
	mm_host_each_session(m.host, tell_session, id);
	struct mm_feed *other = mm_feed_open(m.host, NULL, NULL);
	mm_host_each_session(m.host, stop_at_first, &seen);
	printf("seen %d of %u\n", seen, mm_host_session_count(m.host));
	mm_feed_close(other);
	print_reason("unknown", mm_host_end_session(m.host, "nobody", &error), &error);
	print_reason("known", mm_host_end_session(m.host, id, &error), &error);
	for (int i = 0; i < 200 && !mm_feed_is_finished(m.feed); i++)
		mm_host_turn(m.host, 0.01);
	const unsigned char *bytes = mm_feed_output(m.feed, &n);
	printf("finished %s, last reply %c\n", yes(mm_feed_is_finished(m.feed)), n >= 5 ? bytes[4] : '-');
	print_reason("ended", mm_host_end_session(m.host, id, &error), &error);
	tell_statistics(m.host);
	reopen(&m);
	greet(&m);
	mail(&m, "<b@x>");
	mm_player_rcpt(m.player, "<end@x>", 7, "", 0);
	exchange(&m);
	printf("rcpt %c\n", verdict_of(&m));
	for (int i = 0; i < 200 && !mm_feed_is_finished(m.feed); i++)
		mm_host_turn(m.host, 0.01);
	printf("finished %s\n", yes(mm_feed_is_finished(m.feed)));
	end(&m);
}

/* ---- the end of the process ---- */

static enum mm_decision die(struct mm_event *e)
{
	mm_event_add_header(e, "X-Half", "edit", NULL);
	mm_event_replace_body(e, "half", 4, NULL);
	if (strcmp(mm_event_sender(e), "deadly@example.org") == 0)
		raise(SIGKILL);
	return MM_DECISION_CONTINUE;
}

static void killed(void)
{
	static const struct mm_filter dies = { .size = sizeof dies, .name = "dies", .on_eom = die };
	char path[300];
	struct mm_host_options options = MM_HOST_OPTIONS;
	struct mm_error error;
	snprintf(path, sizeof path, "unix:%s/killed", directory);
	options.listen = (const char *[]){ path, NULL };
	options.filters = (const struct mm_filter *[]){ &dies, NULL };
	options.handle_signals = true;
	struct mm_host *host = mm_host_new(&options, &error);
	if (host == NULL || !mm_host_start(host, &error)) {
		printf("no start: %s\n", error.text);
		exit(1);
	}
	printf("serving\n");
	mm_host_run(host);
	mm_host_free(host);
}

static void two(void)
{
	static const struct mm_filter one = { .size = sizeof one, .name = "one" },
		nowhere = { .size = sizeof nowhere, .name = "nowhere", .milter = "other" };
	struct mm_host_options options = MM_HOST_OPTIONS;
	struct mm_error error;
	options.no_sockets = true;
	options.filters = (const struct mm_filter *[]){ &one, &one, NULL };
	print_reason("two", mm_host_new(&options, &error) != NULL, &error);
	options.filters = (const struct mm_filter *[]){ &nowhere, NULL };
	print_reason("nowhere", mm_host_new(&options, &error) != NULL, &error);
}

static void try_to_start(const char *what, const struct mm_host_options *options)
{
	struct mm_error error = { .reason = MM_REASON_NONE };
	struct mm_host *host = mm_host_new(options, &error);
	bool ok = host != NULL && mm_host_start(host, &error);
	print_reason(what, ok, &error);
	mm_host_free(host);
}

/* Why hosts do not start. */
static void starts(void)
{
	static const struct mm_filter small = { .size = 8, .name = "small" },
		ends = { .size = sizeof ends, .name = "ends", .on_eom = never };
	struct mm_source sources[] = { { .name = "bad.lua", .text = "function on_eom(" }, { .name = NULL } };
	struct mm_host_options first = MM_HOST_OPTIONS, second = MM_HOST_OPTIONS, third = MM_HOST_OPTIONS,
		fourth = MM_HOST_OPTIONS, fifth = MM_HOST_OPTIONS;
	char path[300];
	snprintf(path, sizeof path, "unix:%s/taken", directory);
	first.listen = (const char *[]){ path, NULL };
	first.filters = (const struct mm_filter *[]){ &ends, NULL };
	struct mm_host *host = mm_host_new(&first, NULL);
	printf("first %s\n", yes(host != NULL && mm_host_start(host, NULL)));
	try_to_start("socket", &first);
	mm_host_free(host);
	second.no_sockets = third.no_sockets = fourth.no_sockets = fifth.no_sockets = true;
	second.config_text = "listen = nonsense(";
	try_to_start("configuration", &second);
	third.set = (const char *[]){ "eom_deadline=soon", NULL };
	try_to_start("key", &third);
	fourth.sources = sources;
	try_to_start("script", &fourth);
	fifth.filters = (const struct mm_filter *[]){ &small, NULL };
	try_to_start("filter", &fifth);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void      (*run)(void);
	} situations[] = {
		{ "events", events }, { "errors", errors }, { "accept", accept_then_script }, { "refuse", refuse },
		{ "result", result }, { "without_lua", without_lua }, { "give_up", give_up }, { "deadline", deadline },
		{ "at_once", at_once }, { "sessions", sessions }, { "killed", killed }, { "two", two },
		{ "starts", starts }, { "facts", facts },
	};
	setvbuf(stdout, NULL, _IOLBF, 0);
	directory = argc > 2 ? argv[2] : ".";
	for (size_t i = 0; argc > 2 && i < sizeof situations / sizeof *situations; i++)
		if (strcmp(argv[1], situations[i].name) == 0) {
			situations[i].run();
			return 0;
		}
	fprintf(stderr, "usage: filter SITUATION DIRECTORY\n");
	return 2;
}
