/* embed/service.h -- what a service manager is told, and the sockets it hands in. systemd's, through libsystemd; built
 * without it, or started by hand, nothing is told and no sockets come. */
#ifndef MM_EMBED_SERVICE_H
#define MM_EMBED_SERVICE_H

#include "base/fault.h"

void mm_service_ready(void);
void mm_service_reloading(void);                /* ready() ends it */
void mm_service_stopping(void);
/* One line for `systemctl status`. */
void mm_service_status(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Feeds the manager's watchdog. */
void mm_service_alive(void);
/* Seconds between feedings that keep a watchdog quiet; 0: there is none. */
double mm_service_alive_every(void);

/* The listening sockets that came with the start, or those of a FileDescriptorName. Fills fds, returns how many there
 * are, which may be more than max. -1: why says what is wrong. The first call takes them out of the environment. */
int mm_service_sockets(const char *name, int *fds, int max, struct mm_fault *why);

#endif
