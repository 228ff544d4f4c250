#include "trial/options.h"

#include "base/array.h"
#include "base/suggest.h"
#include "base/terminal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define STEPS_V2  0x7fu         /* what Postfix offers to a version (protocol 4.4) */
#define STEPS_V3  0x17fu
#define STEPS_V4  0x37fu
#define STEPS_V6  0x1fffffu
#define ACTIONS_ALL 0x1ffu

void mm_trial_init(struct mm_trial *t, const char *command)
{
	*t = (struct mm_trial){
		.command = command,
		.plan = {
			.kind = MM_MTA_POSTFIX, .offer = { 6, ACTIONS_ALL, STEPS_V6 }, .mta_name = "mail.example.org",
			.family = MM_FAMILY_INET, .client_host = "client.example.org", .client_address = "192.0.2.1",
			.client_port = 40212, .helo = "client.example.org",
		},
		.stop_after = MM_STAGE_COUNT, .repeat = 1,
	};
}

void mm_trial_free(struct mm_trial *t)
{
	for (uint32_t i = 0; i < t->owned_count; i++)
		free(t->owned[i]);
	free(t->owned);
	free(t->macros);
	free(t->rcpts);
}

/* ---- values ---- */

static bool bad(struct mm_fault *why, const char *option, const char *value, const char *rule)
{
	return mm_fault_set(why, MM_FAULT_CONFIG, "--%s \"%.100s\": %s", option, value, rule);
}

static bool no_memory(struct mm_fault *why)
{
	return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory");
}

/* A copy of n bytes that lives as long as the trial. NULL: out of memory. */
static char *own(struct mm_trial *t, const char *bytes, size_t n)
{
	if (!mm_array_grow(&t->owned, t->owned_count, &t->owned_capacity, sizeof *t->owned))
		return NULL;
	char *copy = strndup(bytes, n);
	if (copy != NULL)
		t->owned[t->owned_count++] = copy;
	return copy;
}

static bool take_client(struct mm_trial *t, const char *value, struct mm_fault *why)
{
	struct mm_dialogue_plan *p = &t->plan;
	unsigned char address[sizeof(struct in6_addr)];
	p->client_host = NULL;
	p->client_port = 0;
	if (strcmp(value, "unknown") == 0) {
		p->family = MM_FAMILY_UNKNOWN;
		p->client_address = NULL;
		return true;
	}
	if (value[0] == '/') {
		p->family = MM_FAMILY_UNIX;
		p->client_address = value;
		return true;
	}
	size_t size = strcspn(value, ",");
	char *ip = own(t, value, size);
	if (ip == NULL)
		return no_memory(why);
	p->family = strchr(ip, ':') != NULL ? MM_FAMILY_INET6 : MM_FAMILY_INET;
	if (inet_pton(p->family == MM_FAMILY_INET6 ? AF_INET6 : AF_INET, ip, address) != 1)
		return bad(why, "client", value, "an IP address (optionally with a comma and a host name), a path, or "
			"\"unknown\"");
	p->client_address = ip;
	p->client_port = 40212;
	if (value[size] == ',' && value[size + 1] != '\0')
		p->client_host = value + size + 1;
	return true;
}

static int set_of_name(const char *name, size_t size)
{
	for (int set = 0; set < MM_MACRO_SET_COUNT; set++) {
		const char *known = mm_macro_set_name((enum mm_macro_set)set);
		if (strlen(known) == size && memcmp(known, name, size) == 0)
			return set;
	}
	return -1;
}

static bool take_macro(struct mm_trial *t, const char *value, struct mm_fault *why)
{
	const char *name = value, *equals = strchr(value, '=');
	if (equals == NULL || equals == value)
		return bad(why, "macro", value, "write NAME=VALUE or STAGE:NAME=VALUE");
	int set = -1;
	const char *colon = memchr(value, ':', (size_t)(equals - value));
	if (colon != NULL) {
		set = set_of_name(value, (size_t)(colon - value));
		if (set < 0)
			return bad(why, "macro", value, "the stage is one of connect helo mail rcpt data eoh eom");
		name = colon + 1;
	}
	size_t size = (size_t)(equals - name);
	if (size == 0)
		return bad(why, "macro", value, "the name is empty");
	char braced[300];
	bool is_bare = size > 1 && name[0] != '{';      /* the wire has "i" and "{auth_authen}" (protocol 6.1) */
	if (size + 3 > sizeof braced)
		return bad(why, "macro", value, "the name is too long");
	snprintf(braced, sizeof braced, is_bare ? "{%.*s}" : "%.*s", (int)size, name);
	char *kept = own(t, braced, strlen(braced));
	if (kept == NULL || !mm_array_grow(&t->macros, t->macro_count, &t->macro_capacity, sizeof *t->macros))
		return no_memory(why);
	t->macros[t->macro_count++] = (struct mm_mta_macro){
		.set = set, .name = { kept, strlen(kept) }, .value = { equals + 1, strlen(equals + 1) },
	};
	return true;
}

static bool take_protocol(struct mm_trial *t, const char *value, struct mm_fault *why)
{
	if (strlen(value) != 1 || strchr("2346", value[0]) == NULL)
		return bad(why, "protocol", value, "MTAs speak versions 2, 3, 4 and 6");
	struct mm_offer *o = &t->plan.offer;
	o->version = (uint32_t)(value[0] - '0');
	o->steps = o->version == 2 ? STEPS_V2 : o->version == 3 ? STEPS_V3 : o->version == 4 ? STEPS_V4 : STEPS_V6;
	return true;
}

static bool take_bits(const char *option, const char *value, uint32_t all, uint32_t (*bit_of)(const char *),
	uint32_t *out, struct mm_fault *why)
{
	char word[64], *end;
	if (value[0] >= '0' && value[0] <= '9') {
		errno = 0;
		unsigned long bits = strtoul(value, &end, 0);
		if (*end != '\0' || errno != 0 || bits > UINT32_MAX)
			return bad(why, option, value, "not a number of 32 bits");
		*out = (uint32_t)bits;
		return true;
	}
	*out = 0;
	for (const char *at = value; *at != '\0';) {
		size_t size = strcspn(at, ", ");
		snprintf(word, sizeof word, "%.*s", (int)(size < 60 ? size : 60), at);
		uint32_t bit = strcmp(word, "all") == 0 ? all : bit_of(word);
		if (bit == 0 && size > 0 && strcmp(word, "none") != 0)
			return bad(why, option, word, "not a word of the protocol; a connection shown with "
				"--trace names them");
		*out |= bit;
		at += size + (at[size] != '\0');
	}
	return true;
}

static bool take_stop(struct mm_trial *t, const char *option, const char *value, struct mm_fault *why)
{
	for (int stage = MM_STAGE_mail; stage <= MM_STAGE_body; stage++) {
		if (strcmp(mm_stage_name((enum mm_stage)stage), value) != 0)
			continue;
		t->stop_after = (enum mm_stage)stage;
		t->hangs_up = strcmp(option, "hang-up-after") == 0;
		return true;
	}
	return bad(why, option, value, "the stage is one of mail rcpt data header eoh body");
}

static bool take_number(const char *option, const char *value, double least, double most, double *out,
	struct mm_fault *why)
{
	char *end;
	*out = strtod(value, &end);
	if (end == value || *end != '\0' || !(*out >= least && *out <= most))
		return mm_fault_set(why, MM_FAULT_CONFIG, "--%s \"%.100s\": give a number from %g to %g", option,
			value, least, most);
	return true;
}

static bool take_expect(struct mm_trial *t, const char *value, struct mm_fault *why)
{
	static const char *const words[] = { "accept", "continue", "reject", "tempfail", "discard", "quarantine",
		"abort", "failed", "error", NULL };
	size_t size = strcspn(value, ":");
	for (size_t i = 0; words[i] != NULL; i++) {
		if (strlen(words[i]) != size || memcmp(words[i], value, size) != 0)
			continue;
		t->expect = strcmp(words[i], "continue") == 0 ? "accept" : words[i];
		double code = 0;
		if (value[size] == ':' && !take_number("expect", value + size + 1, 200, 599, &code, why))
			return false;
		t->expect_code = (unsigned)code;
		return true;
	}
	return bad(why, "expect", value, "use accept reject tempfail discard quarantine abort failed or error, "
		"optionally with a code: reject:550");
}

static bool take_mta(struct mm_trial *t, const char *value, struct mm_fault *why)
{
	if (strcmp(value, "postfix") == 0)
		t->plan.kind = MM_MTA_POSTFIX;
	else if (strcmp(value, "sendmail") == 0)
		t->plan.kind = MM_MTA_SENDMAIL;
	else
		return bad(why, "mta", value, "postfix or sendmail");
	return true;
}

bool mm_trial_add_rcpt(struct mm_trial *t, const char *value, struct mm_fault *why)
{
	if (!mm_array_grow(&t->rcpts, t->rcpt_count, &t->rcpt_capacity, sizeof *t->rcpts))
		return no_memory(why);
	t->rcpts[t->rcpt_count++] = value;
	return true;
}

/* ---- the table ---- */

static bool take_option(struct mm_trial *t, int option, const char *value, struct mm_fault *why)
{
	struct mm_dialogue_plan *p = &t->plan;
	double number;
	switch ((enum mm_trial_option)option) {
	case MM_TRIAL_FROM:          t->from = value; return true;
	case MM_TRIAL_RCPT:          return mm_trial_add_rcpt(t, value, why);
	case MM_TRIAL_HELO:          p->helo = value[0] != '\0' ? value : NULL; return true;
	case MM_TRIAL_CLIENT:        return take_client(t, value, why);
	case MM_TRIAL_AUTH:          p->auth_user = value; return true;
	case MM_TRIAL_MACRO:         return take_macro(t, value, why);
	case MM_TRIAL_MTA:           return take_mta(t, value, why);
	case MM_TRIAL_MTA_NAME:      p->mta_name = value; return true;
	case MM_TRIAL_PROTOCOL:      return take_protocol(t, value, why);
	case MM_TRIAL_ACTIONS:       return take_bits("actions", value, ACTIONS_ALL, mm_action_bit,
		&p->offer.actions, why);
	case MM_TRIAL_STEPS:         return take_bits("steps", value, STEPS_V6, mm_step_bit, &p->offer.steps, why);
	case MM_TRIAL_UNKNOWN:       p->unknown = value; return true;
	case MM_TRIAL_ABORT_AFTER:   return take_stop(t, "abort-after", value, why);
	case MM_TRIAL_HANG_UP_AFTER: return take_stop(t, "hang-up-after", value, why);
	case MM_TRIAL_EXPECT:        return take_expect(t, value, why);
	case MM_TRIAL_DIFF:          t->shows_diff = true; return true;
	case MM_TRIAL_JSON:          t->shows_json = true; return true;
	case MM_TRIAL_EXPLAIN:       t->explains = true; return true;
	case MM_TRIAL_REPLIES:       t->shows_replies = true; return true;
	case MM_TRIAL_TRACE:         t->shows_trace = true; return true;
	case MM_TRIAL_COLOR:
		return mm_terminal_set_colour(value) || bad(why, "color", value, "auto, always or never");
	case MM_TRIAL_OUTPUT:        t->output = value; return true;
	case MM_TRIAL_QUIET:         t->is_quiet = true; return true;
	case MM_TRIAL_HELP:          t->wants_help = true; return true;
	case MM_TRIAL_REPEAT:
		if (!take_number("repeat", value, 1, 1e6, &number, why))
			return false;
		t->repeat = (uint32_t)number;
		return true;
	case MM_TRIAL_TIMEOUT:
		if (!take_number("timeout", value, 0.001, 86400, &number, why))
			return false;
		p->command_timeout_s = p->content_timeout_s = number;
		return true;
	case MM_TRIAL_NONE:
	case MM_TRIAL_END:
		break;
	}
	return mm_fault_set(why, MM_FAULT_BUG, "option %d", option);
}

static const struct option shared[] = {
#define X(name, word, argument, about) \
	{ word, (argument) != NULL ? required_argument : no_argument, NULL, MM_TRIAL_##name },
	MM_TRIAL_OPTIONS(X)
#undef X
};

#define SHARED_COUNT (sizeof shared / sizeof *shared)
#define OWN_MAX      8

static bool bad_option(int code, char **argv, const struct option *all, struct mm_fault *why)
{
	const char *given = argv[optind - 1];
	if (code == ':')
		return mm_fault_set(why, MM_FAULT_CONFIG, "option %.100s needs an argument", given);
	const char *words[SHARED_COUNT + OWN_MAX + 1], *near;
	size_t count = 0;
	for (; all[count].name != NULL; count++)
		words[count] = all[count].name;
	words[count] = NULL;
	near = strncmp(given, "--", 2) == 0 ? mm_suggest(given + 2, words) : NULL;
	if (near != NULL)
		return mm_fault_set(why, MM_FAULT_CONFIG, "there is no option %.100s; did you mean --%s?", given, near);
	return mm_fault_set(why, MM_FAULT_CONFIG, "there is no option %.100s; --help lists them", given);
}

bool mm_trial_options(struct mm_trial *t, int argc, char **argv, const struct option *own_options,
	bool (*take)(void *, int, const char *, struct mm_fault *), void *self, int *first, struct mm_fault *why)
{
	struct option all[SHARED_COUNT + OWN_MAX + 1] = { 0 };
	char letters[8 + 2 * OWN_MAX] = ":o:qh";
	memcpy(all, shared, sizeof shared);
	for (size_t i = 0; i < OWN_MAX && own_options[i].name != NULL; i++) {
		const struct option *o = &own_options[i];
		size_t at = strlen(letters);
		all[SHARED_COUNT + i] = *o;
		if (o->val < MM_TRIAL_NONE)
			snprintf(letters + at, sizeof letters - at, o->has_arg == required_argument ? "%c:"
				: "%c", o->val);
	}
	opterr = 0;
	optind = 0;                             /* a test may run both commands in one process */
	for (int c; (c = getopt_long(argc, argv, letters, all, NULL)) != -1;) {
		if (c == '?' || c == ':')
			return bad_option(c, argv, all, why);
		c = c == 'o' ? MM_TRIAL_OUTPUT : c == 'q' ? MM_TRIAL_QUIET : c == 'h' ? MM_TRIAL_HELP : c;
		if (c >= MM_TRIAL_END || c < MM_TRIAL_NONE ? !take(self, c, optarg, why)
		    : !take_option(t, c, optarg, why))
			return false;
	}
	*first = optind;
	return true;
}

void mm_trial_help_options(void)
{
	static const struct {
		const char *word, *argument, *about;
	} lines[] = {
#define X(name, word, argument, about) { word, argument, about },
		MM_TRIAL_OPTIONS(X)
#undef X
	};
	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
		printf("  --%s%s%s\n", lines[i].word, lines[i].argument != NULL ? " " : "", lines[i].argument != NULL
			? lines[i].argument : "");
		for (const char *at = lines[i].about; at != NULL;) {
			size_t size = strcspn(at, "\n");
			printf("        %.*s\n", (int)size, at);
			at = at[size] == '\n' ? at + size + 1 : NULL;
		}
	}
}
