/* page/layout.h -- the frame of every screen, and how times, verdicts and figures look: words first, colour second.
 * No style and no script stands in the markup, so a strict policy lets none run. */
#ifndef MM_PAGE_LAYOUT_H
#define MM_PAGE_LAYOUT_H

#include "page/html.h"
#include "page/query.h"
#include "page/inquiry.h"

/* What a screen is made of. */
struct mm_screen {
	struct mm_inquiry           *source;     /* borrowed */
	const struct mm_page_query *query;      /* borrowed */
	const char                 *path;       /* of the control socket; borrowed */
	double                      now;        /* seconds since 1970 */
	struct mm_buffer           *out;        /* borrowed */
	unsigned                    status;     /* of HTTP; set by the screen */
};

/* From <!doctype> to <main>. title: ours. live: path of the events of this screen, escaped; NULL: it has none. */
void mm_layout_begin(struct mm_screen *, const char *title, const char *live);
/* The command that says the same, already escaped ("ctl status"); NULL: none. Then the end of the page. */
void mm_layout_end(struct mm_screen *, const char *command);

/* What the head says of the host, in a few words. trouble: of mm_inquiry_trouble(). */
void mm_layout_summary(struct mm_screen *, const char *trouble);

/* "16:20:11" and how long ago that was, in one element. */
void mm_layout_time(struct mm_buffer *, double at, double now);
/* "3 min" */
void mm_layout_duration(struct mm_buffer *, double seconds);
/* Without its angle brackets. */
void mm_layout_address(struct mm_buffer *, const char *address);
/* "0.35 ms", "1.20 s" */
void mm_layout_took(struct mm_buffer *, double seconds);
/* A verdict as a word with its colour. name: of ours. */
void mm_layout_verdict(struct mm_buffer *, const char *name);
/* A number with thin spaces between thousands; "–" below 0. */
void mm_layout_count(struct mm_buffer *, double);
void mm_layout_rate(struct mm_buffer *, double each_second);
void mm_layout_bytes(struct mm_buffer *, double);
/* The same as a cell of a table of cards: head names its column where the table is narrow. */
void mm_layout_count_cell(struct mm_buffer *, const char *head, double);
void mm_layout_bytes_cell(struct mm_buffer *, const char *head, double);
/* "<p class=empty>": what to do when there is nothing to show. markup: ours. */
void mm_layout_empty(struct mm_buffer *, const char *markup);

/* ---- answers ---- */

/* The value of a key in any line that is about the host itself; "" when there is none. Returns to. */
const char *mm_layout_fact(const struct mm_inquiry_answer *, const char *key, char *to, size_t size);
double mm_layout_number(const char *line, const char *key);     /* 0: the line has none */
bool mm_layout_is_worker(const char *line);                     /* a line about a worker */

/* A sample of the metrics: "name{label="value"} 12". */
struct mm_sample {
	char   name[96];
	char   labels[4][2][128];               /* name, value */
	unsigned label_count;
	double value;
};

/* False: the line is no sample. */
bool mm_layout_sample(const char *line, struct mm_sample *);
const char *mm_layout_label(const struct mm_sample *, const char *name);       /* "": it has none */

#endif
