/* story/differences.h -- what the shadows of a host have found so far: for each milter how many messages were compared
 * and how many of them differ in which way, and the last examples of all. In memory that all processes of the host
 * share and that outlives each worker; the process that forks makes it. It also holds the switch that takes shadow and
 * canary out of use, which every worker reads when a connection begins.
 *
 * Counts are added from any worker. An example is written with a number before and after it, so that a reader sees
 * whole ones only; texts may still be those of a worker out of its mind, and are copied with a bound. */
#ifndef MM_STORY_DIFFERENCES_H
#define MM_STORY_DIFFERENCES_H

#include "base/buffer.h"
#include "base/fault.h"
#include "story/upshot.h"

#define MM_DIFFERENCES_EXAMPLES 64u     /* that are kept */

/* ORDER SHADOW_STATE */
enum mm_shadow_state { MM_SHADOW_ABSENT, MM_SHADOW_LOADED, MM_SHADOW_FAILED, MM_SHADOW_KILLED, MM_SHADOW_STATE_COUNT };

struct mm_difference_side {
	char     verdict[12];           /* texts are NUL-terminated */
	char     reply[128], by[48];
	char     edit[200];             /* the edits that the other side has not */
	uint32_t us, waited_us;         /* from MAIL to the verdict, and waiting */
};

struct mm_difference_example {
	uint64_t ticket;                /* its number, from 1; 0: it is being written, or there is none */
	double   at;                    /* seconds since 1970 */
	uint32_t milter;                /* number of its row */
	uint32_t kinds;                 /* MM_DIFFERENCE_BIT()s */
	uint64_t number;                /* of the message in its session */
	char     session[MM_SESSION_ID_SIZE], queue_id[32], from[96];
	struct mm_difference_side live, shadow;
};

/* Of one milter. */
struct mm_differences_row {
	char     milter[72];
	uint32_t state;                 /* enum mm_shadow_state */
	uint32_t is_off;                /* 1: switched off by hand */
	uint32_t share;                 /* hundredths of a per cent of the clients */
	uint32_t generation;            /* of the scripts that are counted; 0: none yet */
	uint32_t killer;                /* the generation that a worker has died of; 0: none */
	double   since;                 /* seconds since 1970: when they were loaded */
	char     failure[400];          /* why it was not loaded */
	uint64_t compared, agree, unseen;
	uint64_t kinds[MM_DIFFERENCE_COUNT];
	uint64_t canary;                /* messages that the scripts of the shadow have decided */
	uint64_t live_us, live_waited_us, shadow_us, shadow_waited_us;  /* of those that both have decided: sums */
	uint64_t timed;                 /* how many that are */
};

struct mm_differences {
	struct mm_differences_row    *rows;     /* shared; owned */
	struct mm_difference_example *examples; /* shared: MM_DIFFERENCES_EXAMPLES */
	uint64_t                     *tickets;  /* shared: given out so far */
	size_t                        size;
	unsigned                      row_count;
	bool                          redacts;  /* local parts, values of fields, texts of replies */
};

/* names: of row_count milters, BORROWED for the call. NULL: out of memory. */
struct mm_differences *mm_differences_new(const char *const *names, unsigned row_count, bool redacts);
void mm_differences_free(struct mm_differences *);      /* NULL is fine */

/* The scripts of a generation are loaded, failed, or there are none any more. Counts begin anew with the first worker
 * that says so of a new generation. why: NULL, or the failure. */
void mm_differences_begin(struct mm_differences *, unsigned row, unsigned long generation, enum mm_shadow_state,
	uint32_t share, const char *why);
/* Shadow and canary of this milter are in use: not switched off by hand, and no worker has died of them. */
static inline bool mm_differences_are_on(const struct mm_differences *d, unsigned row)
{
	return __atomic_load_n(&d->rows[row].is_off, __ATOMIC_RELAXED) == 0
		&& __atomic_load_n(&d->rows[row].state, __ATOMIC_RELAXED) == MM_SHADOW_LOADED;
}
void mm_differences_switch(struct mm_differences *, unsigned row, bool is_on);
/* A worker has died while scripts of this shadow ran: those of this generation are out of use from now on. */
void mm_differences_blame(struct mm_differences *, unsigned row, unsigned long generation);
bool mm_differences_are_to_blame(const struct mm_differences *, unsigned row, unsigned long generation);
/* A message has been compared; kinds of mm_upshot_compare(). */
void mm_differences_count(struct mm_differences *, unsigned row, const struct mm_upshot *live,
	const struct mm_upshot *shadow, uint32_t kinds);
void mm_differences_count_canary(struct mm_differences *, unsigned row);

/* The n-th last example, from 0, copied, its texts ended. False: there is none. */
bool mm_differences_example(const struct mm_differences *, unsigned n, struct mm_difference_example *out);

/* What `ctl shadow` prints: of all milters that have a shadow; at most so many examples. False: out of memory. */
bool mm_differences_show(const struct mm_differences *, bool is_json, unsigned examples, struct mm_buffer *out);
/* Those of one queue id or session. False: there are none. */
bool mm_differences_explain(const struct mm_differences *, const char *id, bool is_json, struct mm_buffer *out);

#endif
