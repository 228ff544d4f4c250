/* process/workforce.h -- the worker processes of a host: forks them, tells them what to do, notices when one hangs or
 * ends, and says when the next may be forked. Knows no generation's phases and no clients; what a worker's note means
 * is the owner's matter (master.c).
 * Ownership: a workforce owns its processes, their channels and the census they report to. */
#ifndef MM_PROCESS_WORKFORCE_H
#define MM_PROCESS_WORKFORCE_H

#include "process/channel.h"
#include "embed/host.h"

#include <sys/types.h>

struct pollfd;

#define MM_WORKFORCE_MAX  (2 * (int)MM_WORKERS_MAX + 1) /* serving, leaving, and one on trial */
#define MM_WORKFORCE_TICK 0.5                           /* seconds between calls of mm_workforce_watch() */

enum mm_worker_state {
	MM_WORKER_FREE,         /* no process */
	MM_WORKER_LOADING,      /* has no generation yet */
	MM_WORKER_SERVING,
	MM_WORKER_LEAVING,      /* ends, when its sessions have or at once */
	MM_WORKER_TRIAL         /* only tries whether a generation loads */
};

struct mm_worker_process {
	enum mm_worker_state  state;
	pid_t                 pid;
	int                   channel;          /* owned; -1: closed */
	struct mm_census_row *row;              /* owned through the census */
	uint32_t              prepared;         /* generation that it has ready and not committed; 0: none */
	double                served_at;        /* 0: never */
	uint64_t              beats;            /* seen last */
	unsigned              silent_ticks;
	bool                  is_hung;          /* has been told to abort */
	double                kill_at;          /* 0: not to be killed */
};

struct mm_workforce_owner {
	void  *self;
	/* In a new child: close what is the master's alone. */
	void (*in_child)(void *self);
	/* descriptor: BORROWED; -1: none came along. */
	void (*note)(void *self, struct mm_worker_process *, const struct mm_note *, int descriptor);
	/* The process has ended and its slot is free again. ended: as it was; why: for when it has loaded scripts. */
	void (*ended)(void *self, unsigned slot, const struct mm_worker_process *ended, const char *why);
};

struct mm_workforce {
	struct mm_host           *host;         /* borrowed */
	struct mm_workforce_owner owner;
	struct mm_census          census;       /* owned */
	struct mm_worker_process  workers[MM_WORKFORCE_MAX];
	struct mm_worker_process *polled[MM_WORKFORCE_MAX];     /* in the order of the poll under way */
	unsigned                  wanted;       /* workers to load or serve */

	/* when the next worker may be forked */
	unsigned                  quick_deaths; /* in a row */
	double                    died_at;
	double                    spawn_at;
	unsigned long             deaths;

	bool                      is_stopping;
	double                    kill_all_at;  /* 0: not yet known */
};

/* The number of workers is the configuration's. False: out of memory. */
bool mm_workforce_init(struct mm_workforce *, struct mm_host *, struct mm_workforce_owner);
/* No process is left. */
void mm_workforce_free(struct mm_workforce *);

/* One worker. A closed channel takes no notes: nothing happens. */
void mm_worker_process_tell(struct mm_worker_process *, enum mm_note_kind, uint32_t number);
/* rereads: with the configuration as the file has it now. */
void mm_worker_process_prepare(struct mm_worker_process *, uint32_t generation, bool rereads);
void mm_worker_process_commit(struct mm_worker_process *, uint32_t generation);
/* It ends at once, or is killed. */
void mm_worker_process_stop(struct mm_worker_process *);
/* It is loading or serving: part of every reload. */
bool mm_worker_process_takes_part(const struct mm_worker_process *);
/* It serves sessions, maybe its last ones. */
bool mm_worker_process_has_sessions(const struct mm_worker_process *);

/* NULL: it could not be made; that is logged. */
struct mm_worker_process *mm_workforce_spawn(struct mm_workforce *, enum mm_worker_state);
/* A loading worker, while fewer than wanted take part and one may be forked now; NULL: enough for now. */
struct mm_worker_process *mm_workforce_spawn_missing(struct mm_workforce *, double now);
/* Seconds until one more may be forked; 0: now, or none is held back. */
double mm_workforce_spawn_wait(const struct mm_workforce *, double now);

/* Every process, on trial or leaving as well. */
void mm_workforce_tell(struct mm_workforce *, enum mm_note_kind, uint32_t number);
/* Every worker that takes part. descriptor: BORROWED; -1: none. Returns how many have the note. */
unsigned mm_workforce_send(struct mm_workforce *, const struct mm_note *, int descriptor);
void mm_workforce_prepare(struct mm_workforce *, uint32_t generation, bool rereads);
void mm_workforce_commit(struct mm_workforce *, uint32_t generation);
void mm_workforce_end_trial(struct mm_workforce *);
/* All end: within drain_timeout, at_once, or killed a little later. */
void mm_workforce_stop(struct mm_workforce *, bool at_once);

/* Fills in what to poll for; at most MM_WORKFORCE_MAX. Returns how many. */
unsigned mm_workforce_poll(struct mm_workforce *, struct pollfd *fds);
/* The notes that have come since, to the owner. */
void mm_workforce_read(struct mm_workforce *, const struct pollfd *fds, unsigned count);
/* Waits for no process; those that have ended are logged and reported. */
void mm_workforce_reap(struct mm_workforce *);
/* Aborts workers whose loop does not turn, kills those whose time is over. Once a tick. */
void mm_workforce_watch(struct mm_workforce *, double now);

unsigned mm_workforce_count(const struct mm_workforce *, enum mm_worker_state);
unsigned mm_workforce_taking_part(const struct mm_workforce *);
unsigned mm_workforce_sessions(const struct mm_workforce *);
bool mm_workforce_is_empty(const struct mm_workforce *);
bool mm_workforce_has(const struct mm_workforce *, unsigned pid);       /* with sessions */
/* All that take part, at least one, have prepared this generation. */
bool mm_workforce_is_ready(const struct mm_workforce *, uint32_t generation);
/* Every serving worker's loop turns. */
bool mm_workforce_all_beat(const struct mm_workforce *);
/* Every serving worker has taken this generation over, as its row says. */
bool mm_workforce_all_have(const struct mm_workforce *, uint32_t generation);

#endif
