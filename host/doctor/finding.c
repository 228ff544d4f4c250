#include "doctor/finding.h"

#include "base/json.h"
#include "base/terminal.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

static const char *const level_names[] = { "ok", "note", "wrong" };             /* ORDER FINDING */
static const char *const level_marks[] = { "ok   ", "note ", "WRONG" };         /* ORDER FINDING */

static const enum mm_paint level_paints[] = { MM_PAINT_GREEN, MM_PAINT_YELLOW, MM_PAINT_RED };  /* ORDER FINDING */

/* A command that ends soon need not handle lack of memory. */
static void *need(void *memory)
{
	if (memory == NULL) {
		perror("moonmilter doctor");
		exit(EX_OSERR);
	}
	return memory;
}

static char *format_text(const char *format, va_list args)
{
	char *text;
	return need(vasprintf(&text, format, args) < 0 ? NULL : text);
}

void mm_findings_begin(struct mm_findings *f, const char *format, ...)
{
	va_list args;
	f->parts = need(reallocarray(f->parts, f->part_count + 1, sizeof *f->parts));
	va_start(args, format);
	f->parts[f->part_count++] = format_text(format, args);
	va_end(args);
}

/* Services of an MTA share sockets and settings: do not repeat a finding for the next service. */
static bool is_said(const struct mm_findings *f, const char *part, const char *text)
{
	for (size_t i = 0; i < f->count; i++)
		if (f->items[i].part == part && strcmp(f->items[i].text, text) == 0)
			return true;
	return false;
}

static void add(struct mm_findings *f, enum mm_finding_level level, const char *format, va_list args)
{
	const char *part = f->parts[f->part_count - 1];
	char *text = format_text(format, args);
	if (is_said(f, part, text)) {
		free(text);
		return;
	}
	f->items = need(reallocarray(f->items, f->count + 1, sizeof *f->items));
	f->items[f->count++] = (struct mm_finding){ level, part, text, NULL };
}

void mm_find_ok(struct mm_findings *f, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	add(f, MM_FINDING_OK, format, args);
	va_end(args);
}

void mm_find_note(struct mm_findings *f, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	add(f, MM_FINDING_NOTE, format, args);
	va_end(args);
}

void mm_find_wrong(struct mm_findings *f, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	add(f, MM_FINDING_WRONG, format, args);
	va_end(args);
}

void mm_find_remedy(struct mm_findings *f, const char *format, ...)
{
	struct mm_finding *last = &f->items[f->count - 1];
	va_list args;
	if (last->remedy != NULL)               /* of a finding that was dropped as a repetition */
		return;
	va_start(args, format);
	last->remedy = format_text(format, args);
	va_end(args);
}

size_t mm_findings_count(const struct mm_findings *f, enum mm_finding_level level)
{
	size_t count = 0;
	for (size_t i = 0; i < f->count; i++)
		count += f->items[i].level == level;
	return count;
}

void mm_findings_print(const struct mm_findings *f, FILE *to)
{
	const char *part = NULL;
	for (size_t i = 0; i < f->count; i++) {
		const struct mm_finding *one = &f->items[i];
		if (one->part != part)
			fprintf(to, "%s%s\n", part != NULL ? "\n" : "", one->part);
		part = one->part;
		fputs("  ", to);
		mm_terminal_paint(STDOUT_FILENO, level_paints[one->level]);
		fputs(level_marks[one->level], to);
		mm_terminal_paint(STDOUT_FILENO, MM_PAINT_NONE);
		fprintf(to, "  %s\n", one->text);
		if (one->remedy != NULL)
			fprintf(to, "         -> %s\n", one->remedy);
	}
	size_t wrong = mm_findings_count(f, MM_FINDING_WRONG), notes = mm_findings_count(f, MM_FINDING_NOTE);
	if (wrong > 0)
		fprintf(to, "\n%zu thing%s to mend.\n", wrong, wrong == 1 ? "" : "s");
	else
		fprintf(to, "\nNothing is wrong.%s\n", notes > 0 ? " Read the notes." : "");
}

void mm_findings_print_json(const struct mm_findings *f, FILE *to)
{
	struct mm_buffer text = { 0 };
	struct mm_json j = { &text, false };
	mm_json_open(&j, '{');
	mm_json_key(&j, "wrong");
	mm_json_integer(&j, (int64_t)mm_findings_count(f, MM_FINDING_WRONG));
	mm_json_key(&j, "findings");
	mm_json_open(&j, '[');
	for (size_t i = 0; i < f->count; i++) {
		mm_json_open(&j, '{');
		mm_json_key(&j, "part");
		mm_json_string(&j, f->items[i].part);
		mm_json_key(&j, "level");
		mm_json_string(&j, level_names[f->items[i].level]);
		mm_json_key(&j, "text");
		mm_json_string(&j, f->items[i].text);
		mm_json_key(&j, "remedy");
		mm_json_string(&j, f->items[i].remedy);
		mm_json_close(&j, '}');
	}
	mm_json_close(&j, ']');
	mm_json_close(&j, '}');
	need(text.failed ? NULL : text.bytes);
	fwrite(text.bytes, 1, text.size, to);
	fputc('\n', to);
	mm_buffer_free(&text);
}

void mm_findings_free(struct mm_findings *f)
{
	for (size_t i = 0; i < f->count; i++) {
		free(f->items[i].text);
		free(f->items[i].remedy);
	}
	for (size_t i = 0; i < f->part_count; i++)
		free(f->parts[i]);
	free(f->items);
	free(f->parts);
	*f = (struct mm_findings){ 0 };
}
