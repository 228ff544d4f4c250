/* process/exporter.h -- the process that shows metrics over HTTP: it parses HTTP (libmicrohttpd) and nothing else, and
 * reads the memory that workers share without being able to write it. Master and solo start it, and start it again when
 * it ends; it ends with them. GET and HEAD of /metrics; 64 clients at a time, 10 s of silence each.
 * Its sockets are those of `metrics` (embed/listeners.h), bound before the rights were dropped. */
#ifndef MM_PROCESS_EXPORTER_H
#define MM_PROCESS_EXPORTER_H

#include "base/census.h"
#include "embed/host.h"

#include <sys/types.h>

struct mm_exporter {
	struct mm_host          *host;          /* borrowed */
	const struct mm_census  *census;        /* borrowed; NULL: the host is one process */
	pid_t                    pid;           /* 0: none */
	double                   start_at;      /* mm_clock_real(); not before */
};

/* Starts it if the configuration has `metrics` and it does not run. Call it now and then. */
void mm_exporter_keep(struct mm_exporter *);
/* A child of this process has ended, as waitpid(2) says; another's is ignored. */
void mm_exporter_ended(struct mm_exporter *, pid_t, int status);
/* For a process that waits for no other children: has it ended? */
void mm_exporter_look(struct mm_exporter *);
void mm_exporter_stop(struct mm_exporter *);

#endif
