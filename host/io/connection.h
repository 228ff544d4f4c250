/* io/connection.h -- one socket to an MTA: passes bytes between it and an engine, and limits the time an MTA may take.
 * One read and one write per wake-up. All connections of a worker share one buffer for reads and one for replies; a
 * connection keeps only what a slow MTA has not taken. Owns the descriptor and the engine. */
#ifndef MM_IO_CONNECTION_H
#define MM_IO_CONNECTION_H

#include "base/census.h"
#include "milter/engine.h"
#include "task/profile.h"
#include "io/admission.h"
#include "io/recorder.h"
#include "io/shadow.h"

struct mm_connection;

struct mm_connection_times {
	double negotiate;       /* seconds from accepting to the whole offer */
	double idle;            /* seconds from one whole packet, or our answer to it, to the next */
	double read;            /* seconds from the first byte of a packet to its last */
	double write;           /* seconds in which an MTA takes all that is unsent, or MM_WRITE_RATE */
};

/* Shared by the connections of a worker; owned by the worker. */
struct mm_connections {
	void                   *loop;           /* struct ev_loop, borrowed */
	struct mm_log          *log;            /* borrowed */
	struct mm_engine_shared engines;
	struct mm_buffer        out;            /* replies of the connection that is being served */
	uint8_t                *read_buffer;    /* MM_READ_SIZE bytes */
	/* connections whose turn ended before their packets did, in the order of their next turns */
	struct mm_connection   *more_first, *more_last;
	void                   *soon;           /* ev_timer, owned: looks again at packets that did not fit */
	void                   *more;           /* ev_timer, owned: begins their turns; active while there are some */
	struct mm_connection_times times;
	struct mm_connection   *first;          /* list of all */
	unsigned                count;
	struct mm_recorder     *recorder;       /* owned; NULL: nothing is recorded */
	bool                    logs_messages;  /* one line a message */
	struct mm_census_row   *row;            /* borrowed: where messages are counted */
	const struct mm_profile *profile;       /* borrowed: knows how long a tick is */
	struct mm_desk         *desk;           /* borrowed: for stories of messages; NULL: none are told */
	/* a connection is gone */
	void                  (*on_close)(void *self, const struct mm_admitted *);
	void                   *self;
};

bool mm_connections_init(struct mm_connections *, void *loop, struct mm_log *);
void mm_connections_free(struct mm_connections *);
/* Takes fd, a connected non-blocking socket; peer is the MTA's address, borrowed, or NULL; milter is for log lines,
 * borrowed as long as the connection lasts, or NULL; so are figures; shadow: NULL, or what the connection's shadow
 * needs, and then runtime is a joint one. False: out of memory, fd is closed, on_close is
 * not called. */
bool mm_connection_open(struct mm_connections *, int fd, const char *peer, const char *milter,
	struct mm_figures *figures, const struct mm_admitted *, struct mm_runtime runtime,
	const struct mm_shadow_of *shadow);
/* Closes connections whose time is over; called every few seconds. False: there are more of them than one turn of the
 * loop may close; call it again soon. */
bool mm_connections_sweep(struct mm_connections *);
/* The session that holds most; NULL: there is none. Looks at all of them. Borrowed. */
const struct mm_session *mm_connections_largest(const struct mm_connections *);
/* In a forked process whose parent serves on: closes the descriptors, and says nothing to the MTAs. Only for a process
 * that will not use them otherwise again. */
void mm_connections_close_copies(struct mm_connections *);
/* Calls each with the engine of every connection, until it returns false; it may not change any. */
typedef bool mm_each_engine(void *self, const struct mm_engine *);
void mm_connections_each(const struct mm_connections *, mm_each_engine *, void *self);
/* Ends the connection of the session with this id, as the next function does. Not inside an engine's call. False: there
 * is none. */
bool mm_connections_end(struct mm_connections *, const char *id);
/* Ends every connection: a handler that waits is answered with a temporary failure. */
void mm_connections_shut_down(struct mm_connections *);

#endif
