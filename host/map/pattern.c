#define PCRE2_CODE_UNIT_WIDTH 8
#include "map/pattern.h"

#include "base/quote.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	JIT_STACK_MAX = 512 * 1024,     /* bytes */
	/* A recursion without end fills the stack before it counts a step, in a time that grows with the square of the
	 * stack: 190 ms for 512 KiB, as |()(?0) shows. */
	JIT_STACK_OF_RECURSION = 64 * 1024,
	HEAP_MAX = 8192,                /* KiB, where there is no JIT */
	DEPTH_MAX = 20000,
	STRIDE_FIRST = 4,               /* places that are tried before the clock is looked at */
	COMPARED_MAX = 1 << 27,         /* bytes that back references may compare in an attempt at one place */
};

#define SLICE_SECONDS   0.001           /* a stride that takes longer is followed by a shorter one */

struct mm_pattern {
	pcre2_code          *code;      /* owned, as the next three */
	pcre2_match_data    *match;
	pcre2_match_context *limits;
	pcre2_jit_stack     *stack;
	uint32_t             steps;
	uint32_t             groups;
	bool                 has_back_references, is_utf, is_anchored;
};

double mm_pattern_clock(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- compile ---- */

static uint32_t flags_of(const struct mm_pattern_options *o)
{
	uint32_t flags = PCRE2_USE_OFFSET_LIMIT | PCRE2_NEVER_BACKSLASH_C;
	flags |= o->ignore_case ? PCRE2_CASELESS : 0;
	flags |= o->multiline ? PCRE2_MULTILINE : 0;
	flags |= o->dotall ? PCRE2_DOTALL : 0;
	flags |= o->extended ? PCRE2_EXTENDED : 0;
	flags |= o->anchored ? PCRE2_ANCHORED : 0;
	flags |= o->dollar_endonly ? PCRE2_DOLLAR_ENDONLY : 0;
	flags |= o->ungreedy ? PCRE2_UNGREEDY : 0;
	flags |= o->utf ? PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF : PCRE2_NEVER_UTF | PCRE2_NEVER_UCP;
	return flags;
}

/* \G is where a search begins, and one search is several to us. */
static bool has_start_of_search(const char *text, size_t size)
{
	for (size_t i = 0; i + 1 < size; i++) {
		if (text[i] != '\\')
			continue;
		if (text[i + 1] == 'G')
			return true;
		i++;
	}
	return false;
}

/* Whether an expression calls groups: (?R) (?0) (?1) (?+1) (?-1) (?&name) (?P>name) \g<name>. (?-i) does not. */
static bool has_calls(const char *text, size_t size)
{
	for (size_t i = 0; i + 2 < size; i++) {
		const char *at = text + i;
		if (at[0] == '\\' && at[1] == 'g' && (at[2] == '<' || at[2] == '\''))
			return true;
		if (at[0] != '(' || at[1] != '?')
			continue;
		if (at[2] == 'R' || at[2] == '&' || at[2] == '+' || (at[2] >= '0' && at[2] <= '9'))
			return true;
		if (i + 3 < size && ((at[2] == 'P' && at[3] == '>') || (at[2] == '-' && at[3] >= '0' && at[3] <= '9')))
			return true;
	}
	return false;
}

static bool is_too_large(const struct mm_pattern *p, const char *text, size_t size, struct mm_fault *why)
{
	if (p->groups <= MM_PATTERN_GROUPS_MAX)
		return false;
	mm_fault_set(why, MM_FAULT_CONFIG, "%s has %u groups; at most %d are possible: write (?:…) for those that you "
		"do not read", mm_quote(text, size).text, p->groups, MM_PATTERN_GROUPS_MAX);
	return true;
}

static pcre2_code *compile(const char *text, size_t size, uint32_t flags, struct mm_fault *why)
{
	int number = 0;
	size_t at = 0;
	unsigned char words[256];
	if (size > MM_PATTERN_TEXT_MAX || has_start_of_search(text, size)) {
		mm_fault_set(why, MM_FAULT_CONFIG, size > MM_PATTERN_TEXT_MAX ? "%s is longer than 65536 bytes"
			: "%s: \\G is not supported; begin the search where it should begin",
			mm_quote(text, size).text);
		return NULL;
	}
	pcre2_code *code = pcre2_compile((PCRE2_SPTR)text, size, flags, &number, &at, NULL);
	if (code != NULL)
		return code;
	pcre2_get_error_message(number, words, sizeof words);
	mm_fault_set(why, MM_FAULT_CONFIG, "%s: %s at byte %zu", mm_quote(text, size).text, (char *)words, at + 1);
	return NULL;
}

static uint32_t info_of(const struct mm_pattern *p, uint32_t what)
{
	uint32_t value = 0;
	pcre2_pattern_info(p->code, what, &value);
	return value;
}

static const char *skip_blanks(const char *at, const char *end)
{
	while (at < end && (*at == ' ' || (*at >= '\t' && *at <= '\r')))
		at++;
	return at;
}

static bool is_comment(const char *at, const char *end)
{
	return at < end && (*at == '#' || (end - at > 2 && memcmp(at, "(?#", 3) == 0));
}

/* PCRE2 10.42: "((a)*+b)c|." finds "a" in "ad", and its JIT then says that the second group is "a", too: what a group
 * with "*+" has taken stays set when the match goes another way. The interpreter is right. It also gets patterns that
 * only look like one of these, as with a comment where the "+" may be. */
static bool is_misread_by_jit(const char *text, size_t size)
{
	const char *end = text + size;
	for (const char *at = memchr(text, ')', size); at != NULL; at = memchr(at, ')', (size_t)(end - at))) {
		at = skip_blanks(at + 1, end);
		if (is_comment(at, end))
			return true;
		const char *next = at < end && *at == '{' ? memchr(at, '}', (size_t)(end - at)) : at;
		if (next == NULL || next == end || (*next != '*' && *next != '}'))
			continue;
		next = skip_blanks(next + 1, end);
		if (is_comment(next, end) || (next < end && *next == '+'))
			return true;
	}
	return false;
}

static bool make_limits(struct mm_pattern *p, size_t stack, bool may_jit)
{
	p->match = pcre2_match_data_create_from_pattern(p->code, NULL);
	p->limits = pcre2_match_context_create(NULL);
	if (p->match == NULL || p->limits == NULL)
		return false;
	pcre2_set_heap_limit(p->limits, HEAP_MAX);
	pcre2_set_depth_limit(p->limits, DEPTH_MAX);
	if (!may_jit || pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE) != 0)
		return true;            /* no JIT on this machine, or not for this pattern: it is interpreted */
	p->stack = pcre2_jit_stack_create(32 * 1024, stack, NULL);
	pcre2_jit_stack_assign(p->limits, NULL, p->stack);
	return p->stack != NULL;
}

struct mm_pattern *mm_pattern_new(const char *text, size_t size, const struct mm_pattern_options *o,
	struct mm_fault *why)
{
	struct mm_pattern *p = calloc(1, sizeof *p);
	if (p == NULL) {
		mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory");
		return NULL;
	}
	p->steps = o->steps != 0 ? o->steps : MM_PATTERN_STEPS;
	p->is_utf = o->utf;
	p->code = compile(text, size, flags_of(o), why);
	if (p->code == NULL) {
		mm_pattern_free(p);
		return NULL;
	}
	p->groups = info_of(p, PCRE2_INFO_CAPTURECOUNT);
	p->has_back_references = info_of(p, PCRE2_INFO_BACKREFMAX) > 0;
	p->is_anchored = (info_of(p, PCRE2_INFO_ALLOPTIONS) & PCRE2_ANCHORED) != 0;
	if (is_too_large(p, text, size, why)) {
		mm_pattern_free(p);
		return NULL;
	}
	size_t stack = has_calls(text, size) ? JIT_STACK_OF_RECURSION : JIT_STACK_MAX;
	if (!make_limits(p, stack, !is_misread_by_jit(text, size))) {
		mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory");
		mm_pattern_free(p);
		return NULL;
	}
	return p;
}

void mm_pattern_free(struct mm_pattern *p)
{
	if (p == NULL)
		return;
	pcre2_jit_stack_free(p->stack);
	pcre2_match_context_free(p->limits);
	pcre2_match_data_free(p->match);
	pcre2_code_free(p->code);
	free(p);
}

/* ---- search ---- */

static enum mm_pattern_result result_of(int rc)
{
	switch (rc) {
	case PCRE2_ERROR_NOMATCH:
		return MM_PATTERN_NONE;
	case PCRE2_ERROR_MATCHLIMIT: case PCRE2_ERROR_DEPTHLIMIT: case PCRE2_ERROR_HEAPLIMIT:
	case PCRE2_ERROR_JIT_STACKLIMIT: case PCRE2_ERROR_NOMEMORY: case PCRE2_ERROR_RECURSELOOP:
		return MM_PATTERN_LIMIT;
	default:
		return rc > 0 ? MM_PATTERN_FOUND : MM_PATTERN_BROKEN;
	}
}

/* A step is mostly one character, but a back reference compares as many as its group has. */
static uint32_t steps_for(const struct mm_pattern *p, size_t size)
{
	if (!p->has_back_references || size == 0)
		return p->steps;
	size_t steps = COMPARED_MAX / size;
	return steps < p->steps ? (uint32_t)steps + 1 : p->steps;
}

static size_t next_character(const struct mm_pattern *p, const char *text, size_t size, size_t at)
{
	at++;
	while (p->is_utf && at < size && ((unsigned char)text[at] & 0xc0) == 0x80)
		at++;
	return at;
}

/* PCRE2 counts steps anew at each place where a match may begin, so what it takes for all places has no bound of its
 * own. We let it try a stride of places at a time and look at the clock in between. */
enum mm_pattern_result mm_pattern_search(struct mm_pattern *p, const char *text, size_t size, size_t from,
	bool is_after_empty, double *seconds)
{
	uint32_t flags = is_after_empty ? PCRE2_NOTEMPTY_ATSTART : 0;
	size_t stride = p->is_anchored ? size + 1 : STRIDE_FIRST;
	double began = 0;
	pcre2_set_match_limit(p->limits, steps_for(p, size));
	for (;;) {
		if (*seconds <= 0)
			return MM_PATTERN_LIMIT;
		size_t last = size - from > stride ? from + stride : size;
		pcre2_set_offset_limit(p->limits, last);
		if (began == 0)
			began = mm_pattern_clock();
		enum mm_pattern_result r = result_of(pcre2_match(p->code, (PCRE2_SPTR)text, size, from, flags, p->match,
			p->limits));
		double now = mm_pattern_clock(), took = now - began;
		*seconds -= took;
		began = now;
		if (r != MM_PATTERN_NONE || last >= size)
			return r;
		from = next_character(p, text, size, last);
		if (from > size)
			return r;
		flags = 0;
		stride = took > SLICE_SECONDS ? 0 : stride < size ? stride * 4 + 1 : stride;
	}
}

const size_t *mm_pattern_spans(const struct mm_pattern *p)
{
	return pcre2_get_ovector_pointer(p->match);
}

unsigned mm_pattern_groups(const struct mm_pattern *p)
{
	return p->groups;
}

const char *mm_pattern_group_name(const struct mm_pattern *p, unsigned i, unsigned *group)
{
	PCRE2_SPTR table = NULL;
	if (i >= info_of(p, PCRE2_INFO_NAMECOUNT))
		return NULL;
	pcre2_pattern_info(p->code, PCRE2_INFO_NAMETABLE, &table);
	const unsigned char *row = table + (size_t)i * info_of(p, PCRE2_INFO_NAMEENTRYSIZE);
	*group = (unsigned)row[0] << 8 | row[1];
	return (const char *)row + 2;
}
