/* embed/service.h -- notifies the service manager and takes the sockets it passes. Speaks to systemd through
 * libsystemd; in a build without it, or started by hand, it notifies no manager and gets no sockets. */
#ifndef MM_EMBED_SERVICE_H
#define MM_EMBED_SERVICE_H

#include "base/fault.h"

void mm_service_ready(void);
void mm_service_reloading(void);                /* ready() ends this state */
void mm_service_stopping(void);
/* One line for `systemctl status`. */
void mm_service_status(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Feeds the manager's watchdog. */
void mm_service_alive(void);
/* Seconds between two feedings of the watchdog; 0: there is no watchdog. */
double mm_service_alive_every(void);

/* The listening sockets that systemd passed at the start, or those of a FileDescriptorName. Fills fds and returns how
 * many there are, which may be more than max. -1: why says what is wrong. The first call unsets the variables. */
int mm_service_sockets(const char *name, int *fds, int max, struct mm_fault *why);

#endif
