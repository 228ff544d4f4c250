#include "io/next.h"

#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct loaded {
	struct mm_generation *shadow, *canary;  /* owned references; NULL: none */
	uint32_t              share;
	bool                  is_wanted;
	char                  failure[400];     /* "": none */
};

struct row {
	char                 name[80];  /* "inbound.shadow": its stores and metrics, and its log lines */
	struct loaded        current, prepared;
	struct mm_shadow_of  of;        /* of current.shadow */
	struct mm_joint      joint;     /* for the connection that is being opened */
	struct mm_figures   *figures;   /* owned: of the shadow; NULL: none was wanted yet */
};

struct mm_next {
	struct mm_next_settings settings;
	struct mm_shadows       shadows;
	struct mm_generation   *all;            /* list of the shadows in memory */
	struct mm_worker_memory memory;         /* of their Lua states, apart from the worker's */
	struct mm_census_row    own;            /* counts their errors, which are not the worker's */
	struct row             *rows;           /* owned: one a milter */
	unsigned                at;             /* 2 * milter, + 1 for its canary: loads, or is loaded next */
	bool                    is_loading;
	void                  (*done)(void *self);
	void                   *done_self;
};

/* ---- life ---- */

struct mm_next *mm_next_new(const struct mm_next_settings *s)
{
	struct mm_next *n = calloc(1, sizeof *n);
	if (n == NULL)
		return NULL;
	n->settings = *s;
	n->settings.id_prefix = NULL;
	n->rows = calloc(s->milter_count, sizeof *n->rows);
	n->shadows.log = s->log;
	n->shadows.differences = s->differences;
	n->shadows.profile = s->profile;
	snprintf(n->shadows.engines.id_prefix, sizeof n->shadows.engines.id_prefix, "%s", s->id_prefix);
	if (n->rows == NULL || !mm_shadows_init(&n->shadows, s->loop)) {
		mm_next_free(n);
		return NULL;
	}
	for (unsigned i = 0; i < s->milter_count; i++) {
		struct row *row = &n->rows[i];
		snprintf(row->name, sizeof row->name, "%s.shadow", s->milter_names[i]);
		row->of = (struct mm_shadow_of){ .all = &n->shadows, .figures = s->figures[i], .row = i,
			.milter_in_log = s->milter_count > 1 ? s->milter_names[i] : NULL };
	}
	return n;
}

static void release(struct loaded *l)
{
	mm_generation_release(l->shadow);
	mm_generation_release(l->canary);
	*l = (struct loaded){ 0 };
}

void mm_next_free(struct mm_next *n)
{
	if (n == NULL)
		return;
	mm_shadows_free(&n->shadows);
	mm_next_discard(n);
	for (unsigned i = 0; n->rows != NULL && i < n->settings.milter_count; i++) {
		release(&n->rows[i].current);
		mm_figures_free(n->rows[i].figures);
	}
	free(n->rows);
	free(n);
}

/* ---- loading ---- */

static void fail(struct mm_next *n, struct row *row, const char *why)
{
	struct mm_log_line line;
	struct loaded *l = &row->prepared;
	snprintf(l->failure, sizeof l->failure, "%s", why);
	mm_generation_release(l->shadow);
	mm_generation_release(l->canary);
	l->shadow = l->canary = NULL;
	mm_log_begin(&line, n->settings.log, MM_LEVEL_ERROR, "shadow");
	mm_log_string(&line, "milter", row->of.milter_in_log);
	mm_log_string(&line, "result", "failed");
	mm_log_string(&line, "error", l->failure);
	mm_log_end(&line);
}

/* A shadow shares what only reads: clock, DNS, programs' place, tables of maps. */
static struct mm_generation *make_shadow(struct mm_next *n, unsigned milter, const struct mm_generation_options *given,
	struct mm_fault *why)
{
	struct row *row = &n->rows[milter];
	struct mm_generation_options o = *given;
	if (row->figures == NULL)
		row->figures = mm_figures_new(n->settings.meters, row->name, why);
	if (row->figures == NULL)
		return NULL;
	o.settings.milter_name = o.settings.milter_in_log = row->name;
	o.settings.shadow_row = milter + 1;
	o.settings.figures = row->figures;
	o.settings.desk = NULL;
	o.settings.tracer = NULL;
	o.settings.row = &n->own;
	o.settings.memory = &n->memory;
	o.settings.held = &n->shadows.engines.held;
	o.settings.all = &n->all;
	return mm_generation_new(&o, why);
}

void mm_next_prepare(struct mm_next *n, const struct mm_next_order *orders)
{
	mm_next_discard(n);
	for (unsigned i = 0; i < n->settings.milter_count; i++) {
		const struct mm_next_order *o = &orders[i];
		struct row *row = &n->rows[i];
		struct loaded *l = &row->prepared;
		struct mm_fault why = { .class = MM_FAULT_NONE };
		if (!o->is_wanted)
			continue;
		l->is_wanted = true;
		l->share = o->share;
		if (o->refused != NULL) {
			fail(n, row, o->refused);
			continue;
		}
		l->shadow = make_shadow(n, i, &o->shadow, &why);
		if (l->shadow != NULL && l->share > 0)
			l->canary = mm_generation_new(&o->canary, &why);
		if (l->shadow == NULL || (l->share > 0 && l->canary == NULL))
			fail(n, row, why.text);
	}
}

static struct mm_generation *generation_at(const struct mm_next *n)
{
	const struct loaded *l = &n->rows[n->at / 2].prepared;
	return n->at % 2 == 0 ? l->shadow : l->canary;
}

static void load_from(struct mm_next *n);

static void on_loaded(void *self, bool ok, const struct mm_fault *why)
{
	struct mm_next *n = self;
	n->is_loading = false;
	if (!ok) {
		char text[sizeof why->text];    /* it may live in the generation that is released */
		snprintf(text, sizeof text, "%s", why->text);
		fail(n, &n->rows[n->at / 2], text);
	}
	n->at++;
	load_from(n);
}

static void load_from(struct mm_next *n)
{
	while (n->at < 2 * n->settings.milter_count && generation_at(n) == NULL)
		n->at++;
	if (n->at == 2 * n->settings.milter_count) {
		n->done(n->done_self);
		return;
	}
	n->is_loading = true;
	mm_generation_load(generation_at(n), on_loaded, n);
}

void mm_next_load(struct mm_next *n, void (*done)(void *self), void *self)
{
	n->at = 0;
	n->done = done;
	n->done_self = self;
	load_from(n);
}

void mm_next_discard(struct mm_next *n)
{
	if (n->is_loading)
		mm_generation_stop_loading(generation_at(n));
	n->is_loading = false;
	for (unsigned i = 0; n->rows != NULL && i < n->settings.milter_count; i++)
		release(&n->rows[i].prepared);
}

void mm_next_retire(struct mm_next *n)
{
	for (unsigned i = 0; i < n->settings.milter_count; i++) {
		mm_generation_retire(n->rows[i].current.shadow);
		mm_generation_retire(n->rows[i].current.canary);
	}
}

void mm_next_commit(struct mm_next *n, unsigned long generation)
{
	mm_next_retire(n);
	mm_census_set(n->own.generation, (uint32_t)generation);
	for (unsigned i = 0; i < n->settings.milter_count; i++) {
		struct row *row = &n->rows[i];
		const struct loaded *l = &row->prepared;
		enum mm_shadow_state state = l->shadow != NULL ? MM_SHADOW_LOADED
			: l->is_wanted ? MM_SHADOW_FAILED : MM_SHADOW_ABSENT;
		release(&row->current);
		row->current = row->prepared;
		memset(&row->prepared, 0, sizeof row->prepared);
		row->of.generation = row->current.shadow;
		if (n->settings.differences != NULL)
			mm_differences_begin(n->settings.differences, i, generation, state, row->current.share,
				row->current.failure);
	}
}

void mm_next_tune(struct mm_next *n, size_t held)
{
	n->shadows.engines.held.limit = held;
}

/* ---- connections ---- */

bool mm_next_joins(struct mm_next *n, unsigned milter, struct mm_runtime *runtime, const struct mm_shadow_of **shadow)
{
	struct row *row = &n->rows[milter];
	*shadow = NULL;
	if (row->current.shadow == NULL || !mm_differences_are_on(n->settings.differences, milter))
		return false;
	row->joint = (struct mm_joint){ .first = *runtime, .canary = row->current.canary, .share = row->current.share,
		.also = row->current.shadow };
	*runtime = mm_joint_runtime(&row->joint);
	*shadow = &row->of;
	return true;
}

/* ---- looking ---- */

static const struct loaded *last_of(const struct mm_next *n, unsigned milter)
{
	const struct row *row = &n->rows[milter];
	return row->current.is_wanted ? &row->current : &row->prepared;
}

struct mm_generation *mm_next_generation(const struct mm_next *n, unsigned milter)
{
	return last_of(n, milter)->shadow;
}

struct mm_generation *mm_next_canary(const struct mm_next *n, unsigned milter)
{
	return last_of(n, milter)->canary;
}

const char *mm_next_failure(const struct mm_next *n, unsigned milter)
{
	const char *failure = last_of(n, milter)->failure;
	return failure[0] != '\0' ? failure : NULL;
}

struct mm_generation *mm_next_shadows(const struct mm_next *n)
{
	return n->all;
}
