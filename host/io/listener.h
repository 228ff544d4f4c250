/* io/listener.h -- sockets that MTAs connect to: opened by the host, watched by a worker.
 * A unix socket that a dead process left behind is found by connecting to it and replaced; one that answers is left
 * alone. Only a socket of our own making is unlinked at the end. */
#ifndef MM_IO_LISTENER_H
#define MM_IO_LISTENER_H

#include "base/fault.h"
#include "config/endpoint.h"

#include <sys/types.h>

#define MM_PEER_TEXT_SIZE 56            /* bytes of address and port, NUL included */

struct mm_listener {
	struct mm_endpoint spec;
	int                   fd;               /* owned; -1: closed */
	bool                  is_ours;          /* a unix socket we have made */
	dev_t                 device;           /* of that socket's file */
	ino_t                 inode;
};

/* Who has connected over TCP. */
struct mm_peer {
	char    text[MM_PEER_TEXT_SIZE];        /* "192.0.2.7:40212", "[2001:db8::1]:40212" */
	uint8_t address[16];                    /* network order */
	size_t  size;                           /* of the address: 4 or 16 */
	bool    is_loopback;
};

struct mm_listener_options {
	unsigned    mode;       /* permission bits of a unix socket */
	const char *owner;      /* borrowed; NULL: the user */
	const char *group;      /* borrowed; NULL: the user's */
	const char *user;       /* who will serve, borrowed; NULL: whoever makes the socket */
};

/* Binds and listens, or checks an inherited descriptor. systemd specs are resolved by the host. */
bool mm_listener_open(struct mm_listener *, const struct mm_endpoint *, const struct mm_listener_options *,
	struct mm_fault *why);
/* Are there such an owner and group? Opens nothing. */
bool mm_listener_check(const struct mm_listener_options *, struct mm_fault *why);
void mm_listener_close(struct mm_listener *);
/* The file of a unix socket of ours has been removed or replaced: no MTA finds it any more. */
bool mm_listener_is_lost(const struct mm_listener *);

/* Watches one listener for a worker: every connection is handed to take(). */
struct mm_acceptor;
struct mm_acceptor_owner {
	void  *self;
	/* False: another worker should take the next connection; asked before each and soon again. NULL: always. A
	 * connection that nobody else takes is taken nevertheless. */
	bool (*is_my_turn)(void *self);
	/* Takes fd. peer is the MTA's address, NULL for unix sockets, borrowed for the call. */
	void (*take)(void *self, int fd, const struct mm_peer *peer);
	/* Accepting failed; how says what is done about it. Called once until it works again. */
	void (*trouble)(void *self, const char *what, int error);
};
/* fd is BORROWED. NULL: out of memory. */
struct mm_acceptor *mm_acceptor_new(void *loop, int fd, struct mm_acceptor_owner owner);
void mm_acceptor_free(struct mm_acceptor *);
void mm_acceptor_pause(struct mm_acceptor *);           /* connections queue in the kernel meanwhile */
void mm_acceptor_resume(struct mm_acceptor *);
/* It may be its turn again. */
void mm_acceptor_look(struct mm_acceptor *);

#endif
