#include "ctl/samples_report.h"

#include "base/array.h"
#include "base/json.h"
#include "milter/message.h"
#include "ctl/lines.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define FRAMES_MAX 80           /* of a stack; sampler.c writes at most 64 and the owner */
#define SHOWN      20           /* lines and functions, for people */
#define STATES     5

static const char letters[STATES] = { 'N', 'I', 'C', 'G', 'J' };
static const char *const state_names[STATES] = {        /* ORDER of letters */
	"compiled code", "interpreted", "C functions", "collecting garbage", "compiling",
};
static const char *const state_keys[STATES] = { "compiled", "interpreted", "c_functions", "garbage", "compiler" };

struct frame {
	char *name, *file;              /* borrowed from the stack's line */
	int   defined, line;            /* -1: a C function */
};

struct stack {
	unsigned long count;
	struct frame  frames[FRAMES_MAX];       /* innermost first */
	unsigned      depth;
	char         *milter, *script, *handler;
};

/* A line, function, handler or stack, and how often it was found. */
struct tally {
	char         *key;              /* owned: its name in the report, and its identity */
	unsigned long self, all;        /* it alone; with what it calls */
};

struct tallies {
	struct tally *items;            /* owned */
	uint32_t      count, capacity;
	bool          failed;
};

struct mm_samples_report {
	struct stack         **stacks;          /* owned, each owned */
	uint32_t               stack_count, stack_capacity;
	struct mm_report_lines lines;
	unsigned long          looks, in_lua, lost, samples, states[STATES];
};

/* ---- reading ---- */

struct mm_samples_report *mm_samples_report_new(void)
{
	return calloc(1, sizeof(struct mm_samples_report));
}

void mm_samples_report_free(struct mm_samples_report *r)
{
	if (r == NULL)
		return;
	for (size_t i = 0; i < r->stack_count; i++)
		free(r->stacks[i]);
	mm_report_lines_free(&r->lines);
	free(r->stacks);
	free(r);
}

static void read_frame(char *text, struct frame *f)
{
	char *name = strsep(&text, "|"), *file = strsep(&text, "|"), *defined = strsep(&text, "|");
	*f = (struct frame){ name, file != NULL ? file : name + strlen(name), defined != NULL ? atoi(defined) : -1,
		text != NULL ? atoi(text) : -1 };
}

static void read_owner(char *text, struct stack *s)
{
	s->milter = strsep(&text, "|");
	s->script = text != NULL ? strsep(&text, "|") : s->milter;
	s->handler = text != NULL ? text : s->script;
	const char *slash = strrchr(s->script, '/');
	if (slash != NULL)
		s->script += slash + 1 - s->script;
}

static bool take_stack(struct mm_samples_report *r, char *count, char *text)
{
	if (!mm_array_grow(&r->stacks, r->stack_count, &r->stack_capacity, sizeof *r->stacks))
		return false;
	struct stack *s = calloc(1, sizeof *s);
	if (s == NULL)
		return false;
	r->stacks[r->stack_count++] = s;
	s->count = strtoul(count, NULL, 10);
	r->samples += s->count;
	for (char *piece; (piece = strsep(&text, ";")) != NULL;)
		if (text == NULL)
			read_owner(piece, s);
		else if (s->depth < FRAMES_MAX)
			read_frame(piece, &s->frames[s->depth++]);
	/* no Lua function called it: it is the handler itself */
	if (s->depth > 0 && s->frames[s->depth - 1].name[0] == '\0')
		s->frames[s->depth - 1].name = s->handler;
	return true;
}

static void take_state(struct mm_samples_report *r, char letter, unsigned long count)
{
	const char *at = memchr(letters, letter, STATES);
	if (at != NULL)
		r->states[at - letters] += count;
}

static bool take_line(void *self, char *line, const char **why)
{
	struct mm_samples_report *r = self;
	char *kind = strsep(&line, "\t"), *first = line != NULL ? strsep(&line, "\t") : NULL;
	if (first != NULL && strcmp(kind, "failed") == 0) {
		*why = first;
		return false;
	}
	if (first != NULL && line != NULL && strcmp(kind, "stack") == 0)
		return take_stack(r, first, line);
	if (first != NULL && line != NULL && strcmp(kind, "looks") == 0) {
		r->looks += strtoul(first, NULL, 10);
		r->in_lua += strtoul(line, NULL, 10);
	} else if (first != NULL && line != NULL && strcmp(kind, "state") == 0) {
		take_state(r, first[0], strtoul(line, NULL, 10));
	} else if (first != NULL && strcmp(kind, "lost") == 0) {
		r->lost += strtoul(first, NULL, 10);
		r->samples += strtoul(first, NULL, 10);
	} else {
		*why = MM_REPORT_OTHER_VERSION;
		return false;
	}
	return true;
}

bool mm_samples_report_take(struct mm_samples_report *r, FILE *from, const char **why)
{
	return mm_report_lines_read(&r->lines, from, take_line, r, why);
}

/* ---- adding up ---- */

static bool is_c(const struct frame *f)
{
	return f->line < 0;
}

static const char *name_of(const struct frame *f)
{
	return f->name[0] != '\0' ? f->name : "(no name)";
}

/* Takes the key. */
static void add(struct tallies *t, char *key, unsigned long self, unsigned long all)
{
	t->failed |= !mm_array_grow(&t->items, t->count, &t->capacity, sizeof *t->items);
	t->failed |= key == NULL;
	if (t->failed)
		free(key);
	else
		t->items[t->count++] = (struct tally){ key, self, all };
}

__attribute__((format(printf, 1, 2)))
static char *text_of(const char *format, ...)
{
	va_list args;
	char *text;
	va_start(args, format);
	int n = vasprintf(&text, format, args);
	va_end(args);
	return n >= 0 ? text : NULL;
}

static int by_key(const void *a, const void *b)
{
	return strcmp(((const struct tally *)a)->key, ((const struct tally *)b)->key);
}

static int by_count(const void *a, const void *b)
{
	const struct tally *x = a, *y = b;
	return x->self != y->self ? (y->self > x->self ? 1 : -1) : x->all != y->all ? (y->all > x->all ? 1 : -1)
		: strcmp(x->key, y->key);
}

/* Merges equal keys; the most frequent comes first. */
static void settle(struct tallies *t)
{
	size_t kept = 0;
	if (t->count == 0)
		return;
	qsort(t->items, t->count, sizeof *t->items, by_key);
	for (size_t i = 1; i < t->count; i++) {
		if (strcmp(t->items[kept].key, t->items[i].key) != 0) {
			t->items[++kept] = t->items[i];
			continue;
		}
		t->items[kept].self += t->items[i].self;
		t->items[kept].all += t->items[i].all;
		free(t->items[i].key);
	}
	t->count = kept + 1;
	qsort(t->items, t->count, sizeof *t->items, by_count);
}

static void free_tallies(struct tallies *t)
{
	for (size_t i = 0; i < t->count; i++)
		free(t->items[i].key);
	free(t->items);
}

/* "file:12 in name", or with the C function that the line calls. */
static char *line_key(const struct stack *s)
{
	unsigned i = 0;
	while (i < s->depth && is_c(&s->frames[i]))
		i++;
	if (i == s->depth)
		return text_of("[C]");
	const struct frame *f = &s->frames[i];
	return i == 0 ? text_of("%s:%d in %s", f->file, f->line, name_of(f))
		: text_of("%s:%d in %s, calling %s", f->file, f->line, name_of(f), name_of(&s->frames[i - 1]));
}

static char *function_key(const struct frame *f)
{
	return is_c(f) ? text_of("%s [C]", name_of(f)) : text_of("%s %s:%d", name_of(f), f->file, f->defined);
}

/* Recursion counts once. */
static bool stands_before(const struct stack *s, unsigned at)
{
	for (unsigned i = 0; i < at; i++)
		if (s->frames[i].defined == s->frames[at].defined && strcmp(s->frames[i].file, s->frames[at].file) == 0
		    && strcmp(s->frames[i].name, s->frames[at].name) == 0)
			return true;
	return false;
}

static void add_functions(struct tallies *t, const struct stack *s)
{
	for (unsigned i = 0; i < s->depth; i++)
		if (!stands_before(s, i))
			add(t, function_key(&s->frames[i]), i == 0 ? s->count : 0, s->count);
}

static char *handler_key(const struct stack *s)
{
	return text_of("%s %s", s->script[0] != '\0' ? s->script : s->milter, s->handler);
}

/* "10-a.lua on_eom;on_eom 10-a.lua:3;10-a.lua:5" */
static char *folded_key(const struct stack *s)
{
	struct mm_buffer b = { 0 };
	char *owner = handler_key(s);
	if (owner != NULL)
		mm_buffer_append(&b, owner, strlen(owner));
	free(owner);
	for (unsigned i = s->depth; i > 0; i--) {
		char *function = function_key(&s->frames[i - 1]);
		mm_buffer_append(&b, ";", 1);
		if (function != NULL)
			mm_buffer_append(&b, function, strlen(function));
		free(function);
	}
	if (s->depth > 0 && !is_c(&s->frames[0])) {
		char line[320];
		mm_buffer_append(&b, line, (size_t)snprintf(line, sizeof line, ";%.280s:%d", s->frames[0].file,
			s->frames[0].line));
	}
	mm_buffer_append_u8(&b, 0);
	if (!b.failed)
		return (char *)b.bytes;
	mm_buffer_free(&b);
	return NULL;
}

enum what { LINES, FUNCTIONS, HANDLERS, STACKS };

static struct tallies tallies_of(const struct mm_samples_report *r, enum what what)
{
	struct tallies t = { 0 };
	for (size_t i = 0; i < r->stack_count; i++) {
		const struct stack *s = r->stacks[i];
		switch (what) {
		case LINES:     add(&t, line_key(s), s->count, s->count); break;
		case FUNCTIONS: add_functions(&t, s); break;
		case HANDLERS:  add(&t, handler_key(s), s->count, s->count); break;
		case STACKS:    add(&t, folded_key(s), s->count, s->count); break;
		}
	}
	settle(&t);
	return t;
}

/* ---- for people ---- */

static double percent(unsigned long part, unsigned long whole)
{
	return whole > 0 ? 100.0 * (double)part / (double)whole : 0;
}

static void print_part(const struct mm_samples_report *r, enum what what, const char *head, FILE *to)
{
	struct tallies t = tallies_of(r, what);
	fprintf(to, "\n%s\n", head);
	for (size_t i = 0; i < t.count && i < SHOWN; i++) {
		if (what == FUNCTIONS)
			fprintf(to, "%6.1f %% %6.1f %%  %s\n", percent(t.items[i].self, r->samples),
				percent(t.items[i].all, r->samples), t.items[i].key);
		else
			fprintf(to, "%6.1f %%  %s\n", percent(t.items[i].self, r->samples), t.items[i].key);
	}
	if (t.count > SHOWN)
		fprintf(to, "          and %u more\n", t.count - SHOWN);
	free_tallies(&t);
}

void mm_samples_report_print(struct mm_samples_report *r, FILE *to)
{
	fprintf(to, "%lu samples; Lua was running in %lu of them (%.1f %%)\n", r->looks, r->in_lua,
		percent(r->in_lua, r->looks));
	if (r->samples == 0)
		return;
	for (int i = 0; i < STATES; i++)
		fprintf(to, "%s%s %.1f %%", i > 0 ? ", " : "", state_names[i], percent(r->states[i], r->samples));
	putc('\n', to);
	if (r->lost > 0)
		fprintf(to, "%lu samples were lost because there was no room for their stacks\n", r->lost);
	print_part(r, HANDLERS, "   time  handler", to);
	print_part(r, LINES, "   time  line", to);
	print_part(r, FUNCTIONS, "  itself  with calls  function, and where it is defined", to);
}

void mm_samples_report_folded(struct mm_samples_report *r, FILE *to)
{
	struct tallies t = tallies_of(r, STACKS);
	for (size_t i = 0; i < t.count; i++)
		fprintf(to, "%s %lu\n", t.items[i].key, t.items[i].self);
	free_tallies(&t);
}

/* ---- for programs ---- */

static void part_json(struct mm_json *j, const struct mm_samples_report *r, enum what what, const char *list,
	const char *name)
{
	struct tallies t = tallies_of(r, what);
	mm_json_key(j, list);
	mm_json_open(j, '[');
	for (size_t i = 0; i < t.count; i++) {
		mm_json_open(j, '{');
		mm_json_key(j, name);
		mm_json_string(j, t.items[i].key);
		mm_json_key_integer(j, "samples", t.items[i].self);
		if (what == FUNCTIONS)
			mm_json_key_integer(j, "samples_with_calls", t.items[i].all);
		mm_json_close(j, '}');
	}
	mm_json_close(j, ']');
	free_tallies(&t);
}

void mm_samples_report_json(struct mm_samples_report *r, FILE *to)
{
	struct mm_buffer text = { 0 };
	struct mm_json j = { .out = &text };
	mm_json_open(&j, '{');
	mm_json_key_integer(&j, "looks", r->looks);
	mm_json_key_integer(&j, "looks_in_lua", r->in_lua);
	mm_json_key_integer(&j, "samples", r->samples);
	mm_json_key_integer(&j, "samples_not_kept", r->lost);
	mm_json_key(&j, "states");
	mm_json_open(&j, '{');
	for (int i = 0; i < STATES; i++)
		mm_json_key_integer(&j, state_keys[i], r->states[i]);
	mm_json_close(&j, '}');
	part_json(&j, r, HANDLERS, "handlers", "handler");
	part_json(&j, r, LINES, "lines", "line");
	part_json(&j, r, FUNCTIONS, "functions", "function");
	part_json(&j, r, STACKS, "stacks", "stack");
	mm_json_close(&j, '}');
	fwrite(text.bytes, 1, text.size, to);
	putc('\n', to);
	mm_buffer_free(&text);
}
