/* base/exposition.h -- the text that a Prometheus reads: its own format 0.0.4, or OpenMetrics 1.0. They differ in the
 * name of a counter above its samples and in the last line. Label values come from mail: what is not UTF-8 becomes
 * U+FFFD, and quotes, backslashes and line feeds are escaped. */
#ifndef MM_BASE_EXPOSITION_H
#define MM_BASE_EXPOSITION_H

#include "base/buffer.h"
#include "base/text.h"

enum mm_exposition_kind { MM_EXPOSE_COUNTER, MM_EXPOSE_GAUGE, MM_EXPOSE_HISTOGRAM };       /* ORDER EXPOSITION_KIND */

struct mm_exposition {
	struct mm_buffer *out;          /* borrowed */
	bool              is_open_metrics;
	bool              has_label;    /* of the sample that is being written */
};

const char *mm_exposition_kind_name(enum mm_exposition_kind);           /* "counter". Static. */

/* The two lines above the samples of a name, which must follow at once. name: of a counter without "_total". */
void mm_exposition_family(struct mm_exposition *, const char *name, enum mm_exposition_kind, const char *help);
/* A sample is begun, gets its labels, and is ended with its value. suffix: "_total", "_bucket", or "". */
void mm_exposition_begin(struct mm_exposition *, const char *name, const char *suffix);
void mm_exposition_label(struct mm_exposition *, const char *name, struct mm_text value);
void mm_exposition_bound(struct mm_exposition *, double le);            /* the label le of a bucket */
void mm_exposition_end(struct mm_exposition *, double value);
/* A sample without labels. */
void mm_exposition_sample(struct mm_exposition *, const char *name, const char *suffix, double value);
/* The last line. */
void mm_exposition_finish(struct mm_exposition *);

#endif
