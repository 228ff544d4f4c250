/* moonmilter.h -- the whole face of libmoonmilter: a host that runs milters written in Lua.
 *
 * A host owns its milters, their scripts and sockets. Several hosts may live in one process; each belongs to one thread
 * at a time. It runs on a libev loop of its own or on one that is handed in, or on no socket at all: mm_feed_bytes()
 * takes the bytes an MTA would send and gives back what the filter answers.
 *
 * Functions that can fail return false or NULL and fill a struct mm_error (NULL is fine) with a code for programs and a
 * sentence for people. Strings and arrays given to a function are borrowed for the call unless said otherwise. Times
 * are seconds.
 *
 *     struct mm_error error;
 *     struct mm_host_options options = MM_HOST_OPTIONS;
 *     options.listen = (const char *[]){ "inet:10025@127.0.0.1", NULL };
 *     options.scripts = (const char *[]){ "scripts", NULL };
 *     struct mm_host *host = mm_host_new(&options, &error);
 *     if (host == NULL || !mm_host_start(host, &error))
 *             fail(error.text);
 *     mm_host_run(host);
 *     mm_host_free(host);
 */
#ifndef MOONMILTER_H
#define MOONMILTER_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef MM_API
#define MM_API __attribute__((visibility("default")))
#endif

struct ev_loop;
struct lua_State;
struct mm_host;
struct mm_feed;

/* What this header is of; mm_version() says what the library is of. */
#define MM_VERSION_MAJOR 0
#define MM_VERSION_MINOR 1
#define MM_VERSION_PATCH 0
#define MM_VERSION       "0.1.0"

/* Match on the code; the text is for people. ORDER FAULT_CLASS */
enum mm_error_code {
	MM_ERROR_NONE,
	MM_ERROR_BUG,                           /* an impossible state inside the library: please report it */
	MM_ERROR_CONFIG,                        /* options, configuration, or scripts that do not load */
	MM_ERROR_PEER,                          /* bytes that no MTA may send */
	MM_ERROR_SCRIPT,                        /* a script raised or misused the API */
	MM_ERROR_RESOURCE,                      /* memory, descriptors, threads: may succeed later */
};

struct mm_error {
	enum mm_error_code code;
	char               text[1024];         /* NUL-terminated, cut when longer */
};

/* The version of the library that runs, "0.1.0". Static. */
MM_API const char *mm_version(void);

/* A C module for scripts: require "name" calls open, a lua_CFunction. One of the host's own modules that is replaced by
 * its name is still there as "host:name". */
struct mm_module {
	const char *name;
	int       (*open)(struct lua_State *);
};

/* ORDER LOG_LEVEL */
enum mm_level { MM_LEVEL_DEBUG, MM_LEVEL_INFO, MM_LEVEL_WARN, MM_LEVEL_ERROR };

struct mm_host_options {
	size_t             size;                /* sizeof(struct mm_host_options): lets the struct grow */
	const char        *config_file;         /* moonmilter.conf; NULL: none */
	const char *const *listen;              /* listen specs, NULL-ended; NULL: those of the file */
	const char *const *scripts;             /* files and directories, NULL-ended; NULL: those of the file */
	const char *const *set;                 /* further keys of the file as "key=value",
	                                         * NULL-ended; kept over reloads */
	bool               no_sockets;          /* open no listener: bytes come through mm_feed_bytes() */
	bool               drop_rights;         /* when root: become the configured user after binding, or fail */
	bool               handle_signals;      /* SIGTERM SIGINT drain, SIGHUP reload, SIGUSR1 reopen
	                                         * logs; SIGPIPE ignored */
	bool               guard_scripts;       /* end scripts that compute beyond cpu_slice and cpu_session. Takes
	                                         * SIGVTALRM, SIGPROF,
	                                         * the signals of a crash, and a timer for the calling thread; one host
	                                         * a process */
	struct ev_loop    *loop;                /* NULL: a loop of its own. Borrowed for the host's life */
	const struct mm_module *modules;        /* ended by name NULL; borrowed for the host's life; NULL: none */
	/* Gets each log line (no newline, borrowed for the call) instead of what the configuration says. */
	void             (*log)(void *self, enum mm_level level, const char *line, size_t size);
	void              *log_self;
};

/* Options with their size set and everything else absent: struct mm_host_options options = MM_HOST_OPTIONS; */
#define MM_HOST_OPTIONS { .size = sizeof(struct mm_host_options) }

/* Reads the configuration, opens the listeners, drops rights. Nothing is served yet. NULL: error says why. */
MM_API struct mm_host *mm_host_new(const struct mm_host_options *, struct mm_error *);
/* Loads the scripts (turning the loop until they are loaded) and begins to accept. */
MM_API bool mm_host_start(struct mm_host *, struct mm_error *);
/* Turns the loop until mm_host_stop() or a signal has ended the host and the last session is over. */
MM_API void mm_host_run(struct mm_host *);
/* Turns the loop once, waiting at most so long for something to happen; 0: not at all. */
MM_API void mm_host_turn(struct mm_host *, double seconds);
enum mm_stop {
	MM_STOP_DRAIN,                          /* accept no more; messages get their verdict until drain_timeout */
	MM_STOP_NOW,                            /* end open sessions with a temporary failure; also during a drain */
};
MM_API void mm_host_stop(struct mm_host *, enum mm_stop how);
/* True when a stop is complete. */
MM_API bool mm_host_is_stopped(const struct mm_host *);
/* Loads a new generation of scripts beside the serving one. done, if given, is called from the loop, or from inside,
 * when it serves (ok) or has failed and the old one serves on (error). A reload that is under way is joined. */
MM_API void mm_host_reload(struct mm_host *, void (*done)(void *self, bool ok, const struct mm_error *), void *self);
/* Counts from 1; grows with each reload that succeeds. 0: nothing loaded. */
MM_API unsigned long mm_host_generation(const struct mm_host *);
MM_API unsigned mm_host_session_count(const struct mm_host *);
/* Lines for people: listeners, scripts and handlers, what is negotiated, what to paste into Postfix and Sendmail. */
MM_API void mm_host_describe(const struct mm_host *, void (*say)(void *self, const char *line), void *self);
/* Ends everything; open sessions get a temporary failure. NULL is fine. */
MM_API void mm_host_free(struct mm_host *);

/* ---- a milter connection without a socket ---- */

/* milter: a name of the configuration; NULL: the first. NULL: unknown milter or out of memory. */
MM_API struct mm_feed *mm_feed_open(struct mm_host *, const char *milter, struct mm_error *);
/* Bytes as an MTA sends them, split anywhere. False: they break the protocol, error says how; what output there is may
 * still be read. Handlers that wait go on in mm_host_turn(). */
MM_API bool mm_feed_bytes(struct mm_feed *, const void *bytes, size_t size, struct mm_error *);
/* What the filter has answered and mm_feed_consume() has not taken: BORROWED until the next call for this feed or its
 * host. */
MM_API const void *mm_feed_output(const struct mm_feed *, size_t *size);
MM_API void mm_feed_consume(struct mm_feed *, size_t size);
/* A handler waits: turn the loop. */
MM_API bool mm_feed_is_waiting(const struct mm_feed *);
/* The filter has hung up, or the MTA has said quit: mm_feed_bytes() takes no more. */
MM_API bool mm_feed_is_finished(const struct mm_feed *);
/* The MTA goes away: on_abort and on_close run as after a lost connection. */
MM_API void mm_feed_hang_up(struct mm_feed *);
/* Frees it; hangs up first if that has not happened. */
MM_API void mm_feed_close(struct mm_feed *);

#ifdef __cplusplus
}
#endif

#endif
