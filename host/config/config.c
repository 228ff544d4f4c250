#include "config/config.h"

#include "base/bounds.h"
#include "config/syntax.h"
#include "base/quote.h"
#include "base/suggest.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <syslog.h>
#include <unistd.h>

#define NAME_MAX_BYTES 64       /* of a milter's name: it appears in log lines and in sendmail.mc */
#define ABOVE_ZERO     0.001    /* the minimum of times that must not be 0 */

/* Enum fields of a config are written through unsigned pointers. */
_Static_assert(sizeof(enum mm_verdict_kind) == sizeof(unsigned), "an enum is as wide as unsigned");
_Static_assert(sizeof(enum mm_config_log_format) == sizeof(unsigned), "an enum is as wide as unsigned");

/* ---- schema ---- */

static const struct mm_config_word error_words[] = {
	{ "tempfail", MM_VERDICT_tempfail }, { "accept", MM_VERDICT_accept },
		{ "reject", MM_VERDICT_reject }, { NULL, 0 },
};
static const struct mm_config_word over_words[] = {
	{ "reject", MM_VERDICT_reject }, { "tempfail", MM_VERDICT_tempfail },
		{ "truncate", MM_VERDICT_continue }, { NULL, 0 },
};
static const struct mm_config_word level_words[] = {    /* ORDER LOG_LEVEL */
	{ "debug", 0 }, { "info", 1 }, { "warn", 2 }, { "error", 3 }, { NULL, 0 },
};
static const struct mm_config_word format_words[] = {
	{ "text", MM_CONFIG_LOG_TEXT }, { "json", MM_CONFIG_LOG_JSON }, { NULL, 0 },
};

static const struct mm_config_word facility_words[] = { /* the numbers of syslog(3) */
	{ "mail", LOG_MAIL }, { "daemon", LOG_DAEMON }, { "user", LOG_USER }, { "local0", LOG_LOCAL0 },
	{ "local1", LOG_LOCAL1 }, { "local2", LOG_LOCAL2 }, { "local3", LOG_LOCAL3 }, { "local4", LOG_LOCAL4 },
	{ "local5", LOG_LOCAL5 }, { "local6", LOG_LOCAL6 }, { "local7", LOG_LOCAL7 }, { NULL, 0 },
};

static const struct mm_config_word redact_words[] = {   /* ORDER REDACT */
	{ "nothing", 0 }, { "body", 1 }, { "all", 2 }, { NULL, 0 },
};

static const struct mm_config_word history_words[] = {  /* ORDER STORY_REDACT */
	{ "nothing", 0 }, { "subject", 1 }, { "addresses", 2 }, { NULL, 0 },
};

#define HOST(name)   false, offsetof(struct mm_config, name)
#define MILTER(name) true, offsetof(struct mm_config_milter, name)
#define BETWEEN(min, max) min, max, NULL
#define ANY          0, 0, NULL
#define ONE_OF(list) 0, 0, list
#define NUMBER(n)    NULL, n
#define TEXT(s)      s, 0
#define NONE         NULL, 0

#define GiB (1024.0 * 1024 * 1024)

/* In the order of --help and the manual: first the keys that every user sets, tuning last. */
static const struct mm_config_key keys[] = {
	{ "listen",            MM_CONFIG_LISTENERS,   MILTER(listen), ANY, NONE,
	  "Sockets that MTAs connect to" },
	{ "scripts",           MM_CONFIG_PATHS,       MILTER(scripts), ANY, NONE,
	  "The filters: Lua files, and directories whose *.lua run in the order of their names" },
	{ "shadow",            MM_CONFIG_PATHS,       MILTER(shadow), ANY, NONE,
	  "Scripts that see the same mail without any effect; `moonmilter ctl shadow` shows what they would change" },
	{ "share",             MM_CONFIG_SHARE,       MILTER(share), BETWEEN(0, 100), NUMBER(0),
	  "How many of the clients get the scripts of `shadow` for real" },
	{ "settings",          MM_CONFIG_SETTINGS,    MILTER(settings), ANY, NONE,
	  "Your own values; scripts read them as host.settings" },
	{ "redis",             MM_CONFIG_SETTINGS,    MILTER(redis), ANY, NONE,
	  "The Redis that hosts share, as for redis.new: of stores and limits, and of redis.new() without options" },
	{ "on_error",          MM_CONFIG_WORD,        MILTER(on_error), ONE_OF(error_words), TEXT("tempfail"),
	  "What the message gets when a script fails; accept lets unfiltered mail pass" },
	{ "over",              MM_CONFIG_WORD,        MILTER(over), ONE_OF(over_words), TEXT("reject"),
	  "What a message gets when a script reads its header or recipients and they are more than the host keeps; "
	  "truncate shows the part that is kept" },
	{ "workers",           MM_CONFIG_WORKERS,     HOST(workers), BETWEEN(0, 64), NUMBER(0),
	  "Worker processes; 0 serves in one process, \"auto\" starts one for each processor" },
	{ "daemon",            MM_CONFIG_BOOLEAN,     HOST(daemon), ANY, NUMBER(0),
	  "Serve in the background; the command ends when everything serves, or with the error" },
	{ "pid_file",          MM_CONFIG_PATH,        HOST(pid_file), ANY, NONE,
	  "File that holds our process number while we run; a second start finds it locked" },
	{ "user",              MM_CONFIG_STRING,      HOST(user), ANY, NONE,
	  "User to run as after sockets and logs are open, by name or number" },
	{ "group",             MM_CONFIG_STRING,      HOST(group), ANY, NONE,
	  "Group to run as, by name or number; default: the user's own" },
	{ "owners",            MM_CONFIG_USERS,       HOST(owners), ANY, NONE,
	  "Users besides root and `user` who may own scripts and modules of a service that root starts" },
	{ "socket_mode",       MM_CONFIG_MODE,        MILTER(socket_mode), BETWEEN(0, 0777), TEXT("0660"),
	  "Permissions of unix sockets" },
	{ "socket_owner",      MM_CONFIG_STRING,      MILTER(socket_owner), ANY, NONE,
	  "Owner of unix sockets; default: the user that serves" },
	{ "socket_group",      MM_CONFIG_STRING,      MILTER(socket_group), ANY, NONE,
	  "Group of unix sockets: the one the MTA is in" },
	{ "backlog",           MM_CONFIG_INTEGER,     HOST(backlog), BETWEEN(1, 65535), NUMBER(MM_BACKLOG),
	  "Connections that may wait to be accepted, as for listen(2); the kernel's limit is net.core.somaxconn" },
	{ "allow",             MM_CONFIG_NETWORKS,    MILTER(allow), ANY, NONE,
	  "Peers on other machines that may connect; default: all" },
	{ "log",               MM_CONFIG_LOG_TARGET,  HOST(log), ANY, TEXT("stderr"),
	  "Where log lines go" },
	{ "log_level",         MM_CONFIG_WORD,        HOST(log_level), ONE_OF(level_words), TEXT("info"),
	  "The lowest level of lines that are written" },
	{ "log_format",        MM_CONFIG_WORD,        HOST(log_format), ONE_OF(format_words), TEXT("text"),
	  "key=value text, or one JSON object for each line" },
	{ "syslog_facility",   MM_CONFIG_WORD,        HOST(syslog_facility), ONE_OF(facility_words), TEXT("mail"),
	  "Facility of the lines that go to syslog" },
	{ "syslog_ident",      MM_CONFIG_TAG,         HOST(syslog_ident), ANY, TEXT("moonmilter"),
	  "Name that begins each line in syslog" },
	{ "log_rate",          MM_CONFIG_BYTES,       HOST(log_rate), BETWEEN(0, 1 * GiB), NUMBER(MM_LOG_RATE),
	  "Bytes a second that a worker logs about one MTA; further lines are counted; 0 for no limit" },
	{ "control",           MM_CONFIG_SOCKET_PATH, HOST(control), ANY, NONE,
	  "Unix socket that `moonmilter ctl` talks to" },
	{ "control_readers",   MM_CONFIG_STRING,      HOST(control_readers), ANY, NONE,
	  "Group whose members may ask the control socket what changes nothing: that of `moonmilter page`" },
	{ "metrics",           MM_CONFIG_LISTENERS,   HOST(metrics), ANY, NONE,
	  "Where a Prometheus reads metrics, at /metrics over HTTP: \"inet:9925@127.0.0.1\" or a unix socket" },
	{ "watch",             MM_CONFIG_BOOLEAN,     HOST(watch), ANY, NUMBER(0),
	  "Reload automatically when a script changes; for development" },
	{ "stage_deadline",    MM_CONFIG_SECONDS,     HOST(stage_deadline), BETWEEN(ABOVE_ZERO, 7200),
		NUMBER(MM_STAGE_DEADLINE),
	  "Time for the handlers of a stage; keep it below Sendmail's T=R: (10) and Postfix' "
	  "milter_command_timeout (30)" },
	{ "eom_deadline",      MM_CONFIG_SECONDS,     HOST(eom_deadline), BETWEEN(ABOVE_ZERO, 7200),
		NUMBER(MM_EOM_DEADLINE),
	  "Time for end of message; keep it below Sendmail's T=E: and Postfix' milter_content_timeout (300)" },
	{ "progress_every",    MM_CONFIG_SECONDS,     HOST(progress_every), BETWEEN(ABOVE_ZERO, 300),
		NUMBER(MM_PROGRESS_EVERY),
	  "How often to report to the MTA at end of message that a handler is still working" },
	{ "idle_timeout",      MM_CONFIG_SECONDS,     HOST(idle_timeout), BETWEEN(ABOVE_ZERO, 604800),
		NUMBER(MM_IDLE_TIMEOUT),
	  "How long an MTA may take from one command to the next" },
	{ "negotiate_timeout", MM_CONFIG_SECONDS,     HOST(negotiate_timeout), BETWEEN(ABOVE_ZERO, 3600),
		NUMBER(MM_NEGOTIATE_TIMEOUT),
	  "How long a new connection may take to negotiate" },
	{ "read_timeout",      MM_CONFIG_SECONDS,     HOST(read_timeout), BETWEEN(ABOVE_ZERO, 3600),
		NUMBER(MM_READ_TIMEOUT),
	  "How long an MTA may take to send one packet, from its first byte to its last" },
	{ "write_timeout",     MM_CONFIG_SECONDS,     HOST(write_timeout), BETWEEN(ABOVE_ZERO, 3600),
		NUMBER(MM_WRITE_TIMEOUT),
	  "How long an MTA may take to read our reply; for a long one, 16 KiB a second are enough" },
	{ "drain_timeout",     MM_CONFIG_SECONDS,     HOST(drain_timeout), BETWEEN(0, 3600), NUMBER(MM_DRAIN_TIMEOUT),
	  "How long messages may take to finish after SIGTERM" },
	{ "max_sessions",      MM_CONFIG_INTEGER,     HOST(max_sessions), BETWEEN(1, 1000000), NUMBER(10000),
	  "Most sessions of a worker; further ones wait in the listen queue" },
	{ "max_sessions_per_mta", MM_CONFIG_INTEGER,  HOST(max_sessions_per_mta), BETWEEN(0, 1000000),
		NUMBER(MM_SESSIONS_PER_MTA),
	  "Most sessions of a worker with one MTA on another machine; further ones are refused; 0 for no limit" },
	{ "body_max",          MM_CONFIG_BYTES,       HOST(body_max), BETWEEN(1024, 1 * GiB), NUMBER(MM_BODY_MAX),
	  "Largest body with which a script may replace a message's own" },
	{ "dns_servers",       MM_CONFIG_SERVERS,     HOST(dns_servers), ANY, NONE,
	  "Name servers to ask; default: those of /etc/resolv.conf, which is read again when it changes" },
	{ "dns_timeout",       MM_CONFIG_SECONDS,     HOST(dns_timeout), BETWEEN(ABOVE_ZERO, 3600),
		NUMBER(MM_DNS_TIMEOUT),
	  "How long a query may take, all tries together; keep it below stage_deadline" },
	{ "dns_cache",         MM_CONFIG_INTEGER,     HOST(dns_cache), BETWEEN(0, 10000000), NUMBER(MM_DNS_CACHE_MAX),
	  "DNS answers a worker keeps" },
	{ "lockstep",          MM_CONFIG_BOOLEAN,     MILTER(lockstep), ANY, NUMBER(0),
	  "Answer each header separately, at a round trip for each; for debugging" },
	{ "cpu_slice",         MM_CONFIG_SECONDS,     HOST(cpu_slice), BETWEEN(ABOVE_ZERO, 60), NUMBER(1.0),
	  "CPU time a handler may use without waiting for anything" },
	{ "cpu_session",       MM_CONFIG_SECONDS,     HOST(cpu_session), BETWEEN(ABOVE_ZERO, 3600), NUMBER(5.0),
	  "CPU time all handlers of a message may use together" },
	{ "hang_timeout",      MM_CONFIG_SECONDS,     HOST(hang_timeout), BETWEEN(1, 3600), NUMBER(MM_HANG_TIMEOUT),
	  "A worker whose loop stops for this long is killed and replaced" },
	{ "poison_time",       MM_CONFIG_SECONDS,     HOST(poison_time), BETWEEN(0, 604800), NUMBER(MM_POISON_TIME),
	  "How long what killed a worker is answered with 451; 0 for not at all" },
	{ "memory_soft",       MM_CONFIG_BYTES,       HOST(memory_soft), BETWEEN(0, 1024 * GiB), NUMBER(0),
	  "Lua memory of a worker that triggers a full collection; 0 for half of memory_hard" },
	{ "memory_hard",       MM_CONFIG_BYTES,       HOST(memory_hard), BETWEEN(0, 1024 * GiB), NUMBER(MM_MEMORY_HARD),
	  "Lua memory of a worker at which the running handler fails; 0 for no limit" },
	{ "memory_held",       MM_CONFIG_BYTES,       HOST(memory_held), BETWEEN(0, 1024 * GiB), NUMBER(MM_MEMORY_HELD),
	  "Memory of a worker, outside Lua, for what MTAs and servers send; beyond it they get temporary "
	  "failures; 0 for no limit" },
	{ "recycle_sessions",  MM_CONFIG_INTEGER,     HOST(recycle_sessions), BETWEEN(0, 1000000000), NUMBER(0),
	  "Sessions after which a fresh worker replaces a worker; 0 for never" },
	{ "state_dir",         MM_CONFIG_PATH,        HOST(state_dir), ANY, NONE,
	  "Directory of the user that serves, for stores that survive a restart of the system; default: "
	  "$STATE_DIRECTORY, which systemd sets" },
	{ "record",            MM_CONFIG_PATH,        HOST(record), ANY, NONE,
	  "Directory for records of milter connections, for `moonmilter replay`; they hold mail, so protect them" },
	{ "record_sample",     MM_CONFIG_INTEGER,     HOST(record_sample), BETWEEN(1, 1000000), NUMBER(1),
	  "Record one connection in this many" },
	{ "record_max",        MM_CONFIG_BYTES,       HOST(record_max), BETWEEN(1024, GiB), NUMBER(1 << 20),
	  "Largest record; the rest is left out" },
	{ "record_total",      MM_CONFIG_BYTES,       HOST(record_total), BETWEEN(1024, 1024 * GiB), NUMBER(1 << 30),
	  "Size of all records together; the oldest are removed to make room" },
	{ "record_files",      MM_CONFIG_INTEGER,     HOST(record_files), BETWEEN(1, 10000000), NUMBER(10000),
	  "Number of records; the oldest are removed to make room" },
	{ "record_redact",     MM_CONFIG_WORD,        HOST(record_redact), ONE_OF(redact_words), TEXT("body"),
	  "What records mask: bodies, or everything personal" },
	{ "history",           MM_CONFIG_INTEGER,     HOST(history), BETWEEN(0, 1000000), NUMBER(10000),
	  "Messages that the host remembers, for `moonmilter ctl history`; 2 KiB each; 0 for none" },
	{ "history_time",      MM_CONFIG_SECONDS,     HOST(history_time), BETWEEN(1, 31536000), NUMBER(604800),
	  "How long it remembers them" },
	{ "history_redact",    MM_CONFIG_WORD,        HOST(history_redact), ONE_OF(history_words), TEXT("subject"),
	  "What it leaves out: nothing, subjects, or also local parts of addresses and texts of replies" },
};
#define KEY_COUNT (sizeof keys / sizeof *keys)
_Static_assert(KEY_COUNT <= 64, "a row of the schema has a bit in `given`");

const struct mm_config_key *mm_config_keys(size_t *count)
{
	*count = KEY_COUNT;
	return keys;
}

static uint64_t bit_of(const struct mm_config_key *key)
{
	return UINT64_C(1) << (key - keys);
}

static const struct mm_config_key *key_of(const char *name)
{
	for (size_t i = 0; i < KEY_COUNT; i++)
		if (strcmp(keys[i].name, name) == 0)
			return &keys[i];
	return NULL;
}

static void *field_of(struct mm_config *c, struct mm_config_milter *m, const struct mm_config_key *key)
{
	return key->per_milter ? (char *)m + key->field : (char *)c + key->field;
}

/* ---- milters ---- */

static void free_milter(struct mm_config_milter *m)
{
	for (size_t i = 0; i < KEY_COUNT; i++)
		if (keys[i].per_milter)
			mm_config_key_clear(&keys[i], (char *)m + keys[i].field);
	free(m->name);
	*m = (struct mm_config_milter){ 0 };
}

static bool copy_milter(struct mm_config_milter *to, const struct mm_config_milter *from)
{
	*to = (struct mm_config_milter){ .given = from->given, .commanded = from->commanded };
	to->name = strdup(from->name);
	bool good = to->name != NULL;
	for (size_t i = 0; good && i < KEY_COUNT; i++)
		if (keys[i].per_milter)
			good = mm_config_key_copy(&keys[i], (char *)to + keys[i].field,
				(const char *)from + keys[i].field);
	if (!good)
		free_milter(to);
	return good;
}

static bool is_inherited(const struct mm_config_key *key)
{
	return key->per_milter && key->type != MM_CONFIG_LISTENERS;
}

/* Copies the keys that m does not set itself from the top level. */
static bool inherit(struct mm_config_milter *m, const struct mm_config_milter *top)
{
	for (size_t i = 0; i < KEY_COUNT; i++) {
		if (!is_inherited(&keys[i]) || m->given & bit_of(&keys[i]))
			continue;
		void *field = (char *)m + keys[i].field;
		mm_config_key_clear(&keys[i], field);
		if (!mm_config_key_copy(&keys[i], field, (const char *)top + keys[i].field))
			return false;
	}
	return true;
}

static struct mm_config_milter *milter_of(const struct mm_config *c, const char *name)
{
	for (size_t i = 0; i < c->milter_count; i++)
		if (strcmp(c->milters[i].name, name) == 0)
			return &c->milters[i];
	return NULL;
}

const struct mm_config_milter *mm_config_milter(const struct mm_config *c, const char *name)
{
	return milter_of(c, name);
}

/* Rebuilds the list of milters after a change of c->top or of one of them. */
static bool renew_milters(struct mm_config *c, struct mm_fault *why)
{
	bool has_default = milter_of(c, "default") != NULL;
	size_t named = c->milter_count - has_default;
	bool wants_default = c->top.listen.count > 0 || named == 0;
	struct mm_config_milter *list = calloc(named + wants_default, sizeof *list);
	size_t count = 0;
	bool good = list != NULL;
	if (good && wants_default)
		good = copy_milter(&list[count++], &c->top);
	for (size_t i = has_default; good && i < c->milter_count; i++) {
		good = copy_milter(&list[count++], &c->milters[i]);
		good = good && inherit(&list[count - 1], &c->top);
	}
	struct mm_config_milter *old = good ? c->milters : list;
	size_t old_count = good ? c->milter_count : count;
	for (size_t i = 0; i < old_count; i++)
		free_milter(&old[i]);
	free(old);
	if (!good)
		return mm_config_out_of_memory(why);
	c->milters = list;
	c->milter_count = count;
	return true;
}

/* ---- a whole file ---- */

static bool refuse_key(const struct mm_config_source *s, const char *name, size_t size, bool in_milter)
{
	const char *words[KEY_COUNT + 2];
	size_t count = 0;
	for (size_t i = 0; i < KEY_COUNT; i++)
		if (keys[i].per_milter || !in_milter)
			words[count++] = keys[i].name;
	if (!in_milter)
		words[count++] = "milter";
	words[count] = NULL;
	const char *meant = mm_suggest(name, words);
	if (meant != NULL)
		return mm_config_refuse(s, "unknown key %s; did you mean \"%s\"?", mm_quote(name, size).text, meant);
	return mm_config_refuse(s, "unknown key %s; `moonmilter --help config` lists them, and values for your "
		"scripts belong in settings = { ... }",
		mm_quote(name, size).text);
}

/* m is &c->top for the file's own names. */
static bool apply_table(struct mm_config *c, struct mm_config_milter *m, const struct mm_value *table,
	struct mm_config_source s)
{
	bool in_milter = m != &c->top;
	for (uint32_t i = 0; i < table->table.count; i++) {
		const struct mm_value_entry *e = &table->table.entries[i];
		s.line = e->value.line;
		if (e->name == NULL)
			return mm_config_refuse(&s, "%s has no name before it; write name = value",
				mm_config_shown(&e->value).text);
		const struct mm_config_key *key = key_of(e->name);
		if (key == NULL || strlen(e->name) != e->name_size)
			return refuse_key(&s, e->name, e->name_size, in_milter);
		if (in_milter && !key->per_milter)
			return mm_config_refuse(&s, "\"%s\" is for the whole host; set it outside milter.%s",
				key->name, m->name);
		if (!mm_config_key_set(key, &e->value, &s, field_of(c, m, key), false))
			return false;
		m->given |= bit_of(key);
	}
	return true;
}

static bool is_milter_name(const char *name, size_t size)
{
	if (size == 0 || size > NAME_MAX_BYTES)
		return false;
	for (size_t i = 0; i < size; i++) {
		char c = name[i];
		bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')
			|| c == '_' || c == '-';
		if (!is_letter)
			return false;
	}
	return true;
}

static bool apply_milter(struct mm_config *c, const struct mm_value_entry *e, struct mm_config_source s)
{
	s.line = e->value.line;
	if (!is_milter_name(e->name, e->name_size))
		return mm_config_refuse(&s, "milter %s: a milter's name has 1 to %d letters, digits, \"_\" and \"-\"",
			mm_quote(e->name, e->name_size).text, NAME_MAX_BYTES);
	if (strcmp(e->name, "default") == 0)
		return mm_config_refuse(&s, "milter.default is what the top level of the file describes; set its keys "
			"there, or choose another name");
	if (e->value.kind != MM_VALUE_TABLE)
		return mm_config_refuse(&s, "milter.%s: %s does not fit; write milter.%s = { listen = ..., "
			"scripts = ... }", e->name, mm_config_shown(&e->value).text, e->name);
	if (c->milter_count >= MM_CONFIG_MILTERS_MAX)
		return mm_config_refuse(&s, "milter.%s: more than %u milters in one host", e->name,
			MM_CONFIG_MILTERS_MAX);
	struct mm_config_milter *grown = realloc(c->milters, (c->milter_count + 1) * sizeof *grown);
	if (grown == NULL)
		return mm_config_out_of_memory(s.why);
	c->milters = grown;
	struct mm_config_milter *m = &c->milters[c->milter_count++];
	*m = (struct mm_config_milter){ .name = strdup(e->name) };
	if (m->name == NULL)
		return mm_config_out_of_memory(s.why);
	return apply_table(c, m, &e->value, s);
}

static bool apply_file(struct mm_config *c, const struct mm_value *top, const struct mm_value *milters,
	const struct mm_config_source *s)
{
	if (!apply_table(c, &c->top, top, *s))
		return false;
	for (uint32_t i = 0; i < milters->table.count; i++)
		if (!apply_milter(c, &milters->table.entries[i], *s))
			return false;
	return renew_milters(c, s->why);
}

/* The default is set like any other value. */
static bool preset_field(struct mm_config *c, const struct mm_config_key *key, struct mm_fault *why)
{
	const struct mm_config_source s = { .directory = "/", .why = why };
	struct mm_value v = { 0 };
	bool good = mm_config_key_value_of_preset(key, &v, why)
		&& (v.kind == MM_VALUE_NIL || mm_config_key_set(key, &v, &s, field_of(c, &c->top, key), false));
	mm_value_free(&v);
	return good;
}

static bool presets(struct mm_config *c, struct mm_fault *why)
{
	*c = (struct mm_config){ .top.name = strdup("default") };
	if (c->top.name == NULL)
		return mm_config_out_of_memory(why);
	for (size_t i = 0; i < KEY_COUNT; i++)
		if (!preset_field(c, &keys[i], why))
			return false;
	return true;
}

bool mm_config_init(struct mm_config *c, struct mm_fault *why)
{
	if (presets(c, why) && renew_milters(c, why))
		return true;
	mm_config_free(c);
	return false;
}

bool mm_config_read(struct mm_config *c, struct mm_text text, const char *name, const char *directory,
	struct mm_fault *why)
{
	struct mm_value top = { 0 }, milters = { 0 };
	const struct mm_config_source s = { .file = name, .directory = directory, .why = why };
	*c = (struct mm_config){ 0 };
	if (!mm_config_syntax_read(text, name, &top, &milters, why))
		return false;
	bool good = presets(c, why) && apply_file(c, &top, &milters, &s);
	mm_value_free(&top);
	mm_value_free(&milters);
	if (!good)
		mm_config_free(c);
	return good;
}

/* GIVES the directory of a file, absolute; NULL: errno says why. */
static char *directory_of(const char *path)
{
	char here[PATH_MAX], *directory = NULL;
	const char *slash = strrchr(path, '/');
	size_t size = slash != NULL ? (size_t)(slash - path) + 1 : 0;
	if (path[0] == '/')
		return strndup(path, size > 1 ? size - 1 : 1);
	if (getcwd(here, sizeof here) == NULL)
		return NULL;
	while (size >= 2 && path[0] == '.' && path[1] == '/') {
		path += 2;
		size -= 2;
	}
	if (size == 0)
		return strdup(here);
	return asprintf(&directory, "%s%s%.*s", here, strcmp(here, "/") == 0 ? "" : "/", (int)size - 1, path) < 0
		? NULL : directory;
}

/* Reads one byte more than allowed, so that the caller can recognise a file that is too long. */
static bool read_file(const char *path, struct mm_buffer *out)
{
	FILE *f = fopen(path, "re");
	if (f == NULL)
		return false;
	uint8_t *to = mm_buffer_reserve(out, MM_CONFIG_SIZE_MAX + 1);
	if (to == NULL)
		errno = ENOMEM;
	else
		out->size = fread(to, 1, MM_CONFIG_SIZE_MAX + 1, f);
	bool good = to != NULL && !ferror(f);
	int saved = errno;
	fclose(f);
	errno = saved;
	return good;
}

bool mm_config_load(struct mm_config *c, const char *path, struct mm_fault *why)
{
	struct mm_buffer text = { 0 };
	*c = (struct mm_config){ 0 };
	char *directory = directory_of(path);
	bool good = directory != NULL && read_file(path, &text);
	if (!good)
		mm_fault_set(why, MM_FAULT_CONFIG, "%.300s cannot be read: %s; name the file with -c FILE", path,
			strerror(errno));
	else
		good = mm_config_read(c, (struct mm_text){ (const char *)text.bytes, text.size }, path, directory, why);
	mm_buffer_free(&text);
	free(directory);
	return good;
}

char *mm_config_control_of(const char *path)
{
	struct mm_config c = { 0 };
	struct mm_fault why;
	struct mm_buffer text = { 0 };
	struct mm_value top = { 0 }, milters = { 0 };
	char *control = NULL, *directory = directory_of(path);
	const struct mm_config_source s = { .file = path, .directory = directory, .why = &why };
	const struct mm_config_key *key = key_of("control");
	bool is_read = directory != NULL && read_file(path, &text)
		&& mm_config_syntax_read((struct mm_text){ (const char *)text.bytes, text.size }, path, &top,
		&milters, &why);
	const struct mm_value *v = is_read ? mm_value_field(&top, "control") : NULL;
	if (v != NULL && mm_config_key_set(key, v, &s, field_of(&c, &c.top, key), false)) {
		control = c.control;
		c.control = NULL;
	}
	mm_config_free(&c);
	mm_value_free(&top);
	mm_value_free(&milters);
	mm_buffer_free(&text);
	free(directory);
	return control;
}

/* ---- one value from the command line ---- */

static bool set_in_milter(struct mm_config *c, struct mm_config_milter *m, const char *name, const char *text,
	const struct mm_config_source *s)
{
	bool in_milter = m != &c->top;
	const struct mm_config_key *key = key_of(name);
	if (key == NULL)
		return refuse_key(s, name, strlen(name), in_milter);
	if (in_milter && !key->per_milter)
		return mm_config_refuse(s, "\"%s\" is for the whole host; set it without \"milter.%s.\"",
			name, m->name);
	struct mm_value v = { 0 };
	bool appends = mm_config_key_is_list(key) && m->commanded & bit_of(key);
	bool good = mm_config_key_value_of_text(key, text, &v, s->why)
		&& mm_config_key_set(key, &v, s, field_of(c, m, key), appends);
	mm_value_free(&v);
	if (!good)
		return false;
	m->given |= bit_of(key);
	m->commanded |= bit_of(key);
	return renew_milters(c, s->why);
}

static bool refuse_milter(const struct mm_config *c, const struct mm_config_source *s, const char *name)
{
	const char *words[MM_CONFIG_MILTERS_MAX + 2];
	size_t count = 0;
	for (; count < c->milter_count; count++)
		words[count] = c->milters[count].name;
	words[count] = NULL;
	const char *meant = mm_suggest(name, words);
	if (meant != NULL)
		return mm_config_refuse(s, "there is no milter %s; did you mean \"%s\"?",
			mm_quote(name, strlen(name)).text, meant);
	return mm_config_refuse(s, "there is no milter %s; add milter.NAME = { ... } to the file",
		mm_quote(name, strlen(name)).text);
}

/* Splits `milter.NAME.KEY`; a plain key is the top level's. */
static bool set_key(struct mm_config *c, char *key, const char *text, const struct mm_config_source *s)
{
	struct mm_config_milter *m = &c->top;
	char *name = key;
	if (strncmp(key, "milter.", 7) == 0) {
		char *dot = strchr(key + 7, '.');
		if (dot == NULL)
			return mm_config_refuse(s, "%s: the key is missing; write milter.NAME.KEY", key);
		*dot = '\0';
		name = dot + 1;
		if (strcmp(key + 7, "default") != 0)
			m = milter_of(c, key + 7);
		if (m == NULL)
			return refuse_milter(c, s, key + 7);
	}
	for (char *letter = name; *letter != '\0'; letter++)
		if (*letter == '-')
			*letter = '_';
	return set_in_milter(c, m, name, text, s);
}

bool mm_config_set(struct mm_config *c, const char *key, const char *text, struct mm_fault *why)
{
	char here[PATH_MAX];
	if (getcwd(here, sizeof here) == NULL)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "the working directory cannot be found: %s",
			strerror(errno));
	const struct mm_config_source s = { .directory = here, .why = why };
	char *copy = strdup(key);
	if (copy == NULL)
		return mm_config_out_of_memory(why);
	bool good = set_key(c, copy, text, &s);
	free(copy);
	return good;
}

/* ---- rules over several keys ---- */

static bool shares_listener(const struct mm_config *c, size_t milter, size_t item, size_t *other)
{
	const char *text = c->milters[milter].listen.items[item];
	for (size_t i = 0; i <= milter; i++) {
		const struct mm_config_strings *list = &c->milters[i].listen;
		for (size_t j = 0; j < list->count && (i < milter || j < item); j++) {
			*other = i;
			if (strcmp(list->items[j], text) == 0)
				return true;
		}
	}
	return false;
}

static bool check_milter(const struct mm_config *c, size_t milter, struct mm_fault *why)
{
	const struct mm_config_milter *m = &c->milters[milter];
	if (m->listen.count == 0)
		return mm_fault_set(why, MM_FAULT_CONFIG, "milter \"%s\" listens nowhere; set listen = "
			"\"unix:/run/moonmilter/%s.sock\"%s",
			m->name, m->name, strcmp(m->name, "default") == 0 ? ", or use -s SPEC" : "");
	if (m->scripts.count == 0 && !m->has_sources)
		return mm_fault_set(why, MM_FAULT_CONFIG, "milter \"%s\" has no scripts; set scripts = \"scripts\", or "
			"name files and directories on the command line", m->name);
	if (m->share > 0 && m->shadow.count == 0)
		return mm_fault_set(why, MM_FAULT_CONFIG, "milter \"%s\" has share but no shadow; set shadow = "
			"\"scripts.next\", the scripts that this share of the clients gets", m->name);
	for (size_t i = 0; i < m->listen.count; i++) {
		size_t other;
		if (shares_listener(c, milter, i, &other))
			return mm_fault_set(why, MM_FAULT_CONFIG, "%s is listened on twice, by milter \"%s\" and "
				"milter \"%s\"; each listener belongs to one",
				mm_quote(m->listen.items[i], strlen(m->listen.items[i])).text,
				c->milters[other].name, m->name);
	}
	return true;
}

bool mm_config_is_given(const struct mm_config *c, const char *key)
{
	const struct mm_config_key *row = key_of(key);
	return row != NULL && (c->top.given & bit_of(row)) != 0;
}

bool mm_config_check(const struct mm_config *c, struct mm_fault *why)
{
	if (c->daemon && c->log != NULL && strcmp(c->log, "stderr") == 0 && mm_config_is_given(c, "log"))
		return mm_fault_set(why, MM_FAULT_CONFIG, "log = \"stderr\" does not fit daemon: nobody reads the "
			"standard error of a daemon; set log = \"syslog\" or a path, or leave it out for syslog");
	if (c->memory_soft != 0 && c->memory_hard != 0 && c->memory_soft > c->memory_hard)
		return mm_fault_set(why, MM_FAULT_CONFIG, "memory_soft %llu is over memory_hard %llu; the soft "
			"limit comes first", (unsigned long long)c->memory_soft, (unsigned long long)c->memory_hard);
	if (c->cpu_slice > c->cpu_session)
		return mm_fault_set(why, MM_FAULT_CONFIG, "cpu_slice %g is over cpu_session %g; a slice is a part "
			"of a session", c->cpu_slice, c->cpu_session);
	if (c->group != NULL && c->user == NULL)
		return mm_fault_set(why, MM_FAULT_CONFIG, "group \"%s\" is set without user; set user too", c->group);
	for (size_t i = 0; i < c->milter_count; i++)
		if (!check_milter(c, i, why))
			return false;
	return true;
}

/* ---- what a reload cannot change ---- */

static bool same_text(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static bool same_list(const struct mm_config_strings *a, const struct mm_config_strings *b)
{
	bool same = a->count == b->count;
	for (size_t i = 0; same && i < a->count; i++)
		same = strcmp(a->items[i], b->items[i]) == 0;
	return same;
}

static const char *fixed_change_of_milter(const struct mm_config_milter *a, const struct mm_config_milter *b)
{
	return !same_list(&a->listen, &b->listen) ? "listen" : a->socket_mode != b->socket_mode ? "socket_mode"
		: !same_text(a->socket_owner, b->socket_owner) ? "socket_owner"
		: !same_text(a->socket_group, b->socket_group) ? "socket_group" : NULL;
}

const char *mm_config_fixed_change(const struct mm_config *a, const struct mm_config *b)
{
	const char *key = a->workers != b->workers ? "workers" : !same_text(a->control, b->control) ? "control"
		: !same_text(a->control_readers, b->control_readers) ? "control_readers"
		: !same_list(&a->metrics, &b->metrics) ? "metrics"
		: !same_text(a->state_dir, b->state_dir) ? "state_dir"
		: !same_text(a->record, b->record) || a->record_sample != b->record_sample
		|| a->record_max != b->record_max || a->record_total != b->record_total
		|| a->record_files != b->record_files
			|| a->record_redact != b->record_redact ? "record"
		: a->history != b->history || a->history_time != b->history_time
			|| a->history_redact != b->history_redact ? "history"
		: a->user != NULL && b->user != NULL && strcmp(a->user, b->user) != 0
		? "user"      /* a default, which is not in the file */
		: !same_text(a->group, b->group) ? "group" : a->daemon != b->daemon ? "daemon"
		: !same_text(a->pid_file, b->pid_file) ? "pid_file" : a->backlog != b->backlog ? "backlog" : NULL;
	for (size_t i = 0; key == NULL && i < a->milter_count && i < b->milter_count; i++)
		key = fixed_change_of_milter(&a->milters[i], &b->milters[i]);
	return key;
}

/* ---- copy, free, describe ---- */

bool mm_config_copy(struct mm_config *to, const struct mm_config *from, struct mm_fault *why)
{
	*to = (struct mm_config){ 0 };
	bool good = copy_milter(&to->top, &from->top);
	for (size_t i = 0; good && i < KEY_COUNT; i++)
		if (!keys[i].per_milter)
			good = mm_config_key_copy(&keys[i], (char *)to + keys[i].field,
				(const char *)from + keys[i].field);
	if (good)
		good = (to->milters = calloc(from->milter_count, sizeof *to->milters)) != NULL;
	for (; good && to->milter_count < from->milter_count; to->milter_count += good)
		good = copy_milter(&to->milters[to->milter_count], &from->milters[to->milter_count]);
	if (good)
		return true;
	mm_config_free(to);
	return mm_config_out_of_memory(why);
}

void mm_config_free(struct mm_config *c)
{
	for (size_t i = 0; i < KEY_COUNT; i++)
		if (!keys[i].per_milter)
			mm_config_key_clear(&keys[i], (char *)c + keys[i].field);
	for (size_t i = 0; i < c->milter_count; i++)
		free_milter(&c->milters[i]);
	free(c->milters);
	free_milter(&c->top);
	*c = (struct mm_config){ 0 };
}

bool mm_config_describe(struct mm_buffer *out)
{
	mm_buffer_format(out, "-- moonmilter.conf: every key with its default. Relative paths start at this file's "
		"directory.\n");
	mm_buffer_format(out, "-- More milters in one host: milter.NAME = { listen = ..., scripts = ... }\n");
	for (size_t i = 0; i < KEY_COUNT; i++) {
		char rule[256], preset[64];
		mm_buffer_format(out, "\n-- %s.\n-- %s%s.\n", keys[i].about,
			mm_config_key_rule(&keys[i], rule, sizeof rule),
			keys[i].per_milter ? "; also in milter.NAME" : "");
		mm_buffer_format(out, "-- %s = %s\n", keys[i].name,
			mm_config_key_preset(&keys[i], preset, sizeof preset));
	}
	return !out->failed;
}
