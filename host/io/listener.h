/* io/listener.h -- sockets that MTAs connect to: opened by the host, watched by a worker (acceptor.h).
 * A unix socket that a dead process left behind is found by connecting to it and replaced; one that answers is left
 * alone. Only a socket of our own making is unlinked at the end. */
#ifndef MM_IO_LISTENER_H
#define MM_IO_LISTENER_H

#include "base/fault.h"
#include "config/endpoint.h"

#include <sys/types.h>

struct mm_listener {
	struct mm_endpoint spec;
	int                fd;                  /* owned; -1: closed */
	bool               is_ours;             /* a unix socket we have made */
	dev_t              device;              /* of that socket's file */
	ino_t              inode;
};

struct mm_listener_options {
	unsigned    mode;       /* permission bits of a unix socket */
	const char *owner;      /* borrowed; NULL: the user */
	const char *group;      /* borrowed; NULL: the user's */
	const char *user;       /* the user who will serve, borrowed; NULL: the one who makes the socket */
};

/* Binds and listens, or checks an inherited descriptor. systemd specs are resolved by the host. */
bool mm_listener_open(struct mm_listener *, const struct mm_endpoint *, const struct mm_listener_options *,
	struct mm_fault *why);
/* Do the owner and the group exist? Opens nothing. */
bool mm_listener_check(const struct mm_listener_options *, struct mm_fault *why);
void mm_listener_close(struct mm_listener *);
/* The file of a unix socket of ours has been removed or replaced: no MTA finds it any more. */
bool mm_listener_is_lost(const struct mm_listener *);

#endif
