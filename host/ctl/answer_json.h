/* ctl/answer_json.h -- what a host answers to `moonmilter ctl` in lines of key=value, as one JSON object.
 * Lines of a session, a generation or a map become objects in a list, with the worker they belong to; indented lines
 * below one become its "where", or its "error" where they say so; other lines become "notes", and a failure becomes
 * "error". The key decides whether a value is a number: a queue id never is. */
#ifndef MM_CTL_ANSWER_JSON_H
#define MM_CTL_ANSWER_JSON_H

#include "process/control.h"

#include <stdio.h>

struct mm_answer_lines {
	char  **lines;          /* owned, each owned */
	size_t  count;
	char   *error;          /* owned: why there is no complete answer; NULL: there is one */
	bool    failed;         /* memory ran out */
};

void mm_answer_line(struct mm_answer_lines *, const char *text);
void mm_answer_error(struct mm_answer_lines *, const char *text);
void mm_answer_listing(struct mm_answer_lines *, int descriptor);         /* its lines; BORROWED */
void mm_answer_free(struct mm_answer_lines *);
/* Prints the answer to this request; a list of items has the request's name. False: memory ran out, nothing was
 * printed. Frees the lines. */
bool mm_answer_print(struct mm_answer_lines *, const struct mm_request_row *, FILE *to);

#endif
