/* ctl/profile_report.h -- the counts of a host's workers about their handlers (profile.h), added up,
 * for people or as JSON. */
#ifndef MM_CTL_PROFILE_REPORT_H
#define MM_CTL_PROFILE_REPORT_H

#include <stdbool.h>
#include <stdio.h>

struct mm_profile_report;

struct mm_profile_report *mm_profile_report_new(void);          /* NULL: out of memory */
void mm_profile_report_free(struct mm_profile_report *);
/* Reads a worker's listing. False: there is none; why (static or owned by the report) says so. */
bool mm_profile_report_take(struct mm_profile_report *, int worker, FILE *from, const char **why);
void mm_profile_report_print(struct mm_profile_report *, FILE *to);
void mm_profile_report_json(struct mm_profile_report *, FILE *to);

/* A handler, over all workers; texts are borrowed from the report. Times are seconds. */
struct mm_profile_report_row {
	const char        *milter, *script, *handler;
	unsigned long long calls, errors, waiting_now;
	double             busy, waited;
	double             slowest;     /* the longest call, with its waits */
	const char        *session, *queue_id;  /* of that call; "": none */
};

/* False: there is no row i. */
bool mm_profile_report_row(const struct mm_profile_report *, unsigned i, struct mm_profile_report_row *to);

#endif
