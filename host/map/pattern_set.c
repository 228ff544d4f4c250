#include "map/pattern_set.h"

#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* ---- the library ----
 * What we use of libhs, by its ABI of version 5: so it is needed neither to build nor to run. */

enum { HS_CASELESS = 1, HS_DOTALL = 2, HS_MULTILINE = 4, HS_SINGLEMATCH = 8, HS_ALLOWEMPTY = 16,
	HS_PREFILTER = 128, HS_MODE_BLOCK = 1, HS_COMPILER_ERROR = -4 };

struct hs_compile_error {
	char *message;
	int   expression;
};

typedef int hs_on_match(unsigned id, unsigned long long from, unsigned long long to, unsigned flags, void *arg);

static struct {
	int (*valid_platform)(void);
	int (*compile_multi)(const char *const *, const unsigned *, const unsigned *, unsigned, unsigned, const void *,
		void **, struct hs_compile_error **);
	int (*free_compile_error)(struct hs_compile_error *);
	int (*free_database)(void *);
	int (*alloc_scratch)(const void *, void **);
	int (*free_scratch)(void *);
	int (*scan)(const void *, const char *, unsigned, unsigned, void *, hs_on_match *, void *);
	bool is_loaded;
} hs;

static void load(void)
{
	static const struct { const char *name; void *to; } functions[] = {
		{ "hs_valid_platform", &hs.valid_platform }, { "hs_compile_multi", &hs.compile_multi },
		{ "hs_free_compile_error", &hs.free_compile_error }, { "hs_free_database", &hs.free_database },
		{ "hs_alloc_scratch", &hs.alloc_scratch }, { "hs_free_scratch", &hs.free_scratch },
		{ "hs_scan", &hs.scan },
	};
	void *library = dlopen("libhs.so.5", RTLD_NOW | RTLD_LOCAL);
	for (size_t i = 0; library != NULL && i < sizeof functions / sizeof *functions; i++) {
		void *function = dlsym(library, functions[i].name);
		if (function == NULL)
			return;
		memcpy(functions[i].to, &function, sizeof function);
	}
	hs.is_loaded = library != NULL && hs.valid_platform() == 0;
}

static bool is_there(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, load);
	return hs.is_loaded;
}

/* ---- a set ---- */

struct mm_pattern_set {
	struct mm_pattern     **patterns;       /* owned, as all of these */
	enum mm_pattern_result *results;
	bool                   *is_filtered;    /* by expression: the filter knows it */
	bool                   *is_candidate;
	void                   *database, *scratch;     /* NULL: no filter */
	unsigned                count, others;
};

static unsigned filter_flags(const struct mm_pattern_options *o)
{
	unsigned flags = HS_SINGLEMATCH | HS_ALLOWEMPTY | HS_PREFILTER;
	flags |= o->ignore_case ? HS_CASELESS : 0;
	flags |= o->multiline ? HS_MULTILINE : 0;
	return flags | (o->dotall ? HS_DOTALL : 0);
}

struct input {
	const char **texts;             /* owned, NUL-ended */
	unsigned    *flags, *ids;       /* owned */
	unsigned     count;
};

static void drop(struct mm_pattern_set *s, struct input *in, unsigned at)
{
	s->is_filtered[in->ids[at]] = false;
	s->others++;
	in->count--;
	free((char *)(uintptr_t)in->texts[at]);
	memmove(&in->texts[at], &in->texts[at + 1], (in->count - at) * sizeof *in->texts);
	memmove(&in->ids[at], &in->ids[at + 1], (in->count - at) * sizeof *in->ids);
}

/* Compiles what the library takes. Without the rest, or without all, the set is slower and says the same. */
static void compile(struct mm_pattern_set *s, struct input *in)
{
	while (in->count > 0) {
		struct hs_compile_error *error = NULL;
		int rc = hs.compile_multi(in->texts, in->flags, in->ids, in->count, HS_MODE_BLOCK, NULL, &s->database,
			&error);
		if (rc == 0)
			break;
		s->database = NULL;
		int at = error != NULL ? error->expression : -1;
		if (error != NULL)
			hs.free_compile_error(error);
		if (rc != HS_COMPILER_ERROR || at < 0 || (unsigned)at >= in->count)
			return;
		drop(s, in, (unsigned)at);
	}
	if (s->database != NULL && hs.alloc_scratch(s->database, &s->scratch) != 0) {
		hs.free_database(s->database);
		s->database = NULL;
	}
}

static void make_filter(struct mm_pattern_set *s, const struct mm_text *expressions, const struct mm_pattern_options *o)
{
	struct input in = { calloc(s->count, sizeof *in.texts), calloc(s->count, sizeof *in.flags),
		calloc(s->count, sizeof *in.ids), 0 };
	for (unsigned i = 0; in.texts != NULL && in.flags != NULL && in.ids != NULL && i < s->count; i++) {
		bool is_whole = memchr(expressions[i].bytes, '\0', expressions[i].size) == NULL;
		char *text = is_whole ? strndup(expressions[i].bytes, expressions[i].size) : NULL;
		s->is_filtered[i] = text != NULL;
		s->others += text == NULL;
		if (text == NULL)
			continue;
		in.texts[in.count] = text;
		in.flags[in.count] = filter_flags(o);
		in.ids[in.count++] = i;
	}
	compile(s, &in);
	for (unsigned i = 0; i < in.count; i++)
		free((char *)(uintptr_t)in.texts[i]);
	free(in.texts);
	free(in.flags);
	free(in.ids);
}

static bool allocate(struct mm_pattern_set *s, unsigned count)
{
	s->patterns = calloc(count + 1, sizeof *s->patterns);
	s->results = calloc(count + 1, sizeof *s->results);
	s->is_filtered = calloc(count + 1, sizeof *s->is_filtered);
	s->is_candidate = calloc(count + 1, sizeof *s->is_candidate);
	return s->patterns != NULL && s->results != NULL && s->is_filtered != NULL && s->is_candidate != NULL;
}

struct mm_pattern_set *mm_pattern_set_new(const struct mm_text *expressions, unsigned count,
	const struct mm_pattern_options *o, unsigned *wrong, struct mm_fault *why)
{
	struct mm_pattern_set *s = calloc(1, sizeof *s);
	*wrong = count;
	if (s == NULL || !allocate(s, count)) {
		mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory");
		mm_pattern_set_free(s);
		return NULL;
	}
	for (; s->count < count; s->count++) {
		const struct mm_text *e = &expressions[s->count];
		s->patterns[s->count] = mm_pattern_new(e->bytes, e->size, o, why);
		if (s->patterns[s->count] == NULL) {
			*wrong = s->count;
			mm_pattern_set_free(s);
			return NULL;
		}
	}
	/* Not for utf: the library does not define what it does with bytes that are not UTF-8, and needs seconds to
	 * compile classes of Unicode. It has no way to write what extended means. */
	if (!o->extended && !o->utf && count > 1 && is_there())
		make_filter(s, expressions, o);
	return s;
}

void mm_pattern_set_free(struct mm_pattern_set *s)
{
	if (s == NULL)
		return;
	if (s->database != NULL) {
		hs.free_scratch(s->scratch);
		hs.free_database(s->database);
	}
	for (unsigned i = 0; i < s->count; i++)
		mm_pattern_free(s->patterns[i]);
	free(s->patterns);
	free(s->results);
	free(s->is_filtered);
	free(s->is_candidate);
	free(s);
}

unsigned mm_pattern_set_count(const struct mm_pattern_set *s)
{
	return s->count;
}

bool mm_pattern_set_is_filtered(const struct mm_pattern_set *s, unsigned *others)
{
	*others = s->database != NULL ? s->others : s->count;
	return s->database != NULL;
}

static int on_match(unsigned id, unsigned long long from, unsigned long long to, unsigned flags, void *arg)
{
	struct mm_pattern_set *s = arg;
	(void)from, (void)to, (void)flags;
	s->is_candidate[id] = true;
	return 0;
}

/* Marks the expressions that may match. */
static void choose(struct mm_pattern_set *s, const char *text, size_t size)
{
	bool is_usable = s->database != NULL && size <= INT_MAX;
	for (unsigned i = 0; i < s->count; i++)
		s->is_candidate[i] = !is_usable || !s->is_filtered[i];
	if (!is_usable || hs.scan(s->database, text, (unsigned)size, 0, s->scratch, on_match, s) == 0)
		return;
	for (unsigned i = 0; i < s->count; i++)
		s->is_candidate[i] = true;
}

const enum mm_pattern_result *mm_pattern_set_scan(struct mm_pattern_set *s, const char *text, size_t size,
	double seconds)
{
	choose(s, text, size);
	for (unsigned i = 0; i < s->count; i++)
		s->results[i] = !s->is_candidate[i] ? MM_PATTERN_NONE
			: mm_pattern_search(s->patterns[i], text, size, 0, false, &seconds);
	return s->results;
}
