/* config/config.h -- moonmilter.conf and the command line, as plain typed fields.
 *
 * One table in config.c, the schema, has a row for each key: name, type, range, default, what it is for. The file,
 * options of the command line, --help and the manual all come from it. The file's language is in config/syntax.h.
 *
 * Two levels. Keys at the top of the file are for the host, and for the milter called "default". milter.NAME = { … }
 * adds milters; the keys marked `per_milter` may stand in there and replace the top-level value as a whole (a list is
 * not appended to, settings are not merged); a key that is not there comes from the top level, except `listen`: no two
 * milters share one. "default" is served when `listen` is set at the top level, or when there is no other milter.
 *
 * Paths in the file are relative to the file's directory, paths given to mm_config_set() to the working directory; the
 * fields hold absolute ones. Nothing here looks whether users, scripts or directories exist.
 *
 * A config OWNS all it points to. Wrong keys, types and values are refused as `moonmilter.conf:12: key: …`; what only
 * makes sense over several keys is looked at by mm_config_check(), after the command line had its say. */
#ifndef MM_CONFIG_CONFIG_H
#define MM_CONFIG_CONFIG_H

#include "base/buffer.h"
#include "config/key.h"
#include "milter/verdict.h"

/* Read when no other file is named and there is one. */
#define MM_CONFIG_DEFAULT_PATH "/etc/moonmilter/moonmilter.conf"

struct mm_config_milter {
	char                     *name;         /* owned: "default", or NAME */
	uint64_t                  given;        /* bit i: row i of the schema was set here, not inherited */
	uint64_t                  commanded;    /* bit i: by mm_config_set() */
	struct mm_config_strings  listen;       /* as mm_endpoint_text() writes them */
	struct mm_config_strings  scripts;      /* absolute paths of files and directories */
	enum mm_verdict_kind      on_error;     /* tempfail, accept or reject */
	unsigned                  socket_mode;  /* permission bits */
	char                     *socket_owner; /* owned; NULL: whoever we are */
	char                     *socket_group; /* owned; NULL: likewise */
	bool                      lockstep;
	struct mm_config_networks allow;        /* empty: any that can connect */
	struct mm_value           settings;     /* a table, or nil when there are none */
};

enum mm_config_log_format { MM_CONFIG_LOG_TEXT, MM_CONFIG_LOG_JSON };

struct mm_config {
	struct mm_config_milter  top;           /* the top level, "default"; what milters inherit from */
	struct mm_config_milter *milters;       /* owned: those to serve, "default" first */
	size_t                   milter_count;

	int                      workers;       /* 0: all in one process; MM_WORKERS_AUTO: one a processor */
	char                    *user, *group;  /* owned; NULL: stay who we are */
	unsigned                 log_level;     /* ORDER LOG_LEVEL */
	enum mm_config_log_format log_format;
	char                    *log;           /* owned: "stderr", "syslog" or an absolute path */
	uint32_t                 max_sessions;  /* a worker */
	double                   stage_deadline, eom_deadline, progress_every;          /* seconds, as all times */
	double                   idle_timeout, negotiate_timeout, write_timeout, drain_timeout;
	uint64_t                 body_max;      /* bytes */
	char                    *control;       /* owned: absolute path of a unix socket; NULL: none */
	bool                     watch;
	struct mm_config_strings dns_servers;   /* empty: those of resolv.conf */
	double                   dns_timeout;
	uint32_t                 dns_cache;     /* answers a worker keeps */
	double                   cpu_slice, cpu_session, hang_timeout;
	uint64_t                 memory_soft, memory_hard;      /* bytes a worker; 0: no limit */
	uint32_t                 recycle_sessions;              /* 0: never */
	char                    *record;        /* owned: directory for records of conversations; NULL: none are kept */
	uint32_t                 record_sample; /* one connection in so many */
	uint64_t                 record_max;    /* bytes of one */
	unsigned                 record_redact; /* ORDER REDACT */
};

/* Defaults only: one milter, "default", that listens nowhere. False: out of memory. */
bool mm_config_init(struct mm_config *, struct mm_fault *why);
/* Defaults, then the text of a file called name; directory is absolute and resolves relative
 * paths. False: *c is zeroed. */
bool mm_config_read(struct mm_config *c, struct mm_text text, const char *name, const char *directory,
	struct mm_fault *why);
/* The same from a file. */
bool mm_config_load(struct mm_config *c, const char *path, struct mm_fault *why);
/* GIVES the control socket that a file names, however wrong the rest of it is; NULL: it names
 * none, or cannot be read. */
char *mm_config_control_of(const char *path);
/* Overrides a key from the command line: "workers", "log-level" ("-" reads as "_"), "milter.outbound.on_error". Text is
 * the bare value (tempfail, 8, 64M, true), settings a table in the file's language. The first call for a list replaces
 * what the file has, later ones append. A top-level key does not touch a milter that sets it itself. False: *c is as it
 * was, or, out of memory (MM_FAULT_RESOURCE), only good for mm_config_free(). */
bool mm_config_set(struct mm_config *c, const char *key, const char *text, struct mm_fault *why);
/* Rules over several keys: each milter listens and has scripts, none shares a listener, limits agree. */
bool mm_config_check(const struct mm_config *, struct mm_fault *why);
/* A key that differs and that only a restart takes over: listeners, rights, processes, records. NULL: none. */
const char *mm_config_fixed_change(const struct mm_config *before, const struct mm_config *after);
/* Overwrites *to. False: out of memory, *to is zeroed. */
bool mm_config_copy(struct mm_config *to, const struct mm_config *from, struct mm_fault *why);
void mm_config_free(struct mm_config *);                /* back to the zeroed state, which is no valid config */

/* The milter of that name, BORROWED, or NULL. */
const struct mm_config_milter *mm_config_milter(const struct mm_config *, const char *name);
const struct mm_config_key *mm_config_keys(size_t *count);
/* Every key with its meaning, rule and default, as a file whose settings are commented out. False: out of memory. */
bool mm_config_describe(struct mm_buffer *out);

#endif
