/* base/census.h -- what a host's processes know of each other without talking: a row per worker in shared memory.
 * The master makes the table before it forks and clears a row for each new worker; a worker writes only its own row,
 * the others read it. Each field is read whole, but the fields of a row are not from one moment. A worker may be out of
 * its mind, so nobody believes a row: the master keeps its own account of who uses which, and copies texts with a bound
 * (`mm_whereabouts_read`). Knows no sockets, no loop and no Lua.
 *
 * `mm_whereabouts` records what a worker is doing. It is written when a handler has run for a while (budget.h) or ends
 * the process, so that the process that finds the worker silent or dead can name script, handler,
 * session and queue id. */
#ifndef MM_BASE_CENSUS_H
#define MM_BASE_CENSUS_H

#include "base/bounds.h"
#include "base/log.h"
#include "base/poison.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whole fields, from any process and from signal handlers. */
#define mm_census_set(field, value) __atomic_store_n(&(field), value, __ATOMIC_RELAXED)
#define mm_census_get(field)        __atomic_load_n(&(field), __ATOMIC_RELAXED)
/* By the only process that writes the field. */
#define mm_census_count(field)      mm_census_set(field, mm_census_get(field) + 1)
#define mm_census_add(field, n)     ((void)__atomic_fetch_add(&(field), n, __ATOMIC_RELAXED))

/* ORDER CENSUS_STATE */
enum mm_census_state { MM_CENSUS_FREE, MM_CENSUS_LOADING, MM_CENSUS_SERVING, MM_CENSUS_DRAINING };

/* How messages have ended: ORDER VERDICT without skip, then those without a verdict. */
enum mm_census_end { MM_CENSUS_CONTINUE, MM_CENSUS_ACCEPT, MM_CENSUS_REJECT, MM_CENSUS_TEMPFAIL, MM_CENSUS_DISCARD,
	MM_CENSUS_ABORTED, MM_CENSUS_END_COUNT };

struct mm_whereabouts {
	uint32_t is_set;
	uint32_t shadow;                /* settings.shadow_row of the scripts; 0: they are no shadow */
	uint32_t generation;            /* of the scripts */
	char     session[32];           /* all texts NUL-terminated, "" when there is none */
	char     queue_id[32];
	char     handler[16];
	char     script[160];
	char     sender[128];
	uint64_t size;                  /* bytes of body seen */
};

struct mm_census_row {
	uint32_t state;                 /* enum mm_census_state */
	int32_t  pid;
	uint64_t beats;                 /* grows while the loop turns and long slices end */
	uint32_t generation;            /* the one that new sessions get */
	uint32_t sessions;              /* open now */
	uint64_t sessions_begun;
	uint64_t messages;              /* those that got a verdict */
	uint64_t script_errors;
	uint64_t log_lost;              /* log lines that were dropped for lack of room */
	uint64_t lua_bytes;
	uint64_t held_bytes, held_peak, held_largest;   /* account.h */
	uint32_t longest_collection_us; /* longest time in us that one garbage collection of Lua has
	                                 * kept the loop waiting */
	uint32_t older_sessions;        /* open ones that keep an older generation */
	uint64_t at_work;               /* digest of the event being run (milter/digest.h); 0: none */
	uint64_t ended[MM_CENSUS_END_COUNT];    /* messages, by how */
	uint64_t refused_unseen;        /* events that had killed a worker before and were not shown to scripts */
	uint32_t is_out;                /* written by the master: accepts no more sessions */
	struct mm_whereabouts whereabouts;
	struct mm_log_waiting log_lines;        /* that the worker has not written yet */
};

/* What workers that have ended had counted. Written by the master. */
struct mm_census_past {
	uint32_t turn;                  /* odd while the counts of a worker move here */
	uint64_t sessions_begun, messages, script_errors, log_lost, refused_unseen;
	uint64_t ended[MM_CENSUS_END_COUNT];
};

/* What all workers have counted so far, also those that have ended, and what those that serve hold now. */
struct mm_census_totals {
	uint64_t sessions_begun, messages, script_errors, log_lost, refused_unseen;
	uint64_t ended[MM_CENSUS_END_COUNT];
	uint64_t sessions, older_sessions, workers, lua_bytes, held_bytes;
	uint32_t generation;            /* the newest that serves */
};

struct mm_census {
	unsigned              row_count;
	struct mm_census_past *past;    /* shared; owned */
	struct mm_census_row *rows;     /* shared; owned with past */
	struct mm_poison     *poison;   /* shared; owned */
};

/* False: out of memory. */
bool mm_census_make(struct mm_census *, unsigned row_count);
void mm_census_free(struct mm_census *);
/* For a process that only reads. */
void mm_census_protect(const struct mm_census *);
/* The row of a slot, cleared and set to LOADING: its last worker is dead. BORROWED. */
struct mm_census_row *mm_census_take(struct mm_census *, unsigned slot);
/* The worker of the row is dead. */
void mm_census_give_back(struct mm_census_row *);
/* From any process that shares the census. */
void mm_census_add_up(const struct mm_census *, struct mm_census_totals *out);
/* Copies what a worker has written, once, and ends all texts. is_set 0: it has written nothing. */
struct mm_whereabouts mm_whereabouts_read(const struct mm_census_row *);

/* A message has ended; for the worker of the row. */
static inline void mm_census_note_end(struct mm_census_row *row, enum mm_census_end how)
{
	mm_census_count(row->ended[how]);
	if (how != MM_CENSUS_ABORTED)
		mm_census_count(row->messages);
}

const char *mm_census_end_name(enum mm_census_end);             /* "reject". Static. */
const char *mm_census_state_name(enum mm_census_state);         /* "serving". Static. */
/* May the worker of this row take one more session, so that all workers have about the same number? Only
 * serving workers count. */
bool mm_census_is_my_turn(const struct mm_census *, const struct mm_census_row *mine);

#endif
