#include "map/posix_regex.h"

#include "base/quote.h"

#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	DEPTH_MAX = 100,                /* of parentheses: regcomp calls itself for each */
	REPEAT_MAX = 32767,             /* RE_DUP_MAX of the C library */
	RENEW_AFTER = 65536,            /* bytes of texts; the automaton gets at most so many states, of some KiB */
	STEP = 4096,                    /* bytes between two looks at the clock: at the worst a tenth of a second */
};

struct mm_posix_regex {
	regex_t  whole;                 /* owned: decides */
	regex_t  groups;                /* owned: finds the groups; with has_groups */
	bool     has_whole, has_groups;
	bool     is_wrapped;            /* whole begins at the beginning only */
	int      whole_flags, groups_flags;
	char    *whole_text, *text;     /* owned */
	size_t   count;                 /* of groups */
	double   positions;
	size_t   read;                  /* bytes since it was compiled */
	size_t   spans[2 * (MM_PATTERN_GROUPS_MAX + 1)];
};

/* ---- look at an expression ----
 * As far as its cost needs: what the C library refuses may be counted wrongly. */

struct scan {
	const char *at, *end;
	bool        is_basic;
	bool        has_back_reference, is_unbalanced;
	double      sums[DEPTH_MAX + 1];        /* positions of each group that is open */
	double      last;                       /* of the last item: what a {n} would repeat */
	/* What may match nothing: an alternative of the group, the one that is being read, it without its last item. */
	bool        is_empty[DEPTH_MAX + 1], is_empty_so_far[DEPTH_MAX + 1], was_empty[DEPTH_MAX + 1];
	bool        is_last_empty;
	/* Of the items directly before the last one that may match nothing: their positions, and those they would have
	 * without quantifiers. */
	double      run[DEPTH_MAX + 1], bare_run[DEPTH_MAX + 1], last_bare;
	double      anchors[DEPTH_MAX + 1];     /* in each group that is open */
	double      anchor_run[DEPTH_MAX + 1], last_anchors;    /* in those items, and in the last one */
	int         depth;
	bool        is_too_deep;
};

/* What a `[` begins; at is after it. */
static void skip_bracket(struct scan *s)
{
	s->at += s->at < s->end && *s->at == '^';
	s->at += s->at < s->end && *s->at == ']';
	while (s->at < s->end && *s->at != ']') {
		char c = *s->at++;
		char kind = s->at < s->end ? *s->at : '\0';
		if (c != '[' || (kind != ':' && kind != '.' && kind != '='))
			continue;
		for (s->at++; s->at + 1 < s->end && !(s->at[0] == kind && s->at[1] == ']'); s->at++)
			;
		s->at += s->at + 1 < s->end ? 2 : 0;
	}
	s->at += s->at < s->end;
}

static void begin_alternatives(struct scan *s)
{
	s->is_empty[s->depth] = false;
	s->is_empty_so_far[s->depth] = s->was_empty[s->depth] = true;
	s->is_last_empty = true;
	s->anchors[s->depth] = 0;
	s->run[s->depth] = s->bare_run[s->depth] = s->anchor_run[s->depth] = 0;
}

/* The next item is another one. */
static void end_item(struct scan *s)
{
	s->run[s->depth] = s->is_last_empty ? s->run[s->depth] + s->last : 0;
	s->bare_run[s->depth] = s->is_last_empty ? s->bare_run[s->depth] + s->last_bare : 0;
	s->anchor_run[s->depth] = s->is_last_empty ? s->anchor_run[s->depth] + s->last_anchors : 0;
	s->is_last_empty = true;
	s->last = s->last_bare = s->last_anchors = 0;
}

/* The C library copies what may follow an anchor, for each anchor that can be met on the way there. */
static void weigh_anchor(struct scan *s)
{
	if (s->is_last_empty && s->last_anchors > 0)
		s->sums[s->depth] += s->bare_run[s->depth] * s->anchor_run[s->depth];
}

static void add_item(struct scan *s, double positions, bool may_be_empty)
{
	end_item(s);
	s->last = s->last_bare = positions;
	s->sums[s->depth] += positions;
	s->is_last_empty = may_be_empty;
	s->was_empty[s->depth] = s->is_empty_so_far[s->depth];
	s->is_empty_so_far[s->depth] &= may_be_empty;
}

static void add_anchor(struct scan *s)
{
	add_item(s, 1, true);
	s->last_anchors = 1;
	s->anchors[s->depth]++;
	weigh_anchor(s);
}

/* The last item may match nothing, as a quantifier says. */
static void note_empty(struct scan *s)
{
	if (s->is_last_empty)
		return;
	s->is_last_empty = true;
	s->is_empty_so_far[s->depth] = s->was_empty[s->depth];
	weigh_anchor(s);
}

static void end_alternative(struct scan *s)
{
	s->is_empty[s->depth] |= s->is_empty_so_far[s->depth];
	s->is_empty_so_far[s->depth] = s->was_empty[s->depth] = true;
	s->sums[s->depth]++;
	s->run[s->depth] = s->bare_run[s->depth] = s->anchor_run[s->depth] = 0;
	s->last = s->last_bare = s->last_anchors = 0;
}

/* A quantifier with nothing before it is a character, which the next quantifier repeats: "\+\+" of a basic one. */
static void note_character(struct scan *s)
{
	if (s->last == 0)
		add_item(s, 1, false);
}

static int read_count(struct scan *s)
{
	int n = 0;
	while (s->at < s->end && *s->at >= '0' && *s->at <= '9' && n <= REPEAT_MAX)
		n = n * 10 + *s->at++ - '0';
	return n;
}

/* Copies of what may match nothing can all follow each other, and what may match nothing before them. */
static void multiply(struct scan *s, double times)
{
	double added = s->last * (times - 1);
	s->sums[s->depth] += added * (s->is_last_empty ? 1 + s->run[s->depth] : 1);
	s->last += added;
}

/* {n}, {n,} and {n,m}: the larger number; at is after the brace. */
static void repeat(struct scan *s)
{
	int least = read_count(s), most = least;
	note_character(s);
	if (s->at < s->end && *s->at == ',') {
		s->at++;
		most = read_count(s);
	}
	if (least == 0)
		note_empty(s);
	double times = most > least ? most : least + 1;
	multiply(s, s->is_last_empty ? times * times : times);
}

static void open_group(struct scan *s)
{
	if (s->depth == DEPTH_MAX) {
		s->is_too_deep = true;
		return;
	}
	end_item(s);
	s->sums[++s->depth] = 1;
	begin_alternatives(s);
}

static void close_group(struct scan *s)
{
	if (s->depth == 0) {
		s->is_unbalanced = true;
		add_item(s, 1, false);
		return;
	}
	s->depth--;
	s->is_last_empty = true;        /* the item before the group is in its run already */
	s->last = s->last_bare = s->last_anchors = 0;
	add_item(s, s->sums[s->depth + 1], s->is_empty[s->depth + 1] || s->is_empty_so_far[s->depth + 1]);
	s->last_anchors = s->anchors[s->depth + 1];
	s->anchors[s->depth] += s->last_anchors;
	weigh_anchor(s);
}

/* "*", "?", "+" or "|". */
static void scan_special(struct scan *s, char c)
{
	if (c == '|') {
		end_alternative(s);
		return;
	}
	note_character(s);
	/* the C library writes x+ as xx*, also of a x that has a + itself; empty ones make loops of loops */
	if (c != '?' && s->is_last_empty)
		multiply(s, 8);
	else if (c == '+')
		multiply(s, 2);
	if (c != '+')
		note_empty(s);
}

/* A character that is not escaped and neither opens nor closes. */
static void scan_plain(struct scan *s, char c)
{
	if (c != '\0' && strchr(s->is_basic ? "*" : "*?+|", c) != NULL)
		scan_special(s, c);
	else if (c == '^' || c == '$')
		add_anchor(s);
	else
		add_item(s, 1, false);
}

static void scan_escape(struct scan *s)
{
	char c = s->at < s->end ? *s->at++ : '\\';
	s->has_back_reference |= c >= '1' && c <= '9';
	if (s->is_basic && strchr("?+|", c) != NULL)
		scan_special(s, c);
	else if (c != '\0' && strchr("bB<>`'", c) != NULL)      /* GNU's: they match no character */
		add_anchor(s);
	else if (!s->is_basic || strchr("(){", c) == NULL)
		add_item(s, 1, false);
	else if (c == '{')
		repeat(s);
	else
		(c == '(' ? open_group : close_group)(s);
}

static struct scan scan_of(struct mm_text text, bool is_basic)
{
	struct scan s = { .at = text.bytes, .end = text.bytes + text.size, .is_basic = is_basic };
	begin_alternatives(&s);
	while (s.at < s.end) {
		char c = *s.at++;
		if (c == '\\') {
			scan_escape(&s);
		} else if (c == '[') {
			skip_bracket(&s);
			add_item(&s, 1, false);
		} else if (is_basic || strchr("(){", c) == NULL) {
			scan_plain(&s, c);
		} else if (c == '{') {
			repeat(&s);
		} else {
			(c == '(' ? open_group : close_group)(&s);
		}
	}
	return s;
}

static bool is_bounded(struct mm_text text, const struct scan *s, struct mm_fault *why)
{
	const char *wrong = NULL;
	double positions = 0;
	/* regcomp expands a group before it finds out that it is left open */
	for (int i = 0; i <= s->depth; i++)
		positions += s->sums[i];
	if (memchr(text.bytes, '\0', text.size) != NULL)
		wrong = "has a byte 0";
	else if (s->has_back_reference)
		wrong = "refers back to a group, which nothing bounds in time; write it for a pcre: table, which has "
			"limits";
	else if (s->is_too_deep)
		wrong = "has more than 100 groups inside each other";
	else if (positions > MM_POSIX_POSITIONS_MAX)
		wrong = "costs the C library as much as more than 1000 characters; use smaller numbers in {}, no + or "
			"* of a + or *, no ^ or $ in a row";
	return wrong == NULL
		|| mm_fault_set(why, MM_FAULT_CONFIG, "%s %s", mm_quote(text.bytes, text.size).text, wrong);
}

/* ---- compile ---- */

static bool compile(regex_t *to, const char *text, int flags, struct mm_fault *why)
{
	char words[128];
	int rc = regcomp(to, text, flags);
	if (rc == 0)
		return true;
	regerror(rc, to, words, sizeof words);
	return mm_fault_set(why, MM_FAULT_CONFIG, "%s: %s", mm_quote(text, strlen(text)).text, words);
}

static char *wrap(struct mm_text text, bool is_basic)
{
	char *wrapped = NULL;
	int n = asprintf(&wrapped, is_basic ? "\\`\\(.\\|\n\\)*\\(%.*s\\)" : "\\`(.|\n)*(%.*s)", (int)text.size,
		text.bytes);
	return n < 0 ? NULL : wrapped;
}

/* Compiles it as it is, which says what is wrong and how many groups there are, then as it is looked for. */
static bool compile_both(struct mm_posix_regex *r, struct mm_text text, const struct mm_posix_options *o,
	struct mm_fault *why)
{
	r->whole_flags = r->groups_flags | REG_NOSUB;
	r->text = strndup(text.bytes, text.size);
	r->whole_text = r->is_wrapped ? wrap(text, o->basic) : strndup(text.bytes, text.size);
	if (r->text == NULL || r->whole_text == NULL)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory");
	if (!compile(&r->groups, r->text, r->groups_flags, why))
		return false;
	r->count = r->groups.re_nsub;
	r->has_groups = o->has_groups;
	if (!r->has_groups)
		regfree(&r->groups);
	if (r->count > MM_PATTERN_GROUPS_MAX)
		return mm_fault_set(why, MM_FAULT_CONFIG, "%s has %zu groups; at most %d are possible",
			mm_quote(text.bytes, text.size).text, r->count, MM_PATTERN_GROUPS_MAX);
	r->has_whole = compile(&r->whole, r->whole_text, r->whole_flags, why);
	return r->has_whole;
}

struct mm_posix_regex *mm_posix_regex_new(struct mm_text text, const struct mm_posix_options *o, struct mm_fault *why)
{
	struct scan s = scan_of(text, o->basic);
	if (!is_bounded(text, &s, why))
		return NULL;
	struct mm_posix_regex *r = calloc(1, sizeof *r);
	if (r == NULL) {
		mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory");
		return NULL;
	}
	r->positions = s.sums[0] + 1;
	/* In "a)|b" the ")" is a character; in "(a)|b)" it would not be. */
	r->is_wrapped = !s.is_unbalanced;
	r->groups_flags = (o->basic ? 0 : REG_EXTENDED) | (o->ignore_case ? REG_ICASE : 0)
		| (o->newline ? REG_NEWLINE : 0);
	/* Not all of a table's expressions are to be compiled anew for the same text. */
	r->read = mm_text_hash_mixed(text) % RENEW_AFTER;
	if (!compile_both(r, text, o, why)) {
		mm_posix_regex_free(r);
		return NULL;
	}
	return r;
}

void mm_posix_regex_free(struct mm_posix_regex *r)
{
	if (r == NULL)
		return;
	if (r->has_whole)
		regfree(&r->whole);
	if (r->has_groups)
		regfree(&r->groups);
	free(r->whole_text);
	free(r->text);
	free(r);
}

/* ---- search ---- */

/* Gives the memory of states back. False: out of memory; then the next search tries again. */
static bool renew(struct mm_posix_regex *r)
{
	struct mm_fault why;
	if (r->has_whole && r->read < RENEW_AFTER)
		return true;
	if (r->has_whole)
		regfree(&r->whole);
	r->has_whole = compile(&r->whole, r->whole_text, r->whole_flags, &why);
	if (r->has_groups) {
		regfree(&r->groups);
		r->has_groups = compile(&r->groups, r->text, r->groups_flags, &why);
		if (!r->has_groups) {
			regfree(&r->whole);
			r->has_whole = false;
		}
	}
	r->read = 0;
	return r->has_whole;
}

static enum mm_pattern_result result_of(int rc)
{
	return rc == 0 ? MM_PATTERN_FOUND : rc == REG_NOMATCH ? MM_PATTERN_NONE : MM_PATTERN_LIMIT;
}

static enum mm_pattern_result find_groups(struct mm_posix_regex *r, struct mm_text text)
{
	regmatch_t found[MM_PATTERN_GROUPS_MAX + 1] = { { 0, (regoff_t)text.size } };
	double size = (double)text.size;
	if (size * size * r->positions > MM_POSIX_GROUPS_WORK)
		return MM_PATTERN_LIMIT;
	enum mm_pattern_result result = result_of(regexec(&r->groups, text.bytes, r->count + 1, found, REG_STARTEND));
	for (size_t i = 0; i <= r->count && result == MM_PATTERN_FOUND; i++) {
		r->spans[2 * i] = found[i].rm_so < 0 ? SIZE_MAX : (size_t)found[i].rm_so;
		r->spans[2 * i + 1] = found[i].rm_so < 0 ? SIZE_MAX : (size_t)found[i].rm_eo;
	}
	return result;
}

static enum mm_pattern_result search(struct mm_posix_regex *r, const char *text, size_t size)
{
	regmatch_t all = { 0, (regoff_t)size };
	r->read += size;
	return result_of(regexec(&r->whole, text, 0, &all, REG_STARTEND));
}

/* What a beginning says does not count: "$" would match at its end. */
static enum mm_pattern_result search_in_steps(struct mm_posix_regex *r, struct mm_text text, double *seconds)
{
	double began = mm_pattern_clock();
	enum mm_pattern_result result = MM_PATTERN_LIMIT;
	for (size_t size = STEP; size < text.size; size += STEP) {
		if (search(r, text.bytes, size) == MM_PATTERN_LIMIT || mm_pattern_clock() - began > *seconds)
			goto end;
	}
	result = search(r, text.bytes, text.size);
	if (result == MM_PATTERN_FOUND && r->has_groups)
		result = find_groups(r, text);
end:
	*seconds -= mm_pattern_clock() - began;
	if (result == MM_PATTERN_LIMIT)
		r->read = RENEW_AFTER;          /* it may have left many states */
	return result;
}

enum mm_pattern_result mm_posix_regex_search(struct mm_posix_regex *r, struct mm_text text, double *seconds)
{
	double size = (double)text.size;
	if (*seconds <= 0 || size > MM_POSIX_TEXT_MAX || !renew(r))
		return MM_PATTERN_LIMIT;
	if (!r->is_wrapped && size * size * r->positions > MM_POSIX_GROUPS_WORK)
		return MM_PATTERN_LIMIT;
	return search_in_steps(r, text, seconds);
}

const size_t *mm_posix_regex_spans(const struct mm_posix_regex *r)
{
	return r->spans;
}

unsigned mm_posix_regex_groups(const struct mm_posix_regex *r)
{
	return (unsigned)r->count;
}
