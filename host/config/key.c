#include "config/key.h"

#include "base/bounds.h"
#include "config/syntax.h"
#include "config/endpoint.h"
#include "base/suggest.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- refusals ---- */

bool mm_config_refuse(const struct mm_config_source *s, const char *format, ...)
{
	char text[sizeof s->why->text];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (s->file == NULL)
		return mm_fault_set(s->why, MM_FAULT_CONFIG, "%s", text);
	return mm_fault_set(s->why, MM_FAULT_CONFIG, "%.300s:%u: %.700s", s->file, s->line, text);
}

bool mm_config_out_of_memory(struct mm_fault *why)
{
	return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for the configuration");
}

struct mm_quoted mm_config_shown(const struct mm_value *v)
{
	struct mm_quoted q;
	if (v->kind == MM_VALUE_STRING)
		return mm_quote(v->string.bytes, v->string.size);
	if (v->kind == MM_VALUE_NUMBER)
		snprintf(q.text, sizeof q.text, "%.15g", v->number);
	else if (v->kind == MM_VALUE_BOOLEAN)
		snprintf(q.text, sizeof q.text, "%s", v->boolean ? "true" : "false");
	else
		snprintf(q.text, sizeof q.text, "a table");
	return q;
}

/* The value breaks the rule of its key, which the message repeats. */
static bool refuse_value(const struct mm_config_source *s, const struct mm_config_key *key, const struct mm_value *v)
{
	char rule[256];
	return mm_config_refuse(s, "%s: %s does not fit; write %s", key->name, mm_config_shown(v).text,
		mm_config_key_rule(key, rule, sizeof rule));
}

static bool refuse_word(const struct mm_config_source *s, const struct mm_config_key *key, const struct mm_value *v,
	const char *meant)
{
	return mm_config_refuse(s, "%s: unknown word %s; did you mean \"%s\"?", key->name,
		mm_config_shown(v).text, meant);
}

/* A text that may become a C string: not empty, without control bytes and NUL. */
static bool is_plain_text(const struct mm_value *v)
{
	if (v->kind != MM_VALUE_STRING || v->string.size == 0)
		return false;
	for (size_t i = 0; i < v->string.size; i++)
		if ((unsigned char)v->string.bytes[i] < ' ' || v->string.bytes[i] == 0x7f)
			return false;
	return true;
}

/* ---- values into fields, a function for each type ----
 * A field is zeroed before, and is cleared by the caller on failure. */

static bool take_word(const struct mm_config_key *key, const struct mm_value *v,
	const struct mm_config_source *s, void *field)
{
	const char *names[16];
	size_t count = 0;
	for (const struct mm_config_word *w = key->words; w->word != NULL; w++) {
		if (is_plain_text(v) && strcmp(w->word, v->string.bytes) == 0) {
			*(unsigned *)field = w->value;
			return true;
		}
		names[count++] = w->word;
	}
	names[count] = NULL;
	const char *meant = is_plain_text(v) ? mm_suggest(v->string.bytes, names) : NULL;
	if (meant != NULL)
		return refuse_word(s, key, v, meant);
	return refuse_value(s, key, v);
}

static bool take_string(const struct mm_config_key *key, const struct mm_value *v,
	const struct mm_config_source *s, void *field)
{
	if (!is_plain_text(v))
		return refuse_value(s, key, v);
	char *copy = strdup(v->string.bytes);
	*(char **)field = copy;
	return copy != NULL || mm_config_out_of_memory(s->why);
}

/* GIVES the path, absolute; NULL: out of memory. */
static char *resolve(const struct mm_config_source *s, const char *path)
{
	char *absolute = NULL;
	if (path[0] == '/')
		return strdup(path);
	while (path[0] == '.' && path[1] == '/')
		for (path += 2; path[0] == '/';)
			path++;
	const char *between = s->directory[0] != '\0' && s->directory[strlen(s->directory) - 1] != '/' ? "/" : "";
	if (path[0] == '\0' || strcmp(path, ".") == 0)
		return strdup(s->directory);
	return asprintf(&absolute, "%s%s%s", s->directory, between, path) < 0 ? NULL : absolute;
}

static bool take_path(const struct mm_config_key *key, const struct mm_value *v,
	const struct mm_config_source *s, void *field)
{
	if (!is_plain_text(v))
		return refuse_value(s, key, v);
	char *path = resolve(s, v->string.bytes);
	*(char **)field = path;
	return path != NULL || mm_config_out_of_memory(s->why);
}

static bool take_socket_path(const struct mm_config_key *key, const struct mm_value *v,
	const struct mm_config_source *s, void *field)
{
	if (!is_plain_text(v))
		return refuse_value(s, key, v);
	const char *text = v->string.bytes;
	char *path = resolve(s, strncmp(text, "unix:", 5) == 0 ? text + 5 : text);
	*(char **)field = path;
	if (path == NULL)
		return mm_config_out_of_memory(s->why);
	struct mm_endpoint spec;
	struct mm_fault reason;
	if (!mm_endpoint_parse(path, &spec, &reason))
		return mm_config_refuse(s, "%s: %s", key->name, reason.text);
	return true;
}

static bool take_log_target(const struct mm_config_key *key, const struct mm_value *v,
	const struct mm_config_source *s, void *field)
{
	static const char *const words[] = { "stderr", "syslog", NULL };
	if (!is_plain_text(v))
		return refuse_value(s, key, v);
	const char *text = v->string.bytes;
	if (text[0] != '/' && strcmp(text, words[0]) != 0 && strcmp(text, words[1]) != 0) {
		const char *meant = mm_suggest(text, words);
		if (meant != NULL)
			return refuse_word(s, key, v, meant);
		return refuse_value(s, key, v);
	}
	return take_string(key, v, s, field);
}

/* RFC 3164 4.1.3, and the "/" with which Postfix tells its programs apart. */
static bool take_tag(const struct mm_config_key *key, const struct mm_value *v,
	const struct mm_config_source *s, void *field)
{
	static const char fit[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./";
	if (!is_plain_text(v) || v->string.size > MM_SYSLOG_IDENT_MAX
	    || v->string.bytes[strspn(v->string.bytes, fit)] != '\0')
		return refuse_value(s, key, v);
	return take_string(key, v, s, field);
}

static bool is_integer_between(double n, double min, double max)
{
	return n >= min && n <= max && n == (double)(int64_t)n;
}

static bool take_integer(const struct mm_config_key *key, const struct mm_value *v,
	const struct mm_config_source *s, void *field)
{
	if (v->kind != MM_VALUE_NUMBER || !is_integer_between(v->number, key->min, key->max))
		return refuse_value(s, key, v);
	*(uint32_t *)field = (uint32_t)v->number;
	return true;
}

static bool take_workers(const struct mm_config_key *key, const struct mm_value *v,
	const struct mm_config_source *s, void *field)
{
	if (is_plain_text(v) && strcmp(v->string.bytes, "auto") == 0) {
		*(int *)field = MM_WORKERS_AUTO;
		return true;
	}
	if (v->kind != MM_VALUE_NUMBER || !is_integer_between(v->number, key->min, key->max))
		return refuse_value(s, key, v);
	*(int *)field = (int)v->number;
	return true;
}

static bool take_seconds(const struct mm_config_key *key, const struct mm_value *v,
	const struct mm_config_source *s, void *field)
{
	if (v->kind != MM_VALUE_NUMBER || !(v->number >= key->min && v->number <= key->max))
		return refuse_value(s, key, v);
	*(double *)field = v->number;
	return true;
}

/* "5%", 5 or 0.5. */
static bool take_share(const struct mm_config_key *key, const struct mm_value *v,
	const struct mm_config_source *s, void *field)
{
	double share = v->kind == MM_VALUE_NUMBER ? v->number : -1;
	if (is_plain_text(v)) {
		char *end;
		size_t digits = strspn(v->string.bytes, "0123456789.");
		share = strtod(v->string.bytes, &end);
		if (digits == 0 || end != v->string.bytes + digits || (strcmp(end, "%") != 0 && *end != '\0'))
			share = -1;
	}
	if (!(share >= key->min && share <= key->max))
		return refuse_value(s, key, v);
	*(double *)field = share;
	return true;
}

/* "64M": digits and one of K M G, powers of 1024. */
static bool bytes_of_text(const char *text, double *out)
{
	static const char units[] = "KMG";
	size_t digits = strspn(text, "0123456789");
	if (digits == 0 || digits > 15)
		return false;
	double n = (double)strtoull(text, NULL, 10);
	const char *unit = text + digits;
	if (*unit != '\0') {
		const char *found = strchr(units, *unit & ~0x20);
		if (found == NULL || *found == '\0' || unit[1] != '\0')
			return false;
		for (const char *u = units; u <= found; u++)
			n *= 1024;
	}
	*out = n;
	return true;
}

static bool take_bytes(const struct mm_config_key *key, const struct mm_value *v,
	const struct mm_config_source *s, void *field)
{
	double n = -1;
	if (v->kind == MM_VALUE_NUMBER)
		n = v->number;
	else if (!is_plain_text(v) || !bytes_of_text(v->string.bytes, &n))
		return refuse_value(s, key, v);
	if (!is_integer_between(n, key->min, key->max))
		return refuse_value(s, key, v);
	*(uint64_t *)field = (uint64_t)n;
	return true;
}

/* Octal, as for chmod, with or without quotes: a user who writes socket_mode = 0660 does not mean Lua's decimal 660. */
static bool take_mode(const struct mm_config_key *key, const struct mm_value *v,
	const struct mm_config_source *s, void *field)
{
	char digits[8] = "";
	if (v->kind == MM_VALUE_NUMBER && is_integer_between(v->number, 0, 7777))
		snprintf(digits, sizeof digits, "%d", (int)v->number);
	else if (is_plain_text(v) && v->string.size < sizeof digits)
		memcpy(digits, v->string.bytes, v->string.size);
	if (digits[0] == '\0' || digits[strspn(digits, "01234567")] != '\0')
		return refuse_value(s, key, v);
	unsigned long mode = strtoul(digits, NULL, 8);
	if (mode > (unsigned long)key->max)
		return refuse_value(s, key, v);
	*(unsigned *)field = (unsigned)mode;
	return true;
}

static bool take_boolean(const struct mm_config_key *key, const struct mm_value *v,
	const struct mm_config_source *s, void *field)
{
	if (v->kind != MM_VALUE_BOOLEAN)
		return refuse_value(s, key, v);
	*(bool *)field = v->boolean;
	return true;
}

static bool take_settings(const struct mm_config_key *key, const struct mm_value *v,
	const struct mm_config_source *s, void *field)
{
	if (v->kind != MM_VALUE_TABLE)
		return refuse_value(s, key, v);
	return mm_value_copy(field, v) || mm_config_out_of_memory(s->why);
}

/* Takes a list's items one by one, or a lone string as a list of one. */
static bool take_list(const struct mm_config_key *key, const struct mm_value *v,
	const struct mm_config_source *s, void *field,
	bool (*take)(const struct mm_config_key *, const struct mm_value *, const struct mm_config_source *, void *))
{
	if (v->kind != MM_VALUE_TABLE)
		return take(key, v, s, field);
	for (uint32_t i = 0; i < v->table.count; i++) {
		const struct mm_value_entry *e = &v->table.entries[i];
		struct mm_config_source at = *s;
		at.line = e->value.line;
		if (e->name != NULL)
			return mm_config_refuse(&at, "%s: a list has no names, but this one has %s = ...; write { "
				"\"...\", \"...\" }", key->name, mm_quote(e->name, e->name_size).text);
		if (!take(key, &e->value, &at, field))
			return false;
	}
	return true;
}

static bool has_room(const struct mm_config_key *key, const struct mm_config_source *s, size_t count)
{
	return count < MM_CONFIG_LIST_MAX
		|| mm_config_refuse(s, "%s: more than %u items", key->name, MM_CONFIG_LIST_MAX);
}

/* TAKES the item, which may be NULL for out of memory. */
static bool append_string(struct mm_config_strings *list, char *item, struct mm_fault *why)
{
	char **grown = item != NULL ? realloc(list->items, (list->count + 1) * sizeof *grown) : NULL;
	if (grown == NULL) {
		free(item);
		return mm_config_out_of_memory(why);
	}
	list->items = grown;
	list->items[list->count++] = item;
	return true;
}

static bool take_one_path(const struct mm_config_key *key, const struct mm_value *v,
	const struct mm_config_source *s, void *field)
{
	struct mm_config_strings *list = field;
	if (!is_plain_text(v))
		return refuse_value(s, key, v);
	return has_room(key, s, list->count) && append_string(list, resolve(s, v->string.bytes), s->why);
}

static bool take_paths(const struct mm_config_key *key, const struct mm_value *v,
	const struct mm_config_source *s, void *field)
{
	return take_list(key, v, s, field, take_one_path);
}

static bool take_one_listener(const struct mm_config_key *key, const struct mm_value *v,
	const struct mm_config_source *s, void *field)
{
	struct mm_config_strings *list = field;
	struct mm_endpoint spec;
	struct mm_fault reason;
	char text[MM_ENDPOINT_TEXT_SIZE];
	if (!is_plain_text(v))
		return refuse_value(s, key, v);
	if (!mm_endpoint_parse(v->string.bytes, &spec, &reason))
		return mm_config_refuse(s, "%s: %s", key->name, reason.text);
	if (spec.kind == MM_ENDPOINT_UNIX && spec.path[0] != '/') {
		char *path = resolve(s, spec.path);
		if (path == NULL)
			return mm_config_out_of_memory(s->why);
		bool good = mm_endpoint_parse(path, &spec, &reason);
		free(path);
		if (!good)
			return mm_config_refuse(s, "%s: %s", key->name, reason.text);
	}
	return has_room(key, s, list->count)
		&& append_string(list, strdup(mm_endpoint_text(&spec, text, sizeof text)), s->why);
}

static bool take_listeners(const struct mm_config_key *key, const struct mm_value *v,
	const struct mm_config_source *s, void *field)
{
	return take_list(key, v, s, field, take_one_listener);
}

/* "192.0.2.53", "192.0.2.53:5353", "2001:db8::53", "[2001:db8::53]:5353" */
static bool is_server(const char *text)
{
	char address[64];
	uint8_t bytes[16];
	bool has_brackets = text[0] == '[';
	const char *colon = strrchr(text, ':');
	const char *end = has_brackets ? strchr(text, ']') : colon != NULL && strchr(text, ':') == colon ? colon
		: text + strlen(text);
	const char *start = text + has_brackets;
	if (end == NULL || (size_t)(end - start) >= sizeof address)
		return false;
	memcpy(address, start, (size_t)(end - start));
	address[end - start] = '\0';
	if (inet_pton(strchr(address, ':') != NULL ? AF_INET6 : AF_INET, address, bytes) != 1)
		return false;
	end += has_brackets;
	if (*end == '\0')
		return true;
	size_t digits = strspn(end + 1, "0123456789");
	unsigned long port = strtoul(end + 1, NULL, 10);
	return *end == ':' && digits > 0 && digits <= 5 && end[1 + digits] == '\0' && port >= 1 && port <= 65535;
}

static bool take_one_server(const struct mm_config_key *key, const struct mm_value *v,
	const struct mm_config_source *s, void *field)
{
	struct mm_config_strings *list = field;
	if (!is_plain_text(v) || !is_server(v->string.bytes))
		return refuse_value(s, key, v);
	return has_room(key, s, list->count) && append_string(list, strdup(v->string.bytes), s->why);
}

static bool take_servers(const struct mm_config_key *key, const struct mm_value *v,
	const struct mm_config_source *s, void *field)
{
	return take_list(key, v, s, field, take_one_server);
}

static bool take_one_user(const struct mm_config_key *key, const struct mm_value *v,
	const struct mm_config_source *s, void *field)
{
	struct mm_config_strings *list = field;
	if (!is_plain_text(v))
		return refuse_value(s, key, v);
	return has_room(key, s, list->count) && append_string(list, strdup(v->string.bytes), s->why);
}

static bool take_users(const struct mm_config_key *key, const struct mm_value *v,
	const struct mm_config_source *s, void *field)
{
	return take_list(key, v, s, field, take_one_user);
}

static bool take_one_network(const struct mm_config_key *key, const struct mm_value *v,
	const struct mm_config_source *s, void *field)
{
	struct mm_config_networks *list = field;
	struct mm_network network;
	struct mm_fault reason;
	if (!is_plain_text(v))
		return refuse_value(s, key, v);
	if (!mm_network_parse(v->string.bytes, &network, &reason))
		return mm_config_refuse(s, "%s: %s", key->name, reason.text);
	if (!has_room(key, s, list->count))
		return false;
	struct mm_network *grown = realloc(list->items, (list->count + 1) * sizeof *grown);
	if (grown == NULL)
		return mm_config_out_of_memory(s->why);
	list->items = grown;
	list->items[list->count++] = network;
	return true;
}

static bool take_networks(const struct mm_config_key *key, const struct mm_value *v,
	const struct mm_config_source *s, void *field)
{
	if (v->kind == MM_VALUE_TABLE && v->table.count == 0)   /* meant as "no client", it would mean "every client" */
		return mm_config_refuse(s, "%s: an empty list lets no MTA connect; name the addresses that may "
			"connect, or leave the key out to allow all", key->name);
	return take_list(key, v, s, field, take_one_network);
}

/* ---- copying and clearing fields ---- */

static void clear_strings(void *field)
{
	struct mm_config_strings *list = field;
	for (size_t i = 0; i < list->count; i++)
		free(list->items[i]);
	free(list->items);
}

static bool copy_strings(void *to, const void *from)
{
	struct mm_config_strings *list = to;
	const struct mm_config_strings *other = from;
	for (size_t i = 0; i < other->count; i++)
		if (!append_string(list, strdup(other->items[i]), NULL))
			return false;
	return true;
}

static void clear_networks(void *field)
{
	free(((struct mm_config_networks *)field)->items);
}

static bool copy_networks(void *to, const void *from)
{
	struct mm_config_networks *list = to;
	const struct mm_config_networks *other = from;
	if (other->count == 0)
		return true;
	list->items = malloc(other->count * sizeof *list->items);
	if (list->items == NULL)
		return false;
	memcpy(list->items, other->items, other->count * sizeof *list->items);
	list->count = other->count;
	return true;
}

static void clear_string(void *field)
{
	free(*(char **)field);
}

static bool copy_string(void *to, const void *from)
{
	const char *text = *(char *const *)from;
	return text == NULL || (*(char **)to = strdup(text)) != NULL;
}

static void clear_settings(void *field)
{
	mm_value_free(field);
}

static bool copy_settings(void *to, const void *from)
{
	return mm_value_copy(to, from);
}

/* ---- rules in words ---- */

static char *rule_fixed(const struct mm_config_key *key, char *to, size_t size);

static char *rule_words(const struct mm_config_key *key, char *to, size_t size)
{
	size_t at = 0;
	for (const struct mm_config_word *w = key->words; w->word != NULL && at < size; w++)
		at += (size_t)snprintf(to + at, size - at, "%s\"%s\"", at == 0 ? "" : w[1].word != NULL
			? ", " : " or ", w->word);
	return to;
}

static char *rule_integer(const struct mm_config_key *key, char *to, size_t size)
{
	snprintf(to, size, "an integer from %.0f to %.0f%s", key->min, key->max,
		key->type == MM_CONFIG_WORKERS ? ", or \"auto\"" : "");
	return to;
}

static char *rule_seconds(const struct mm_config_key *key, char *to, size_t size)
{
	if (key->min > 0)
		snprintf(to, size, "seconds, more than 0 and at most %.0f", key->max);
	else
		snprintf(to, size, "seconds, from 0 to %.0f", key->max);
	return to;
}

static char *bytes_text(double bytes, char *to, size_t size)
{
	static const char *const units[] = { "", "K", "M", "G" };
	unsigned unit = 0;
	uint64_t n = (uint64_t)bytes;
	for (; unit < 3 && n > 0 && n % 1024 == 0; unit++)
		n /= 1024;
	snprintf(to, size, "%llu%s", (unsigned long long)n, units[unit]);
	return to;
}

static char *rule_bytes(const struct mm_config_key *key, char *to, size_t size)
{
	char min[32], max[32];
	snprintf(to, size, "bytes from %s to %s: a number, or \"64M\" with K, M or G",
		bytes_text(key->min, min, sizeof min), bytes_text(key->max, max, sizeof max));
	return to;
}

/* ORDER CONFIG_TYPE */
struct type_row {
	size_t              size;       /* bytes of the field */
	enum mm_value_kind  spelling;   /* how a command line spells it: STRING as it is, NUMBER
	                                 * if it reads as one, … */
	bool                is_list;
	bool              (*take)(const struct mm_config_key *, const struct mm_value *,
		const struct mm_config_source *, void *field);
	bool              (*copy)(void *to, const void *from);          /* NULL: bytes */
	void              (*clear)(void *field);                        /* NULL: nothing is owned */
	char             *(*rule)(const struct mm_config_key *, char *to, size_t size);
	const char         *fixed_rule;
};

static const struct type_row types[MM_CONFIG_TYPE_COUNT] = {
	[MM_CONFIG_LISTENERS] = { sizeof(struct mm_config_strings), MM_VALUE_STRING, true,
		take_listeners, copy_strings, clear_strings, rule_fixed,
		"a listener or a list of them: \"unix:/run/moonmilter/milter.sock\", \"inet:10025\", "
		"\"inet:10025@192.0.2.7\"" },
	[MM_CONFIG_PATHS] = { sizeof(struct mm_config_strings), MM_VALUE_STRING, true,
		take_paths, copy_strings, clear_strings, rule_fixed, "a path or a list of paths, in quotes" },
	[MM_CONFIG_NETWORKS] = { sizeof(struct mm_config_networks), MM_VALUE_STRING, true,
		take_networks, copy_networks, clear_networks, rule_fixed,
		"an address, a block, or a list of them: \"192.0.2.7\", \"10.0.0.0/8\", \"2001:db8::/32\"" },
	[MM_CONFIG_SERVERS] = { sizeof(struct mm_config_strings), MM_VALUE_STRING, true,
		take_servers, copy_strings, clear_strings, rule_fixed,
		"an address or a list of them, each with or without a port: \"192.0.2.53\", \"192.0.2.53:5353\", "
		"\"[2001:db8::53]:53\"" },
	[MM_CONFIG_USERS] = { sizeof(struct mm_config_strings), MM_VALUE_STRING, true,
		take_users, copy_strings, clear_strings, rule_fixed,
		"a user or a list of them, each by name or number: \"deploy\", \"1000\"" },
	[MM_CONFIG_SETTINGS] = { sizeof(struct mm_value), MM_VALUE_TABLE, false,
		take_settings, copy_settings, clear_settings, rule_fixed,
		"a table of strings, numbers, booleans and tables: { threshold = 5 }" },
	[MM_CONFIG_WORD] = { sizeof(unsigned), MM_VALUE_STRING, false, take_word, NULL, NULL, rule_words, NULL },
	[MM_CONFIG_STRING] = { sizeof(char *), MM_VALUE_STRING, false,
		take_string, copy_string, clear_string, rule_fixed, "a name in quotes" },
	[MM_CONFIG_PATH] = { sizeof(char *), MM_VALUE_STRING, false,
		take_path, copy_string, clear_string, rule_fixed, "a path in quotes" },
	[MM_CONFIG_SOCKET_PATH] = { sizeof(char *), MM_VALUE_STRING, false,
		take_socket_path, copy_string, clear_string, rule_fixed, "the path of a socket, in quotes" },
	[MM_CONFIG_LOG_TARGET] = { sizeof(char *), MM_VALUE_STRING, false,
		take_log_target, copy_string, clear_string, rule_fixed,
		"\"stderr\", \"syslog\", or a file's path that begins with \"/\"" },
	[MM_CONFIG_TAG] = { sizeof(char *), MM_VALUE_STRING, false, take_tag, copy_string, clear_string, rule_fixed,
		"at most 31 letters, digits, -, _, . and /, in quotes" },
	[MM_CONFIG_INTEGER] = { sizeof(uint32_t), MM_VALUE_NUMBER, false, take_integer, NULL, NULL,
		rule_integer, NULL },
	[MM_CONFIG_WORKERS] = { sizeof(int), MM_VALUE_NUMBER, false, take_workers, NULL, NULL, rule_integer, NULL },
	[MM_CONFIG_SECONDS] = { sizeof(double), MM_VALUE_NUMBER, false, take_seconds, NULL, NULL, rule_seconds, NULL },
	[MM_CONFIG_SHARE] = { sizeof(double), MM_VALUE_NUMBER, false, take_share, NULL, NULL, rule_fixed,
		"a share from 0 to 100 per cent: \"5%\", \"0.5%\"" },
	[MM_CONFIG_BYTES] = { sizeof(uint64_t), MM_VALUE_NUMBER, false, take_bytes, NULL, NULL, rule_bytes, NULL },
	[MM_CONFIG_MODE] = { sizeof(unsigned), MM_VALUE_STRING, false,
		take_mode, NULL, NULL, rule_fixed, "octal digits up to \"0777\", as chmod takes them" },
	[MM_CONFIG_BOOLEAN] = { sizeof(bool), MM_VALUE_BOOLEAN, false, take_boolean, NULL, NULL, rule_fixed,
		"true or false" },
};

static char *rule_fixed(const struct mm_config_key *key, char *to, size_t size)
{
	snprintf(to, size, "%s", types[key->type].fixed_rule);
	return to;
}

char *mm_config_key_rule(const struct mm_config_key *key, char *to, size_t size)
{
	return types[key->type].rule(key, to, size);
}

char *mm_config_key_preset(const struct mm_config_key *key, char *to, size_t size)
{
	char text[32];
	enum mm_config_type type = key->type;
	if (key->preset != NULL)
		snprintf(to, size, "\"%s\"", key->preset);
	else if (type == MM_CONFIG_BOOLEAN)
		snprintf(to, size, "%s", key->number != 0 ? "true" : "false");
	else if (type == MM_CONFIG_BYTES && key->number != 0)
		snprintf(to, size, "\"%s\"", bytes_text(key->number, text, sizeof text));
	else if (types[type].spelling == MM_VALUE_NUMBER)
		snprintf(to, size, "%g", key->number);
	else
		snprintf(to, size, "nil");
	return to;
}

/* ---- fields ---- */

/* Room for a field of any type. */
union field {
	struct mm_config_strings  strings;
	struct mm_config_networks networks;
	struct mm_value           settings;
	char                     *string;
	double                    number;
	uint64_t                  bytes;
};

void mm_config_key_clear(const struct mm_config_key *key, void *field)
{
	const struct type_row *type = &types[key->type];
	if (type->clear != NULL)
		type->clear(field);
	memset(field, 0, type->size);
}

/* *to must be zeroed before. False: out of memory, and *to is zeroed again. */
bool mm_config_key_copy(const struct mm_config_key *key, void *to, const void *from)
{
	const struct type_row *type = &types[key->type];
	if (type->copy == NULL) {
		memcpy(to, from, type->size);
		return true;
	}
	if (type->copy(to, from))
		return true;
	mm_config_key_clear(key, to);
	return false;
}

/* Reads the value into the field; `appends` adds it to the end of a list. On failure the field is unchanged. */
bool mm_config_key_set(const struct mm_config_key *key, const struct mm_value *v,
	const struct mm_config_source *s, void *field, bool appends)
{
	union field fresh;
	memset(&fresh, 0, sizeof fresh);
	if (appends && !mm_config_key_copy(key, &fresh, field))
		return mm_config_out_of_memory(s->why);
	if (!types[key->type].take(key, v, s, &fresh)) {
		mm_config_key_clear(key, &fresh);
		return false;
	}
	mm_config_key_clear(key, field);
	memcpy(field, &fresh, types[key->type].size);
	return true;
}

/* Reads the text as the file would: a text that does not read as the type's own kind stays a string, and the type
 * refuses or knows it ("64M", "auto"). */
bool mm_config_key_value_of_text(const struct mm_config_key *key, const char *text, struct mm_value *out,
	struct mm_fault *why)
{
	struct mm_text all = { text, strlen(text) };
	enum mm_value_kind wanted = types[key->type].spelling;
	if (wanted == MM_VALUE_TABLE)
		return mm_config_syntax_read_value(all, key->name, out, why);
	if (wanted != MM_VALUE_STRING && mm_config_syntax_read_value(all, key->name, out, NULL)) {
		if (out->kind == wanted)
			return true;
		mm_value_free(out);
	}
	return mm_value_set_string(out, all) || mm_config_out_of_memory(why);
}

bool mm_config_key_value_of_preset(const struct mm_config_key *key, struct mm_value *out, struct mm_fault *why)
{
	if (key->preset != NULL)
		return mm_value_set_string(out, (struct mm_text){ key->preset, strlen(key->preset) })
			|| mm_config_out_of_memory(why);
	enum mm_value_kind kind = types[key->type].spelling;
	if (kind == MM_VALUE_BOOLEAN)
		out->boolean = key->number != 0;
	else if (kind == MM_VALUE_NUMBER)
		out->number = key->number;
	else
		return true;
	out->kind = kind;
	return true;
}

bool mm_config_key_is_list(const struct mm_config_key *key)
{
	return types[key->type].is_list;
}
