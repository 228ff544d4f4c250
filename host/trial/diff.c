#include "trial/diff.h"

#include <stdio.h>
#include <stdlib.h>

#define DIFFERENCES_MAX 1000            /* lines; memory is its square times 4 bytes */
#define CONTEXT         3               /* lines around a change */

struct lines {
	struct mm_text *line;           /* owned; without CR and LF */
	size_t          count;
	bool            ends_open;      /* the last line has no LF at its end */
};

struct diff {
	struct lines a, b;
	bool        *gone;              /* owned: line of a is not in b */
	bool        *new;               /* owned: line of b is not in a */
};

static bool cut(struct mm_text text, struct lines *out)
{
	size_t count = 0;
	for (size_t i = 0; i < text.size; i++)
		count += text.bytes[i] == '\n';
	out->ends_open = text.size > 0 && text.bytes[text.size - 1] != '\n';
	out->line = calloc(count + out->ends_open + 1, sizeof *out->line);
	if (out->line == NULL)
		return false;
	while (text.size > 0) {
		const char *lf = memchr(text.bytes, '\n', text.size);
		size_t size = lf != NULL ? (size_t)(lf - text.bytes) : text.size;
		bool has_cr = size > 0 && text.bytes[size - 1] == '\r';
		out->line[out->count++] = (struct mm_text){ text.bytes, size - has_cr };
		text.bytes += size + (lf != NULL);
		text.size -= size + (lf != NULL);
	}
	return true;
}

static bool same(const struct diff *d, size_t i, size_t j)
{
	struct mm_text a = d->a.line[i], b = d->b.line[j];
	bool a_open = d->a.ends_open && i + 1 == d->a.count, b_open = d->b.ends_open && j + 1 == d->b.count;
	return a.size == b.size && a_open == b_open && memcmp(a.bytes, b.bytes, a.size) == 0;
}

/* Row r of the trace: furthest x on each diagonal -r .. r after r differences, so it has 2r + 1 cells. */
static int *row_of(int *trace, int r)
{
	return trace + (size_t)r * (size_t)r;
}

/* Walks the trace back from the end and marks the lines that differ. */
static void mark(struct diff *d, int *trace, int from, int n, int m, int differences)
{
	int x = n, y = m;
	for (int r = differences; r > 0; r--) {
		const int *before = row_of(trace, r - 1) + (r - 1);
		int k = x - y;
		bool down = k == -r || (k != r && before[k - 1] < before[k + 1]);
		if (down)
			k++;
		else
			k--;
		x = before[k];
		y = x - k;
		if (down)
			d->new[from + y] = true;
		else
			d->gone[from + x] = true;
	}
}

/* Lines from .. from+n of a against from .. from+m of b. False: too many differences, or no memory. */
static bool find(struct diff *d, int from, int n, int m)
{
	int limit = n + m < DIFFERENCES_MAX ? n + m : DIFFERENCES_MAX;
	int *trace = malloc(((size_t)limit + 1) * ((size_t)limit + 1) * sizeof *trace);
	if (trace == NULL)
		return false;
	for (int r = 0; r <= limit; r++) {
		int *here = row_of(trace, r) + r;
		const int *before = r > 0 ? row_of(trace, r - 1) + (r - 1) : NULL;
		for (int k = -r; k <= r; k += 2) {
			int x = 0;
			if (r > 0) {
				bool down = k == -r || (k != r && before[k - 1] < before[k + 1]);
				x = down ? before[k + 1] : before[k - 1] + 1;
			}
			while (x < n && x - k < m && x - k >= 0 && same(d, (size_t)(from + x), (size_t)(from + x - k)))
				x++;
			here[k] = x;
			if (x >= n && x - k >= m) {
				mark(d, trace, from, n, m, r);
				free(trace);
				return true;
			}
		}
	}
	free(trace);
	return false;
}

static void compare(struct diff *d)
{
	size_t head = 0, tail = 0;
	size_t least = d->a.count < d->b.count ? d->a.count : d->b.count;
	while (head < least && same(d, head, head))
		head++;
	while (tail < least - head && same(d, d->a.count - 1 - tail, d->b.count - 1 - tail))
		tail++;
	size_t n = d->a.count - head - tail, m = d->b.count - head - tail;
	if (n < 1u << 30 && m < 1u << 30 && find(d, (int)head, (int)n, (int)m))
		return;
	memset(d->gone + head, true, n);
	memset(d->new + head, true, m);
}

static void append_line(struct mm_buffer *out, char mark_char, const struct lines *l, size_t at)
{
	mm_buffer_append_u8(out, (uint8_t)mark_char);
	mm_buffer_append(out, l->line[at].bytes, l->line[at].size);
	mm_buffer_append_u8(out, '\n');
	if (l->ends_open && at + 1 == l->count)
		mm_buffer_append(out, "\\ No newline at end of file\n", 28);
}

/* "3,7", "3" for one line; an empty range names the line before it. */
static void append_range(struct mm_buffer *out, char sign, size_t start, size_t count)
{
	char text[64];
	int n = count == 1 ? snprintf(text, sizeof text, " %c%zu", sign, start + 1)
		: snprintf(text, sizeof text, " %c%zu,%zu", sign, count == 0 ? start : start + 1, count);
	mm_buffer_append(out, text, (size_t)n);
}

static bool differs(const struct diff *d, size_t i, size_t j)
{
	return (i < d->a.count && d->gone[i]) || (j < d->b.count && d->new[j]);
}

/* Steps over what differs at i, j. */
static void step_over(const struct diff *d, size_t *i, size_t *j)
{
	while (*i < d->a.count && d->gone[*i])
		++*i;
	while (*j < d->b.count && d->new[*j])
		++*j;
}

static void append_hunk(struct mm_buffer *out, const struct diff *d, size_t i, size_t j, size_t i_end, size_t j_end)
{
	mm_buffer_append(out, "@@", 2);
	append_range(out, '-', i, i_end - i);
	append_range(out, '+', j, j_end - j);
	mm_buffer_append(out, " @@\n", 4);
	while (i < i_end || j < j_end) {
		while (i < i_end && d->gone[i])
			append_line(out, '-', &d->a, i++);
		while (j < j_end && d->new[j])
			append_line(out, '+', &d->b, j++);
		if (i < i_end && j < j_end) {
			append_line(out, ' ', &d->a, i++);
			j++;
		}
	}
}

static void append_hunks(struct mm_buffer *out, const struct diff *d)
{
	size_t i = 0, j = 0, shown = 0;         /* shown: lines of a before it are in a hunk */
	while (i < d->a.count || j < d->b.count) {
		if (!differs(d, i, j)) {
			i++;
			j++;
			continue;
		}
		size_t before = i - shown < CONTEXT ? i - shown : CONTEXT;
		size_t i_start = i - before, j_start = j - before, after;
		for (;;) {
			step_over(d, &i, &j);
			for (after = 0; i + after < d->a.count && after <= 2 * CONTEXT
			    && !differs(d, i + after, j + after);)
				after++;
			if (!differs(d, i + after, j + after) || after > 2 * CONTEXT)
				break;          /* the next change is far enough for a hunk of its own */
			i += after;
			j += after;
		}
		if (after > CONTEXT)
			after = CONTEXT;
		append_hunk(out, d, i_start, j_start, i + after, j + after);
		i += after;
		j += after;
		shown = i;
	}
}

static void append_name(struct mm_buffer *out, const char *mark_text, const char *name)
{
	mm_buffer_append(out, mark_text, 4);
	mm_buffer_append(out, name, strlen(name));
	mm_buffer_append_u8(out, '\n');
}

bool mm_diff_unified(struct mm_buffer *out, const char *old_name, struct mm_text old, const char *new_name,
	struct mm_text new)
{
	struct diff d = { .gone = NULL };
	bool ok = cut(old, &d.a) && cut(new, &d.b);
	if (ok) {
		d.gone = calloc(d.a.count + 1, 1);
		d.new = calloc(d.b.count + 1, 1);
		ok = d.gone != NULL && d.new != NULL;
	}
	if (ok) {
		compare(&d);
		if (memchr(d.gone, true, d.a.count) != NULL || memchr(d.new, true, d.b.count) != NULL) {
			append_name(out, "--- ", old_name);
			append_name(out, "+++ ", new_name);
			append_hunks(out, &d);
		}
	}
	free(d.a.line);
	free(d.b.line);
	free(d.gone);
	free(d.new);
	return ok && !out->failed;
}
