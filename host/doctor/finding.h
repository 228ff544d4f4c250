/* doctor/finding.h -- the doctor's findings: collected part by part, without repetitions, printed for people or as
 * JSON. WRONG is what stops or endangers mail, or contradicts itself; a note is a choice whose price one should know. A
 * remedy follows each of both. */
#ifndef MM_DOCTOR_FINDING_H
#define MM_DOCTOR_FINDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* ORDER FINDING */
enum mm_finding_level { MM_FINDING_OK, MM_FINDING_NOTE, MM_FINDING_WRONG };

struct mm_finding {
	enum mm_finding_level level;
	const char           *part;     /* borrowed: a heading of the list */
	char                 *text;     /* owned */
	char                 *remedy;   /* owned; NULL when there is nothing to do */
};

struct mm_findings {
	struct mm_finding *items;       /* owned */
	size_t             count;
	char             **parts;       /* owned, with their texts */
	size_t             part_count;
};

/* The following findings belong to this part: "Postfix 3.7.11". */
void mm_findings_begin(struct mm_findings *, const char *format, ...) __attribute__((format(printf, 2, 3)));
void mm_find_ok(struct mm_findings *, const char *format, ...) __attribute__((format(printf, 2, 3)));
void mm_find_note(struct mm_findings *, const char *format, ...) __attribute__((format(printf, 2, 3)));
void mm_find_wrong(struct mm_findings *, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* What to type, or to write, to mend the note or wrong before it. */
void mm_find_remedy(struct mm_findings *, const char *format, ...) __attribute__((format(printf, 2, 3)));

size_t mm_findings_count(const struct mm_findings *, enum mm_finding_level);
void mm_findings_print(const struct mm_findings *, FILE *);
void mm_findings_print_json(const struct mm_findings *, FILE *);
void mm_findings_free(struct mm_findings *);

#endif
