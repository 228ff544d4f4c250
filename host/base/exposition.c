#include "base/exposition.h"

#include "base/utf8.h"

#include <math.h>
#include <stdio.h>

static void append(struct mm_exposition *x, const char *text)
{
	mm_buffer_append(x->out, text, strlen(text));
}

const char *mm_exposition_kind_name(enum mm_exposition_kind kind)
{
	static const char *const names[] = { "counter", "gauge", "histogram" };         /* ORDER EXPOSITION_KIND */
	return kind <= MM_EXPOSE_HISTOGRAM ? names[kind] : "unknown";
}

/* In a help text a quote may stand as it is, but OpenMetrics wants it escaped as in a label. */
static void append_escaped(struct mm_exposition *x, struct mm_text t, bool quotes)
{
	while (t.size > 0) {
		size_t n = mm_utf8_size(t);
		char c = t.bytes[0];
		if (n == 0)
			append(x, "\xEF\xBF\xBD");
		else if (c == '\\' || (c == '"' && quotes))
			mm_buffer_append(x->out, (const char[]){ '\\', c }, 2);
		else if (c == '\n')
			append(x, "\\n");
		else
			mm_buffer_append(x->out, t.bytes, n);
		n = n == 0 ? 1 : n;
		t.bytes += n;
		t.size -= n;
	}
}

void mm_exposition_family(struct mm_exposition *x, const char *name, enum mm_exposition_kind kind, const char *help)
{
	const char *suffix = kind == MM_EXPOSE_COUNTER && !x->is_open_metrics ? "_total " : " ";
	append(x, "# HELP ");
	append(x, name);
	append(x, suffix);
	append_escaped(x, mm_text_of(help), x->is_open_metrics);
	append(x, "\n# TYPE ");
	append(x, name);
	append(x, suffix);
	append(x, mm_exposition_kind_name(kind));
	append(x, "\n");
}

void mm_exposition_begin(struct mm_exposition *x, const char *name, const char *suffix)
{
	append(x, name);
	append(x, suffix);
	x->has_label = false;
}

static void begin_label(struct mm_exposition *x, const char *name)
{
	append(x, x->has_label ? "," : "{");
	append(x, name);
	append(x, "=\"");
	x->has_label = true;
}

void mm_exposition_label(struct mm_exposition *x, const char *name, struct mm_text value)
{
	begin_label(x, name);
	append_escaped(x, value, true);
	append(x, "\"");
}

/* The shortest form that reads back as the same number. */
static void append_number(struct mm_exposition *x, double n)
{
	char text[32];
	for (int digits = 15; digits <= 17; digits++) {
		snprintf(text, sizeof text, "%.*g", digits, n);
		double back;
		if (sscanf(text, "%lf", &back) == 1 && back == n)
			break;
	}
	append(x, isnan(n) ? "NaN" : n == INFINITY ? "+Inf" : n == -INFINITY ? "-Inf" : text);
}

/* OpenMetrics wants a float: 1.0, not 1. */
void mm_exposition_bound(struct mm_exposition *x, double le)
{
	begin_label(x, "le");
	append_number(x, le);
	if (isfinite(le) && floor(le) == le && le > -1e15 && le < 1e15)
		append(x, ".0");
	append(x, "\"");
}

void mm_exposition_end(struct mm_exposition *x, double value)
{
	append(x, x->has_label ? "} " : " ");
	append_number(x, value);
	append(x, "\n");
}

void mm_exposition_sample(struct mm_exposition *x, const char *name, const char *suffix, double value)
{
	mm_exposition_begin(x, name, suffix);
	mm_exposition_end(x, value);
}

void mm_exposition_finish(struct mm_exposition *x)
{
	if (x->is_open_metrics)
		append(x, "# EOF\n");
}
