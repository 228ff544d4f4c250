/* io/acceptor.h -- watches one listening descriptor for a worker and accepts what it should take.
 * Workers share the descriptor; an acceptor asks its owner whose turn it is. The owner gets the connections. */
#ifndef MM_IO_ACCEPTOR_H
#define MM_IO_ACCEPTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MM_PEER_TEXT_SIZE 56            /* bytes of address and port, NUL included */

/* An MTA that connected over TCP. */
struct mm_peer {
	char    text[MM_PEER_TEXT_SIZE];        /* "192.0.2.7:40212", "[2001:db8::1]:40212" */
	uint8_t address[16];                    /* network order */
	size_t  size;                           /* of the address: 4 or 16 */
	bool    is_loopback;
};

/* take() gets every connection. */
struct mm_acceptor;
struct mm_acceptor_owner {
	void  *self;
	/* False: another worker should take the next connection. Asked before each connection, and soon again. NULL:
	 * always true. The acceptor still takes a connection that no other worker takes. */
	bool (*is_my_turn)(void *self);
	/* Takes fd. peer is the MTA's address, NULL for unix sockets, borrowed for the call. */
	void (*take)(void *self, int fd, const struct mm_peer *peer);
	/* Accepting failed; what says how it goes on. Called once until accepting works again. */
	void (*trouble)(void *self, const char *what, int error);
};
/* fd is BORROWED. NULL: out of memory. */
struct mm_acceptor *mm_acceptor_new(void *loop, int fd, struct mm_acceptor_owner owner);
void mm_acceptor_free(struct mm_acceptor *);
void mm_acceptor_pause(struct mm_acceptor *);           /* connections queue in the kernel meanwhile */
void mm_acceptor_resume(struct mm_acceptor *);
/* It may be this worker's turn again. */
void mm_acceptor_look(struct mm_acceptor *);

#endif
