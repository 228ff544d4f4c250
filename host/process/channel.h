/* process/channel.h -- notes of one size between processes of a host: master and worker, `moonmilter ctl` and host.
 * A note may carry a descriptor with it: listings travel as files in memory, so a long one blocks no process.
 * Nothing waits: a reader that does not keep up is treated as gone. Every note is checked for size, kind and its final
 * NUL. Texts are for people, except the requests that control.c reads. */
#ifndef MM_PROCESS_CHANNEL_H
#define MM_PROCESS_CHANNEL_H

#include "base/fault.h"

#include <stdint.h>

/* ORDER NOTE */
enum mm_note_kind {
	/* master to worker. number: the generation, or the level */
	MM_NOTE_PREPARE,        /* load a generation beside the serving one */
	MM_NOTE_COMMIT,         /* let it serve */
	MM_NOTE_DISCARD,        /* drop it */
	MM_NOTE_DRAIN,          /* no new connections; end when the last one is gone or, if number is 0, when
	                         * drain_timeout is over */
	MM_NOTE_HALT,           /* end now */
	MM_NOTE_REOPEN,         /* the log */
	MM_NOTE_LOG_LEVEL,
	MM_NOTE_LIST,           /* number: enum mm_listing; answered by LISTED with the same number and ticket, at once
	                         * or, for MM_LIST_PROFILE, after the time that text asks for (control.h) */
	MM_NOTE_FORGET,         /* the profile under way is no longer wanted */
	MM_NOTE_LISTEN,         /* number: index of a listener, with its new descriptor */
	MM_NOTE_TRACE,          /* text: which sessions (story/trace.h), with the socket to write to */
	/* worker to master */
	MM_NOTE_PREPARED,       /* number: the generation */
	MM_NOTE_FAILED,         /* likewise; text says why */
	MM_NOTE_LISTED,         /* with the descriptor of the listing */
	MM_NOTE_RETIRE,         /* wants to be replaced; text says why */
	/* ctl to host and back */
	MM_NOTE_REQUEST,        /* text: one line, as in control.c */
	MM_NOTE_ANSWER,         /* text: for stdout; or a descriptor with more of it */
	MM_NOTE_END,            /* number: exit status; text: for stderr */
	MM_NOTE_KIND_COUNT
};

struct mm_note {
	uint32_t kind;          /* enum mm_note_kind */
	uint32_t number;
	uint64_t ticket;        /* of a question; its answer has the same one */
	char     text[1008];    /* NUL-terminated, cut when longer */
};

/* Both ends non-blocking and closed on exec. False: out of descriptors. */
bool mm_channel_make(int ends[2], struct mm_fault *why);
/* BORROWS descriptor; -1: none. False: the other end is gone or does not read. */
bool mm_channel_send(int fd, const struct mm_note *, int descriptor);
/* Fills a note and sends it. text may be NULL. */
bool mm_channel_post(int fd, enum mm_note_kind, uint32_t number, const char *text);

enum mm_channel_state { MM_CHANNEL_NOTE, MM_CHANNEL_NOTHING, MM_CHANNEL_GONE };
/* GIVES the descriptor that came along, or -1. Also GONE when the bytes are not a note. */
enum mm_channel_state mm_channel_receive(int fd, struct mm_note *, int *descriptor);

/* An empty file in memory to write a listing to; -1: it cannot be created. */
int mm_listing_open(void);
/* It is written: nobody can change it any more. */
void mm_listing_seal(int fd);
/* True: a listing that is sealed, and so ends, never waits and stays as it is. Others come from a worker that is out of
 * its mind. */
bool mm_listing_is_sound(int fd);

#endif
