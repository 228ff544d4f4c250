/* io/listener.h -- sockets that MTAs connect to: the host opens them, a worker watches them (acceptor.h). Connecting to
 * an existing unix socket shows whether its process is dead: then it is replaced; one that answers is left alone. At
 * the end, unlinks only sockets that we created. */
#ifndef MM_IO_LISTENER_H
#define MM_IO_LISTENER_H

#include "base/fault.h"
#include "config/endpoint.h"

#include <sys/types.h>

struct mm_listener {
	struct mm_endpoint spec;
	int                fd;                  /* owned; -1: closed */
	bool               is_ours;             /* a unix socket that we created */
	bool               has_replaced;        /* a dead process had left a socket there, which we have removed */
	dev_t              device;              /* of its file */
	ino_t              inode;
};

struct mm_listener_options {
	unsigned    mode;       /* permission bits of a unix socket */
	const char *owner;      /* borrowed; NULL: the user */
	const char *group;      /* borrowed; NULL: the user's */
	unsigned    backlog;    /* as for listen(2) */
	const char *user;       /* the user who will serve, borrowed; NULL: the user who creates the socket */
};

/* Binds and listens, or checks an inherited descriptor. The host resolves systemd specs before. */
bool mm_listener_open(struct mm_listener *, const struct mm_endpoint *, const struct mm_listener_options *,
	struct mm_fault *why);
/* Do the owner and the group exist? Opens nothing. */
bool mm_listener_check(const struct mm_listener_options *, struct mm_fault *why);
void mm_listener_close(struct mm_listener *);
/* True when the file of our unix socket has been removed or replaced: MTAs no longer find it. */
bool mm_listener_is_lost(const struct mm_listener *);

#endif
