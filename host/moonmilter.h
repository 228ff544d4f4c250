/* moonmilter.h -- the public API of libmoonmilter: a host that runs milters written in Lua.
 *
 * A host owns its milters with their scripts and sockets. A process may have several hosts, also on several threads at
 * once; only one thread at a time may use a host. A host runs on a libev loop of its own or on yours. It needs no
 * sockets: you can pass the bytes that an MTA would send to mm_feed_bytes() and read the replies with mm_feed_output().
 *
 * A function that can fail returns false or NULL and fills a struct mm_error, unless you pass NULL for it, with a code
 * for programs and a sentence for people. Unless stated otherwise, functions borrow strings and arrays for the call
 * only. Times are in seconds.
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

/* The version of this header. mm_version() returns that of the library. */
#define MM_VERSION_MAJOR 0
#define MM_VERSION_MINOR 1
#define MM_VERSION_PATCH 0
#define MM_VERSION       "0.1.0"

/* Programs match on the code; the text is for people. ORDER FAULT_CLASS */
enum mm_error_code {
	MM_ERROR_NONE,
	MM_ERROR_BUG,                           /* the library is in an impossible state: please report it */
	MM_ERROR_CONFIG,                        /* options, configuration, or scripts that do not load */
	MM_ERROR_PEER,                          /* the MTA's bytes break the milter protocol */
	MM_ERROR_SCRIPT,                        /* a script raised an error or misused the API */
	MM_ERROR_RESOURCE,                      /* out of memory, descriptors or threads: may succeed later */
};

/* More exactly. ORDER REASON */
enum mm_error_reason {
	MM_REASON_NONE,
	MM_REASON_BUG,
	MM_REASON_CONFIG,
	MM_REASON_PROTOCOL,
	MM_REASON_BAD_VALUE,
	MM_REASON_MEMORY,                       /* or descriptors, threads */
	MM_REASON_NOT_GRANTED,                  /* the MTA has not agreed to this edit */
	MM_REASON_WRONG_STAGE,
	MM_REASON_TOO_LARGE,                    /* too long, or too many */
	MM_REASON_TOO_LATE,                     /* the handler is over, or another one runs */
	MM_REASON_IN_USE,                       /* a socket, a pid file, or what one host of a process has */
	MM_REASON_NOT_ALLOWED,                  /* the system refuses */
	MM_REASON_BIND,                         /* a socket cannot be opened for another reason */
	MM_REASON_USER,                         /* a user or group of the system is unknown or unfit */
	MM_REASON_NOT_FOUND,                    /* no milter of that name */
	MM_REASON_NOT_SUPPORTED,                /* the configuration asks for what only the program does */
};

struct mm_error {
	enum mm_error_code   code;
	enum mm_error_reason reason;
	char                 text[1024];        /* NUL-terminated; cut off when too long */
};

/* "not_granted": the same word that scripts have in ctx.error_code. Static. */
MM_API const char *mm_error_word(enum mm_error_reason);
/* The exit status (sysexits.h) with which the program moonmilter ends after this error of a start: EX_NOUSER,
 * EX_UNAVAILABLE for a socket, EX_OSERR for memory and descriptors, EX_CONFIG for the rest. */
MM_API int mm_error_status(const struct mm_error *);

/* Returns the version of the library, such as "0.1.0". The string is static. */
MM_API const char *mm_version(void);

/* A C module for scripts: require "name" calls open, a lua_CFunction, which finds self as
 * lua_touserdata(L, lua_upvalueindex(1)). A built-in module that you replace stays available as "host:name". */
struct mm_module {
	const char *name;
	int       (*open)(struct lua_State *);
	void       *self;
};

/* A script that is in memory. It needs no file, so it has no lib/ beside it; require finds what `modules` and the
 * system have. */
struct mm_source {
	const char *name;                       /* for logs and errors, "10-tag.lua" */
	const char *text;                       /* Lua source, not bytecode */
	size_t      size;                       /* bytes of it; 0: the text ends with NUL */
	const char *milter;                     /* which one runs it; NULL: the first */
};

/* ORDER LOG_LEVEL */
enum mm_level { MM_LEVEL_DEBUG, MM_LEVEL_INFO, MM_LEVEL_WARN, MM_LEVEL_ERROR };

/* ---- filters in C ---- */

struct mm_event;

/* What a handler answers. ORDER VERDICT, then LATER */
enum mm_decision {
	MM_DECISION_CONTINUE,
	MM_DECISION_ACCEPT,                     /* this filter has seen enough of the message, or at connect and helo of
	                                         * the client; scripts go on */
	MM_DECISION_REJECT,
	MM_DECISION_TEMPFAIL,
	MM_DECISION_DISCARD,
	MM_DECISION_SKIP,                       /* on_header, on_body: no more events of this kind for the message */
	MM_DECISION_LATER,                      /* mm_event_finish() will answer */
};

/* How a message without a final reply has ended, and every client. ORDER END */
enum mm_end_reason {
	MM_ENDED_NONE,
	MM_ENDED_BY_ABORT,                      /* RSET, or the MTA has lost its client */
	MM_ENDED_BY_HELO,                       /* a new HELO */
	MM_ENDED_BY_MESSAGE,                    /* a new MAIL */
	MM_ENDED_BY_QUIT,
	MM_ENDED_BY_DISCONNECT,                 /* the MTA has gone */
	MM_ENDED_BY_TIMEOUT,                    /* it was silent for too long */
	MM_ENDED_BY_STOP,                       /* the host stops by force */
	MM_ENDED_BY_PROTOCOL,                   /* it broke the protocol, or there was no memory for what it sent */
};

struct mm_refusal {
	const char *address;                    /* without angle brackets */
	const char *verdict;                    /* "reject", "tempfail"; "mta": the MTA itself refused it */
};

/* What has become of a message. All of it is borrowed for the call; later versions may add members. */
struct mm_result {
	enum mm_decision answer;                  /* of the whole milter */
	const char    *stage;                   /* at which it was decided: "eom" */
	const char    *decided_by;              /* the filter's name, or a script and line; "": the defaults */
	const char    *reply;                   /* as on the wire: lines joined by CRLF, % doubled; "": the MTA's own */
	const char    *quarantine;              /* the reason; NULL: none */
	unsigned       edits;                   /* that were sent */
	unsigned       recipients, refused;     /* of those that came */
	double         seconds, waited;         /* from MAIL to the verdict; of these, handlers waited */
	double         computed;                /* and worked */
	const char *const *added, *const *deleted;      /* recipients of edits that were sent; the last is NULL */
	const struct mm_refusal *refusals;      /* the last has address NULL */
};

/* A macro as the MTA has sent it; the name is without braces. */
struct mm_macro {
	const char *name, *value;
};

/* A filter in C: every handler may be NULL, and then the MTA is not asked for its event. It runs before the scripts of
 * its milter, by the same rules: the first reject, tempfail or discard decides, and accept ends its own part only. A
 * milter may have no scripts at all: then no Lua state is made for it. Strings end with NUL, and are borrowed for the
 * call. */
struct mm_filter {
	size_t       size;                      /* sizeof(struct mm_filter) */
	const char  *name;                      /* for logs, "rates" */
	const char  *milter;                    /* which one runs it; NULL: the first. One filter a milter */
	void        *self;                      /* for you: mm_event_self() */
	/* Macros to ask the MTA for by name, "{client_ptr}"; the last is NULL; NULL: those that it sends by itself */
	const char *const *macros;
	/* address NULL: not known */
	enum mm_decision (*on_connect)(struct mm_event *, const char *host, const char *address);
	enum mm_decision (*on_helo)(struct mm_event *, const char *name);
	enum mm_decision (*on_mail)(struct mm_event *, const char *sender);       /* without angle brackets */
	enum mm_decision (*on_rcpt)(struct mm_event *, const char *recipient);
	enum mm_decision (*on_data)(struct mm_event *);
	enum mm_decision (*on_header)(struct mm_event *, const char *name, const char *value);
	enum mm_decision (*on_eoh)(struct mm_event *);
	enum mm_decision (*on_body)(struct mm_event *, const void *bytes, size_t size);
	enum mm_decision (*on_eom)(struct mm_event *);
	enum mm_decision (*on_unknown)(struct mm_event *, const char *command);
	void         (*on_abort)(struct mm_event *, const char *stage, enum mm_end_reason);
	void         (*on_done)(struct mm_event *, const struct mm_result *);
	void         (*on_close)(struct mm_event *, enum mm_end_reason);
	/* An answer that was to come later is no longer wanted: the MTA has given up, or it took longer than the
	 * configuration's stage_deadline or eom_deadline. Do not call mm_event_finish() for it. */
	void         (*on_cancel)(struct mm_event *);
	/* The MTA has sent macros for a stage, "connect", "helo", "mail", "rcpt", "data", "eoh" or "eom", whose own
	 * handler runs next and has the same facts. The last has name NULL. The MTA is then asked for all these
	 * stages. */
	void         (*on_macros)(struct mm_event *, const char *stage, const struct mm_macro *macros);
};

struct mm_host_options {
	size_t             size;                /* sizeof(struct mm_host_options); later versions may add fields */
	const char        *config_file;         /* path of moonmilter.conf; NULL: none */
	/* The three lists end with NULL. They override the configuration file, also when a reload reads it again. */
	const char *const *listen;              /* sockets to listen on; NULL: as the file says */
	const char *const *scripts;             /* files and directories; NULL: as the file says */
	const char *const *set;                 /* other keys of the file, as "key=value" */
	bool               no_sockets;          /* open no listeners: bytes come through mm_feed_bytes() */
	bool               drop_rights;         /* if root: become the configured user after binding, or fail */
	/* SIGTERM and SIGINT drain, SIGHUP reloads, SIGUSR1 reopens the log; SIGPIPE is ignored. One host of a process
	 * can have it at a time. */
	bool               handle_signals;
	/* End scripts that exceed cpu_slice or cpu_session. Takes SIGVTALRM, SIGPROF, the signals of a crash, and a
	 * timer for the calling thread, so only one host of a process can have it; the thread that makes the host then
	 * turns it and frees it, too. */
	bool               guard_scripts;
	/* The libev loop to run on: of libev 4.33, which is inside the library as well. Your libev may be a shared or a
	 * static library; the allocator of neither may be changed (ev_set_allocator()). Borrowed for the host's life;
	 * turn it with ev_run(). NULL: the host makes its own, for mm_host_run(), or for any loop of yours through
	 * mm_host_fd(). */
	struct ev_loop    *loop;
	const struct mm_module *modules;        /* the last has name NULL; borrowed for the host's life; NULL: none */
	/* Receives every log line, instead of the log that the configuration names. The line has no newline and is
	 * borrowed for the call. */
	void             (*log)(void *self, enum mm_level level, const char *line, size_t size);
	void              *log_self;
	bool               reads_all_keys;      /* load every private key of auth.keys{…}, also those of large tables,
	                                         * which are else read when they are first used */
	/* The text of a configuration, instead of config_file; NULL: none. Relative paths are relative to the working
	 * directory. Borrowed for the host's life: a reload reads it again, so you may change it before. */
	const char        *config_text;
	/* Scripts in memory, which run after those of files, in this order; a reload reads them again. The last has
	 * name NULL; borrowed for the host's life; NULL: none. */
	const struct mm_source *sources;
	const struct mm_filter *const *filters; /* the last is NULL; borrowed, with all that they point to, for the
	                                         * host's life; NULL: none */
	/* Called in the loop after mm_host_wake(), once for several calls. */
	void             (*woken)(void *self);
	void              *woken_self;
};

/* The defaults: size is set, everything else is absent. struct mm_host_options options = MM_HOST_OPTIONS; */
#define MM_HOST_OPTIONS { .size = sizeof(struct mm_host_options) }

/* Reads the configuration, opens the listeners and drops rights. The host does not serve yet. NULL: see error. A
 * configuration fails that sets what only the program moonmilter does (workers, control, metrics, watch, daemon,
 * pid_file, recycle_sessions, hang_timeout, poison_time, history), except with no_sockets. */
MM_API struct mm_host *mm_host_new(const struct mm_host_options *, struct mm_error *);
/* Loads the scripts, turning the loop until they are loaded, and begins to accept connections. */
MM_API bool mm_host_start(struct mm_host *, struct mm_error *);
/* Turns the loop until the host is stopped: mm_host_stop() or a signal has ended it and its last session is over. */
MM_API void mm_host_run(struct mm_host *);
/* Turns the loop once. Waits at most this long for something to happen; 0: does not wait. */
MM_API void mm_host_turn(struct mm_host *, double seconds);
/* For a loop of any kind: wait until the descriptor is readable or the time-out is over, then call
 * mm_host_turn(host, 0).
 *     poll({ mm_host_fd(host), POLLIN }, 1, mm_host_timeout(host) in milliseconds, rounded up)
 * Ask for the time-out before each wait, after all other calls for the host: asking also makes the descriptor know what
 * the host waits for. The descriptor stays the same and belongs to the host. -1 with a loop that was handed in. */
MM_API int mm_host_fd(struct mm_host *);
/* Seconds until mm_host_turn() has something to do even if the descriptor is not readable; 0: at once. Negative with a
 * loop that was handed in. */
MM_API double mm_host_timeout(struct mm_host *);
/* Ends the wait of the host's loop, and calls options.woken there. Any thread and any signal handler may call it while
 * the host exists. */
MM_API void mm_host_wake(const struct mm_host *);
enum mm_stop {
	MM_STOP_DRAIN,                          /* accept no more; open sessions may finish until drain_timeout */
	MM_STOP_NOW,                            /* end open sessions with a temporary failure; also ends a drain */
};
/* Begins to stop the host and returns; turn the loop until mm_host_is_stopped(). Feeds stay open until you close
 * them. */
MM_API void mm_host_stop(struct mm_host *, enum mm_stop how);
MM_API bool mm_host_is_stopped(const struct mm_host *);
/* Loads a new generation of scripts while the old one serves. Calls done, if given, from the loop or before returning:
 * with ok when the new generation serves, with an error when it failed and the old one serves on. A call during a
 * reload joins that reload, and another reload follows it. A host that is stopping neither reloads nor calls done. */
MM_API void mm_host_reload(struct mm_host *, void (*done)(void *self, bool ok, const struct mm_error *), void *self);
/* The number of the generation that serves: 1 after the start, one more after each successful reload. 0: none yet. */
MM_API unsigned long mm_host_generation(const struct mm_host *);
/* How many handlers and tasks of scripts have failed since the host was made: raised, waited too long, or answered
 * nonsense. */
MM_API unsigned long mm_host_script_errors(const struct mm_host *);
/* With guard_scripts: writes which handler has been running for longer than a moment, or was the last to, such as
 * "on_eom of /etc/moonmilter/scripts/10-tag.lua"; "" for none. Returns to. Any thread may call it while the host runs,
 * to report a script that does not come back. */
MM_API char *mm_host_busy_with(const struct mm_host *, char *to, size_t size);
/* How many milter connections are open: those of MTAs, and feeds that are not finished. */
MM_API unsigned mm_host_session_count(const struct mm_host *);
/* Calls say with lines for people: listeners, what to paste into Postfix and Sendmail, scripts and their handlers, what
 * is negotiated. */
MM_API void mm_host_describe(const struct mm_host *, void (*say)(void *self, const char *line), void *self);
/* Ends open sessions with a temporary failure, closes the host's feeds and frees it. NULL is fine. */
MM_API void mm_host_free(struct mm_host *);
/* In a child process of fork(), instead of every other call for the host: it is the parent's, which serves on. Closes
 * the child's copies of its descriptors, so that MTAs and servers see when the parent closes theirs, and gives signals
 * back. Runs no handler, sends nothing, and removes no file; memory stays until the child ends. Do not use the host
 * afterwards, nor turn a loop that it was handed; with such a loop, connections of scripts to servers stay open until
 * the child executes a program or ends. A child that does one of these at once need not call it: all descriptors close
 * then (O_CLOEXEC). The child may make hosts of its own. NULL is fine. */
MM_API void mm_host_after_fork(struct mm_host *);

/* ---- sessions and counts ---- */

/* An open session, of a milter connection or a feed. Texts are borrowed for the call, and cut off when very long; NULL:
 * not known. The host fills it; later versions may add members. */
struct mm_session_info {
	size_t         size;                    /* sizeof(struct mm_session_info) of the library */
	const char    *id;                      /* as in every log line */
	const char    *milter;                  /* its name */
	const char    *mta;                     /* its address, "192.0.2.25:40012"; NULL: a unix socket or a feed */
	const char    *client_host, *client_address, *helo;
	const char    *queue_id;
	const char    *sender;                  /* without angle brackets; NULL: no message is open */
	unsigned       recipients;              /* of the open message */
	unsigned long  messages;                /* that this client has begun */
	const char    *waits_at;                /* the stage whose handler waits, "eom"; NULL: none does */
	double         waited;                  /* seconds since it began to wait; 0: none waits */
	double         age;                     /* seconds */
	size_t         held;                    /* bytes of memory that it takes */
	bool           is_negotiated;
	bool           is_feed;
};

/* Calls each for every open session, until it returns false. It may ask for a session's end, but may not open or close
 * feeds. */
MM_API void mm_host_each_session(const struct mm_host *, bool (*each)(void *self, const struct mm_session_info *),
	void *self);
/* Ends a session in the next turn of the loop: a command that waits is answered with a temporary failure, on_abort and
 * on_close run with the reason stop, and the connection closes; the MTA then does what it does without a milter. False:
 * there is no such session (MM_REASON_NOT_FOUND), or memory is out. */
MM_API bool mm_host_end_session(struct mm_host *, const char *id, struct mm_error *);

/* What a host has counted since it was made. */
struct mm_statistics {
	size_t         size;                    /* yours, set before the call: sizeof(struct mm_statistics) */
	double         seconds;                 /* since the host was made */
	unsigned long  sessions, sessions_begun;        /* open now; all */
	unsigned long  messages;                /* that have got a final verdict */
	unsigned long  verdicts[8];             /* of these, by enum mm_decision */
	unsigned long  aborted;                 /* messages without one */
	unsigned long  script_errors;
	unsigned long  generation;
	size_t         lua_bytes;               /* memory of Lua; 0: there is no Lua state */
	size_t         held_bytes;              /* memory of sessions, messages and caches */
};
MM_API void mm_host_statistics(const struct mm_host *, struct mm_statistics *);

/* ---- events: what handlers of a filter in C can do ----
 * An event is valid for the call, and after MM_DECISION_LATER until it is finished or cancelled. It is the same pointer
 * for all events of a milter connection. Texts that these functions return are borrowed until the next call for the
 * event. */

MM_API void *mm_event_self(const struct mm_event *);
MM_API const char *mm_event_id(const struct mm_event *);        /* of the session, as in every log line */
MM_API const char *mm_event_stage(const struct mm_event *);     /* "rcpt" in on_rcpt */
MM_API const char *mm_event_client_host(const struct mm_event *);       /* NULL: not known, so with the next three */
MM_API const char *mm_event_client_address(const struct mm_event *);
MM_API const char *mm_event_helo(const struct mm_event *);
MM_API const char *mm_event_sender(struct mm_event *);  /* without angle brackets; NULL: no message is open */
MM_API unsigned mm_event_recipient_count(const struct mm_event *);
/* From 0, without angle brackets; is_refused, which may be NULL, says whether the MTA or a verdict refused it. NULL:
 * there is no such recipient. */
MM_API const char *mm_event_recipient(struct mm_event *, unsigned at, bool *is_refused);
/* Braces are optional. NULL: the MTA has not sent it. */
MM_API const char *mm_event_macro(struct mm_event *, const char *name);
/* Counts the messages of the session, from 1; 0: none is open. */
MM_API unsigned long mm_event_message_number(const struct mm_event *);
/* Is the edit negotiated: "add_header", "quarantine", …? */
MM_API bool mm_event_can(const struct mm_event *, const char *edit);

/* Data of yours. TAKES it: destroy, unless NULL, is called with it when the client or the message ends, after on_close,
 * on_done or on_abort, and when it is replaced. */
MM_API void mm_event_keep_for_client(struct mm_event *, void *data, void (*destroy)(void *data));
MM_API void mm_event_keep_for_message(struct mm_event *, void *data, void (*destroy)(void *data));
MM_API void *mm_event_of_client(const struct mm_event *);       /* NULL: nothing is kept */
MM_API void *mm_event_of_message(const struct mm_event *);

/* The reply that goes with the REJECT or TEMPFAIL of this event: code 400..599, enhanced "5.7.1" or NULL for the
 * default, 1 to 32 lines, ended by NULL. False: the error says which rule it breaks. */
MM_API bool mm_event_reply(struct mm_event *, unsigned code, const char *enhanced, const char *const *lines,
	struct mm_error *);

/* Edits, from on_mail to on_eom, by the rules of docs/scripting.md. They leave with the final reply, or not at all. */
MM_API bool mm_event_add_header(struct mm_event *, const char *name, const char *value, struct mm_error *);
MM_API bool mm_event_insert_header(struct mm_event *, unsigned position, const char *name, const char *value,
	struct mm_error *);
/* Field n of a name, from 1, negative from the end; value NULL deletes it. */
MM_API bool mm_event_change_header(struct mm_event *, const char *name, int n, const char *value, struct mm_error *);
MM_API bool mm_event_change_from(struct mm_event *, const char *address, const char *params, struct mm_error *);
MM_API bool mm_event_add_recipient(struct mm_event *, const char *address, const char *params, struct mm_error *);
MM_API bool mm_event_delete_recipient(struct mm_event *, const char *address, struct mm_error *);
/* The first piece drops the old body; further ones append. */
MM_API bool mm_event_replace_body(struct mm_event *, const void *piece, size_t size, struct mm_error *);
MM_API bool mm_event_quarantine(struct mm_event *, const char *reason, struct mm_error *);

/* The answer that MM_DECISION_LATER has promised. Call it on the thread of the host, once for each promise, also while
 * the handler still runs. False: nothing waits for it. */
MM_API bool mm_event_finish(struct mm_event *, enum mm_decision);

/* ---- feeds: milter connections without a socket ---- */

/* Opens a connection to the named milter of the configuration; NULL: to the first. Fails when there is no such milter,
 * before the scripts are loaded, and when memory is out. The connection is the caller's, who ends a feed whose MTA is
 * silent or gone with mm_feed_hang_up(): idle_timeout and the other times of sockets do not apply. mm_host_free() frees
 * feeds that are still open: do not use them afterwards. */
MM_API struct mm_feed *mm_feed_open(struct mm_host *, const char *milter, struct mm_error *);
/* Takes bytes as an MTA sends them, split anywhere. False: they break the protocol and the feed is finished; its output
 * may still be read. A handler that waits continues in mm_host_turn(). So do packets that are left after some
 * milliseconds of work or after one end-of-message, so that one feed does not hold up other sessions. */
MM_API bool mm_feed_bytes(struct mm_feed *, const void *bytes, size_t size, struct mm_error *);
/* Returns the replies that mm_feed_consume() has not removed yet. BORROWED until the next call for this feed or its
 * host. */
MM_API const void *mm_feed_output(const struct mm_feed *, size_t *size);
/* Removes the first bytes of the output. */
MM_API void mm_feed_consume(struct mm_feed *, size_t size);
/* True while a handler waits or packets are left: turn the loop. */
MM_API bool mm_feed_is_waiting(const struct mm_feed *);
/* True when the filter has hung up or the MTA has sent QUIT: mm_feed_bytes() ignores further bytes. */
MM_API bool mm_feed_is_finished(const struct mm_feed *);
/* Script and line that decided the last reply, such as "10-auth.lua:12"; "": no script did, the mail goes on. BORROWED
 * until the next bytes. */
MM_API const char *mm_feed_decided_by(const struct mm_feed *);
/* Ends the connection as if the MTA were lost: on_abort and on_close run. The feed is finished; it is not freed. */
MM_API void mm_feed_hang_up(struct mm_feed *);
/* Frees the feed. Hangs up first unless it is finished. */
MM_API void mm_feed_close(struct mm_feed *);

#ifdef __cplusplus
}
#endif

#endif
