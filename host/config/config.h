/* config/config.h -- moonmilter.conf and the command line, as plain typed fields.
 *
 * One table in config.c, the schema, has a row for each key: name, type, range, default, purpose. The file, options of
 * the command line, --help and the manual all come from it. The file's language is in config/syntax.h.
 *
 * Two levels. Keys at the top of the file are for the host, and for the milter called "default". milter.NAME = { … }
 * adds milters; the keys marked `per_milter` may be set there and replace the whole top-level value (a list is not
 * appended to, settings are not merged). A key that is not set there comes from the top level, except `listen`: no two
 * milters share a listener. "default" is served when `listen` is set at the top level, or when there is no other
 * milter.
 *
 * Paths in the file are relative to the file's directory, paths given to mm_config_set() to the working directory; the
 * fields hold absolute ones. Nothing here checks whether users, scripts or directories exist.
 *
 * A config OWNS everything it points to. Wrong keys, types and values are refused as `moonmilter.conf:12: key: …`;
 * mm_config_check() checks the rules over several keys, after the command line has been applied. */
#ifndef MM_CONFIG_CONFIG_H
#define MM_CONFIG_CONFIG_H

#include "base/buffer.h"
#include "config/key.h"
#include "milter/verdict.h"

/* Read when no other file is named and this one exists. */
#define MM_CONFIG_DEFAULT_PATH "/etc/moonmilter/moonmilter.conf"

struct mm_config_milter {
	char                     *name;         /* owned: "default", or NAME */
	uint64_t                  given;        /* bit i: row i of the schema was set here, not inherited */
	uint64_t                  commanded;    /* bit i: by mm_config_set() */
	struct mm_config_strings  listen;       /* as mm_endpoint_text() writes them */
	struct mm_config_strings  scripts;      /* absolute paths of files and directories */
	struct mm_config_strings  shadow;       /* likewise; empty: there is no shadow */
	double                    share;        /* per cent of the clients, 0 to 100 */
	bool                      has_sources;  /* scripts or handlers of the program that embeds the host */
	enum mm_verdict_kind      on_error;     /* tempfail, accept or reject */
	enum mm_verdict_kind      over;         /* reject, tempfail, or continue for "truncate" */
	unsigned                  socket_mode;  /* permission bits */
	char                     *socket_owner; /* owned; NULL: our user */
	char                     *socket_group; /* owned; NULL: our group */
	bool                      lockstep;
	struct mm_config_networks allow;        /* empty: every client that can connect */
	struct mm_value           settings;     /* a table, or nil when there are none */
	struct mm_value           redis;        /* the same; Lua checks what is in it */
};

enum mm_config_log_format { MM_CONFIG_LOG_TEXT, MM_CONFIG_LOG_JSON };

struct mm_config {
	struct mm_config_milter  top;           /* the top level, "default"; milters inherit from it */
	struct mm_config_milter *milters;       /* owned: those to serve, "default" first */
	size_t                   milter_count;

	int                      workers;       /* 0: all in one process; MM_WORKERS_AUTO: one per processor */
	bool                     daemon;
	char                    *pid_file;      /* owned: absolute; NULL: none */
	char                    *user, *group;  /* owned, names or numbers; NULL: keep our user and group */
	struct mm_config_strings owners;        /* users, besides root, whose files are trusted: names or numbers */
	unsigned                 log_level;     /* ORDER LOG_LEVEL */
	enum mm_config_log_format log_format;
	char                    *log;           /* owned: "stderr", "syslog" or an absolute path */
	unsigned                 syslog_facility;               /* as for syslog(3): LOG_MAIL */
	char                    *syslog_ident;  /* owned: at most MM_SYSLOG_IDENT_MAX bytes */
	uint64_t                 log_rate;      /* bytes a second about one MTA; 0: no limit */
	uint32_t                 backlog;       /* connections that wait to be accepted */
	uint32_t                 max_sessions, max_sessions_per_mta;    /* per worker */
	double                   stage_deadline, eom_deadline, progress_every;          /* seconds, as all times */
	double                   idle_timeout, negotiate_timeout, read_timeout, write_timeout, drain_timeout;
	uint64_t                 body_max;      /* bytes */
	char                    *control;       /* owned: absolute path of a unix socket; NULL: none */
	char                    *control_readers;       /* owned: a group; NULL: none */
	struct mm_config_strings metrics;       /* where an HTTP client reads metrics; empty: nowhere */
	bool                     watch;
	struct mm_config_strings dns_servers;   /* empty: the servers of resolv.conf */
	double                   dns_timeout;
	uint32_t                 dns_cache;     /* answers that a worker keeps */
	double                   cpu_slice, cpu_session, hang_timeout, poison_time;
	uint64_t                 memory_soft, memory_hard;      /* bytes per worker; 0: no limit */
	uint64_t                 memory_held;   /* the same */
	uint32_t                 recycle_sessions;              /* 0: never */
	char                    *state_dir;     /* owned: absolute; directory for what outlives the host; NULL: none */
	char                    *record;        /* owned: absolute; directory for records; NULL: none are kept */
	uint32_t                 record_sample; /* one connection in this many */
	uint64_t                 record_max;    /* bytes of one record */
	uint64_t                 record_total;  /* bytes of all records in the directory */
	uint32_t                 record_files;  /* number of records in the directory */
	unsigned                 record_redact; /* ORDER REDACT */
	uint32_t                 history;       /* messages that the host remembers; 0: none */
	double                   history_time;  /* seconds for which it does */
	unsigned                 history_redact;                /* ORDER STORY_REDACT */
};

/* Sets the defaults: one milter, "default", that listens nowhere. False: out of memory. */
bool mm_config_init(struct mm_config *, struct mm_fault *why);
/* Sets the defaults, then reads the text of a file called `name`; relative paths are relative to directory, which is
 * absolute. False: *c is zeroed. */
bool mm_config_read(struct mm_config *c, struct mm_text text, const char *name, const char *directory,
	struct mm_fault *why);
/* The same from a file. */
bool mm_config_load(struct mm_config *c, const char *path, struct mm_fault *why);
/* GIVES the path of the control socket that a file names, even when the rest of the file is wrong; NULL: it names
 * none, or cannot be read. */
char *mm_config_control_of(const char *path);
/* Overrides a key from the command line: "workers", "log-level" ("-" reads as "_"), "milter.outbound.on_error". text is
 * the bare value (tempfail, 8, 64M, true); for settings it is a table in the file's language. The first call for a list
 * replaces the file's list, later ones append. A top-level key does not change a milter that sets the key itself.
 * False: *c is unchanged, or, out of memory (MM_FAULT_RESOURCE), only fit for mm_config_free(). */
bool mm_config_set(struct mm_config *c, const char *key, const char *text, struct mm_fault *why);
/* Is the key set at the top level, by the file or by mm_config_set()? */
bool mm_config_is_given(const struct mm_config *, const char *key);
/* Checks rules over several keys: each milter listens and has scripts, no two share a listener, limits agree. */
bool mm_config_check(const struct mm_config *, struct mm_fault *why);
/* A key that differs and that only a restart can change: listeners, rights, processes, records. NULL: none. */
const char *mm_config_fixed_change(const struct mm_config *before, const struct mm_config *after);
/* Overwrites *to. False: out of memory, *to is zeroed. */
bool mm_config_copy(struct mm_config *to, const struct mm_config *from, struct mm_fault *why);
void mm_config_free(struct mm_config *);                /* back to the zeroed state, which is not a valid config */

/* The milter of that name, BORROWED, or NULL. */
const struct mm_config_milter *mm_config_milter(const struct mm_config *, const char *name);
const struct mm_config_key *mm_config_keys(size_t *count);
/* Writes every key with its meaning, rule and default, as a file whose settings are commented out.
 * False: out of memory. */
bool mm_config_describe(struct mm_buffer *out);

#endif
