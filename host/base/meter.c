/* base/meter.c -- see meter.h.
 *
 * The table is a row of families, and a heap that only grows, in which each family has a hash table of series. Both are
 * used without a lock: who needs a place claims it by one atomic exchange, fills it, and marks it ready. Whoever comes
 * to a place that is claimed and not ready looks further. So two processes may make the same series at the same time:
 * then there are two, both are counted in, and the page shows their sum. Of two that make the same family, the one in
 * the first place wins (settle). A process that is killed while it fills a place leaves it claimed for ever, which
 * costs that place. */
#include "base/meter.h"

#include "base/bounds.h"
#include "base/utf8.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define HEAP_SIZE  (64u << 20)          /* bytes of address space; only what is used gets memory */
#define NAME_MAX_  96u
#define LABEL_MAX  32u                  /* bytes of a label's name, with its NUL */
#define HELP_MAX   200u
#define WORKERS    (2 * MM_WORKERS_MAX + 1)
#define FILL_TRIES 1000                 /* looks at a place that another process fills; it may have been killed */
#define KEY_MAX    (MM_METER_LABELS * (MM_METER_VALUE_MAX + 1))

enum place { FREE, CLAIMED, READY, DEAD };

struct family {
	uint32_t place;
	uint32_t kind, scope;
	uint32_t label_count, bound_count;
	uint32_t max_series;
	uint32_t slots;                 /* a power of two; one more follows, for "other" */
	uint32_t slot_size;             /* bytes */
	uint64_t at;                    /* of the first slot in the heap */
	uint64_t generation;
	uint32_t used;                  /* series that were made */
	uint64_t overflows;             /* updates of "other" */
	char     name[NAME_MAX_], milter[NAME_MAX_], help[HELP_MAX], labels[MM_METER_LABELS][LABEL_MAX];
	double   bounds[MM_METER_BOUNDS_MAX];
};

/* The head of a slot; numbers follow, then the key: for each label a byte with the size of its value, and the value. */
struct series {
	uint32_t        place;
	uint32_t        hash;
	uint32_t        key_size;
	uint32_t        unused;
	mm_meter_number numbers[];
};

struct table {
	uint64_t      heap_used;
	struct family families[MM_METER_FAMILIES];
	_Alignas(64) char heap[HEAP_SIZE];
};

struct mm_meters {
	struct table *table;            /* owned, shared with the processes forked later */
	unsigned      worker;
};

/* The geometry is a copy, so that a damaged table cannot lead this process astray. */
struct mm_meter {
	struct mm_meters *all;          /* borrowed */
	struct family    *family;       /* borrowed from the table */
	char             *slots;        /* borrowed from it: slots + 1 of them */
	uint32_t          mask, slot_size, number_count, max_series;
	unsigned          label_count, bound_count;
	unsigned          number;       /* which one of a gauge is ours */
	double            bounds[MM_METER_BOUNDS_MAX];
};

/* ---- life ---- */

struct mm_meters *mm_meters_new(void)
{
	struct mm_meters *all = calloc(1, sizeof *all);
	if (all == NULL)
		return NULL;
	void *table = mmap(NULL, sizeof(struct table), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (table == MAP_FAILED) {
		free(all);
		return NULL;
	}
	madvise(table, sizeof(struct table), MADV_DONTDUMP);
	all->table = table;
	return all;
}

void mm_meters_free(struct mm_meters *all)
{
	if (all == NULL)
		return;
	munmap(all->table, sizeof *all->table);
	free(all);
}

void mm_meters_be_worker(struct mm_meters *all, unsigned slot)
{
	all->worker = slot < WORKERS ? slot : WORKERS - 1;
}

void mm_meters_protect(struct mm_meters *all)
{
	mprotect(all->table, sizeof *all->table, PROT_READ);
}

/* ---- numbers ---- */

static double number_of(const mm_meter_number *n)
{
	uint64_t bits = __atomic_load_n(n, __ATOMIC_RELAXED);
	double value;
	memcpy(&value, &bits, sizeof value);
	return value;
}

static uint64_t bits_of(double value)
{
	uint64_t bits;
	memcpy(&bits, &value, sizeof bits);
	return bits;
}

void mm_meter_number_add(mm_meter_number *n, double by)
{
	uint64_t before = __atomic_load_n(n, __ATOMIC_RELAXED), after;
	do {
		double value;
		memcpy(&value, &before, sizeof value);
		after = bits_of(value + by);
	} while (!__atomic_compare_exchange_n(n, &before, after, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
}

/* ---- families ---- */

static uint32_t numbers_of(const struct mm_meter_spec *spec)
{
	return spec->kind == MM_EXPOSE_HISTOGRAM ? spec->bound_count + 2
		: spec->kind == MM_EXPOSE_GAUGE && spec->scope == MM_METER_OF_WORKER ? WORKERS : 1;
}

/* Copies what fits: names have been checked. */
static void copy(char *to, size_t size, const char *from)
{
	size_t n = strnlen(from, size - 1);
	memcpy(to, from, n);
	to[n] = '\0';
}

static uint32_t slots_for(unsigned max_series)
{
	uint32_t slots = 2;
	while (slots < 2 * max_series)
		slots *= 2;
	return slots;
}

static bool is_ready(const struct family *f)
{
	return __atomic_load_n(&f->place, __ATOMIC_ACQUIRE) == READY;
}

static bool is_same(const struct family *f, const struct mm_meter_spec *spec)
{
	if (f->kind != spec->kind || f->scope != spec->scope || f->label_count != spec->label_count
	    || f->bound_count != spec->bound_count || f->max_series != spec->max_series
	    || strcmp(f->milter, spec->milter) != 0)
		return false;
	for (unsigned i = 0; i < spec->label_count; i++)
		if (strcmp(f->labels[i], spec->labels[i]) != 0)
			return false;
	return memcmp(f->bounds, spec->bounds, spec->bound_count * sizeof *f->bounds) == 0;
}

/* A place in the heap; 0: it is full. What is used never passes the end, not even for a moment: repair() takes that for
 * damage. */
static uint64_t take_heap(struct table *t, uint64_t size)
{
	size = (size + 63) / 64 * 64;
	uint64_t at = __atomic_load_n(&t->heap_used, __ATOMIC_RELAXED);
	do {
		if (size > HEAP_SIZE - 64 || at > HEAP_SIZE - 64 - size)
			return 0;
	} while (!__atomic_compare_exchange_n(&t->heap_used, &at, at + size, true, __ATOMIC_RELAXED,
		__ATOMIC_RELAXED));
	return at + 64;
}

static bool fill(struct table *t, struct family *f, const struct mm_meter_spec *spec)
{
	uint32_t slots = slots_for(spec->max_series);
	uint32_t slot_size = (uint32_t)(sizeof(struct series) + numbers_of(spec) * sizeof(mm_meter_number)
		+ (spec->label_count * (MM_METER_VALUE_MAX + 1) + 7) / 8 * 8);
	uint64_t at = take_heap(t, (uint64_t)slot_size * (slots + 1));
	if (at == 0)
		return false;
	f->kind = spec->kind;
	f->scope = spec->scope;
	f->label_count = spec->label_count;
	f->bound_count = spec->bound_count;
	f->max_series = spec->max_series;
	f->slots = slots;
	f->slot_size = slot_size;
	f->at = at;
	f->generation = spec->generation;
	copy(f->name, sizeof f->name, spec->name);
	copy(f->milter, sizeof f->milter, spec->milter);
	copy(f->help, sizeof f->help, spec->help);
	for (unsigned i = 0; i < spec->label_count; i++)
		copy(f->labels[i], sizeof f->labels[i], spec->labels[i]);
	memcpy(f->bounds, spec->bounds, spec->bound_count * sizeof *f->bounds);
	return true;
}

static struct family *make(struct table *t, const struct mm_meter_spec *spec, struct mm_fault *why)
{
	for (unsigned i = 0; i < MM_METER_FAMILIES; i++) {
		struct family *f = &t->families[i];
		uint32_t is_free = FREE;
		if (!__atomic_compare_exchange_n(&f->place, &is_free, CLAIMED, false, __ATOMIC_ACQ_REL,
		    __ATOMIC_RELAXED))
			continue;
		bool good = fill(t, f, spec);
		__atomic_store_n(&f->place, good ? READY : FREE, __ATOMIC_RELEASE);
		if (good)
			return f;
		mm_fault_set(why, MM_FAULT_RESOURCE, "there is no room for more metrics (%u MiB); ask for fewer series "
			"with max_series, or restart the host, which drops what earlier scripts used",
			HEAP_SIZE >> 20);
		return NULL;
	}
	mm_fault_set(why, MM_FAULT_RESOURCE, "there are %u metrics already; restart the host, which drops those of "
		"earlier scripts", MM_METER_FAMILIES);
	return NULL;
}

/* The first family that is the same: those before f were claimed earlier, and may not have been ready when they were
 * looked at. */
static struct family *settle(struct table *t, struct family *f, const struct mm_meter_spec *spec)
{
	for (struct family *earlier = t->families; earlier < f; earlier++) {
		unsigned tries = FILL_TRIES;
		while (__atomic_load_n(&earlier->place, __ATOMIC_ACQUIRE) == CLAIMED && tries-- > 0)
			sched_yield();
		if (is_ready(earlier) && strcmp(earlier->name, spec->name) == 0 && is_same(earlier, spec))
			return earlier;
	}
	return f;
}

static struct series *slot_of(const struct mm_meter *m, uint32_t i)
{
	return (struct series *)(void *)(m->slots + (size_t)i * m->slot_size);
}

static char *key_of(const struct mm_meter *m, struct series *s)
{
	return (char *)(s->numbers + m->number_count);
}

/* Is there a number other than 0? Only such a metric is missed when it goes. */
static bool has_counted(struct mm_meters *, struct family *);

static bool conflicts(struct mm_meters *all, struct family *f, const struct mm_meter_spec *spec)
{
	if (strcmp(f->name, spec->name) != 0 || f->kind == spec->kind)
		return false;
	if (f->generation != spec->generation || has_counted(all, f))
		return true;
	__atomic_store_n(&f->place, DEAD, __ATOMIC_RELEASE);    /* of scripts that did not load */
	return false;
}

static void borrow(struct mm_meter *m, struct mm_meters *all, struct family *f, const struct mm_meter_spec *spec)
{
	*m = (struct mm_meter){
		.all = all, .family = f, .slots = all->table->heap + f->at, .mask = slots_for(spec->max_series) - 1,
		.slot_size = f->slot_size, .number_count = numbers_of(spec), .max_series = spec->max_series,
		.label_count = spec->label_count, .bound_count = spec->bound_count,
		.number = spec->kind == MM_EXPOSE_GAUGE && spec->scope == MM_METER_OF_WORKER ? all->worker : 0,
	};
	memcpy(m->bounds, spec->bounds, spec->bound_count * sizeof *m->bounds);
}

struct mm_meter *mm_meter_open(struct mm_meters *all, const struct mm_meter_spec *spec, struct mm_fault *why)
{
	struct family *found = NULL;
	for (unsigned i = 0; i < MM_METER_FAMILIES; i++) {
		struct family *f = &all->table->families[i];
		if (!is_ready(f))
			continue;
		if (conflicts(all, f, spec)) {
			mm_fault_set(why, MM_FAULT_CONFIG, "%s is a %s already%s%s; give this %s another name, or "
				"restart the host", spec->name, mm_exposition_kind_name(f->kind),
				f->milter[0] != '\0' ? " in milter " : "", f->milter,
				mm_exposition_kind_name(spec->kind));
			return NULL;
		}
		if (found == NULL && strcmp(f->name, spec->name) == 0 && is_same(f, spec))
			found = f;
	}
	struct family *made = found == NULL ? make(all->table, spec, why) : NULL;
	if (found == NULL && made == NULL)
		return NULL;
	found = settle(all->table, found != NULL ? found : made, spec);
	if (made != NULL && made != found)
		__atomic_store_n(&made->place, DEAD, __ATOMIC_RELEASE);
	struct mm_meter *m = malloc(sizeof *m);
	if (m == NULL) {
		mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for a metric");
		return NULL;
	}
	borrow(m, all, found, spec);
	if (m->label_count == 0)
		mm_meter_series(m, NULL);       /* is shown with 0 from the start */
	return m;
}

void mm_meter_close(struct mm_meter *m)
{
	free(m);
}

/* ---- series ---- */

/* Cuts a value where a character begins. */
static size_t cut(struct mm_text v)
{
	if (v.size <= MM_METER_VALUE_MAX)
		return v.size;
	size_t n = MM_METER_VALUE_MAX;
	while (n > MM_METER_VALUE_MAX - 4 && ((unsigned char)v.bytes[n] & 0xc0) == 0x80)
		n--;
	return n;
}

static struct mm_text pack(const struct mm_meter *m, const struct mm_text *values, char *to)
{
	char *p = to;
	for (unsigned i = 0; i < m->label_count; i++) {
		size_t n = cut(values[i]);
		*p++ = (char)n;
		memcpy(p, values[i].bytes, n);
		p += n;
	}
	return (struct mm_text){ to, (size_t)(p - to) };
}

static uint32_t place_of(const struct series *s)
{
	return __atomic_load_n(&s->place, __ATOMIC_ACQUIRE);
}

static bool has_key(const struct mm_meter *m, struct series *s, struct mm_text key, uint32_t hash)
{
	return place_of(s) == READY && s->hash == hash && s->key_size == key.size
		&& memcmp(key_of(m, s), key.bytes, key.size) == 0;
}

/* Another series may be made: takes the right to one. */
static bool may_make(struct mm_meter *m)
{
	uint32_t *used = &m->family->used;
	if (__atomic_load_n(used, __ATOMIC_RELAXED) >= m->max_series)
		return false;
	if (__atomic_fetch_add(used, 1, __ATOMIC_RELAXED) < m->max_series)
		return true;
	__atomic_fetch_sub(used, 1, __ATOMIC_RELAXED);
	return false;
}

static void make_series(const struct mm_meter *m, struct series *s, struct mm_text key, uint32_t hash)
{
	s->hash = hash;
	s->key_size = (uint32_t)key.size;
	memcpy(key_of(m, s), key.bytes, key.size);
	__atomic_store_n(&s->place, READY, __ATOMIC_RELEASE);
}

static struct series *other(struct mm_meter *m)
{
	static const struct mm_text word = { "other", 5 };
	const struct mm_text words[MM_METER_LABELS] = { word, word, word, word };
	struct series *s = slot_of(m, m->mask + 1);
	uint32_t is_free = FREE;
	__atomic_fetch_add(&m->family->overflows, 1, __ATOMIC_RELAXED);
	if (place_of(s) == FREE
	    && __atomic_compare_exchange_n(&s->place, &is_free, CLAIMED, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
		char bytes[KEY_MAX];
		make_series(m, s, pack(m, words, bytes), 0);
	}
	return s;
}

static struct series *find(struct mm_meter *m, struct mm_text key, uint32_t hash, bool makes)
{
	bool has_right = false;
	for (uint32_t n = 0, i = hash & m->mask; n <= m->mask; n++, i = (i + 1) & m->mask) {
		struct series *s = slot_of(m, i);
		if (has_key(m, s, key, hash))
			return s;
		if (place_of(s) != FREE)
			continue;
		if (!makes || (!has_right && !(has_right = may_make(m))))
			return NULL;
		uint32_t is_free = FREE;
		if (__atomic_compare_exchange_n(&s->place, &is_free, CLAIMED, false, __ATOMIC_ACQ_REL,
		    __ATOMIC_RELAXED)) {
			make_series(m, s, key, hash);
			return s;
		}
	}
	return NULL;
}

static struct series *series_of(struct mm_meter *m, const struct mm_text *values)
{
	char bytes[KEY_MAX];
	struct mm_text key = pack(m, values, bytes);
	struct series *s = find(m, key, (uint32_t)mm_text_hash_mixed(key), true);
	return s != NULL ? s : other(m);
}

mm_meter_number *mm_meter_series(struct mm_meter *m, const struct mm_text *values)
{
	return series_of(m, values)->numbers;
}

void mm_meter_add(struct mm_meter *m, const struct mm_text *values, double by)
{
	mm_meter_number_add(&series_of(m, values)->numbers[m->number], by);
}

void mm_meter_set(struct mm_meter *m, const struct mm_text *values, double to)
{
	__atomic_store_n(&series_of(m, values)->numbers[m->number], bits_of(to), __ATOMIC_RELAXED);
}

void mm_meter_observe(struct mm_meter *m, const struct mm_text *values, double value)
{
	mm_meter_number *numbers = series_of(m, values)->numbers;
	unsigned bucket = 0;
	while (bucket < m->bound_count && value > m->bounds[bucket])
		bucket++;
	__atomic_fetch_add(&numbers[bucket], 1, __ATOMIC_RELAXED);
	mm_meter_number_add(&numbers[m->bound_count + 1], value);
}

/* ---- reading ---- */

static uint64_t count_at(const mm_meter_number *n)
{
	return __atomic_load_n(n, __ATOMIC_RELAXED);
}

/* Adds the numbers of a series to those of `sums`: at most MM_METER_BOUNDS_MAX + 2. */
static void add_up(const struct mm_meter *m, const struct series *s, double *sums)
{
	for (unsigned i = 0; i < m->number_count; i++)
		if (m->bound_count > 0)
			sums[i] += i <= m->bound_count ? (double)count_at(&s->numbers[i]) : number_of(&s->numbers[i]);
		else
			sums[0] += number_of(&s->numbers[i]);
}

bool mm_meter_read(const struct mm_meter *m, const struct mm_text *values, double *number, double *sum)
{
	char bytes[KEY_MAX];
	struct mm_text key = pack(m, values, bytes);
	double sums[MM_METER_BOUNDS_MAX + 2] = { 0 };
	const struct series *s = find((struct mm_meter *)m, key, (uint32_t)mm_text_hash_mixed(key), false);
	if (s == NULL)
		return false;
	add_up(m, s, sums);
	*sum = m->bound_count > 0 ? sums[m->bound_count + 1] : 0;
	for (unsigned i = 1; m->bound_count > 0 && i <= m->bound_count; i++)
		sums[0] += sums[i];
	*number = sums[0];
	return true;
}

/* A metric as the table describes it. False: the description makes no sense, or there is none. */
static bool view(const struct mm_meters *all, const struct family *f, struct mm_meter *m)
{
	struct mm_meter_spec spec = {
		.kind = f->kind, .scope = f->scope, .label_count = f->label_count, .bound_count = f->bound_count,
		.max_series = f->max_series, .bounds = f->bounds,
	};
	if (!is_ready(f) || spec.kind > MM_EXPOSE_HISTOGRAM || spec.label_count > MM_METER_LABELS
	    || spec.bound_count > MM_METER_BOUNDS_MAX || (spec.bound_count > 0) != (spec.kind == MM_EXPOSE_HISTOGRAM)
	    || spec.max_series == 0 || spec.max_series > MM_METER_SERIES_MAX)
		return false;
	borrow(m, (struct mm_meters *)all, (struct family *)f, &spec);
	size_t least = sizeof(struct series) + m->number_count * sizeof(mm_meter_number)
		+ spec.label_count * (MM_METER_VALUE_MAX + 1);
	uint64_t at = (uint64_t)(m->slots - all->table->heap);
	return m->slot_size >= least && m->slot_size < 65536 && m->slot_size % 8 == 0 && at % 64 == 0
		&& at < HEAP_SIZE && at + (uint64_t)m->slot_size * (m->mask + 2) <= HEAP_SIZE;
}

static bool has_counted(struct mm_meters *all, struct family *f)
{
	struct mm_meter m;
	for (uint32_t i = 0; view(all, f, &m) && i <= m.mask + 1; i++) {
		const struct series *s = slot_of(&m, i);
		for (unsigned n = 0; place_of(s) == READY && n < m.number_count; n++)
			if (s->numbers[n] != 0)
				return true;
	}
	return false;
}

/* Gives back the places of what makes no sense, and the heap behind what does. */
static bool repair(struct mm_meters *all)
{
	struct table *t = all->table;
	struct mm_meter m;
	bool is_whole = t->heap_used <= HEAP_SIZE;
	uint64_t used = 0;
	for (struct family *f = t->families; f < t->families + MM_METER_FAMILIES; f++) {
		bool makes_sense = view(all, f, &m);
		uint64_t end = makes_sense ? f->at + (uint64_t)m.slot_size * (m.mask + 2) : 0;
		used = end > used ? end : used;
		if (makes_sense || (f->place <= DEAD && f->place != READY))
			continue;
		is_whole = false;
		memset(f, 0, sizeof *f);
	}
	if (is_whole)
		return true;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *from = t->heap + used, *behind = (char *)(((uintptr_t)from + page - 1) / page * page);
	memset(from, 0, (size_t)(behind - from));
	madvise(behind, (size_t)((char *)(t + 1) - behind), MADV_REMOVE);
	t->heap_used = (used + 63) / 64 * 64;
	return false;
}

bool mm_meters_forget_worker(struct mm_meters *all, unsigned slot)
{
	struct mm_meter m;
	bool is_whole = repair(all);
	for (unsigned i = 0; i < MM_METER_FAMILIES && slot < WORKERS; i++) {
		struct family *f = &all->table->families[i];
		if (!view(all, f, &m) || m.number_count != WORKERS)
			continue;
		for (uint32_t at = 0; at <= m.mask + 1; at++)
			if (place_of(slot_of(&m, at)) == READY)
				__atomic_store_n(&slot_of(&m, at)->numbers[slot], 0, __ATOMIC_RELAXED);
	}
	return is_whole;
}

/* ---- the page ---- */

struct page {
	struct mm_exposition *x;
	char                  name[NAME_MAX_], milter[NAME_MAX_], labels[MM_METER_LABELS][LABEL_MAX];
	struct mm_meter       m;
	char                  key[KEY_MAX];     /* of the series that is being written, checked */
};

/* Copies the key, whose sizes add up. */
static bool take_key(struct page *p, struct series *s)
{
	size_t size = s->key_size;
	if (size > p->m.label_count * (MM_METER_VALUE_MAX + 1))
		return false;
	memcpy(p->key, key_of(&p->m, s), size);
	size_t at = 0;
	for (unsigned i = 0; i < p->m.label_count; i++) {
		if (at >= size || (unsigned char)p->key[at] > MM_METER_VALUE_MAX)
			return false;
		at += 1 + (unsigned char)p->key[at];
	}
	return at == size;
}

static void begin(struct page *p, const char *suffix)
{
	const char *at = p->key;
	mm_exposition_begin(p->x, p->name, suffix);
	if (p->milter[0] != '\0')
		mm_exposition_label(p->x, "milter", mm_text_of(p->milter));
	for (unsigned i = 0; i < p->m.label_count; i++) {
		mm_exposition_label(p->x, p->labels[i], (struct mm_text){ at + 1, (unsigned char)*at });
		at += 1 + (unsigned char)*at;
	}
}

static void write_histogram(struct page *p, const double *sums)
{
	double count = 0;
	for (unsigned i = 0; i <= p->m.bound_count; i++) {
		count += sums[i];
		begin(p, "_bucket");
		mm_exposition_bound(p->x, i < p->m.bound_count ? p->m.bounds[i] : (double)__builtin_inff());
		mm_exposition_end(p->x, count);
	}
	begin(p, "_count");
	mm_exposition_end(p->x, count);
	begin(p, "_sum");
	mm_exposition_end(p->x, sums[p->m.bound_count + 1]);
}

/* The first series with a key writes the sum of all that have it. */
static void write_series(struct page *p, uint32_t i, enum mm_exposition_kind kind)
{
	struct series *s = slot_of(&p->m, i);
	double sums[MM_METER_BOUNDS_MAX + 2] = { 0 };
	if (place_of(s) != READY || !take_key(p, s))
		return;
	struct mm_text key = { p->key, s->key_size };
	uint32_t hash = s->hash;
	if (i <= p->m.mask && find(&p->m, key, hash, false) != s)
		return;
	add_up(&p->m, s, sums);
	for (uint32_t n = 1, at = i + 1; i <= p->m.mask && n <= p->m.mask; n++, at++) {
		struct series *next = slot_of(&p->m, at & p->m.mask);
		if (place_of(next) == FREE)
			break;
		if (has_key(&p->m, next, key, hash))
			add_up(&p->m, next, sums);
	}
	if (kind == MM_EXPOSE_HISTOGRAM) {
		write_histogram(p, sums);
		return;
	}
	begin(p, kind == MM_EXPOSE_COUNTER ? "_total" : "");
	mm_exposition_end(p->x, sums[0]);
}

static bool is_name(const char *text)
{
	size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
	return n > 0 && text[n] == '\0' && (text[0] < '0' || text[0] > '9');
}

/* Texts of the table, with an end, and names that are names. */
static bool take_texts(struct page *p, const struct family *f)
{
	copy(p->name, sizeof p->name, f->name);
	copy(p->milter, sizeof p->milter, f->milter);
	for (unsigned i = 0; i < p->m.label_count; i++) {
		copy(p->labels[i], sizeof p->labels[i], f->labels[i]);
		if (!is_name(p->labels[i]))
			return false;
	}
	return is_name(p->name);
}

static int by_name(const void *a, const void *b)
{
	const struct family *one = *(struct family *const *)a, *two = *(struct family *const *)b;
	int order = strncmp(one->name, two->name, NAME_MAX_);
	return order != 0 ? order : one < two ? -1 : one > two;
}

static void write_overflows(const struct mm_meters *all, struct mm_exposition *x)
{
	struct page p = { .x = x };
	mm_exposition_family(x, "moonmilter_metric_overflows", MM_EXPOSE_COUNTER,
		"Updates counted under the label value other, because the metric has max_series series");
	for (unsigned i = 0; i < MM_METER_FAMILIES; i++) {
		const struct family *f = &all->table->families[i];
		if (!view(all, f, &p.m) || !take_texts(&p, f) || f->overflows == 0)
			continue;
		mm_exposition_begin(x, "moonmilter_metric_overflows", "_total");
		mm_exposition_label(x, "metric", mm_text_of(p.name));
		mm_exposition_label(x, "milter", mm_text_of(p.milter));
		mm_exposition_end(x, (double)f->overflows);
	}
}

void mm_meters_write(const struct mm_meters *all, struct mm_exposition *x)
{
	const struct family *families[MM_METER_FAMILIES];
	unsigned count = 0;
	char last[NAME_MAX_] = "";
	struct page p = { .x = x };
	for (unsigned i = 0; i < MM_METER_FAMILIES; i++)
		if (is_ready(&all->table->families[i]))
			families[count++] = &all->table->families[i];
	qsort(families, count, sizeof *families, by_name);
	for (unsigned i = 0; i < count; i++) {
		const struct family *f = families[i];
		char help[HELP_MAX];
		if (!view(all, f, &p.m) || !take_texts(&p, f))
			continue;
		copy(help, sizeof help, f->help);
		if (strcmp(last, p.name) != 0)
			mm_exposition_family(x, p.name, f->kind, help);
		memcpy(last, p.name, sizeof last);
		for (uint32_t at = 0; at <= p.m.mask + 1; at++)
			write_series(&p, at, p.m.bound_count > 0 ? MM_EXPOSE_HISTOGRAM
				: f->kind == MM_EXPOSE_COUNTER ? MM_EXPOSE_COUNTER : MM_EXPOSE_GAUGE);
	}
	write_overflows(all, x);
}
