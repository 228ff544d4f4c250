/* fuzz/conversation.c -- whole conversations through real scripts: examples/ and a script with every handler and edit
 * (conversation.conf, conversation.lua).
 *
 * Input: one byte that chooses the milter, one of flags (Sendmail; bare packets; the rest: bytes per piece), then
 * operations: a letter, two bytes of size, little endian, and the payload. Played: a played MTA (mta/player.h) sends
 * what the operation says where an MTA could; 'F' is a whole mail file. Bare: each operation is one packet, in any
 * order, so that the engine's refusals meet real scripts, too; 'b' is bytes as they are.
 *
 * Checked: the player can read each reply, neither MTA objects to one, what an MTA would deliver can be made; bare,
 * each packet of the filter has the form of a reply; log lines hold no control bytes; no example fails; a session ends
 * whatever was said; one input costs limited CPU time, and all inputs together limited Lua memory (memory_hard). */
#include "embed/host.h"
#include "moonmilter_testing.h"
#include "mta/mta.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CPU_MAX   8.0           /* seconds: sanitizers cost much; the largest input is a mail of 64 KiB */
#define TURN      60.0          /* seconds of the host's clock, which stands still */
#define TURNS_MAX 1000          /* a waiting handler has a deadline of seconds: more turns mean that it is lost */

#define CHECK(claim, text) do { \
		if (!(claim)) { \
			fprintf(stderr, "conversation: %s: %s (line %d)\n", #claim, (text), __LINE__); \
			abort(); \
		} \
	} while (0)

static const char *const milters[] = { "every", "body", "text", "header", "envelope", "all" };
static struct mm_host *host;
static bool is_bare;            /* of this input: what no MTA sends, a script need not expect */

/* ---- the host ---- */

/* "2026-11-21T10:47:24.123Z error script_error milter=x script=/examples/footer.lua handler=on_eom": conversation.lua
 * raises on request, an example never does. */
static bool is_failed_example(const char *line, size_t size)
{
	static const char kind[] = " error script_error ", script[] = " script=", handler[] = " handler=";
	const char *at = memmem(line, size < 48 ? size : 48, kind, sizeof kind - 1);
	const char *from = at != NULL ? memmem(at, (size_t)(line + size - at), script, sizeof script - 1) : NULL;
	const char *to = from != NULL ? memmem(from, (size_t)(line + size - from), handler, sizeof handler - 1) : NULL;
	return to != NULL && memmem(from, (size_t)(to - from), "/examples/", 10) != NULL;
}

static void on_log(void *self, enum mm_level level, const char *line, size_t size)
{
	(void)self;
	(void)level;
	if (getenv("FUZZ_TRACE") != NULL)
		fprintf(stderr, "  %.*s\n", (int)size, line);
	for (size_t i = 0; i < size; i++)
		CHECK((unsigned char)line[i] >= ' ' && line[i] != 0x7f, "a log line holds a control byte");
	CHECK(is_bare || !is_failed_example(line, size), line);
}

static void open_host(void)
{
	struct mm_error error;
	struct mm_host_options o = MM_HOST_OPTIONS;
	o.config_file = "host/fuzz/conversation.conf";
	o.no_sockets = true;
	o.log = on_log;
	host = mm_testing_host_new(&o, 1700000000, &error);
	CHECK(host != NULL && mm_host_start(host, &error), error.text);
}

static void check_sessions(void)
{
	static int fd = -1;
	struct stat status;
	if (fd < 0)
		fd = memfd_create("sessions", 0);
	CHECK(ftruncate(fd, 0) == 0 && lseek(fd, 0, SEEK_SET) == 0, "memfd");
	CHECK(mm_host_list(host, MM_LIST_SESSIONS, fd) && fstat(fd, &status) == 0, "listing");
	CHECK(status.st_size == 0, "a session has not ended");
}

static double cpu_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- the conversation ---- */

struct operation {
	uint8_t        letter;
	const uint8_t *bytes;           /* borrowed */
	size_t         size;
};

struct talk {
	const uint8_t    *left;         /* of the input; borrowed */
	size_t            left_size, piece;
	struct mm_feed   *feed;
	struct mm_player *player;       /* NULL: bare */
	struct mm_frame   said;         /* bare: packets of the filter */
	/* what an MTA may send next */
	bool              has_client, has_mail, has_rcpt, has_data, has_eoh;
};

static bool take(struct talk *t, struct operation *o)
{
	if (t->left_size < 3)
		return false;
	o->letter = t->left[0];
	o->size = t->left[1] | (size_t)t->left[2] << 8;
	t->left += 3;
	t->left_size -= 3;
	o->size = o->size < t->left_size ? o->size : t->left_size;
	o->bytes = t->left;
	t->left += o->size;
	t->left_size -= o->size;
	return true;
}

static void send_bytes(struct talk *t, const uint8_t *bytes, size_t size)
{
	while (size > 0 && !mm_feed_is_finished(t->feed)) {
		size_t n = size < t->piece ? size : t->piece;
		mm_feed_bytes(t->feed, bytes, n, NULL);
		bytes += n;
		size -= n;
	}
}

static void wait_for(struct talk *t)
{
	int turns = 0;
	for (; mm_feed_is_waiting(t->feed) && turns < TURNS_MAX; turns++)
		mm_host_turn(host, TURN);
	CHECK(turns < TURNS_MAX, "a handler waits for ever");
}

/* ---- bare packets ---- */

static void hear_bare(struct talk *t)
{
	struct mm_packet p;
	struct mm_mta_reply r;
	struct mm_fault why = { .class = MM_FAULT_NONE };
	size_t size;
	const void *bytes = mm_feed_output(t->feed, &size);
	CHECK(mm_frame_feed(&t->said, bytes, size, &why), why.text);
	while (mm_frame_next(&t->said, &p, &why) == MM_FRAME_PACKET) {
		CHECK(mm_mta_decode(&p, &r, &why), why.text);
		mm_frame_done(&t->said);
	}
	CHECK(mm_frame_pending(&t->said) == 0, "half a packet");
	CHECK(mm_frame_keep(&t->said, &why), why.text);
	mm_feed_consume(t->feed, size);
}

static void say_bare(struct talk *t, const struct operation *o)
{
	struct mm_buffer packet = { .size = 0 };
	if (o->letter == 'b')
		mm_buffer_append(&packet, o->bytes, o->size);
	else
		mm_frame_write(&packet, o->letter, o->bytes, o->size);
	send_bytes(t, packet.bytes, packet.size);
	mm_buffer_free(&packet);
	wait_for(t);
	hear_bare(t);
}

static void converse_bare(struct talk *t)
{
	struct operation o;
	struct mm_buffer hello = { .size = 0 };
	mm_mta_write_offer(&hello, &(struct mm_offer){ 6, 0x1ff, 0x1fffff });
	mm_frame_init(&t->said, MM_PACKET_DATA_MAX_1M);
	send_bytes(t, hello.bytes, hello.size);
	mm_buffer_free(&hello);
	hear_bare(t);
	while (take(t, &o))
		say_bare(t, &o);
	mm_frame_free(&t->said);
}

/* ---- a played MTA ---- */

static void check_message(struct mm_player *p)
{
	size_t size;
	if (!mm_player_reply(p)->ends_message)
		return;
	CHECK(mm_player_message(p, &size) != NULL && mm_player_sender(p, &size) != NULL, "no message");
	for (unsigned i = 0; mm_player_recipient(p, i, &size) != NULL; i++)
		CHECK(size > 0, "an empty recipient");
}

/* Carries bytes between the two until the reply is there. False: the client is gone. */
static bool settle(struct talk *t)
{
	struct mm_player *p = t->player;
	size_t size;
	const void *bytes = mm_player_output(p, &size);
	send_bytes(t, bytes, size);
	mm_player_consume(p, size);
	wait_for(t);
	bytes = mm_feed_output(t->feed, &size);
	if (size > 0)
		mm_player_hear(p, bytes, size);
	mm_feed_consume(t->feed, size);
	CHECK(mm_player_error(p) == NULL, mm_player_error(p)->text);
	CHECK(!mm_player_is_waiting(p) || mm_feed_is_finished(t->feed), "no reply");
	CHECK(mm_player_reply(p)->complaint == NULL, mm_player_reply(p)->complaint);
	check_message(p);
	if (mm_player_reply(p)->ends_message)
		t->has_mail = t->has_rcpt = t->has_data = t->has_eoh = false;
	return !mm_feed_is_finished(t->feed) && !mm_player_reply(p)->ends_session;
}

static size_t text_size(const struct operation *o)
{
	const uint8_t *nul = memchr(o->bytes, '\0', o->size);
	return nul != NULL ? (size_t)(nul - o->bytes) : o->size;
}

static bool say_client(struct talk *t, const struct operation *o)
{
	char name[256];
	snprintf(name, sizeof name, "%.*s", (int)(text_size(o) < 255 ? text_size(o) : 255), (const char *)o->bytes);
	mm_player_connect(t->player, &(struct mm_player_client){ .family = "inet", .host = name, .address = "192.0.2.7",
		.port = 25 });
	t->has_client = true;
	return settle(t);
}

static bool begin_client(struct talk *t)
{
	return t->has_client || say_client(t, &(struct operation){ 'C', (const uint8_t *)"client.example", 14 });
}

static bool begin_message(struct talk *t)
{
	if (!begin_client(t))
		return false;
	if (!t->has_mail) {
		mm_player_mail(t->player, "<ann@a.example>", 15, "", 0);
		t->has_mail = true;
		if (!settle(t))
			return false;
	}
	if (t->has_mail && !t->has_rcpt) {
		mm_player_rcpt(t->player, "<bob@b.example>", 15, "", 0);
		t->has_rcpt = true;
		if (!settle(t))
			return false;
	}
	if (t->has_mail && !t->has_data) {
		t->has_data = true;
		mm_player_data(t->player);
		return settle(t);
	}
	return true;
}

static bool say_field(struct talk *t, const uint8_t *bytes, size_t size)
{
	const uint8_t *colon = memchr(bytes, ':', size);
	char value[65536];
	size_t at = 0;
	if (colon == NULL || colon == bytes || !t->has_mail || t->has_eoh)
		return true;
	for (const uint8_t *b = colon + 1; b < bytes + size && at < sizeof value; b++)
		if (*b != '\0' && *b != '\r')
			value[at++] = (char)*b;
	mm_player_header(t->player, (const char *)bytes, (size_t)(colon - bytes), value, at);
	return settle(t);
}

static bool end_header(struct talk *t)
{
	if (!t->has_mail || t->has_eoh)
		return true;
	t->has_eoh = true;
	mm_player_eoh(t->player);
	return settle(t);
}

static bool say_body(struct talk *t, const uint8_t *bytes, size_t size)
{
	if (size == 0 || !t->has_mail)
		return true;
	mm_player_body(t->player, bytes, size);
	return settle(t);
}

static bool end_message(struct talk *t)
{
	if (!begin_message(t) || !end_header(t))
		return false;
	if (!t->has_mail)
		return true;
	mm_player_eom(t->player);
	return settle(t);
}

/* Cuts a mail file with LF into fields and a body. */
static bool say_file(struct talk *t, const struct operation *o)
{
	const uint8_t *at = o->bytes, *end = at + o->size;
	if (!begin_message(t))
		return false;
	while (at < end && *at != '\n') {
		const uint8_t *lf = memchr(at, '\n', (size_t)(end - at));
		while (lf != NULL && lf + 1 < end && (lf[1] == ' ' || lf[1] == '\t'))
			lf = memchr(lf + 1, '\n', (size_t)(end - lf - 1));
		if (!say_field(t, at, (size_t)((lf != NULL ? lf : end) - at)))
			return false;
		at = lf != NULL ? lf + 1 : end;
	}
	at += at < end;
	return end_header(t) && say_body(t, at, (size_t)(end - at)) && end_message(t);
}

static bool say_address(struct talk *t, const struct operation *o)
{
	size_t size = text_size(o), params = size < o->size ? o->size - size - 1 : 0;
	const char *strings = (const char *)o->bytes + o->size - params;
	if (params > 0 && strings[params - 1] != '\0')
		params = 0;                     /* each ends with a NUL */
	if (!begin_client(t) || size == 0 || t->has_data || t->has_mail == (o->letter == 'M'))
		return true;
	t->has_mail = true;
	if (o->letter == 'M') {
		mm_player_mail(t->player, (const char *)o->bytes, size, strings, params);
	} else {
		mm_player_rcpt(t->player, (const char *)o->bytes, size, strings, params);
		t->has_rcpt = true;
	}
	return settle(t);
}

static bool say(struct talk *t, const struct operation *o)
{
	switch (o->letter) {
	case 'C': return t->has_client || say_client(t, o);
	case 'M': case 'R': return say_address(t, o);
	case 'L': return begin_message(t) && say_field(t, o->bytes, o->size);
	case 'N': return begin_message(t) && end_header(t);
	case 'B': return begin_message(t) && end_header(t) && say_body(t, o->bytes, o->size);
	case 'E': return end_message(t);
	case 'F': return say_file(t, o);
	case 'H': case 'U':
		if (!begin_client(t) || (o->letter == 'H' && t->has_mail))
			return t->has_client;
		(o->letter == 'H' ? mm_player_helo : mm_player_unknown)(t->player, (const char *)o->bytes,
			text_size(o));
		return settle(t);
	case 'A':
		if (!t->has_mail)
			return true;
		mm_player_abort(t->player);
		t->has_mail = t->has_rcpt = t->has_data = t->has_eoh = false;
		return settle(t);
	default:
		return o->letter != 'Q';
	}
}

static void converse(struct talk *t, bool is_sendmail)
{
	struct operation o;
	t->player = mm_player_open(&(struct mm_player_profile){ .kind = is_sendmail ? "sendmail" : "postfix",
		.name = "mx.example", .version = 6, .actions = 0x1ff, .steps = 0x1fffff }, NULL);
	CHECK(t->player != NULL, "out of memory");
	mm_player_negotiate(t->player);
	bool goes_on = settle(t);
	while (goes_on && take(t, &o))
		goes_on = say(t, &o);
	if (goes_on) {
		mm_player_quit(t->player);
		settle(t);
	}
	mm_player_close(t->player);
}

/* What the host and its Lua states hold between two inputs is no leak; what grows meets memory_hard or the fuzzer's
 * limit. */
const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mm_error error;
	if (size < 2 || size > 65536)
		return 0;
	if (host == NULL)
		open_host();
	double begun = cpu_now();
	struct talk t = { .left = data + 2, .left_size = size - 2, .piece = data[1] & 0xfc ? data[1] >> 2 : 65536 };
	is_bare = (data[1] & 2) != 0;
	t.feed = mm_feed_open(host, milters[data[0] % (sizeof milters / sizeof *milters)], &error);
	CHECK(t.feed != NULL, error.text);
	if (is_bare)
		converse_bare(&t);
	else
		converse(&t, data[1] & 1);
	mm_feed_hang_up(t.feed);
	wait_for(&t);
	mm_feed_close(t.feed);
	mm_host_turn(host, 0);
	check_sessions();
	CHECK(cpu_now() - begun < CPU_MAX, "too much CPU time");
	return 0;
}
