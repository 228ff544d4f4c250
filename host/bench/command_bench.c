#include "bench/command_bench.h"

#include "bench/load.h"
#include "base/bounds.h"
#include "config/endpoint.h"
#include "milter/negotiate.h"
#include "bench/usage.h"

#include <errno.h>
#include <getopt.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#define ALL_ACTIONS 0x1FFu
#define ALL_STEPS   0x1FFFFFu
#define NR_STEPS    (SMFIP_NR_CONN | SMFIP_NR_HELO | SMFIP_NR_MAIL | SMFIP_NR_RCPT | SMFIP_NR_DATA | SMFIP_NR_UNKN \
	| SMFIP_NR_HDR | SMFIP_NR_EOH | SMFIP_NR_BODY)

struct bench {
	const char *to;
	const char *mta;
	unsigned    connections, messages_per_connection, recipients, headers, idle, asleep, protocol;
	unsigned    messages, pid;
	size_t      header_size, body_size, chunk_size;
	double      seconds, warmup, rate, abort_percent, timeout, pause;
	int         edits;
	bool        is_lockstep, is_json, wants_help;
	const char *asleep_sender;
	struct mm_bench_options options;
};

/* ---- options ---- */

enum kind { COUNT, BYTES, NUMBER, TEXT, FLAG, EXPECT, EDITS };

struct option_row {
	const char *name;
	const char *argument;   /* as the help shows it; NULL: takes no argument */
	enum kind   kind;
	size_t      offset;     /* in struct bench */
	double      min, max;
	const char *help;
};

#define AT(field) offsetof(struct bench, field)
static const struct option_row rows[] = {
	{ "to", "SPEC", TEXT, AT(to), 0, 0,
		"The filter's socket: unix:PATH, inet:PORT@HOST, inet6:PORT@HOST, or as Postfix writes it, "
		"inet:HOST:PORT." },
	{ "connections", "N", COUNT, AT(connections), 0, 100000,
		"Keeps N sessions busy at the same time. The default is 10." },
	{ "messages-per-connection", "N", COUNT, AT(messages_per_connection), 0, 1e9,
		"Ends a session after N messages and opens another; 0 never ends one. The default is 10." },
	{ "seconds", "S", NUMBER, AT(seconds), 0.01, 86400,
		"Begins messages for S seconds, then waits for their answers. The default is 5." },
	{ "messages", "N", COUNT, AT(messages), 0, 4e9,
		"Sends N messages, however long that takes, instead of --seconds." },
	{ "warmup", "S", NUMBER, AT(warmup), 0, 3600,
		"Sends messages for S seconds before it begins to measure. The default is 0.5." },
	{ "rate", "R", NUMBER, AT(rate), 0, 1e7,
		"Begins R messages a second in all, and counts a message's time from when it was due. The default, 0, "
		"begins one as soon as the one before it is answered." },
	{ "recipients", "N", COUNT, AT(recipients), 1, 100000, "Recipients of each message. The default is 1." },
	{ "headers", "N", COUNT, AT(headers), 0, 100000, "Header fields of each message. The default is 20." },
	{ "header-size", "BYTES", BYTES, AT(header_size), 1, 500, "Length of a header field's value. The "
		"default is 60." },
	{ "body", "BYTES", BYTES, AT(body_size), 0, 1 << 30,
		"Size of the body; K and M are understood. The default is 4K." },
	{ "chunk", "BYTES", BYTES, AT(chunk_size), 1, MM_CHUNK_SIZE,
		"Size of a body packet. The default is 65535, what every MTA sends." },
	{ "abort", "PERCENT", NUMBER, AT(abort_percent), 0, 100,
		"Aborts this share of the messages, each at another command." },
	{ "mta", "NAME", TEXT, AT(mta), 0, 0,
		"Behaves as postfix, the default: macros before each header and body packet, an abort after each "
		"message; or as sendmail, which does neither." },
	{ "protocol", "N", COUNT, AT(protocol), MM_PROTOCOL_MIN, MM_PROTOCOL_MAX, "Offers milter protocol version "
		"N, 2 to 6." },
	{ "lockstep", NULL, FLAG, AT(is_lockstep), 0, 0,
		"Offers no step without reply (SMFIP_NR_…), so that every command waits for its answer." },
	{ "idle", "N", COUNT, AT(idle), 0, 1000000,
		"Opens N more sessions first, which stay silent after HELO. --connections 0 measures nothing else." },
	{ "asleep", "N", COUNT, AT(asleep), 0, 1000000,
		"Opens N more sessions first, each with a message whose end is not answered because the "
		"filter sleeps." },
	{ "asleep-sender", "ADDRESS", TEXT, AT(asleep_sender), 0, 0,
		"The sender by which the filter knows the messages that are to sleep. The default is "
		"asleep@example.org." },
	{ "expect", "STAGE=VERDICT,…", EXPECT, AT(options), 0, 0,
		"The answers to expect, such as rcpt=reject,eom=accept/tempfail; \"any\" accepts "
		"everything. Without it each stage expects continue/accept. Other answers are counted as wrong." },
	{ "edits", "N", EDITS, AT(edits), 0, 1e6,
		"The number of edits to expect at the end of each message; a new body is one. Any other number is "
		"counted as wrong." },
	{ "timeout", "S", NUMBER, AT(timeout), 0.1, 86400, "Waits S seconds for an answer. The default is 30." },
	{ "pause", "S", NUMBER, AT(pause), 0, 3600,
		"Lets the filter rest for S seconds when the --idle and --asleep sessions are open, before "
		"memory is read." },
	{ "pid", "PID", COUNT, AT(pid), 1, 4194304,
		"Reports CPU time for each message, and memory, of this process and all below it." },
	{ "json", NULL, FLAG, AT(is_json), 0, 0, "Prints one JSON object instead of a table. Times in it are "
		"microseconds." },
	{ "help", NULL, FLAG, AT(wants_help), 0, 0, "Prints this." },
};
#define ROW_COUNT (sizeof rows / sizeof *rows)

/* Prints a sentence over several lines, each after a margin. */
static void print_wrapped(const char *text, int margin, int width)
{
	int column = 0;
	for (const char *word = text; *word != '\0';) {
		int size = (int)strcspn(word, " ");
		if (column == 0 || column + 1 + size > width - margin) {
			printf("%s%*s", column == 0 ? "" : "\n", margin, "");
			column = 0;
		} else {
			putchar(' ');
			column++;
		}
		printf("%.*s", size, word);
		column += size;
		word += size + (word[size] == ' ');
	}
	putchar('\n');
}

static void print_help(void)
{
	puts("usage: moonmilter bench --to SPEC [options]\n\n"
		"Puts load on any milter, as an MTA does, and prints how many messages a second it served,\nhow long "
		"messages and their stages took, and which answers were wrong.\n");
	for (size_t i = 0; i < ROW_COUNT; i++) {
		printf("  --%s%s%s\n", rows[i].name, rows[i].argument ? " " : "", rows[i].argument
			? rows[i].argument : "");
		print_wrapped(rows[i].help, 6, 92);
	}
	puts("\nExit status: 0 when every answer was as expected, 64 for a wrong option, 69 when the filter could\n"
		"not be reached, 76 when an answer was wrong or missing.");
}

/* One of MM_VERDICTS' names, or "any"; 0 when it is neither. */
static uint8_t verdict_bits(const char *word, size_t size)
{
	static const char *const names[] = {
#define X(name, letter, stages) #name,
		MM_VERDICTS(X)
#undef X
	};
	if (size == 3 && memcmp(word, "any", 3) == 0)
		return 0xFF;
	for (unsigned i = 0; i < MM_VERDICT_COUNT; i++)
		if (strlen(names[i]) == size && memcmp(names[i], word, size) == 0)
			return (uint8_t)(1u << i);
	return 0;
}

static bool parse_expect(struct bench *b, const char *text, struct mm_fault *why)
{
	for (const char *at = text; *at != '\0';) {
		size_t name_size = strcspn(at, "=,");
		unsigned stage = MM_STAGE_connect;
		while (stage <= MM_STAGE_eom && (strlen(mm_stage_name(stage)) != name_size
				|| memcmp(mm_stage_name(stage), at, name_size) != 0))
			stage++;
		if (stage > MM_STAGE_eom || at[name_size] != '=')
			return mm_fault_set(why, MM_FAULT_CONFIG, "--expect %s: \"%.*s\" is not a stage; write "
				"STAGE=VERDICT, the stages are connect helo mail rcpt data header eoh body eom", text,
				(int)name_size, at);
		at += name_size;
		b->options.expect[stage] = 0;
		do {
			at++;                                   /* "=" or "/" */
			size_t size = strcspn(at, "/,");
			uint8_t bits = verdict_bits(at, size);
			if (bits == 0)
				return mm_fault_set(why, MM_FAULT_CONFIG, "--expect %s: \"%.*s\" is not a verdict; use "
					"continue accept reject tempfail discard skip or any", text, (int)size, at);
			b->options.expect[stage] |= bits;
			at += size;
		} while (*at == '/');
		at += *at == ',';
	}
	return true;
}

static bool parse_number(const struct option_row *row, const char *text, double *out, struct mm_fault *why)
{
	char *end;
	errno = 0;
	*out = strtod(text, &end);
	if (row->kind == BYTES && end != text && (*end == 'k' || *end == 'K'))
		*out *= 1024, end++;
	else if (row->kind == BYTES && end != text && (*end == 'm' || *end == 'M'))
		*out *= 1048576, end++;
	bool is_whole = row->kind == NUMBER || *out == (double)(long long)*out;
	if (end == text || *end != '\0' || errno != 0 || !is_whole || !(*out >= row->min && *out <= row->max))
		return mm_fault_set(why, MM_FAULT_CONFIG, "--%s %s: give a %snumber from %.12g to %.12g",
			row->name, text, row->kind == NUMBER ? "" : "whole ", row->min, row->max);
	return true;
}

static bool parse_option(struct bench *b, const struct option_row *row, const char *text, struct mm_fault *why)
{
	void *field = (char *)b + row->offset;
	double number = 0;
	if ((row->kind == COUNT || row->kind == BYTES || row->kind == NUMBER || row->kind == EDITS)
			&& !parse_number(row, text, &number, why))
		return false;
	switch (row->kind) {
	case COUNT:  *(unsigned *)field = (unsigned)number; return true;
	case EDITS:  *(int *)field = (int)number;           return true;
	case BYTES:  *(size_t *)field = (size_t)number;     return true;
	case NUMBER: *(double *)field = number;             return true;
	case TEXT:   *(const char **)field = text;          return true;
	case FLAG:   *(bool *)field = true;                 return true;
	case EXPECT: return parse_expect(b, text, why);
	}
	return false;
}

static bool parse_options(struct bench *b, int argc, char **argv, struct mm_fault *why)
{
	struct option options[ROW_COUNT + 1] = { { 0 } };
	for (size_t i = 0; i < ROW_COUNT; i++)
		options[i] = (struct option){ rows[i].name, rows[i].argument ? required_argument : no_argument,
			NULL, (int)i + 1 };
	optind = 1;
	opterr = 0;
	for (int chosen; (chosen = getopt_long(argc, argv, ":", options, NULL)) != -1;) {
		if (chosen == ':')
			return mm_fault_set(why, MM_FAULT_CONFIG, "%s needs an argument; see moonmilter bench --help",
				argv[optind - 1]);
		if (chosen == '?')
			return mm_fault_set(why, MM_FAULT_CONFIG, "%s is not an option; see moonmilter bench --help",
				argv[optind - 1]);
		if (!parse_option(b, &rows[chosen - 1], optarg, why))
			return false;
	}
	if (b->wants_help)
		return true;
	if (optind < argc)
		return mm_fault_set(why, MM_FAULT_CONFIG, "%s: unexpected; the filter's socket is given with --to",
			argv[optind]);
	if (b->to == NULL)
		return mm_fault_set(why, MM_FAULT_CONFIG, "no filter is given; give --to SPEC, for example --to "
			"inet:10025@127.0.0.1");
	if (strcmp(b->mta, "postfix") != 0 && strcmp(b->mta, "sendmail") != 0)
		return mm_fault_set(why, MM_FAULT_CONFIG, "--mta %s: use postfix or sendmail", b->mta);
	return true;
}

static void set_defaults(struct bench *b)
{
	*b = (struct bench){
		.mta = "postfix", .connections = 10, .messages_per_connection = 10, .recipients = 1, .headers = 20,
		.header_size = 60, .body_size = 4096, .chunk_size = MM_CHUNK_SIZE, .seconds = 5, .warmup = 0.5,
		.protocol = MM_PROTOCOL_MAX, .timeout = 30, .edits = -1, .asleep_sender = "asleep@example.org",
	};
	for (unsigned i = 0; i < MM_STAGE_COUNT; i++)
		b->options.expect[i] = MM_BENCH_VERDICT_BIT(continue) | MM_BENCH_VERDICT_BIT(accept);
}

/* What an MTA of that version offers (protocol 4.4). */
static uint32_t steps_offered(const struct bench *b)
{
	uint32_t steps = b->protocol >= 6 ? ALL_STEPS : b->protocol >= 4 ? 0x37F : b->protocol == 3 ? 0x17F : 0x7F;
	return b->is_lockstep ? steps & ~NR_STEPS : steps;
}

static void fill_options(struct bench *b, void (*tick)(const struct mm_bench_options *, uint64_t, double))
{
	struct mm_bench_options *o = &b->options;
	o->shape = (struct mm_bench_shape){
		.is_sendmail = strcmp(b->mta, "sendmail") == 0, .version = b->protocol, .actions = ALL_ACTIONS,
		.steps = steps_offered(b), .recipients = b->recipients, .headers = b->headers,
		.header_size = b->header_size,
		.body_size = b->body_size, .chunk_size = b->chunk_size,
	};
	o->connections = b->connections;
	o->messages_per_connection = b->messages_per_connection;
	o->rate = b->rate;
	o->abort_share = b->abort_percent / 100;
	o->timeout = b->timeout;
	o->edits = b->edits;
	o->asleep_sender = b->asleep_sender;
	o->tick = isatty(STDERR_FILENO) ? tick : NULL;
}

/* ---- where the filter is ---- */

static bool find_filter(struct bench *b, struct mm_fault *why)
{
	struct mm_endpoint endpoint;
	if (!mm_endpoint_parse(b->to, &endpoint, why))
		return false;
	b->options.address_size = (socklen_t)mm_endpoint_address(&endpoint, &b->options.address);
	return b->options.address_size > 0
		|| mm_fault_set(why, MM_FAULT_CONFIG, "--to %s: not a socket to connect to; use unix:PATH, "
		"inet:PORT@HOST or inet6:PORT@HOST", b->to);
}

/* ---- the report ---- */

/* Measurements of the filter from outside, in the order they are taken. */
struct looks {
	struct mm_bench_usage first, held, before, after;
	double held_seconds;
	double own_cpu;                 /* seconds this process spent in the measured phase */
	uint64_t wrong, lost;           /* outside of the measured phase */
};

static double ms(uint64_t ns)
{
	return (double)ns / 1e6;
}

static double cpu_us(const struct mm_bench_usage *from, const struct mm_bench_usage *to, uint64_t count)
{
	return count > 0 ? (double)(to->cpu_ns - from->cpu_ns) / 1e3 / (double)count : 0;
}

static double memory_each(uint64_t from, uint64_t to, unsigned count)
{
	return count > 0 ? ((double)to - (double)from) / count : 0;
}

static double system_share(const struct looks *k)
{
	uint64_t user = k->after.user_us - k->before.user_us, system = k->after.system_us - k->before.system_us;
	return user + system > 0 ? (double)system / (double)(user + system) : 0;
}

static void print_row(const char *name, const struct mm_bench_histogram *h)
{
	if (h->count > 0)
		printf("  %-10s %10llu %10.3f %10.3f %10.3f %10.3f\n", name, (unsigned long long)h->count,
			ms(mm_bench_histogram_percentile(h, 0.5)), ms(mm_bench_histogram_percentile(h, 0.9)),
			ms(mm_bench_histogram_percentile(h, 0.99)), ms(h->max));
}

static void print_process(const struct bench *b, const struct mm_bench_result *r, const struct looks *k)
{
	unsigned held = b->idle + b->asleep;
	if (held > 0)
		printf("%u sessions opened in %.2f s", held, k->held_seconds);
	if (held > 0 && b->pid > 0)
		printf(": CPU %.1f us, RSS %.0f bytes, PSS %.0f bytes each", cpu_us(&k->first, &k->held, held),
			memory_each(k->first.rss_bytes, k->held.rss_bytes, held),
			memory_each(k->first.pss_bytes, k->held.pss_bytes, held));
	if (held > 0)
		puts("");
	if (b->pid == 0)
		return;
	if (r->messages > 0)
		printf("process %u (%u in its tree): CPU %.1f us a message, %.0f %% of it system; %.0f %% of "
			"one core\n", b->pid, k->after.processes, cpu_us(&k->before, &k->after, r->messages),
			system_share(k) * 100,
			(double)(k->after.cpu_ns - k->before.cpu_ns) / 1e7 / r->seconds);
	printf("memory: RSS %.1f MiB, PSS %.1f MiB; at the start RSS %.1f MiB\n", (double)k->after.rss_bytes / 1048576,
		(double)k->after.pss_bytes / 1048576, (double)k->first.rss_bytes / 1048576);
}

static void print_table(const struct bench *b, const struct mm_bench_result *r, const struct looks *k)
{
	char steps[512], actions[256];
	printf("%s: version %u, actions: %s, steps: %s\n", b->to, r->answer.version,
		mm_actions_text(r->answer.actions, actions, sizeof actions),
		mm_steps_text(r->answer.steps, steps, sizeof steps));
	if (b->connections > 0)
		printf("%llu messages in %.2f s: %.0f messages/s; %llu sessions, %llu aborted, %llu edits, %llu "
			"bytes of new bodies\n", (unsigned long long)r->messages, r->seconds,
			(double)r->messages / r->seconds,
			(unsigned long long)r->sessions, (unsigned long long)r->aborted, (unsigned long long)r->edits,
			(unsigned long long)r->body_bytes);
	printf("wrong answers: %llu; lost connections: %llu%s\n", (unsigned long long)(r->wrong + k->wrong),
		(unsigned long long)(r->lost + k->lost), r->woken > 0 ? "; sleepers woke too early" : "");
	for (unsigned i = 0; i < r->complaints; i++)
		printf("  %s\n", r->complaint[i]);
	if (r->messages > 0) {
		printf("\n  milliseconds    count        p50        p90        p99        max\n");
		print_row("message", &r->message);
		print_row("session", &r->opening);
		for (unsigned i = 0; i <= MM_STAGE_eom; i++)
			print_row(mm_stage_name(i), &r->stage[i]);
		puts("");
	}
	print_process(b, r, k);
	if (r->messages > 0)
		printf("this bench: CPU %.1f us a message\n", k->own_cpu * 1e6 / (double)r->messages);
}

static void print_json_histogram(const char *name, const struct mm_bench_histogram *h, const char *after)
{
	printf("\"%s\":{\"count\":%llu,\"mean\":%.3f,\"p50\":%.3f,\"p90\":%.3f,\"p99\":%.3f,\"max\":%.3f}%s", name,
		(unsigned long long)h->count, h->count > 0 ? (double)h->sum / 1e3 / (double)h->count : 0,
		(double)mm_bench_histogram_percentile(h, 0.5) / 1e3,
		(double)mm_bench_histogram_percentile(h, 0.9) / 1e3,
		(double)mm_bench_histogram_percentile(h, 0.99) / 1e3, (double)h->max / 1e3, after);
}

static void print_json_process(const struct bench *b, const struct mm_bench_result *r, const struct looks *k)
{
	unsigned held = b->idle + b->asleep;
	printf("\"process\":{\"pid\":%u,\"processes\":%u,\"threads\":%u,\"cpu_us_per_message\":%.3f,"
		"\"system_share\":%.3f,\"cpu_us\":%.0f,\"rss_bytes\":%llu,\"pss_bytes\":%llu,"
		"\"rss_bytes_first\":%llu,\"pss_bytes_first\":%llu,"
		"\"held_cpu_us_each\":%.3f,\"held_rss_bytes_each\":%.1f,\"held_pss_bytes_each\":%.1f},", b->pid,
		k->after.processes, k->after.threads, cpu_us(&k->before, &k->after, r->messages), system_share(k),
		(double)(k->after.cpu_ns - k->before.cpu_ns) / 1e3, (unsigned long long)k->after.rss_bytes,
		(unsigned long long)k->after.pss_bytes, (unsigned long long)k->first.rss_bytes,
		(unsigned long long)k->first.pss_bytes, cpu_us(&k->first, &k->held, held),
		memory_each(k->first.rss_bytes, k->held.rss_bytes, held),
		memory_each(k->first.pss_bytes, k->held.pss_bytes, held));
}

/* A text as the inside of a JSON string; bytes that are not printable ASCII become "?". */
static void print_json_text(const char *text)
{
	for (; *text != '\0'; text++)
		if (*text == '"' || *text == '\\')
			printf("\\%c", *text);
		else
			putchar(*text >= 0x20 && *text < 0x7f ? *text : '?');
}

static void print_json(const struct bench *b, const struct mm_bench_result *r, const struct looks *k)
{
	printf("{\"version\":%u,\"actions\":%u,\"steps\":%u,\"seconds\":%.6f,\"messages\":%llu,"
		"\"messages_per_second\":%.3f,"
		"\"sessions\":%llu,\"aborted\":%llu,\"edits\":%llu,\"body_bytes\":%llu,\"wrong\":%llu,\"lost\":%llu,"
		"\"woken\":%llu,"
		"\"held\":%u,\"held_seconds\":%.6f,\"own_cpu_us_per_message\":%.3f,", r->answer.version,
		r->answer.actions,
		r->answer.steps, r->seconds, (unsigned long long)r->messages,
		r->seconds > 0 ? (double)r->messages / r->seconds : 0, (unsigned long long)r->sessions,
		(unsigned long long)r->aborted, (unsigned long long)r->edits, (unsigned long long)r->body_bytes,
		(unsigned long long)(r->wrong + k->wrong), (unsigned long long)(r->lost + k->lost),
		(unsigned long long)r->woken,
		b->idle + b->asleep, k->held_seconds, r->messages > 0 ? k->own_cpu * 1e6 / (double)r->messages : 0);
	if (b->pid > 0)
		print_json_process(b, r, k);
	printf("\"complaints\":[");
	for (unsigned i = 0; i < r->complaints; i++) {
		printf(i > 0 ? ",\"" : "\"");
		print_json_text(r->complaint[i]);
		putchar('"');
	}
	printf("],");
	print_json_histogram("message", &r->message, ",");
	print_json_histogram("session", &r->opening, ",\"stages\":{");
	for (unsigned i = 0; i <= MM_STAGE_eom; i++)
		print_json_histogram(mm_stage_name(i), &r->stage[i], i < MM_STAGE_eom ? "," : "}}\n");
}

/* ---- the run ---- */

static void show_progress(const struct mm_bench_options *o, uint64_t messages, double seconds)
{
	(void)o;
	dprintf(STDERR_FILENO, "\r%5.0f s  %llu messages  %.0f/s ", seconds, (unsigned long long)messages,
		(double)messages / seconds);
}

static double own_cpu(void)
{
	struct timespec spent;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &spent);
	return (double)spent.tv_sec + (double)spent.tv_nsec / 1e9;
}

static bool look(const struct bench *b, struct mm_bench_usage *out, struct mm_fault *why)
{
	return b->pid == 0 || mm_bench_usage((pid_t)b->pid, out, why);
}

static void keep_count(struct looks *k, const struct mm_bench_load *load)
{
	k->wrong += mm_bench_load_result(load)->wrong;
	k->lost += mm_bench_load_result(load)->lost;
}

static bool hold_sessions(const struct bench *b, struct mm_bench_load *load, struct looks *k, struct mm_fault *why)
{
	if (b->idle > 0 && !mm_bench_load_hold(load, MM_BENCH_IDLE, b->idle, why))
		return false;
	k->held_seconds += mm_bench_load_result(load)->seconds;
	keep_count(k, load);
	if (b->asleep > 0) {
		if (!mm_bench_load_hold(load, MM_BENCH_ASLEEP, b->asleep, why))
			return false;
		k->held_seconds += mm_bench_load_result(load)->seconds;
		keep_count(k, load);
	}
	struct timespec rest = { (time_t)b->pause, (long)((b->pause - (double)(time_t)b->pause) * 1e9) };
	if (b->idle + b->asleep > 0)
		nanosleep(&rest, NULL);
	return look(b, &k->held, why);
}

static bool measure(const struct bench *b, struct mm_bench_load *load, struct looks *k, struct mm_fault *why)
{
	if (!look(b, &k->first, why) || !hold_sessions(b, load, k, why))
		return false;
	k->before = k->after = k->held;
	if (b->connections == 0)
		return true;
	if (b->warmup > 0) {
		if (!mm_bench_load_run(load, b->warmup, 0, why))
			return false;
		keep_count(k, load);
	}
	double cpu = own_cpu();
	if (!look(b, &k->before, why) || !mm_bench_load_run(load, b->seconds, b->messages, why)
			|| !look(b, &k->after, why))
		return false;
	k->own_cpu = own_cpu() - cpu;
	if (b->options.tick != NULL)
		dprintf(STDERR_FILENO, "\r%60s\r", "");
	return true;
}

/* Allows as many descriptors as we may have. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static int fail(const struct mm_fault *why, int status)
{
	fprintf(stderr, "moonmilter bench: %s\n", why->text);
	return status;
}

int mm_command_bench(int argc, char **argv)
{
	struct bench b;
	struct mm_fault why = { 0 };
	set_defaults(&b);
	if (!parse_options(&b, argc, argv, &why))
		return fail(&why, EX_USAGE);
	if (b.wants_help) {
		print_help();
		return EX_OK;
	}
	fill_options(&b, show_progress);
	if (!find_filter(&b, &why))
		return fail(&why, EX_USAGE);
	raise_descriptor_limit();

	struct mm_bench_load *load = mm_bench_load_new(&b.options, &why);
	struct looks looks = { 0 };
	if (load == NULL)
		return fail(&why, EX_OSERR);
	if (!measure(&b, load, &looks, &why)) {
		mm_bench_load_free(load);
		return fail(&why, EX_UNAVAILABLE);
	}
	const struct mm_bench_result *r = mm_bench_load_result(load);
	bool is_right = r->wrong + looks.wrong + r->lost + looks.lost + r->woken == 0;
	if (b.is_json)
		print_json(&b, r, &looks);
	else
		print_table(&b, r, &looks);
	mm_bench_load_free(load);
	return is_right ? EX_OK : EX_PROTOCOL;
}
