/* async/database.h -- questions to the servers of a database or a directory, over a few connections.
 * A database has servers with the same content, which are used in turn, and at most so many connections. A connection
 * carries one question at a time. One whose question is cancelled or late is closed, so no answer reaches another
 * question. A server that fails is left alone for 0.1 s, then longer, up to 5 s; while all servers are left alone, a
 * question fails at once. A question whose connection breaks is asked again, once for each server and once more:
 * questions must be harmless to repeat.
 *
 * Knows no library: each kind of server has a driver (pgsql.h, mysql.h, ldap.h). Resolves no names.
 * Ownership: a database OWNS its settings, servers, connections and questions. */
#ifndef MM_ASYNC_DATABASE_H
#define MM_ASYNC_DATABASE_H

#include "async/handshake.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/fault.h"

/* ---- drivers ---- */

struct mm_database_setting {
	const char *name, *value;
};

struct mm_database_server {
	const char *address;            /* an IP address, or a path that begins with "/" */
	const char *name;               /* as the configuration writes it: for texts and certificates */
	unsigned    port;
};

/* Texts of a question, in an order that the driver defines. */
struct mm_question_parts {
	const struct mm_text *parts;
	unsigned              count;
};

/* Rows of an answer. packed: of each row the number of its values; of each value its size, MM_NO_VALUE for none, and
 * its bytes. Numbers are big-endian u32. */
#define MM_NO_VALUE 0xFFFFFFFFu
struct mm_answer {
	struct mm_buffer packed;
	unsigned         rows;
	bool             is_refused;    /* the server has said no: why says its words */
	bool             is_too_large;  /* over MM_DATABASE_ANSWER_MAX */
	struct mm_fault  why;
};

/* For drivers. False: it is too large, or memory ran out; nothing more is to be added. */
bool mm_answer_add_row(struct mm_answer *, unsigned values);
bool mm_answer_add_value(struct mm_answer *, const void *bytes, size_t size);
/* Marks it refused; the text is made one line. */
void mm_answer_refuse(struct mm_answer *, const char *text);

enum mm_link_state {
	MM_LINK_WAITS,          /* for what is in *wants */
	MM_LINK_READY,          /* connected, or answered: the next question may come */
	MM_LINK_SPENT,          /* answered, but not to be used again */
	MM_LINK_FAILED,         /* broken; *why says the reason */
};

struct mm_link_wants {
	int descriptor;
	int readiness;          /* mm_readiness bits */
};

/* What a connection begins with. */
struct mm_database_login {
	struct mm_database_server         server;
	unsigned                          count;
	const struct mm_database_setting *settings;
};

/* The value of a setting, or NULL. */
const char *mm_database_setting(const struct mm_database_login *, const char *name);

/* One library. No function but load and connect blocks; link is what connect gives. */
struct mm_database_driver {
	const char *name;               /* "pgsql" */
	/* Loads the library. False: *why says which package it is in. */
	bool  (*load)(struct mm_fault *why);
	/* Connects and logs in: on a thread, where it may block as handshake.h says. Everything is BORROWED for the
	 * call. NULL: *why says the reason. */
	void *(*connect)(struct mm_handshake *, const struct mm_database_login *, struct mm_fault *why);
	void  (*close)(void *link);
	/* Begins a question on a link that is ready; the answer is BORROWED until the link is ready again or closed.
	 * False: the link has failed. */
	bool  (*ask)(void *link, const struct mm_question_parts *, struct mm_answer *, struct mm_fault *why);
	/* Goes on; called after connect and ask (ready 0), and when the descriptor is ready. */
	enum mm_link_state (*step)(void *link, int ready, struct mm_link_wants *, struct mm_fault *why);
};

/* ---- databases ---- */

struct mm_database;
struct mm_question;

struct mm_database_options {
	const struct mm_database_driver  *driver;       /* borrowed, static; its library is loaded */
	const struct mm_database_setting *settings;     /* copied */
	unsigned                          setting_count;
	unsigned                          connections;  /* at most */
	double                            connect_timeout, idle;        /* seconds */
};

enum mm_question_end {
	MM_QUESTION_ANSWERED,
	MM_QUESTION_REFUSED,    /* by the server */
	MM_QUESTION_TOO_LARGE,  /* its answer */
	MM_QUESTION_TIMEOUT,
	MM_QUESTION_DOWN,       /* no server is usable, or too many questions wait */
	MM_QUESTION_CLOSED,     /* the database has ended */
};

struct mm_database_state {
	unsigned connections, idle, waiting, servers, servers_down;
	const char *why;        /* of the last failure, or NULL. BORROWED */
};

struct mm_database *mm_database_new(struct mm_clock *, const struct mm_database_options *);     /* NULL: out of
                                                                                                 * memory */
/* Every question ends with MM_QUESTION_CLOSED. NULL is fine. */
void mm_database_free(struct mm_database *);
/* Copied; connections to servers that are no longer among them end. False: out of memory, nothing has changed. */
bool mm_database_set_servers(struct mm_database *, const struct mm_database_server *, unsigned count);
/* Asks, and calls done once from the loop; the answer and its why are BORROWED for that call. The parts are copied.
 * The result is BORROWED until done. NULL: out of memory. */
struct mm_question *mm_database_ask(struct mm_database *, const struct mm_question_parts *, double seconds,
	void (*done)(void *self, enum mm_question_end, const struct mm_answer *), void *self);
void mm_question_cancel(struct mm_question *);          /* done is not called */
void mm_database_look(const struct mm_database *, struct mm_database_state *);

#endif
