/* embed/exposed.h -- the page that a Prometheus reads: the shared table of metrics, and what the census counts. Any
 * process that shares both can write it. */
#ifndef MM_EMBED_EXPOSED_H
#define MM_EMBED_EXPOSED_H

#include "base/buffer.h"
#include "base/census.h"
#include "base/figures.h"
#include "moonmilter.h"

/* For a process that only shows them: from now on it cannot write what the workers share. */
void mm_host_protect_counts(const struct mm_host *, const struct mm_census *);
/* What the worker of this process has gathered goes to the page. */
void mm_host_show_figures(struct mm_host *);
/* Appends the page. census NULL: the host is one process. False: out of memory. */
bool mm_host_expose(const struct mm_host *, const struct mm_census *, bool is_open_metrics, struct mm_buffer *out);

/* A counter of a milter; 0: nothing has been counted. */
double mm_host_count_of(const struct mm_host *, const char *milter, enum mm_figure, const char *first,
	const char *second);
/* What all workers have counted. census NULL: the host is one process. */
void mm_host_add_up(const struct mm_host *, const struct mm_census *, struct mm_census_totals *out);
struct mm_figures *mm_host_figures(struct mm_host *);           /* those of the host; borrowed */
/* The worker of a row of the census is dead: its gauges are gone, and what it damaged is mended. */
void mm_host_recover_meters(struct mm_host *, unsigned index);

#endif
