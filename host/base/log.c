#include "base/log.h"

#include "base/bounds.h"
#include "base/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

static const char level_names[][8] = { "debug", "info", "warn", "error" };     /* ORDER LOG_LEVEL */
static const uint8_t level_sizes[] = { 5, 4, 4, 5 };

/* For those who link with them. */
extern inline void mm_log_text(struct mm_log_line *, const char *, struct mm_text);
extern inline void mm_log_string(struct mm_log_line *, const char *, const char *);
extern inline void mm_log_word(struct mm_log_line *, const char *, const char *);
extern inline void mm_log_bare(struct mm_log_line *, const char *, struct mm_text);
extern inline void mm_log_number(struct mm_log_line *, const char *, long long);
extern inline void mm_log_seconds(struct mm_log_line *, const char *, double);

#define TAIL_SIZE MM_LOG_TAIL_SIZE

void mm_log_init(struct mm_log *log, int fd)
{
	*log = (struct mm_log){ .level = MM_LEVEL_INFO, .output = { .fd = -1, .given = -1 } };
	mm_log_to_descriptor(log, fd);
}

void mm_log_to_descriptor(struct mm_log *log, int fd)
{
	mm_log_flush(log);
	log->sink = NULL;
	if (fd >= 0 && log->output.given == fd)         /* the process may no longer have the right to reopen it */
		return;
	mm_log_output_open(&log->output, fd);
	log->is_terminal = fd >= 0 && isatty(fd);
}

void mm_log_to_file(struct mm_log *log, int fd)
{
	mm_log_flush(log);
	log->sink = NULL;
	mm_log_output_file(&log->output, fd);
	log->is_terminal = false;
}

void mm_log_to_syslog(struct mm_log *log)
{
	mm_log_flush(log);
	log->sink = NULL;
	mm_log_output_syslog(&log->output);
	log->is_terminal = false;
}

void mm_log_close(struct mm_log *log)
{
	mm_log_flush(log);
	mm_log_output_close(&log->output);
}

bool mm_log_level_of_name(const char *name, enum mm_level *out)
{
	for (int level = MM_LEVEL_DEBUG; level <= MM_LEVEL_ERROR; level++) {
		if (strcmp(level_names[level], name) != 0)
			continue;
		*out = (enum mm_level)level;
		return true;
	}
	return false;
}

static void put(struct mm_log_line *l, const char *bytes, size_t n)
{
	if (l->is_cut || n > sizeof l->bytes - TAIL_SIZE - l->size) {
		l->is_cut = true;
		return;
	}
	memcpy(l->bytes + l->size, bytes, n);
	l->size += n;
}

static void put_string(struct mm_log_line *l, const char *text)
{
	put(l, text, strlen(text));
}

/* Length of a visible multi-byte UTF-8 sequence at the start of t, 0 when there is none. Characters that end a line,
 * control a terminal (U+0080 to U+009F) or change the direction of the text after them are shown as bytes. */
static size_t shown_utf8(struct mm_text t)
{
	const unsigned char *p = (const unsigned char *)t.bytes;
	size_t n = mm_utf8_size(t);
	if (n < 2)
		return 0;
	bool separator = p[0] == 0xe2 && p[1] == 0x80 && (p[2] == 0xa8 || p[2] == 0xa9);        /* U+2028, U+2029 */
	return separator || mm_utf8_is_command((struct mm_text){ t.bytes, n }) ? 0 : n;
}

static void put_escaped(struct mm_log_line *l, struct mm_text t)
{
	const unsigned char *p = (const unsigned char *)t.bytes;
	for (size_t i = 0; i < t.size && !l->is_cut;) {
		char escape[8];
		size_t sequence;
		if (p[i] == '"' || p[i] == '\\') {
			put(l, (char[]){ '\\', (char)p[i] }, 2);
		} else if (p[i] == '\n') {
			if (l->log->is_terminal && !l->log->is_json)
				put_string(l, "\n      ");
			else
				put_string(l, "\\n");
		} else if (p[i] >= 0x20 && p[i] < 0x7f) {
			put(l, (const char *)p + i, 1);
		} else if (p[i] >= 0x80 && (sequence = shown_utf8((struct mm_text){ t.bytes + i, t.size - i })) > 0) {
			put(l, (const char *)p + i, sequence);
			i += sequence;
			continue;
		} else {
			/* JSON knows only \u; a lone byte is shown as the code point of the same number */
			snprintf(escape, sizeof escape, l->log->is_json ? "\\u%04x" : "\\x%02x", p[i]);
			put_string(l, escape);
		}
		i++;
	}
}

/* Where the value begins. The caller has looked for room. */
static inline char *write_key(const struct mm_log_line *l, char *to, struct mm_text key)
{
	if (!l->log->is_json) {
		*to++ = ' ';
		memcpy(to, key.bytes, key.size);
		to += key.size;
		*to++ = '=';
		return to;
	}
	memcpy(to, ",\"", 2);
	memcpy(to + 2, key.bytes, key.size);
	memcpy(to + 2 + key.size, "\":", 2);
	return to + key.size + 4;
}

static void put_key(struct mm_log_line *l, struct mm_text key)
{
	if (l->is_cut || key.size + sizeof ",\"\":" > sizeof l->bytes - TAIL_SIZE - l->size) {
		l->is_cut = true;
		return;
	}
	l->size = (size_t)(write_key(l, l->bytes + l->size, key) - l->bytes);
}

/* Where a value of this size goes that needs no escapes, after its key; NULL: there is no room for all of the pair. */
static inline char *begin_pair(struct mm_log_line *l, struct mm_text key, size_t value_size)
{
	if (l->is_cut || key.size + value_size + sizeof ",\"\":\"\"" > sizeof l->bytes - TAIL_SIZE - l->size)
		return NULL;
	return write_key(l, l->bytes + l->size, key);
}

static inline bool put_pair(struct mm_log_line *l, struct mm_text key, struct mm_text value, bool quotes)
{
	char *to = begin_pair(l, key, value.size);
	if (to == NULL)
		return false;
	if (quotes)
		*to++ = '"';
	if (value.size > 0)
		memcpy(to, value.bytes, value.size);
	to += value.size;
	if (quotes)
		*to++ = '"';
	l->size = (size_t)(to - l->bytes);
	return true;
}

/* ---- numbers: printf would take more instructions than the rest of a line ---- */

#define DIGITS_MAX 24

/* Writes the digits before `end`, at least `least` of them. Returns where they begin. */
static char *digits(char *end, unsigned long long value, int least)
{
	do {
		*--end = (char)('0' + value % 10);
		value /= 10;
	} while (--least > 0 || value > 0);
	return end;
}

#define STAMP_SIZE 20           /* bytes of a second's text, until the year 10000 */

/* The text of a second is made once. */
static void put_time(struct mm_log_line *l)
{
	struct mm_log *log = l->log;
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	if (now.tv_sec != log->stamp_second) {
		struct tm utc;
		gmtime_r(&now.tv_sec, &utc);
		strftime(log->stamp, sizeof log->stamp, "%Y-%m-%dT%H:%M:%S.", &utc);
		log->stamp_second = now.tv_sec;
	}
	unsigned ms = (unsigned)now.tv_nsec / 1000000;
	char *to = l->bytes + l->size;          /* a line begins with it: there is room */
	memcpy(to, log->stamp, STAMP_SIZE);
	to[STAMP_SIZE] = (char)('0' + ms / 100);
	to[STAMP_SIZE + 1] = (char)('0' + ms / 10 % 10);
	to[STAMP_SIZE + 2] = (char)('0' + ms % 10);
	to[STAMP_SIZE + 3] = 'Z';
	l->size += STAMP_SIZE + 4;
}

void mm_log_begin(struct mm_log_line *l, struct mm_log *log, enum mm_level level, const char *event)
{
	l->log = log;
	l->level = level;
	l->is_tapped = log->tap != NULL && log->tap->wants(log->tap->self);
	l->is_on = level >= log->level || l->is_tapped;
	l->is_cut = l->is_partial = l->is_open = false;
	l->size = l->event_at = 0;
	l->kind = 0;
	l->event = event;
	l->peer = NULL;
	l->is_outcome = l->may_wait = false;
	if (!l->is_on)
		return;
	if (log->is_json) {
		put_string(l, "{\"time\":\"");
		put_time(l);
		put_string(l, "\",\"level\":\"");
		put_string(l, level_names[level]);
		put_string(l, "\",\"event\":\"");
		put_string(l, event);
		put_string(l, "\"");
		return;
	}
	if (!log->is_terminal) {
		put_time(l);
		l->bytes[l->size++] = ' ';
	}
	memcpy(l->bytes + l->size, level_names[level], sizeof level_names[level]);
	l->size += level_sizes[level];
	l->bytes[l->size++] = ' ';
	l->event_at = l->size;
	put_string(l, event);
}

/* What a byte is in a value. Only ASCII: sequences of UTF-8 are looked at one by one. */
#define IS_CLEAN 1u             /* is written as it is */
#define IS_BARE  2u             /* and needs no quotes */
#define CLEAN    IS_CLEAN
#define BARE     IS_CLEAN | IS_BARE
static const uint8_t classes[256] = {
	[' '] = CLEAN, ['!'] = BARE, ['#' ... '<'] = BARE, ['='] = CLEAN, ['>' ... '['] = BARE, [']' ... '~'] = BARE,
};

/* The classes that all bytes have. */
static unsigned classes_of(struct mm_text t)
{
	unsigned all = t.size > 0 ? BARE : IS_CLEAN;
	for (size_t i = 0; i < t.size; i++)
		all &= classes[(unsigned char)t.bytes[i]];
	return all;
}

/* Escapes, cuts, or both. */
static void put_text(struct mm_log_line *l, struct mm_text key, struct mm_text value, unsigned all)
{
	size_t before = l->size;
	bool quotes = l->log->is_json || !(all & IS_BARE);
	put_key(l, key);
	if (quotes)
		put(l, "\"", 1);
	if (l->is_cut) {                        /* do not write half a key */
		l->size = before;
		return;
	}
	if (all & IS_CLEAN && value.size < sizeof l->bytes - TAIL_SIZE - l->size)
		put(l, value.bytes, value.size);
	else
		put_escaped(l, value);
	if (quotes)
		put(l, "\"", 1);
	l->is_partial = l->is_cut;
	l->is_open = l->is_cut && quotes;
}

void mm_log_put_text(struct mm_log_line *l, struct mm_text key, struct mm_text value)
{
	if (!l->is_on || l->is_cut)
		return;
	unsigned all = classes_of(value);
	if (!(all & IS_CLEAN) || !put_pair(l, key, value, l->log->is_json || !(all & IS_BARE)))
		put_text(l, key, value, all);
}

void mm_log_put_word(struct mm_log_line *l, struct mm_text key, struct mm_text value)
{
	if (l->is_on && !l->is_cut && !put_pair(l, key, value, l->log->is_json))
		put_text(l, key, value, BARE);
}

void mm_log_put_bare(struct mm_log_line *l, struct mm_text key, struct mm_text value)
{
	if (l->is_on && !put_pair(l, key, value, false))
		l->is_cut = true;
}

static void put_digit(struct mm_log_line *l, struct mm_text key, char digit)
{
	char *to = l->is_on ? begin_pair(l, key, 1) : NULL;
	if (to == NULL) {
		l->is_cut |= l->is_on;
		return;
	}
	*to = digit;
	l->size = (size_t)(to + 1 - l->bytes);
}

void mm_log_put_number(struct mm_log_line *l, struct mm_text key, long long value)
{
	if (value >= 0 && value < 10) {         /* nearly all counts */
		put_digit(l, key, (char)('0' + value));
		return;
	}
	char text[DIGITS_MAX], *end = text + sizeof text;
	unsigned long long size = value < 0 ? 0 - (unsigned long long)value : (unsigned long long)value;
	char *at = digits(end, size, 1);
	if (value < 0)
		*--at = '-';
	mm_log_put_bare(l, key, (struct mm_text){ at, (size_t)(end - at) });
}

void mm_log_put_seconds(struct mm_log_line *l, struct mm_text key, double seconds)
{
	char text[DIGITS_MAX + 16];
	if (!(seconds >= 0 && seconds < 1e12)) {        /* a clock that was set back */
		int n = snprintf(text, sizeof text, "%.3f", seconds);
		mm_log_put_bare(l, key, (struct mm_text){ text, n > 0 && n < (int)sizeof text ? (size_t)n : 0 });
		return;
	}
	unsigned long long ms = (unsigned long long)(seconds * 1000 + 0.5);
	char *end = text + sizeof text, *at = digits(end, ms % 1000, 3);
	*--at = '.';
	at = digits(at, ms / 1000, 1);
	mm_log_put_bare(l, key, (struct mm_text){ at, (size_t)(end - at) });
}

/* ---- lines that are alike ---- */

_Static_assert(MM_LOG_PLACES == MM_LOG_KINDS + 1, "a place for each kind, and one more");

#define FNV_START 2166136261u
#define FNV_PRIME 16777619u

void mm_log_alike(struct mm_log_line *l, const char *text, size_t size)
{
	if (!l->is_on || l->level < MM_LEVEL_WARN)
		return;
	uint32_t kind = l->kind != 0 ? l->kind : FNV_START;
	for (size_t i = 0; i < size; i++)
		kind = (kind ^ (unsigned char)text[i]) * FNV_PRIME;
	l->kind = kind != 0 ? kind : 1;
}

static double seconds_now(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* The text of a line without the parts that differ from line to line: time and session. */
static void note_what(struct mm_log_repeats *r, const struct mm_log_line *l)
{
	static const char *const keys[] = { "text=", "error=", "\"text\":", "\"error\":" };
	const char *found = NULL;
	size_t size = 0;
	for (size_t i = 0; i < sizeof keys / sizeof *keys && found == NULL; i++)
		if ((found = memmem(l->bytes, l->size, keys[i], strlen(keys[i]))) != NULL)
			found += strlen(keys[i]);
	while (found != NULL && found + size < l->bytes + l->size && found[size] != '\n' && size < sizeof r->what)
		size++;
	snprintf(r->what, sizeof r->what, "%s %.*s", l->event, (int)size, found != NULL ? found : "");
}

static void say_repeats(struct mm_log *log, struct mm_log_repeats *r)
{
	struct mm_log_line line;
	uint32_t held_back = r->held_back;
	r->kind = 0;
	if (held_back == 0)
		return;
	mm_log_begin(&line, log, r->level, "log");
	mm_log_number(&line, "held_back", held_back);
	mm_log_string(&line, "like", r->what);
	mm_log_end(&line);
}

/* Its slot: the one it has, a free one, or that of the oldest. While all are in use, the last slot is for all others:
 * a peer that causes ever new kinds of warnings gets no further line for that. */
static struct mm_log_repeats *place_of(struct mm_log_repeats *repeats, uint32_t kind, double now)
{
	struct mm_log_repeats *best = repeats;
	for (int i = 0; i < MM_LOG_KINDS; i++) {
		struct mm_log_repeats *r = &repeats[i];
		if (r->kind == kind)
			return r;
		if (best->kind != 0 && (r->kind == 0 || r->since < best->since))
			best = r;
	}
	return best->kind != 0 && now - best->since < MM_LOG_REPEATS_EVERY ? &repeats[MM_LOG_KINDS] : best;
}

static bool is_held_back(const struct mm_log_line *l)
{
	if (l->kind == 0 || l->level < MM_LEVEL_WARN)
		return false;
	double now = seconds_now();
	struct mm_log_repeats *repeats = l->log->repeats + (l->peer != NULL ? MM_LOG_PLACES : 0);
	struct mm_log_repeats *r = place_of(repeats, l->kind, now);
	bool is_other = r == &repeats[MM_LOG_KINDS];
	uint32_t kind = is_other ? 1 : l->kind;
	if (r->kind != kind || now - r->since >= MM_LOG_REPEATS_EVERY) {
		if (r->kind != 0)
			say_repeats(l->log, r);
		*r = (struct mm_log_repeats){ .kind = kind, .since = now, .level = l->level };
	}
	if (++r->count <= (is_other ? MM_LOG_OTHERS_MAX : MM_LOG_REPEATS_MAX))
		return false;
	if (r->held_back++ == 0 && !is_other)
		note_what(r, l);
	else if (is_other)
		snprintf(r->what, sizeof r->what, "warnings of many kinds");
	return true;
}

/* ---- lines that an MTA causes ---- */

void mm_log_caused_by(struct mm_log_line *l, const char *peer, bool is_outcome)
{
	l->peer = peer != NULL ? peer : "this machine";
	l->is_outcome = is_outcome;
}

/* An address without its port: "192.0.2.7:40212", "[2001:db8::1]:40212". */
static size_t address_size(const char *peer)
{
	const char *port = strrchr(peer, ':');
	return port != NULL ? (size_t)(port - peer) : strlen(peer);
}

/* MTAs with the same hash share a limit: if each evicted the other, neither would have one. */
static struct mm_log_peer *peer_of(const struct mm_log_line *l, double now)
{
	struct mm_text address = { l->peer, address_size(l->peer) };
	struct mm_log_peer *p = &l->log->peers[mm_text_hash_mixed(address) % MM_LOG_PEERS];
	double most = l->log->rate * MM_LOG_SAVED;
	p->left += p->at == 0 ? most : (now - p->at) * l->log->rate;
	if (p->left > most)
		p->left = most;
	p->at = now;
	return p;
}

/* Has its MTA caused more than it may? Half of what a quiet MTA has saved up is for outcomes of messages alone. */
static bool is_too_much(const struct mm_log_line *l)
{
	struct mm_log *log = l->log;
	if (l->peer == NULL || log->rate <= 0)
		return false;
	double now = seconds_now();
	struct mm_log_peer *p = peer_of(l, now);
	double floor = l->is_outcome ? 0 : log->rate * MM_LOG_SAVED / 2;
	if (p->left >= floor + (double)l->size) {
		p->left -= (double)l->size;
		return false;
	}
	if (p->held_back++ == 0) {
		p->said_at = now;
		snprintf(p->name, sizeof p->name, "%.*s", (int)address_size(l->peer), l->peer);
	}
	p->outcomes += l->is_outcome;
	return true;
}

static void say_held_back(struct mm_log *log, struct mm_log_peer *p)
{
	struct mm_log_line line;
	uint32_t held_back = p->held_back, outcomes = p->outcomes;
	p->held_back = p->outcomes = 0;
	mm_log_begin(&line, log, MM_LEVEL_WARN, "log");
	mm_log_string(&line, "mta", p->name);
	mm_log_number(&line, "held_back", held_back);
	mm_log_number(&line, "messages", outcomes);
	mm_log_string(&line, "text", "lines that one MTA causes are more than log_rate");
	mm_log_end(&line);
}

/* ---- */

void mm_log_sweep(struct mm_log *log)
{
	double now = 0;
	for (int i = 0; i < MM_LOG_PEERS; i++) {
		struct mm_log_peer *p = &log->peers[i];
		if (p->held_back > 0 && seconds_now() - p->said_at >= MM_LOG_REPEATS_EVERY)
			say_held_back(log, p);
	}
	for (int i = 0; i < 2 * MM_LOG_PLACES; i++) {
		struct mm_log_repeats *r = &log->repeats[i];
		if (r->kind == 0)
			continue;
		if (now == 0)
			now = seconds_now();
		if (now - r->since >= MM_LOG_REPEATS_EVERY)
			say_repeats(log, r);
	}
}

/* ---- out ---- */

/* One line, or several. */
static void write_out(struct mm_log *log, enum mm_level level, const char *text, size_t size, unsigned lines)
{
	static const int priorities[] = { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERR };  /* ORDER LOG_LEVEL */
	unsigned lost = lines - mm_log_output_write(&log->output, priorities[level], text, size);
	log->dropped += lost;
	log->dropped_ever += lost;
}

static void close_line(struct mm_log_line *l)
{
	if (l->is_cut) {
		l->is_cut = false;
		/* there is room: TAIL_SIZE bytes are kept free */
		l->size += (size_t)snprintf(l->bytes + l->size, TAIL_SIZE, "%s%s%s", l->is_partial ? "..." : "",
			l->is_open ? "\"" : "", l->log->is_json ? ",\"is_cut\":true" : " is_cut=true");
	}
	if (l->log->is_json)
		l->bytes[l->size++] = '}';
}

/* Lines were lost, and the log has room again: logs how many. */
static bool say_dropped(struct mm_log *log)
{
	struct mm_log_line line;
	unsigned long dropped = log->dropped;
	mm_log_begin(&line, log, MM_LEVEL_WARN, "log");
	mm_log_number(&line, "dropped", (long long)dropped);
	close_line(&line);
	if (mm_log_output_write(&log->output, LOG_WARNING, line.bytes, line.size) == 0)
		return false;
	log->dropped -= dropped;
	return true;
}

/* Lines that are complete go out, after the number of those that were lost. */
static void send_out(struct mm_log *log, enum mm_level level, const char *text, size_t size, unsigned lines)
{
	if (log->dropped > 0 && !say_dropped(log)) {
		log->dropped += lines;
		log->dropped_ever += lines;
		return;
	}
	write_out(log, level, text, size, lines);
}

/* ---- lines that leave together ---- */

void mm_log_may_wait(struct mm_log_line *l)
{
	l->may_wait = true;
}

void mm_log_gather(struct mm_log *log, struct mm_log_waiting *waiting, void (*begins)(void *), void *self)
{
	mm_log_flush(log);
	log->gathered = (struct mm_log_gathered){ begins, self, waiting, (int)getpid() };
}

/* The lines that wait; they do no longer. NULL: there are none. */
static struct mm_log_waiting *take_waiting(struct mm_log *log, unsigned *lines)
{
	struct mm_log_waiting *w = log->gathered.waiting;
	*lines = w != NULL ? w->lines : 0;
	if (*lines == 0)
		return NULL;
	__atomic_store_n(&w->lines, 0, __ATOMIC_RELEASE);
	return w;
}

void mm_log_flush(struct mm_log *log)
{
	unsigned lines;
	const struct mm_log_waiting *w = take_waiting(log, &lines);
	if (w != NULL)
		send_out(log, MM_LEVEL_INFO, w->bytes, w->size, lines);
}

void mm_log_last_words(struct mm_log *log)
{
	unsigned lines;
	if (log->gathered.pid != (int)getpid())
		return;                         /* a script has forked: its parent writes them */
	const struct mm_log_waiting *w = take_waiting(log, &lines);
	if (w != NULL)
		mm_log_output_write(&log->output, LOG_INFO, w->bytes, w->size);
}

void mm_log_forked(struct mm_log *log)
{
	log->gathered = (struct mm_log_gathered){ .begins = NULL };
}

/* How many lines these bytes are; 0: they cannot be lines of a log. */
static unsigned lines_in(const char *bytes, size_t size)
{
	unsigned lines = size > 0;
	for (size_t i = 0; i < size; i++) {
		unsigned char byte = (unsigned char)bytes[i];
		if (byte == '\n')
			lines++;
		else if (byte < 0x20 || byte == 0x7f)
			return 0;
	}
	return lines;
}

void mm_log_inherit(struct mm_log *log, const struct mm_log_waiting *left)
{
	char bytes[MM_LOG_LINE_SIZE];
	uint32_t size = left->size;
	if (left->lines == 0 || size > sizeof bytes - TAIL_SIZE || log->sink != NULL)
		return;
	memcpy(bytes, left->bytes, size);
	unsigned lines = lines_in(bytes, size);
	if (lines == 0)
		return;
	mm_log_flush(log);
	send_out(log, MM_LEVEL_INFO, bytes, size, lines);
}

/* A signal between finds whole lines, and so does who looks after the end of this process. */
static void gather(struct mm_log *log, const struct mm_log_line *l)
{
	struct mm_log_gathered *g = &log->gathered;
	struct mm_log_waiting *w = g->waiting;
	if (w->lines > 0 && w->size + 1 + l->size > sizeof w->bytes - TAIL_SIZE)
		mm_log_flush(log);
	uint32_t at = w->lines > 0 ? w->size : 0;
	if (w->lines > 0)
		w->bytes[at++] = '\n';
	else
		g->begins(g->self);
	memcpy(w->bytes + at, l->bytes, l->size);
	__atomic_store_n(&w->size, at + (uint32_t)l->size, __ATOMIC_RELEASE);
	__atomic_store_n(&w->lines, w->lines + 1, __ATOMIC_RELEASE);
}

/* Each line for syslog is a datagram, and a level of its own. */
static bool can_wait(const struct mm_log_line *l)
{
	return l->may_wait && l->log->gathered.begins != NULL && l->level == MM_LEVEL_INFO
		&& l->log->output.kind != MM_LOG_SYSLOG;
}

void mm_log_end(struct mm_log_line *l)
{
	struct mm_log *log = l->log;
	bool is_closed = l->is_on && l->is_tapped;
	if (is_closed) {
		close_line(l);
		log->tap->line(log->tap->self, l->level, l->event, l->bytes + l->event_at, l->size - l->event_at);
	}
	if (!l->is_on || l->level < log->level || is_held_back(l) || is_too_much(l))
		return;
	if (!is_closed)
		close_line(l);
	if (log->sink != NULL) {
		log->sink(log->sink_self, l->level, l->bytes, l->size);
	} else if (can_wait(l)) {
		gather(log, l);
	} else {
		mm_log_flush(log);
		send_out(log, l->level, l->bytes, l->size, 1);
	}
}

void mm_log_say(struct mm_log *log, enum mm_level level, const char *event, const char *format, ...)
{
	if (!mm_log_wants(log, level))
		return;
	char text[2048];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	struct mm_log_line line;
	mm_log_begin(&line, log, level, event);
	mm_log_string(&line, "text", text);
	mm_log_alike(&line, event, strlen(event));
	mm_log_alike(&line, format, strlen(format));
	mm_log_end(&line);
}
