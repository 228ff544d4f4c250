/* process/workforce.h -- the worker processes of a host: forks them, sends them orders, notices when one hangs, is
 * stopped or ends, remembers what it died of, and says when the next may be forked. Knows neither the phases of a
 * reload nor clients; the owner (master.c) interprets the workers' notes.
 * Ownership: a workforce owns its processes, their channels and the census they report to. */
#ifndef MM_PROCESS_WORKFORCE_H
#define MM_PROCESS_WORKFORCE_H

#include "process/channel.h"
#include "process/suspects.h"
#include "embed/host.h"

#include <sys/types.h>

struct pollfd;

#define MM_WORKFORCE_MAX  (2 * (int)MM_WORKERS_MAX + 1) /* serving, leaving, and one on trial */
#define MM_WORKFORCE_TICK 0.5                           /* seconds between calls of mm_workforce_watch() */

enum mm_worker_state {
	MM_WORKER_FREE,         /* no process */
	MM_WORKER_LOADING,      /* has no generation yet */
	MM_WORKER_SERVING,
	MM_WORKER_LEAVING,      /* ends, after its sessions or at once */
	MM_WORKER_TRIAL         /* only tests whether a generation loads */
};

struct mm_worker_process {
	enum mm_worker_state  state;
	pid_t                 pid;
	int                   channel;          /* owned; -1: closed */
	struct mm_census_row *row;              /* owned through the census */
	uint32_t              prepared;         /* generation that it has prepared and not committed; 0: none */
	double                served_at;        /* 0: never */
	uint64_t              beats;            /* seen last */
	unsigned              silent_ticks;
	unsigned              held_ticks;       /* in which it was silent because it is stopped */
	bool                  is_hung;          /* we have aborted it */
	bool                  is_stopped;       /* SIGSTOP, a debugger: leaves, and a fresh one has taken its place */
	bool                  is_stuck;         /* the kernel does not let it die: likewise */
	double                kill_at;          /* when to kill it; 0: never */
	double                killed_at;        /* when it was killed first; 0: not yet */
};

struct mm_workforce_owner {
	void  *self;
	/* In a new child: closes what only the master needs. */
	void (*in_child)(void *self);
	/* descriptor: BORROWED; -1: none came along. */
	void (*note)(void *self, struct mm_worker_process *, const struct mm_note *, int descriptor);
	/* The process lives, but takes no further part: it is stopped or cannot be killed. before: its state until
	 * then. */
	void (*set_aside)(void *self, const struct mm_worker_process *, enum mm_worker_state before);
	/* A child that is no worker has ended. */
	void (*stranger)(void *self, pid_t, int status);
	/* The process has ended and its slot is free again. ended: the worker as it was; why: the reason, if
	 * it was loading scripts. */
	void (*ended)(void *self, unsigned slot, const struct mm_worker_process *ended, const char *why);
};

struct mm_workforce {
	struct mm_host           *host;         /* borrowed */
	struct mm_workforce_owner owner;
	struct mm_census          census;       /* owned */
	struct mm_suspects        suspects;
	struct mm_worker_process  workers[MM_WORKFORCE_MAX];
	struct mm_worker_process *polled[MM_WORKFORCE_MAX];     /* in the order of the current poll */
	unsigned                  wanted;       /* how many workers are to load or serve */

	/* when the next worker may be forked */
	unsigned                  quick_deaths; /* in a row */
	double                    died_at;
	double                    spawn_at;
	unsigned long             deaths;

	bool                      is_stopping;
	double                    kill_all_at;  /* 0: not yet known */
};

/* The configuration sets the number of workers. False: out of memory. */
bool mm_workforce_init(struct mm_workforce *, struct mm_host *, struct mm_workforce_owner);
/* True: no process is left. */
void mm_workforce_free(struct mm_workforce *);

/* Sends a note to one worker. Does nothing when its channel is closed. */
void mm_worker_process_tell(struct mm_worker_process *, enum mm_note_kind, uint32_t number);
/* rereads: the worker reads the configuration file again. */
void mm_worker_process_prepare(struct mm_worker_process *, uint32_t generation, bool rereads);
void mm_worker_process_commit(struct mm_worker_process *, uint32_t generation);
/* The worker ends at once, or is killed. */
void mm_worker_process_stop(struct mm_worker_process *);
/* True: it is loading or serving, and so takes part in every reload. */
bool mm_worker_process_takes_part(const struct mm_worker_process *);
/* What people should read instead of the state in its row: "stopped", "stuck", "hung"; NULL: the row is right.
 * Static. */
const char *mm_worker_process_trouble(const struct mm_worker_process *);
/* True: it serves sessions, perhaps its last ones. */
bool mm_worker_process_has_sessions(const struct mm_worker_process *);

/* NULL: the process could not be created; that is logged. */
struct mm_worker_process *mm_workforce_spawn(struct mm_workforce *, enum mm_worker_state);
/* Forks a worker that will load, while too few take part and one may be forked now; NULL: enough for now. */
struct mm_worker_process *mm_workforce_spawn_missing(struct mm_workforce *, double now);
/* Seconds until the next worker may be forked; 0: now, or none is delayed. */
double mm_workforce_spawn_wait(const struct mm_workforce *, double now);

/* Sends a note to every process, also those on trial or leaving. */
void mm_workforce_tell(struct mm_workforce *, enum mm_note_kind, uint32_t number);
/* Sends a note to every worker that takes part. descriptor: BORROWED; -1: none. Returns how many got it. */
unsigned mm_workforce_send(struct mm_workforce *, const struct mm_note *, int descriptor);
void mm_workforce_prepare(struct mm_workforce *, uint32_t generation, bool rereads);
void mm_workforce_commit(struct mm_workforce *, uint32_t generation);
void mm_workforce_end_trial(struct mm_workforce *);
/* All end: within drain_timeout, or at once; those that do not are killed a little later. */
void mm_workforce_stop(struct mm_workforce *, bool at_once);

/* Fills in the descriptors to poll, at most MM_WORKFORCE_MAX. Returns how many. */
unsigned mm_workforce_poll(struct mm_workforce *, struct pollfd *fds);
/* Passes the notes that have come since to the owner. */
void mm_workforce_read(struct mm_workforce *, const struct pollfd *fds, unsigned count);
/* Reaps without waiting; logs and reports the processes that have ended. */
void mm_workforce_reap(struct mm_workforce *);
/* Aborts workers whose loop does not turn, sets aside those that are stopped or cannot be killed, and kills those whose
 * time is over. Called once a tick. */
void mm_workforce_watch(struct mm_workforce *, double now);

unsigned mm_workforce_count(const struct mm_workforce *, enum mm_worker_state);
unsigned mm_workforce_taking_part(const struct mm_workforce *);
unsigned mm_workforce_sessions(const struct mm_workforce *);
uint64_t mm_workforce_refused_unseen(const struct mm_workforce *);     /* events, by the workers there are */
/* True: no process is left that can be waited for. */
bool mm_workforce_is_empty(const struct mm_workforce *);
bool mm_workforce_has(const struct mm_workforce *, unsigned pid);       /* with sessions */
/* True: all workers that take part, and at least one, have prepared this generation. */
bool mm_workforce_is_ready(const struct mm_workforce *, uint32_t generation);
/* True: at least one worker serves and its loop turns. */
bool mm_workforce_serves(const struct mm_workforce *);
/* True: the rows of all serving workers show this generation. */
bool mm_workforce_all_have(const struct mm_workforce *, uint32_t generation);

#endif
