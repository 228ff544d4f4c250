/* process/traces.h -- the traces that a master's workers write (story/tracer.h): a worker that starts later gets them,
 * too. Owns the ends that are written to; a trace ends when its reader is gone. */
#ifndef MM_PROCESS_TRACES_H
#define MM_PROCESS_TRACES_H

#include "process/workforce.h"
#include "story/trace.h"

struct mm_traces {
	struct mm_workforce *workforce;         /* borrowed */
	int                  fds[MM_TRACES_MAX];        /* owned; -1: none */
	char                 filters[MM_TRACES_MAX][MM_TRACE_REQUEST_MAX];
};

void mm_traces_init(struct mm_traces *, struct mm_workforce *);
/* Ends them all; also what a new child does with what it has inherited. */
void mm_traces_end(struct mm_traces *);
/* TAKES fd in any case. False: there are MM_TRACES_MAX. */
bool mm_traces_begin(struct mm_traces *, const char *filter, int fd);
/* A worker has started. */
void mm_traces_tell(const struct mm_traces *, struct mm_worker_process *);
/* Ends those whose readers are gone; called now and then. */
void mm_traces_sweep(struct mm_traces *);

#endif
