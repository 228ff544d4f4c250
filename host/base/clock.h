/* base/clock.h -- time and one-shot timers, opaque over libev.
 * A timer is embedded in its owner and must be stopped before the owner is freed. All times are seconds. The clock is
 * monotonic; after a long run of Lua its cached time is stale, so starting a timer refreshes it.
 *
 * For tests a thread's clock can be made virtual: it stands still while code runs, and when a loop would wait for time
 * to pass, the clock jumps to the next timer instead. libev's own calls for the time and for events come through here
 * (Makefile, ev.o), so every loop of the thread follows; files and sockets that are ready still come first. */
#ifndef MM_BASE_CLOCK_H
#define MM_BASE_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mm_clock {
	void *loop;             /* struct ev_loop, borrowed */
};

struct mm_timer {
	union {
		void  *align;
		double align_double;
		char   space[48];       /* an ev_timer; clock.c checks the size */
	} watcher;
	struct mm_clock *clock;         /* borrowed */
	void           (*fire)(struct mm_timer *);
};

void mm_timer_init(struct mm_timer *, struct mm_clock *, void (*fire)(struct mm_timer *));
/* Fires once, `after` seconds from now. Restarts a running timer. */
void mm_timer_start(struct mm_timer *, double after);
void mm_timer_stop(struct mm_timer *);                  /* not running: nothing happens */
bool mm_timer_is_running(const struct mm_timer *);
/* Fires at the next turn of the loop. */
void mm_timer_soon(struct mm_timer *);

double mm_clock_now(void);                              /* monotonic */
double mm_clock_real(void);                             /* monotonic, never virtual */
double mm_clock_wall(void);                             /* since 1970 */
double mm_clock_cpu(void);                              /* CPU time of this thread */

/* A count that grows steadily, for measurements so frequent that a system call would cost too much. The caller finds
 * out how many ticks a second has by reading both clocks twice. Another processor's count may lag a little. */
static inline uint64_t mm_clock_ticks(void)
{
#if defined __x86_64__
	return __builtin_ia32_rdtsc();
#elif defined __aarch64__
	uint64_t ticks;
	__asm__ volatile ("mrs %0, cntvct_el0" : "=r"(ticks));
	return ticks;
#else
	return (uint64_t)(mm_clock_now() * 1e9);
#endif
}

/* From now on this thread's clock stands still and moves only where a loop waits. wall: seconds since 1970; 0: go on
 * from the present time. False: the process uses another libev than the one this library contains, and its clock cannot
 * be moved. Calls are counted: the clock is real again after as many calls of mm_clock_make_real(). */
bool mm_clock_make_virtual(double wall);
void mm_clock_make_real(void);

/* GIVES a struct ev_loop; NULL: out of memory or descriptors. Safe in any thread, as ev_loop_new() is not. */
void *mm_clock_new_loop(void);
/* Makes this library's copy of libev ready for a loop that another copy has made: a copy learns which clocks the system
 * has when it makes its first loop. Until then it counts in wall time, and no timer that it starts ever fires. */
void mm_clock_adopt(void);

/* How a loop of our own would wait, for whoever waits in its place. */
struct mm_clock_wait {
	int    fd;              /* of epoll: readable when a descriptor of the loop is ready; -1: libev uses no epoll */
	double timeout;         /* seconds until the next timer is due; 0: there is work already; < 0: no timer runs */
};

/* Runs no callback. What was found ready or due is handled in the loop's next turn. The loop has one prepare watcher
 * and no check watchers (io/worker.c). */
struct mm_clock_wait mm_clock_look(struct mm_clock *);

#define MM_OWNER_OF(pointer, type, member) ((type *)(void *)((char *)(pointer) - offsetof(type, member)))

#endif
