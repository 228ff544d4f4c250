#include "story/differences.h"

#include "base/clock.h"
#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define READ_TRIES 4            /* of an example that is being written */

/* ---- life ---- */

struct mm_differences *mm_differences_new(const char *const *names, unsigned row_count, bool redacts)
{
	struct mm_differences *d = calloc(1, sizeof *d);
	if (d == NULL)
		return NULL;
	size_t rows = (row_count * sizeof *d->rows + 63) & ~(size_t)63;
	d->size = rows + sizeof *d->tickets + MM_DIFFERENCES_EXAMPLES * sizeof *d->examples;
	char *memory = mmap(NULL, d->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED) {
		free(d);
		return NULL;
	}
	d->rows = (void *)memory;
	d->tickets = (void *)(memory + rows);
	d->examples = (void *)(d->tickets + 1);
	d->row_count = row_count;
	d->redacts = redacts;
	for (unsigned i = 0; i < row_count; i++)
		snprintf(d->rows[i].milter, sizeof d->rows[i].milter, "%s", names[i]);
	return d;
}

void mm_differences_free(struct mm_differences *d)
{
	if (d == NULL)
		return;
	munmap(d->rows, d->size);
	free(d);
}

/* ---- writing ---- */

static void add(uint64_t *count, uint64_t n)
{
	__atomic_fetch_add(count, n, __ATOMIC_RELAXED);
}

static uint64_t get(const uint64_t *count)
{
	return __atomic_load_n(count, __ATOMIC_RELAXED);
}

void mm_differences_begin(struct mm_differences *d, unsigned row, unsigned long generation, enum mm_shadow_state state,
	uint32_t share, const char *why)
{
	struct mm_differences_row *r = &d->rows[row];
	uint32_t before = __atomic_exchange_n(&r->generation, (uint32_t)generation, __ATOMIC_ACQ_REL);
	if (before != (uint32_t)generation) {
		r->since = mm_clock_wall();
		r->compared = r->agree = r->unseen = r->canary = 0;
		r->live_us = r->live_waited_us = r->shadow_us = r->shadow_waited_us = r->timed = 0;
		memset(r->kinds, 0, sizeof r->kinds);
	}
	if (mm_differences_are_to_blame(d, row, generation))
		state = MM_SHADOW_KILLED;
	snprintf(r->failure, sizeof r->failure, "%s", why != NULL ? why : "");
	r->share = share;
	__atomic_store_n(&r->state, state, __ATOMIC_RELEASE);
}

void mm_differences_switch(struct mm_differences *d, unsigned row, bool is_on)
{
	__atomic_store_n(&d->rows[row].is_off, !is_on, __ATOMIC_RELAXED);
}

void mm_differences_blame(struct mm_differences *d, unsigned row, unsigned long generation)
{
	if (d == NULL || row >= d->row_count)
		return;
	__atomic_store_n(&d->rows[row].killer, (uint32_t)generation, __ATOMIC_RELAXED);
	__atomic_store_n(&d->rows[row].state, MM_SHADOW_KILLED, __ATOMIC_RELEASE);
}

bool mm_differences_are_to_blame(const struct mm_differences *d, unsigned row, unsigned long generation)
{
	return __atomic_load_n(&d->rows[row].killer, __ATOMIC_RELAXED) == (uint32_t)generation;
}

/* "<ann@example.org>" -> "<*@example.org>" */
static void copy_from(const struct mm_differences *d, char *to, size_t size, const char *from)
{
	const char *at = strrchr(from, '@');
	if (d->redacts && from[0] != '\0')
		snprintf(to, size, "<*%.80s", at != NULL ? at : ">");
	else
		snprintf(to, size, "%s", from);
}

static uint32_t microseconds(double seconds)
{
	return seconds > 0 && seconds < 4000 ? (uint32_t)(seconds * 1e6) : 0;
}

static void fill_side(const struct mm_differences *d, struct mm_difference_side *to, const struct mm_upshot *u,
	const struct mm_upshot *other)
{
	size_t codes = strspn(u->reply, "0123456789. ");
	snprintf(to->verdict, sizeof to->verdict, "%s", u->is_dropped ? "dropped" : u->is_aborted ? "none"
		: mm_verdict_name(u->verdict));
	snprintf(to->reply, sizeof to->reply, "%.*s", d->redacts ? (int)codes : (int)sizeof to->reply, u->reply);
	snprintf(to->by, sizeof to->by, "%s", u->by);
	mm_upshot_odd_lines(u, other, d->redacts, to->edit, sizeof to->edit);
	to->us = microseconds(u->seconds);
	to->waited_us = microseconds(u->waited);
}

static void keep_example(struct mm_differences *d, unsigned row, const struct mm_upshot *live,
	const struct mm_upshot *shadow, uint32_t kinds)
{
	uint64_t ticket = __atomic_add_fetch(d->tickets, 1, __ATOMIC_RELAXED);
	struct mm_difference_example *e = &d->examples[ticket % MM_DIFFERENCES_EXAMPLES];
	__atomic_store_n(&e->ticket, 0, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	const struct mm_upshot *known = live->has_ended ? live : shadow;
	e->at = mm_clock_wall();
	e->milter = row;
	e->kinds = kinds;
	e->number = known->number;
	snprintf(e->session, sizeof e->session, "%s", known->session);
	snprintf(e->queue_id, sizeof e->queue_id, "%s", known->queue_id);
	copy_from(d, e->from, sizeof e->from, known->from);
	fill_side(d, &e->live, live, shadow);
	fill_side(d, &e->shadow, shadow, live);
	__atomic_store_n(&e->ticket, ticket, __ATOMIC_RELEASE);
}

void mm_differences_count(struct mm_differences *d, unsigned row, const struct mm_upshot *live,
	const struct mm_upshot *shadow, uint32_t kinds)
{
	struct mm_differences_row *r = &d->rows[row];
	if (kinds == MM_DIFFERENCE_UNSEEN) {
		add(&r->unseen, 1);
		return;
	}
	add(&r->compared, 1);
	add(&r->agree, kinds == 0);
	for (int i = 0; i < MM_DIFFERENCE_COUNT; i++)
		add(&r->kinds[i], kinds >> i & 1);
	if (!live->is_aborted && !shadow->is_aborted && !shadow->is_dropped) {
		add(&r->live_us, microseconds(live->seconds));
		add(&r->live_waited_us, microseconds(live->waited));
		add(&r->shadow_us, microseconds(shadow->seconds));
		add(&r->shadow_waited_us, microseconds(shadow->waited));
		add(&r->timed, 1);
	}
	if (kinds != 0)
		keep_example(d, row, live, shadow, kinds);
}

void mm_differences_count_canary(struct mm_differences *d, unsigned row)
{
	add(&d->rows[row].canary, 1);
}

/* ---- reading ---- */

#define END(text) ((text)[sizeof (text) - 1] = '\0')

static void end_side(struct mm_difference_side *s)
{
	END(s->verdict);
	END(s->reply);
	END(s->by);
	END(s->edit);
}

bool mm_differences_example(const struct mm_differences *d, unsigned n, struct mm_difference_example *out)
{
	uint64_t last = get(d->tickets);
	if (n >= MM_DIFFERENCES_EXAMPLES || n >= last)
		return false;
	const struct mm_difference_example *e = &d->examples[(last - n) % MM_DIFFERENCES_EXAMPLES];
	for (int i = 0; i < READ_TRIES; i++) {
		uint64_t ticket = __atomic_load_n(&e->ticket, __ATOMIC_ACQUIRE);
		memcpy(out, e, sizeof *out);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (ticket != last - n || __atomic_load_n(&e->ticket, __ATOMIC_RELAXED) != ticket)
			continue;
		END(out->session);
		END(out->queue_id);
		END(out->from);
		end_side(&out->live);
		end_side(&out->shadow);
		return out->milter < d->row_count;
	}
	return false;
}

/* ---- for people ---- */

static const char *when(double at, char to[32])
{
	struct tm utc;
	time_t seconds = (time_t)at;
	if (!(at >= 0 && at < 1e11) || gmtime_r(&seconds, &utc) == NULL
	    || strftime(to, 32, "%Y-%m-%dT%H:%M:%SZ", &utc) == 0)
		snprintf(to, 32, "?");
	return to;
}

static const char *state_of(const struct mm_differences_row *r)
{
	static const char *const names[MM_SHADOW_STATE_COUNT] = { "none", "on", "failed", "killed" };
	if (r->state == MM_SHADOW_LOADED && r->is_off)
		return "off";
	return r->state < MM_SHADOW_STATE_COUNT ? names[r->state] : "?";
}

static void text_kinds(uint32_t kinds, struct mm_buffer *out)
{
	bool is_first = true;
	for (int i = 0; i < MM_DIFFERENCE_COUNT; i++) {
		if (!(kinds >> i & 1))
			continue;
		mm_buffer_format(out, "%s%s", is_first ? "" : ",", mm_difference_name((enum mm_difference)i));
		is_first = false;
	}
}

static void text_side(const char *name, const struct mm_difference_side *s, struct mm_buffer *out)
{
	mm_buffer_format(out, "    %-6s %s", name, s->verdict);
	if (s->reply[0] != '\0')
		mm_buffer_format(out, " \"%s\"", s->reply);
	if (s->by[0] != '\0')
		mm_buffer_format(out, " by %s", s->by);
	mm_buffer_format(out, ", %.1f ms", s->us / 1e3);
	if (s->waited_us > 0)
		mm_buffer_format(out, " (waited %.1f)", s->waited_us / 1e3);
	mm_buffer_format(out, "\n");
	if (s->edit[0] != '\0')
		mm_buffer_format(out, "           %s\n", s->edit);
}

static void text_example(const struct mm_difference_example *e, struct mm_buffer *out)
{
	char at[32];
	mm_buffer_format(out, "  %s %s from %s: ", when(e->at, at), e->queue_id[0] != '\0' ? e->queue_id : e->session,
		e->from[0] != '\0' ? e->from : "?");
	text_kinds(e->kinds, out);
	mm_buffer_format(out, "\n");
	text_side("live", &e->live, out);
	text_side("shadow", &e->shadow, out);
}

static double average_ms(uint64_t us, uint64_t n)
{
	return n > 0 ? (double)us / 1e3 / (double)n : 0;
}

static void text_row(const struct mm_differences_row *r, struct mm_buffer *out)
{
	char at[32];
	mm_buffer_format(out, "milter %s: shadow %s since %s", r->milter, state_of(r), when(r->since, at));
	if (r->share > 0)
		mm_buffer_format(out, ", decides for %g%% of the clients (%llu messages)", r->share / 100.0,
			(unsigned long long)r->canary);
	mm_buffer_format(out, "\n");
	if (r->state == MM_SHADOW_FAILED)
		mm_buffer_format(out, "  not loaded: %s\n", r->failure);
	if (r->state == MM_SHADOW_KILLED)
		mm_buffer_format(out, "  a worker died while its scripts ran; it is out of use until the next "
			"reload\n");
	mm_buffer_format(out, "  compared %llu, agree %llu, differ %llu; not seen to the end %llu\n",
		(unsigned long long)r->compared, (unsigned long long)r->agree,
		(unsigned long long)(r->compared - r->agree), (unsigned long long)r->unseen);
	for (int i = 0; i < MM_DIFFERENCE_COUNT; i++)
		if (r->kinds[i] > 0)
			mm_buffer_format(out, "  %-10s %llu\n", mm_difference_name((enum mm_difference)i),
				(unsigned long long)r->kinds[i]);
	if (r->timed > 0)
		mm_buffer_format(out, "  time to the verdict, on average: live %.1f ms (waited %.1f), shadow %.1f ms "
			"(waited %.1f)\n",
			average_ms(r->live_us, r->timed), average_ms(r->live_waited_us, r->timed),
			average_ms(r->shadow_us, r->timed), average_ms(r->shadow_waited_us, r->timed));
}

static void text_all(const struct mm_differences *d, unsigned examples, struct mm_buffer *out)
{
	struct mm_difference_example e;
	bool has_any = false;
	for (unsigned i = 0; i < d->row_count; i++) {
		struct mm_differences_row r = d->rows[i];
		END(r.milter);
		END(r.failure);
		if (r.state == MM_SHADOW_ABSENT)
			continue;
		text_row(&r, out);
		has_any = true;
	}
	if (!has_any)
		mm_buffer_format(out, "no milter has a shadow; set shadow = \"scripts.next\" in the configuration and "
			"reload\n");
	for (unsigned n = 0; n < examples; n++) {
		if (!mm_differences_example(d, n, &e))
			continue;
		if (n == 0)
			mm_buffer_format(out, "the last that differ:\n");
		text_example(&e, out);
	}
}

/* ---- for programs ---- */

static void json_side(struct mm_json *j, const char *name, const struct mm_difference_side *s)
{
	const struct { const char *key, *value; } texts[] = {
		{ "verdict", s->verdict }, { "reply", s->reply }, { "decided_by", s->by }, { "edit", s->edit },
	};
	mm_json_key(j, name);
	mm_json_open(j, '{');
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		if (texts[i].value[0] == '\0')
			continue;
		mm_json_key(j, texts[i].key);
		mm_json_string(j, texts[i].value);
	}
	mm_json_key_number(j, "seconds", s->us / 1e6);
	mm_json_key_number(j, "waited", s->waited_us / 1e6);
	mm_json_close(j, '}');
}

static void json_text(struct mm_json *j, const char *key, const char *value)
{
	mm_json_key(j, key);
	mm_json_string(j, value[0] != '\0' ? value : NULL);
}

static void json_example(const struct mm_differences *d, struct mm_json *j, const struct mm_difference_example *e)
{
	char at[32];
	mm_json_open(j, '{');
	json_text(j, "at", when(e->at, at));
	json_text(j, "milter", d->rows[e->milter].milter);
	json_text(j, "session", e->session);
	mm_json_key_integer(j, "message", e->number);
	json_text(j, "queue_id", e->queue_id);
	json_text(j, "from", e->from);
	mm_json_key(j, "kinds");
	mm_json_open(j, '[');
	for (int i = 0; i < MM_DIFFERENCE_COUNT; i++)
		if (e->kinds >> i & 1)
			mm_json_string(j, mm_difference_name((enum mm_difference)i));
	mm_json_close(j, ']');
	json_side(j, "live", &e->live);
	json_side(j, "shadow", &e->shadow);
	mm_json_close(j, '}');
}

static void json_row(struct mm_json *j, const struct mm_differences_row *r)
{
	char at[32];
	mm_json_open(j, '{');
	json_text(j, "milter", r->milter);
	json_text(j, "state", state_of(r));
	json_text(j, "since", when(r->since, at));
	mm_json_key_number(j, "share", r->share / 100.0);
	if (r->failure[0] != '\0')
		json_text(j, "failure", r->failure);
	mm_json_key_integer(j, "compared", r->compared);
	mm_json_key_integer(j, "agree", r->agree);
	mm_json_key_integer(j, "differ", r->compared - r->agree);
	mm_json_key_integer(j, "unseen", r->unseen);
	mm_json_key_integer(j, "canary", r->canary);
	mm_json_key(j, "kinds");
	mm_json_open(j, '{');
	for (int i = 0; i < MM_DIFFERENCE_COUNT; i++)
		mm_json_key_integer(j, mm_difference_name((enum mm_difference)i), r->kinds[i]);
	mm_json_close(j, '}');
	mm_json_key_integer(j, "timed", r->timed);
	mm_json_key_number(j, "live_seconds", (double)r->live_us / 1e6);
	mm_json_key_number(j, "live_waited", (double)r->live_waited_us / 1e6);
	mm_json_key_number(j, "shadow_seconds", (double)r->shadow_us / 1e6);
	mm_json_key_number(j, "shadow_waited", (double)r->shadow_waited_us / 1e6);
	mm_json_close(j, '}');
}

static void json_all(const struct mm_differences *d, unsigned examples, struct mm_buffer *out)
{
	struct mm_json j = { .out = out };
	struct mm_difference_example e;
	mm_json_open(&j, '{');
	mm_json_key(&j, "shadows");
	mm_json_open(&j, '[');
	for (unsigned i = 0; i < d->row_count; i++) {
		struct mm_differences_row r = d->rows[i];
		END(r.milter);
		END(r.failure);
		if (r.state != MM_SHADOW_ABSENT)
			json_row(&j, &r);
	}
	mm_json_close(&j, ']');
	mm_json_key(&j, "examples");
	mm_json_open(&j, '[');
	for (unsigned n = 0; n < examples; n++)
		if (mm_differences_example(d, n, &e))
			json_example(d, &j, &e);
	mm_json_close(&j, ']');
	mm_json_close(&j, '}');
	mm_buffer_append(out, "\n", 1);
}

bool mm_differences_show(const struct mm_differences *d, bool is_json, unsigned examples, struct mm_buffer *out)
{
	if (is_json)
		json_all(d, examples, out);
	else
		text_all(d, examples, out);
	return !out->failed;
}

bool mm_differences_explain(const struct mm_differences *d, const char *id, bool is_json, struct mm_buffer *out)
{
	struct mm_difference_example e;
	struct mm_json j = { .out = out };
	bool has_any = false;
	for (unsigned n = 0; n < MM_DIFFERENCES_EXAMPLES; n++) {
		if (!mm_differences_example(d, n, &e) || (strcmp(e.queue_id, id) != 0 && strcmp(e.session, id) != 0))
			continue;
		if (!is_json && !has_any)
			mm_buffer_format(out, "its shadow differs:\n");
		has_any = true;
		if (!is_json) {
			text_example(&e, out);
			continue;
		}
		j.needs_comma = false;
		json_example(d, &j, &e);
		mm_buffer_append(out, "\n", 1);
	}
	return has_any;
}
