#include "trial/trial.h"

#include "base/array.h"
#include "trial/diff.h"
#include "base/suggest.h"
#include "trial/transcript.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

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

int mm_trial_fail(const struct mm_trial *t, int code, const char *text)
{
	fflush(stdout);
	fprintf(stderr, "moonmilter %s: %s\n", t->command, text);
	return code;
}

/* ---- options ---- */

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
		return bad(why, "client", value, "an IP address, perhaps with a host name behind a comma, a path, or "
			"\"unknown\"");
	p->client_address = ip;
	p->client_port = 40212;
	if (value[size] == ',' && value[size + 1] != '\0')
		p->client_host = value + size + 1;
	return true;
}

static int set_of_name(const char *name, size_t size)
{
	static const char *const names[] = {    /* ORDER MACRO_SET */
#define X(name, letter, number) #name,
		MM_MACRO_SETS(X)
#undef X
	};
	for (int set = 0; set < MM_MACRO_SET_COUNT; set++)
		if (strlen(names[set]) == size && memcmp(names[set], name, size) == 0)
			return set;
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
		return bad(why, "protocol", value, "versions MTAs speak are 2, 3, 4 and 6");
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
		return mm_fault_set(why, MM_FAULT_CONFIG, "--%s \"%.100s\": a number from %g to %g", option,
			value, least, most);
	return true;
}

static bool take_expect(struct mm_trial *t, const char *value, struct mm_fault *why)
{
	static const char *const words[] = { "accept", "continue", "reject", "tempfail", "discard", "quarantine",
		"abort", "failed", NULL };
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
	return bad(why, "expect", value, "one of accept reject tempfail discard quarantine abort failed, perhaps with "
		"a code: reject:550");
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
	case MM_TRIAL_REPLIES:       t->shows_replies = true; return true;
	case MM_TRIAL_TRACE:         t->shows_trace = true; return true;
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
	optind = 0;                             /* both commands may run in one process, in a test */
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

/* ---- files ---- */

static bool read_all(const char *path, struct mm_buffer *out, struct mm_fault *why)
{
	FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
	if (f == NULL)
		return mm_fault_set(why, MM_FAULT_CONFIG, "%s: %s", path, strerror(errno));
	for (;;) {
		uint8_t *to = mm_buffer_reserve(out, 65536);
		size_t n = to != NULL ? fread(to, 1, 65536, f) : 0;
		out->size += n;
		if (n == 0)
			break;
	}
	bool ok = !ferror(f) && !out->failed;
	if (!ok)
		mm_fault_set(why, MM_FAULT_CONFIG, "%s: %s", path, out->failed ? "out of memory" : strerror(errno));
	if (f != stdin)
		fclose(f);
	return ok;
}

static bool fill_envelope(const struct mm_trial *t, struct mm_mail_file *m)
{
	if (t->from != NULL && !mm_mail_file_set_sender(m, (struct mm_text){ t->from, strlen(t->from) }))
		return false;
	for (uint32_t i = 0; i < t->rcpt_count; i++)
		if (!mm_mail_file_add_recipient(m, (struct mm_text){ t->rcpts[i], strlen(t->rcpts[i]) }))
			return false;
	return mm_mail_file_guess_envelope(m);
}

/* 0, EX_NOINPUT or EX_DATAERR. */
static int load(const struct mm_trial *t, const char *path, struct mm_mail_file *m, struct mm_fault *why)
{
	struct mm_buffer bytes = { .size = 0 };
	struct mm_fault text;
	int code = 0;
	if (!read_all(path, &bytes, why)) {
		code = EX_NOINPUT;
	} else if (!mm_mail_file_parse(m, bytes.bytes, bytes.size, &text)) {
		mm_fault_set(why, text.class, "%.200s: %.700s", path, text.text);
		code = EX_DATAERR;
	} else if (!fill_envelope(t, m)) {
		no_memory(why);
		code = EX_OSERR;
	}
	mm_buffer_free(&bytes);
	return code;
}

/* ---- one outcome ---- */

struct outcome {
	struct mm_dialogue_result result;
	struct mm_mail_file       sent, edited;
	struct mm_fault           why;          /* class NONE: the dialogue went as it should */
};

static void print(const struct mm_buffer *b)
{
	fwrite(b->bytes, 1, b->size, stdout);
}

static void append_changes(const char *file, const struct outcome *o, struct mm_buffer *out)
{
	struct mm_buffer before = { .size = 0 }, after = { .size = 0 };
	char new_name[300];
	snprintf(new_name, sizeof new_name, "%.280s (edited)", file);
	mm_mail_file_write(&o->sent, &before);
	mm_mail_file_write(&o->edited, &after);
	if (before.failed || after.failed
	    || !mm_diff_unified(out, file, (struct mm_text){ (const char *)before.bytes, before.size }, new_name,
	    (struct mm_text){ (const char *)after.bytes, after.size }))
		out->failed = true;
	mm_buffer_free(&before);
	mm_buffer_free(&after);
}

static void append_summary(const struct mm_trial *t, const char *file, const struct outcome *o, bool is_one,
	struct mm_buffer *out)
{
	if (!is_one) {
		mm_buffer_append(out, file, strlen(file));
		mm_buffer_append(out, ": ", 2);
	}
	if (o->why.class != MM_FAULT_NONE) {
		mm_buffer_append(out, "failed: ", 8);
		mm_buffer_append(out, o->why.text, strlen(o->why.text));
		mm_buffer_append_u8(out, '\n');
	} else {
		mm_transcript_verdict(out, &o->result);
	}
	if (t->shows_replies || o->result.complaint_count > 0)
		mm_transcript_replies(out, &o->sent, &o->result);
	else
		mm_transcript_edits(out, &o->result);
}

static void show(const struct mm_trial *t, const char *file, const struct outcome *o, bool is_one)
{
	struct mm_buffer out = { .size = 0 };
	bool passes = o->why.class == MM_FAULT_NONE && o->result.is_decided && o->result.verdict == MM_VERDICT_accept;
	if (t->shows_json) {
		struct mm_json j = { .out = &out };
		mm_transcript_json(&j, file, t->plan.kind, &o->result, &o->edited, &o->why);
		mm_buffer_append_u8(&out, '\n');
	} else {
		append_summary(t, file, o, is_one, &out);
		if (passes && t->shows_diff) {
			append_changes(file, o, &out);
		} else if (passes && t->output == NULL) {
			mm_buffer_append_u8(&out, '\n');
			mm_mail_file_write(&o->edited, &out);
		}
	}
	if (out.failed)
		mm_trial_fail(t, 0, "out of memory");
	else
		print(&out);
	mm_buffer_free(&out);
}

static bool write_output(const struct mm_trial *t, const struct outcome *o)
{
	bool is_stdout = strcmp(t->output, "-") == 0;
	FILE *f = is_stdout ? stdout : fopen(t->output, "wb");
	struct mm_buffer out = { .size = 0 };
	mm_mail_file_write(&o->edited, &out);
	bool ok = f != NULL && !out.failed && fwrite(out.bytes, 1, out.size, f) == out.size;
	ok = f != NULL && (is_stdout ? fflush(f) : fclose(f)) == 0 && ok;
	mm_buffer_free(&out);
	if (!ok)
		fprintf(stderr, "moonmilter %s: %s: %s\n", t->command, t->output, strerror(errno));
	return ok;
}

static bool is_expected(const struct mm_trial *t, const char *file, const struct outcome *o, bool is_one)
{
	const char *word = o->why.class != MM_FAULT_NONE ? "failed" : mm_transcript_word(&o->result);
	char wanted[8] = "", got[8] = "", text[512];
	if (strcmp(word, t->expect) == 0 && (t->expect_code == 0 || t->expect_code == o->result.code))
		return true;
	if (t->expect_code != 0)
		snprintf(wanted, sizeof wanted, ":%u", t->expect_code % 1000);
	if (o->result.is_decided)
		snprintf(got, sizeof got, ":%u", o->result.code % 1000);
	snprintf(text, sizeof text, "%.256s%sexpected %s%s, got %s%s", is_one ? "" : file, is_one ? "" : ": ",
		t->expect, wanted, word, got);
	mm_trial_fail(t, 1, text);
	return false;
}

static int code_of(const struct mm_trial *t, const char *file, const struct outcome *o, bool is_one)
{
	if (t->expect != NULL)
		return is_expected(t, file, o, is_one) ? 0 : 1;
	if (o->why.class == MM_FAULT_NONE)
		return 0;
	return mm_trial_fail(t, EX_PROTOCOL, o->why.text);
}

static void free_outcome(struct outcome *o)
{
	mm_dialogue_result_free(&o->result);
	mm_mail_file_free(&o->sent);
	mm_mail_file_free(&o->edited);
}

/* ---- the run ---- */

struct run {
	struct mm_trial    *trial;
	struct mm_dialogue *dialogue;
	struct mm_dialogue_result opening;      /* of offer, connect and helo */
	struct mm_fault     why;                /* the opening's */
	bool                is_one;             /* one message in all */
	bool                is_stdout_taken;
};

static int run_message(struct run *r, const char *file)
{
	struct mm_trial *t = r->trial;
	struct outcome o = { .why = r->why };
	struct mm_fault why = { .class = MM_FAULT_NONE };
	int code = load(t, file, &o.sent, &why);
	if (code != 0) {
		free_outcome(&o);
		return mm_trial_fail(t, code, why.text);
	}
	if (o.why.class == MM_FAULT_NONE)
		mm_dialogue_message(r->dialogue, &o.sent, t->stop_after, t->hangs_up, &o.result, &o.why);
	if (!mm_mail_file_copy(&o.edited, &o.sent, &why)
	    || (o.why.class == MM_FAULT_NONE && !mm_dialogue_apply(r->dialogue, &o.result, &o.edited, &why))) {
		free_outcome(&o);
		return mm_trial_fail(t, EX_OSERR, why.text);
	}
	if (!t->is_quiet && !r->is_stdout_taken)
		show(t, file, &o, r->is_one);
	code = code_of(t, file, &o, r->is_one);
	bool passes = o.result.is_decided && o.result.verdict == MM_VERDICT_accept;
	if (t->output != NULL && passes && o.why.class == MM_FAULT_NONE && !write_output(t, &o))
		code = EX_CANTCREAT;
	free_outcome(&o);
	return code;
}

static void print_packet(void *self, bool is_command, const struct mm_packet *p)
{
	struct mm_buffer line = { .size = 0 };
	(void)self;
	mm_transcript_packet(&line, is_command, p);
	mm_buffer_append_u8(&line, '\n');
	print(&line);
	mm_buffer_free(&line);
}

/* What was said before any message. Its fault is told with each message. */
static void open_dialogue(struct run *r, const char *peer)
{
	const struct mm_trial *t = r->trial;
	bool ok = mm_dialogue_open(r->dialogue, &r->opening, &r->why);
	if (t->is_quiet || r->is_stdout_taken || t->shows_json
	    || (!t->shows_replies && r->opening.complaint_count == 0))
		return;
	struct mm_buffer out = { .size = 0 };
	if (ok) {
		mm_buffer_append(&out, peer, strlen(peer));
		mm_buffer_append(&out, ": ", 2);
		mm_transcript_offer(&out, &mm_dialogue_mta(r->dialogue)->agreed);
		mm_buffer_append_u8(&out, '\n');
	}
	mm_transcript_replies(&out, NULL, &r->opening);
	if (!out.failed)
		print(&out);
	mm_buffer_free(&out);
}

static void quit(struct run *r)
{
	struct mm_dialogue_result end = { .reply_count = 0 };
	struct mm_fault why = { .class = MM_FAULT_NONE };
	if (!mm_dialogue_quit(r->dialogue, &end, &why))
		mm_trial_fail(r->trial, 0, why.text);
	for (uint32_t i = 0; i < end.reply_count; i++) {
		struct mm_text complaint = mm_dialogue_text(&end, end.replies[i].complaint);
		fprintf(stderr, "moonmilter %s: %.*s\n", r->trial->command, (int)complaint.size, complaint.bytes);
	}
	mm_dialogue_result_free(&end);
}

int mm_trial_run(struct mm_trial *t, struct mm_dialogue_transport transport, const char *peer,
	char **files, size_t count)
{
	bool as_sendmail = t->plan.kind == MM_MTA_SENDMAIL;
	for (size_t i = 0; i < count; i++)              /* before the filter hears anything */
		if (strcmp(files[i], "-") != 0 && access(files[i], R_OK) != 0) {
			fprintf(stderr, "moonmilter %s: %s: %s\n", t->command, files[i], strerror(errno));
			return EX_NOINPUT;
		}
	t->plan.macros = t->macros;
	t->plan.macro_count = t->macro_count;
	if (t->plan.command_timeout_s == 0) {           /* protocol 7: what the MTA would wait */
		t->plan.command_timeout_s = as_sendmail ? 10 : 30;
		t->plan.content_timeout_s = as_sendmail ? 10 : 300;
	}
	struct run r = { .trial = t, .is_one = count * t->repeat == 1 };
	r.is_stdout_taken = t->output != NULL && strcmp(t->output, "-") == 0;
	if (t->shows_trace && !t->is_quiet && !r.is_stdout_taken)
		transport.trace = print_packet;
	r.dialogue = mm_dialogue_new(&t->plan, transport);
	if (r.dialogue == NULL)
		return mm_trial_fail(t, EX_OSERR, "out of memory");
	open_dialogue(&r, peer);
	int code = 0;
	size_t all = t->hangs_up ? 1 : count * t->repeat;       /* a client that went away sends no more */
	for (size_t i = 0; i < all; i++) {
		int one = run_message(&r, files[i % count]);
		code = code > one ? code : one;
	}
	if (r.why.class == MM_FAULT_NONE)
		quit(&r);
	mm_dialogue_result_free(&r.opening);
	mm_dialogue_free(r.dialogue);
	fflush(stdout);
	return code;
}
