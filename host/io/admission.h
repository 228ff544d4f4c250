/* io/admission.h -- who may open another session of a worker. One limit holds for all (max_sessions). A quarter of it
 * is shared out equally among the listeners, so a flood at one listener leaves room at the others. One MTA on another
 * machine may have only so many (max_sessions_per_mta). Only counts: the worker stops listening, or refuses. */
#ifndef MM_IO_ADMISSION_H
#define MM_IO_ADMISSION_H

#include "io/acceptor.h"

struct mm_mta_sessions;

struct mm_admission {
	unsigned                max;            /* sessions in all */
	unsigned                max_per_mta;    /* 0: no limit */
	unsigned                count;          /* sessions that are open, in all */
	unsigned               *by_listener;    /* owned: the same by listener */
	unsigned                listener_count; /* listeners known so far */
	struct mm_mta_sessions *mtas[64];       /* owned lists, by a hash of the address */
};

/* The place of a session; the session keeps it and gives it back. */
struct mm_admitted {
	unsigned                listener;
	struct mm_mta_sessions *mta;            /* borrowed; NULL: this machine */
};

enum mm_admission_answer { MM_ADMITTED, MM_ADMISSION_TOO_MANY, MM_ADMISSION_NO_MEMORY };

void mm_admission_free(struct mm_admission *);
/* Listeners are numbered from 0. False: out of memory. */
bool mm_admission_knows(struct mm_admission *, unsigned listener);
/* Is there room for one more session of this listener? */
bool mm_admission_has_room(const struct mm_admission *, unsigned listener);
/* Counts a session; TOO_MANY: its MTA has as many as one may have. peer: NULL for a unix socket. */
enum mm_admission_answer mm_admission_take(struct mm_admission *, unsigned listener, const struct mm_peer *peer,
	struct mm_admitted *out);
void mm_admission_give_back(struct mm_admission *, const struct mm_admitted *);

#endif
