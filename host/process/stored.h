/* process/stored.h -- `ctl store` and `ctl limit`: what is in the stores of a host, and what a postmaster changes
 * there. Opens a store for the time of a request; the workers go on using it. */
#ifndef MM_PROCESS_STORED_H
#define MM_PROCESS_STORED_H

#include "embed/host.h"
#include "process/control.h"

/* words: those after "store" or "limit", separated by tabs; BORROWED. Both end the client. */
void mm_stored_answer_store(const struct mm_host *, struct mm_control_client *, const char *words);
void mm_stored_answer_limit(const struct mm_host *, struct mm_control_client *, const char *words);

#endif
