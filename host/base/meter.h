/* base/meter.h -- counters, gauges and histograms in memory that all processes of a host share, so a reload, a recycled
 * or a killed worker loses nothing. An update finds its series by the values of its labels and changes a number: it
 * allocates nothing, takes no lock and never waits. Knows no mail, and no names of its own (base/figures.h has those of
 * the host).
 *
 * A table is made before the processes that share it are forked, and ends with the last of them. A metric belongs to a
 * milter; two milters may use one name. Each metric has room for max_series combinations of label values; what comes
 * later is counted in one series whose labels all have the value "other", and is counted as such, too.
 *
 * A counter and a histogram are one number for all workers. A gauge is a number for each worker, and is shown as their
 * sum; the part of a worker that has ended is gone (mm_meters_forget_worker). With MM_METER_OF_HOST a gauge is one
 * number, and the last worker that sets it wins.
 *
 * Whoever reads the table for a page believes nothing that is in it: a worker may be out of its mind. */
#ifndef MM_BASE_METER_H
#define MM_BASE_METER_H

#include "base/exposition.h"
#include "base/fault.h"
#include "base/text.h"

#define MM_METER_LABELS     4u          /* of a metric, without `milter` */
#define MM_METER_VALUE_MAX  63u         /* bytes of a label's value; longer ones are cut between two characters */
#define MM_METER_BOUNDS_MAX 24u         /* of a histogram, without +Inf */
#define MM_METER_SERIES_MAX 10000u      /* of a metric */
#define MM_METER_FAMILIES   256u        /* metrics of a host */

enum mm_meter_scope { MM_METER_OF_WORKER, MM_METER_OF_HOST };   /* of a gauge */

/* What a metric is. Texts and arrays are borrowed for the call. */
struct mm_meter_spec {
	const char              *name;          /* as it is shown; of a counter without "_total" */
	const char              *help;
	const char              *milter;        /* value of its label `milter`; "": it has none */
	enum mm_exposition_kind  kind;
	enum mm_meter_scope      scope;
	const char *const       *labels;        /* names */
	unsigned                 label_count;
	const double            *bounds;        /* upper ones of the buckets, growing; of a histogram */
	unsigned                 bound_count;
	unsigned                 max_series;    /* 1 to MM_METER_SERIES_MAX */
	unsigned long            generation;    /* of the scripts that ask for it; 0: the host itself */
};

struct mm_meters;                       /* the table, as one process sees it */
struct mm_meter;                        /* a metric of it */

/* NULL: out of memory. */
struct mm_meters *mm_meters_new(void);
void mm_meters_free(struct mm_meters *);                /* NULL is fine */
/* The slot of this process among the workers, from 0; before the first update of a gauge. */
void mm_meters_be_worker(struct mm_meters *, unsigned slot);
/* For a process that only reads. */
void mm_meters_protect(struct mm_meters *);
/* The worker of the slot has ended: its part of all gauges is 0. For one process, which lives as long as the table.
 * False: the table is damaged, as by a worker that wrote where it should not. What makes no sense is gone then; the
 * metrics that are gone are to be opened again, and begin at 0. */
bool mm_meters_forget_worker(struct mm_meters *, unsigned slot);

/* GIVES a metric, which is made if nobody has asked for it before. NULL: the fault says why: MM_FAULT_CONFIG when the
 * name is one of another kind that has counted something, in any milter, MM_FAULT_RESOURCE when the table is full.
 * Other labels, bounds, scope or max_series make another set of series, and those that are there stay. */
struct mm_meter *mm_meter_open(struct mm_meters *, const struct mm_meter_spec *, struct mm_fault *why);
void mm_meter_close(struct mm_meter *);                 /* NULL is fine */

/* values: one for each label. by: 0 or more for a counter. */
void mm_meter_add(struct mm_meter *, const struct mm_text *values, double by);
void mm_meter_set(struct mm_meter *, const struct mm_text *values, double to);
void mm_meter_observe(struct mm_meter *, const struct mm_text *values, double value);
/* What is in one series: the number of a counter or gauge, or how many a histogram has seen, and their sum. False:
 * there is no such series yet. */
bool mm_meter_read(const struct mm_meter *, const struct mm_text *values, double *number, double *sum);

/* The numbers of one series, for frequent updates; BORROWED until the metric is closed. A histogram has one for each
 * bucket, +Inf last, then the sum. */
typedef uint64_t mm_meter_number;
mm_meter_number *mm_meter_series(struct mm_meter *, const struct mm_text *values);
/* All but those of buckets, which are integers. */
void mm_meter_number_add(mm_meter_number *, double by);

/* Writes all metrics of the table, in order of their names. */
void mm_meters_write(const struct mm_meters *, struct mm_exposition *);

#endif
