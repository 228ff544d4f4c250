/* ctl/lines.h -- the text that a worker wrote for a report (profile_report.h, samples_report.h), line by line. The
 * lines are kept, so that parsed values may point into them. */
#ifndef MM_CTL_LINES_H
#define MM_CTL_LINES_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct mm_report_lines {
	char   **items;                 /* owned, each owned */
	uint32_t count, capacity;
};

/* The error of take() for a line that it does not know. */
#define MM_REPORT_OTHER_VERSION "the host has another version than this program"

/* Passes each line, without its newline, to take(), until that returns false. False: it did, or memory has
 * run out; why says which. */
bool mm_report_lines_read(struct mm_report_lines *, FILE *from, bool (*take)(void *self, char *line, const char **why),
	void *self, const char **why);
void mm_report_lines_free(struct mm_report_lines *);

#endif
