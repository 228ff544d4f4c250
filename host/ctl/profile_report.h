/* ctl/profile_report.h -- what the workers of a host have counted of their handlers (profile.h), added up,
 * for people or as JSON. */
#ifndef MM_CTL_PROFILE_REPORT_H
#define MM_CTL_PROFILE_REPORT_H

#include <stdbool.h>
#include <stdio.h>

struct mm_profile_report;

struct mm_profile_report *mm_profile_report_new(void);          /* NULL: out of memory */
void mm_profile_report_free(struct mm_profile_report *);
/* Reads what a worker has written. False: it has none, and why (static or of the report) says so. */
bool mm_profile_report_take(struct mm_profile_report *, int worker, FILE *from, const char **why);
void mm_profile_report_print(struct mm_profile_report *, FILE *to);
void mm_profile_report_json(struct mm_profile_report *, FILE *to);

#endif
