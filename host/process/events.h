/* process/events.h -- `ctl events`: for each sink of events how many wait, since when, and what became of the others.
 * Opens its store for the time of the request; the workers go on using it. */
#ifndef MM_PROCESS_EVENTS_H
#define MM_PROCESS_EVENTS_H

#include "embed/host.h"
#include "process/control.h"

/* Ends the client. */
void mm_events_answer(struct mm_host *, struct mm_control_client *);

#endif
