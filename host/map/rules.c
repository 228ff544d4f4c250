#include "map/rules.h"

#include "base/array.h"
#include "base/quote.h"
#include "map/logical_lines.h"
#include "map/pattern.h"
#include "map/posix_regex.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NESTING_MAX = 100 };

/* An expression of either kind. */
struct expression {
	struct mm_pattern     *pcre;    /* owned; one of the two, or neither where there is none */
	struct mm_posix_regex *posix;   /* owned */
	bool                   is_negative;
};

enum operation { MATCH, IF, ENDIF };

/* A piece of a result: bytes of mm_rules.text, or a group. */
struct piece {
	uint32_t from, size;
	uint32_t group;                 /* 0: bytes */
};

struct rule {
	enum operation    operation;
	unsigned          line;
	struct expression first;
	struct expression second;       /* /first/!/second/ of regexp_table: both must hold */
	uint32_t          pieces, count;        /* MATCH: of mm_rules.pieces */
	uint32_t          endif;        /* IF: number of the rule that ends it */
};

struct mm_rules {
	struct mm_table   table;
	bool              is_pcre;
	uint32_t          steps;
	struct rule      *rules;        /* owned, as the next two */
	struct piece     *pieces;
	struct mm_buffer  text;
	uint32_t          count, room, pieces_count, pieces_room;
	uint32_t          open[NESTING_MAX];    /* numbers of the rules IF without their ENDIF so far */
	unsigned          nesting;
};

static bool no_memory(struct mm_fault *why)
{
	return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory");
}

/* ---- a line ---- */

struct line {
	const char *at, *end;
	unsigned    number;
};

static bool wrong(const struct line *l, struct mm_fault *why, const char *what)
{
	return mm_fault_set(why, MM_FAULT_CONFIG, "line %u: %s", l->number, what);
}

static bool is_letter_or_digit(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static void skip_space(struct line *l)
{
	while (l->at < l->end && mm_is_blank(*l->at))
		l->at++;
}

/* The word is there, and not only as the beginning of another one. */
static bool takes_word(struct line *l, const char *word, size_t size)
{
	if ((size_t)(l->end - l->at) < size || strncasecmp(l->at, word, size) != 0)
		return false;
	if (l->at + size < l->end && is_letter_or_digit(l->at[size]))
		return false;
	l->at += size;
	return true;
}

/* ---- an expression: !/text/flags ---- */

static bool takes_delimited(struct line *l, bool *is_negative, struct mm_text *text, struct mm_fault *why)
{
	*is_negative = false;
	for (; l->at < l->end && (*l->at == '!' || mm_is_blank(*l->at)); l->at++)
		*is_negative ^= *l->at == '!';
	if (l->at == l->end)
		return wrong(l, why, "there is no expression; write /expression/ result");
	char delimiter = *l->at++;
	text->bytes = l->at;
	for (; l->at < l->end && *l->at != delimiter; l->at++)
		l->at += *l->at == '\\' && l->at + 1 < l->end;
	text->size = (size_t)(l->at - text->bytes);
	if (l->at == l->end)
		return mm_fault_set(why, MM_FAULT_CONFIG, "line %u: the expression has no \"%c\" at its end", l->number,
			delimiter);
	l->at++;
	return true;
}

/* Each letter toggles its flag. */
static bool takes_flags(struct line *l, const char *letters, bool *const flags[], struct mm_fault *why)
{
	for (; l->at < l->end && !mm_is_blank(*l->at); l->at++) {
		if (*l->at == '!' && strchr(letters, 'X') == NULL)
			break;                  /* a second expression of regexp_table */
		const char *letter = strchr(letters, *l->at);
		if (*l->at == '\0' || letter == NULL)
			return mm_fault_set(why, MM_FAULT_CONFIG, "line %u: there is no flag %s; there are %s",
				l->number, mm_quote(l->at, 1).text, letters);
		*flags[letter - letters] ^= true;
	}
	return true;
}

static bool tell_line(const struct line *l, struct mm_fault *why)
{
	char text[sizeof why->text];
	memcpy(text, why->text, sizeof text);
	return mm_fault_set(why, MM_FAULT_CONFIG, "line %u: %s", l->number, text);
}

static bool takes_pcre(const struct mm_rules *r, struct line *l, struct expression *to, struct mm_fault *why)
{
	struct mm_pattern_options o = { .ignore_case = true, .dotall = true, .steps = r->steps };
	bool unused = false;            /* X, which PCRE2 has no more: Postfix ignores it, too */
	bool *const flags[] = { &o.ignore_case, &o.multiline, &o.dotall, &o.extended, &o.anchored, &o.dollar_endonly,
		&o.ungreedy, &unused };
	struct mm_text text;
	if (!takes_delimited(l, &to->is_negative, &text, why) || !takes_flags(l, "imsxAEUX", flags, why))
		return false;
	to->pcre = mm_pattern_new(text.bytes, text.size, &o, why);
	return to->pcre != NULL || tell_line(l, why);
}

static bool takes_posix(struct line *l, bool has_groups, struct expression *to, struct mm_fault *why)
{
	struct mm_posix_options o = { .ignore_case = true, .has_groups = has_groups };
	bool *const flags[] = { &o.ignore_case, &o.newline, &o.basic };
	struct mm_text text;
	if (!takes_delimited(l, &to->is_negative, &text, why) || !takes_flags(l, "imx", flags, why))
		return false;
	to->posix = mm_posix_regex_new(text, &o, why);
	return to->posix != NULL || tell_line(l, why);
}

static bool takes_expression(const struct mm_rules *r, struct line *l, bool has_groups, struct expression *to,
	struct mm_fault *why)
{
	return r->is_pcre ? takes_pcre(r, l, to, why) : takes_posix(l, has_groups, to, why);
}

static void free_expression(struct expression *e)
{
	mm_pattern_free(e->pcre);
	mm_posix_regex_free(e->posix);
}

/* ---- a result: text with $1, ${1}, $(1), $$ ---- */

static struct piece *new_piece(struct mm_rules *r, struct mm_fault *why)
{
	if (!mm_array_grow(&r->pieces, r->pieces_count, &r->pieces_room, sizeof *r->pieces)) {
		no_memory(why);
		return NULL;
	}
	struct piece *p = &r->pieces[r->pieces_count++];
	*p = (struct piece){ .from = (uint32_t)r->text.size };
	return p;
}

static bool add_bytes(struct mm_rules *r, const char *from, size_t size, struct mm_fault *why)
{
	if (size == 0)
		return true;
	struct piece *p = new_piece(r, why);
	if (p == NULL)
		return false;
	p->size = (uint32_t)size;
	mm_buffer_append(&r->text, from, size);
	return !r->text.failed || no_memory(why);
}

/* What is after a "$": the number's digits; *at is then after all of it. */
static bool takes_name(const char **at, const char *end, struct mm_text *name)
{
	char close = **at == '{' ? '}' : **at == '(' ? ')' : '\0';
	*at += close != '\0';
	name->bytes = *at;
	while (*at < end && (close != '\0' ? **at != close : is_letter_or_digit(**at) || **at == '_'))
		(*at)++;
	name->size = (size_t)(*at - name->bytes);
	if (close == '\0')
		return true;
	return (*at)++ < end;
}

static bool read_group(struct mm_text name, uint32_t *group)
{
	*group = 0;
	for (size_t i = 0; i < name.size; i++) {
		if (name.bytes[i] < '0' || name.bytes[i] > '9' || *group > MM_PATTERN_GROUPS_MAX)
			return false;
		*group = *group * 10 + (uint32_t)(name.bytes[i] - '0');
	}
	return *group > 0;
}

static bool add_result(struct mm_rules *r, struct line *l, struct rule *rule, struct mm_fault *why)
{
	rule->pieces = r->pieces_count;
	while (l->at < l->end) {
		const char *dollar = memchr(l->at, '$', (size_t)(l->end - l->at));
		bool is_double = dollar != NULL && dollar + 1 < l->end && dollar[1] == '$';
		const char *stop = dollar == NULL ? l->end : dollar + is_double;
		struct mm_text name;
		uint32_t group;
		if (!add_bytes(r, l->at, (size_t)(stop - l->at), why))
			return false;
		l->at = stop + (dollar != NULL);
		if (dollar == NULL || is_double)
			continue;
		if (l->at == l->end || !takes_name(&l->at, l->end, &name) || !read_group(name, &group))
			return wrong(l, why, "a \"$\" in the result is followed by no number of a group; "
				"write $1, ${1} or, for the character, $$");
		struct piece *p = new_piece(r, why);
		if (p == NULL)
			return false;
		p->group = group;
	}
	rule->count = r->pieces_count - rule->pieces;
	return true;
}

static uint32_t last_group(const struct mm_rules *r, const struct rule *rule)
{
	uint32_t last = 0;
	for (uint32_t i = 0; i < rule->count; i++) {
		uint32_t group = r->pieces[rule->pieces + i].group;
		last = group > last ? group : last;
	}
	return last;
}

/* ---- a rule ---- */

/* Where the result begins, without compiling what is before it: whether groups are read decides how that is done. */
static bool find_result(const struct mm_rules *r, struct line l, struct line *result, struct mm_fault *why)
{
	bool is_negative;
	struct mm_text text;
	do {
		if (!takes_delimited(&l, &is_negative, &text, why))
			return false;
		while (l.at < l.end && !mm_is_blank(*l.at) && (r->is_pcre || *l.at != '!'))
			l.at++;
	} while (l.at < l.end && *l.at == '!');
	skip_space(&l);
	*result = l;
	return true;
}

static bool read_match(struct mm_rules *r, struct line *l, struct rule *rule, struct mm_fault *why)
{
	struct line result;
	if (!find_result(r, *l, &result, why) || !add_result(r, &result, rule, why))
		return false;
	uint32_t last = last_group(r, rule);
	if (!takes_expression(r, l, last > 0, &rule->first, why))
		return false;
	if (l->at < l->end && *l->at == '!' && !takes_expression(r, l, false, &rule->second, why))
		return false;
	if (last > 0 && rule->first.is_negative)
		return wrong(l, why, "a result with $1 needs an expression that matches, not one after \"!\"");
	uint32_t groups = r->is_pcre ? mm_pattern_groups(rule->first.pcre) : mm_posix_regex_groups(rule->first.posix);
	return last <= groups
		|| mm_fault_set(why, MM_FAULT_CONFIG, "line %u: the result has $%u, but the expression has %u groups",
			l->number, (unsigned)last, (unsigned)groups);
}

static bool read_if(struct mm_rules *r, struct line *l, struct rule *rule, struct mm_fault *why)
{
	rule->operation = IF;
	skip_space(l);
	if (!takes_expression(r, l, false, &rule->first, why))
		return false;
	skip_space(l);
	if (l->at < l->end)
		return wrong(l, why, "text after the expression of an if; begin the rules inside it without blanks, "
			"because blanks continue a line");
	if (r->nesting == NESTING_MAX)
		return wrong(l, why, "more than 100 ifs inside each other");
	r->open[r->nesting++] = r->count - 1;
	return true;
}

static bool read_endif(struct mm_rules *r, struct line *l, struct rule *rule, struct mm_fault *why)
{
	rule->operation = ENDIF;
	if (r->nesting == 0)
		return wrong(l, why, "an endif without an if");
	skip_space(l);
	if (l->at < l->end)
		return wrong(l, why, "text after endif; begin the next rule without blanks, because blanks continue "
			"a line");
	r->rules[r->open[--r->nesting]].endif = r->count - 1;
	return true;
}

static bool read_rule(struct mm_rules *r, struct line *l, struct mm_fault *why)
{
	if (memchr(l->at, '\0', (size_t)(l->end - l->at)) != NULL)
		return wrong(l, why, "a byte 0");
	if (r->count == MM_RULES_MAX)
		return wrong(l, why, "more than 100000 rules");
	if (!mm_array_grow(&r->rules, r->count, &r->room, sizeof *r->rules))
		return no_memory(why);
	struct rule *rule = &r->rules[r->count++];
	*rule = (struct rule){ .operation = MATCH, .line = l->number };
	if (!is_letter_or_digit(*l->at))
		return read_match(r, l, rule, why);
	if (takes_word(l, "if", 2))
		return read_if(r, l, rule, why);
	if (takes_word(l, "endif", 5))
		return read_endif(r, l, rule, why);
	return wrong(l, why, "neither /expression/ result nor if nor endif");
}

static bool read_lines(struct mm_rules *r, struct mm_text text, struct mm_fault *why)
{
	struct mm_logical_lines lines = { .rest = text };
	struct mm_text line;
	bool is_good = true;
	while (is_good && mm_logical_lines_next(&lines, &line)) {
		line = mm_trimmed(line);
		struct line l = { line.bytes, line.bytes + line.size, lines.first };
		is_good = line.size == 0 || read_rule(r, &l, why);
	}
	if (is_good && lines.joined.failed)
		is_good = no_memory(why);
	if (is_good && r->nesting > 0)
		is_good = mm_fault_set(why, MM_FAULT_CONFIG, "line %u: an if without an endif",
			r->rules[r->open[r->nesting - 1]].line);
	mm_logical_lines_end(&lines);
	return is_good;
}

struct mm_rules *mm_rules_new(struct mm_text text, bool is_pcre, uint32_t steps, struct mm_fault *why)
{
	struct mm_rules *r = calloc(1, sizeof *r);
	if (r == NULL) {
		no_memory(why);
		return NULL;
	}
	r->table.format = is_pcre ? &mm_pcre_format : &mm_regexp_format;
	r->is_pcre = is_pcre;
	r->steps = steps;
	if (read_lines(r, text, why))
		return r;
	mm_rules_free(r);
	return NULL;
}

void mm_rules_free(struct mm_rules *r)
{
	if (r == NULL)
		return;
	for (uint32_t i = 0; i < r->count; i++) {
		free_expression(&r->rules[i].first);
		free_expression(&r->rules[i].second);
	}
	free(r->rules);
	free(r->pieces);
	mm_buffer_free(&r->text);
	free(r);
}

/* ---- look up ---- */

static enum mm_pattern_result holds(const struct expression *e, struct mm_text key, double *seconds)
{
	enum mm_pattern_result result = e->pcre != NULL
		? mm_pattern_search(e->pcre, key.bytes, key.size, 0, false, seconds)
		: mm_posix_regex_search(e->posix, key, seconds);
	if (result > MM_PATTERN_NONE || !e->is_negative)
		return result;
	return result == MM_PATTERN_FOUND ? MM_PATTERN_NONE : MM_PATTERN_FOUND;
}

static enum mm_pattern_result rule_holds(const struct rule *rule, struct mm_text key, double *seconds)
{
	enum mm_pattern_result result = holds(&rule->first, key, seconds);
	bool has_second = rule->second.posix != NULL;
	return result == MM_PATTERN_FOUND && has_second ? holds(&rule->second, key, seconds) : result;
}

static void append_result(const struct mm_rules *r, const struct rule *rule, struct mm_text key,
	struct mm_buffer *value)
{
	const size_t *spans = rule->first.pcre != NULL ? mm_pattern_spans(rule->first.pcre)
		: mm_posix_regex_spans(rule->first.posix);
	for (uint32_t i = 0; i < rule->count; i++) {
		const struct piece *p = &r->pieces[rule->pieces + i];
		if (p->group == 0)
			mm_buffer_append(value, r->text.bytes + p->from, p->size);
		else if (spans[2 * p->group] != SIZE_MAX)
			mm_buffer_append(value, key.bytes + spans[2 * p->group],
				spans[2 * p->group + 1] - spans[2 * p->group]);
	}
}

enum mm_table_result mm_rules_get(struct mm_rules *r, struct mm_text key, struct mm_buffer *value, struct mm_fault *why)
{
	double seconds = MM_PATTERN_SECONDS;
	for (uint32_t i = 0; i < r->count; i++) {
		const struct rule *rule = &r->rules[i];
		if (rule->operation == ENDIF)
			continue;
		enum mm_pattern_result result = rule_holds(rule, key, &seconds);
		if (result > MM_PATTERN_NONE) {
			bool is_limit = result == MM_PATTERN_LIMIT;
			mm_fault_set(why, is_limit ? MM_FAULT_RESOURCE : MM_FAULT_CONFIG, "line %u: %s", rule->line,
				is_limit ? "the expression takes too long on this key" : "PCRE2 failed");
			return MM_TABLE_ERROR;
		}
		if (rule->operation == IF && result == MM_PATTERN_NONE)
			i = rule->endif;
		if (rule->operation == IF || result == MM_PATTERN_NONE)
			continue;
		append_result(r, rule, key, value);
		return MM_TABLE_FOUND;
	}
	return MM_TABLE_NONE;
}

/* ---- a table ---- */

static bool read_file(const char *path, struct mm_buffer *to, struct mm_fault *why)
{
	struct stat st = { 0 };
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return mm_fault_set(why, MM_FAULT_CONFIG, "%s", strerror(errno));
	ssize_t n = -1;
	bool is_file = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
	while (is_file && to->size <= MM_RULES_TEXT_MAX && mm_buffer_reserve(to, 65536) != NULL
		&& (n = read(fd, to->bytes + to->size, 65536)) > 0)
		to->size += (size_t)n;
	close(fd);
	if (to->size > MM_RULES_TEXT_MAX)
		return mm_fault_set(why, MM_FAULT_CONFIG, "it is larger than 16 MiB");
	return n == 0 || mm_fault_set(why, MM_FAULT_CONFIG, is_file ? "it cannot be read" : "it is not a file");
}

static struct mm_table *open_rules(const char *path, bool is_pcre, const struct mm_table_options *o,
	struct mm_fault *why)
{
	struct mm_buffer text = { 0 };
	struct mm_rules *r = NULL;
	if (read_file(path, &text, why))
		r = mm_rules_new((struct mm_text){ (const char *)text.bytes, text.size }, is_pcre, (uint32_t)o->steps,
			why);
	mm_buffer_free(&text);
	return r != NULL ? &r->table : NULL;
}

static struct mm_table *open_regexp(const char *path, const struct mm_table_options *o, struct mm_fault *why)
{
	return open_rules(path, false, o, why);
}

static struct mm_table *open_pcre(const char *path, const struct mm_table_options *o, struct mm_fault *why)
{
	return open_rules(path, true, o, why);
}

static void close_rules(struct mm_table *t)
{
	mm_rules_free((struct mm_rules *)t);
}

static enum mm_table_result get(struct mm_table *t, struct mm_text key, struct mm_buffer *value, struct mm_fault *why)
{
	return mm_rules_get((struct mm_rules *)t, key, value, why);
}

static uint64_t count(const struct mm_table *t)
{
	const struct mm_rules *r = (const struct mm_rules *)t;
	uint64_t n = 0;
	for (uint32_t i = 0; i < r->count; i++)
		n += r->rules[i].operation == MATCH;
	return n;
}

const struct mm_table_format mm_regexp_format = { .name = "regexp", .open = open_regexp, .close = close_rules,
	.get = get, .count = count };
const struct mm_table_format mm_pcre_format = { .name = "pcre", .open = open_pcre, .close = close_rules,
	.get = get, .count = count };
