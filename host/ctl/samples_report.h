/* ctl/samples_report.h -- where the samples (sampler.h) found a host's workers computing, added up: lines, functions
 * and handlers with their shares, whole stacks for flame graphs, or JSON. */
#ifndef MM_CTL_SAMPLES_REPORT_H
#define MM_CTL_SAMPLES_REPORT_H

#include <stdbool.h>
#include <stdio.h>

struct mm_samples_report;

struct mm_samples_report *mm_samples_report_new(void);          /* NULL: out of memory */
void mm_samples_report_free(struct mm_samples_report *);
/* Reads a worker's listing. False: there is none; why (static or owned by the report) says so. */
bool mm_samples_report_take(struct mm_samples_report *, FILE *from, const char **why);
void mm_samples_report_print(struct mm_samples_report *, FILE *to);
/* One line for each stack, outermost first, then its count: the format of flamegraph.pl and similar tools. */
void mm_samples_report_folded(struct mm_samples_report *, FILE *to);
void mm_samples_report_json(struct mm_samples_report *, FILE *to);

#endif
