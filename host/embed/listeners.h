/* embed/listeners.h -- the sockets of a host: those MTAs connect to, and the control socket.
 * A host binds them before it gives up its rights; its workers share them. A socket whose file is lost can be bound
 * again. io/ handles connections. */
#ifndef MM_EMBED_LISTENERS_H
#define MM_EMBED_LISTENERS_H

#include "base/fault.h"
#include "base/say.h"
#include "moonmilter.h"

/* Binds every listener of the configuration. False: why says which cannot be bound. */
bool mm_host_open_listeners(struct mm_host *, struct mm_fault *why);
bool mm_host_open_control(struct mm_host *, struct mm_fault *why);
bool mm_host_open_metrics(struct mm_host *, struct mm_fault *why);
/* From now on the sockets' files belong to the master, which removes them and also answers the control socket. */
void mm_host_lend_listeners(struct mm_host *);
/* The worker begins to accept. */
bool mm_host_watch_listeners(struct mm_host *, struct mm_fault *why);
/* Closes the sockets MTAs connect to and removes the files that are ours. */
void mm_host_close_listeners(struct mm_host *);
/* Closes all, and forgets them. */
/* In a forked process whose parent serves on: the sockets, not their files. */
void mm_host_close_copies(struct mm_host *);
void mm_host_free_listeners(struct mm_host *);

/* Those that listen, BORROWED, into an array of MM_METRICS_MAX. Returns how many. */
unsigned mm_host_metrics(const struct mm_host *, int *fds);
int mm_host_control(const struct mm_host *);                    /* listening, borrowed; -1: none */
unsigned mm_host_control_readers(const struct mm_host *);       /* a group id; 0: no group */
unsigned mm_host_listener_count(const struct mm_host *);
int mm_host_listener_descriptor(const struct mm_host *, unsigned listener);     /* borrowed */
/* True when the file of this unix socket has been removed or replaced. */
bool mm_host_listener_is_lost(const struct mm_host *, unsigned listener);
/* "unix:/run/moonmilter/milter.sock", written to `to`, which it returns. */
char *mm_host_listener_text(const struct mm_host *, unsigned listener, char *to, size_t size);
bool mm_host_control_is_lost(const struct mm_host *);
/* Binds a lost socket again. False: why says what failed. */
bool mm_host_listener_renew(struct mm_host *, unsigned listener, struct mm_fault *why);
/* TAKES the descriptor and replaces the listener's own with it. */
bool mm_host_listener_replace(struct mm_host *, unsigned listener, int fd, struct mm_fault *why);

/* "listens on …" and what to paste into the MTA, for one milter and for all. */
void mm_host_describe_milter(const struct mm_host *, unsigned milter, struct mm_say say);
void mm_host_describe_listeners(const struct mm_host *, struct mm_say say);
/* Calls say for each lost listener. */
void mm_host_describe_lost(const struct mm_host *, struct mm_say say);

#endif
