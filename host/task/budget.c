/* task/budget.c -- see budget.h.
 *
 * (a) The timer ticks while slices run and stops by itself when a tick finds none, so a resume costs no system call: it
 *     increments a sequence number, and ticks that see the same number see the same slice. Each tick charges its CPU
 *     time to the session that runs then. Short slices are sampled: single charges are inexact, the average is right.
 * (b) lua_sethook() may be called from a signal handler, as LuaJIT's own lua does for SIGINT. It does not reach
 *     compiled code. SIGPROF is LuaJIT's profiler tick: traces recorded with the profiler on then leave the compiled
 *     code, and the interpreter runs the hook. The profiler's own interval is so long that it stays quiet. Without a
 *     running profiler SIGPROF would end the process, so it is ignored before and after.
 * (c) The hook stays until the outermost resume has returned. A hook that takes itself off after one error is swallowed
 *     by `while true do pcall(f) end`. A script that sets its own hook takes ours off; the next tick sets it again.
 * (d) All of this runs on the loop's thread: the timer is aimed at it, so threads of libraries never see the signal.
 * (e) Samples (sampler.c) have their own timer and signal, so that a tick is never merged into one. In the preferred
 *     state they go through the profiler that (b) keeps running: compiled code stays compiled, and the profiler reports
 *     what it was doing. In the other states, which are interpreted, they go through the hook. A sample that arrives
 *     when its slice is over is dropped. */
#include "task/budget.h"

#include "base/local.h"
#include "task/whose.h"

#include <lauxlib.h>
#include <lua.h>
#include <luajit.h>

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

#define TICK_NS        20000000L        /* between looks at a running slice */
#define SAMPLE_NS      997000L          /* between samples; not a divisor of a tick, nor of any round time */
#define SAMPLE_SIGNAL  (SIGRTMIN + 1)
#define BLOCKED_AFTER  0.1              /* seconds of wall time in one slice that are worth a line */
#define BLOCKED_EVERY  1.0              /* seconds between two such lines */
#define CRASH_STACK    (64u << 10)      /* bytes for the handler of a crash: the stack itself may have overflowed */

/* Of each thread: a host without guard_scripts on another thread must not find ours. */
static _Thread_local struct {
	bool                    is_open;
	bool                    sees_exit;
	struct mm_budget_limits limits;
	struct mm_census_row   *row;            /* borrowed */
	struct mm_log          *log;            /* borrowed */
	const struct mm_session *const *working;        /* borrowed; NULL: not known */
	uint64_t                at_work;        /* what the row has shown before the outermost slice */
	timer_t                 timer;
	stack_t                 stack_before;   /* for signals, of this thread: its own frees it when the thread ends */
	lua_State              *preferred;      /* borrowed; NULL: none */

	/* shared with signal handlers of the same thread */
	struct mm_task *volatile running;       /* NULL: no Lua runs */
	volatile unsigned long  sequence;       /* of slices */
	volatile sig_atomic_t   is_ticking;
	volatile sig_atomic_t   is_struck;      /* the hook is set */
	volatile sig_atomic_t   is_over;        /* the hook ends the slice */
	volatile sig_atomic_t   shall_report;   /* the hook logs where the slice is */
	volatile sig_atomic_t   has_place;

	/* of ticks only */
	unsigned long           tick_sequence;
	double                  tick_cpu;       /* at the last tick; 0: the first since a rest */
	double                  slice_cpu, slice_wall;          /* at the slice's first tick */
	const char             *over_text;      /* static */
	bool                    has_reported;
	double                  reported_at;

	/* of samples; NULL: none are taken */
	mm_budget_sampler       take;
	timer_t                 sample_timer;
	struct mm_budget_looks  looks;
	unsigned long           sample_sequence;        /* of the slice to be sampled */
	volatile sig_atomic_t   shall_sample;           /* this many times */
} budget MM_FAST_LOCAL;

/* The handlers of signals and the profiler serve one thread of the process. */
static atomic_bool is_taken;

static const char slice_text[] = "cpu_slice: computed for %.1f s of CPU time without waiting; an endless loop? If not, "
	"do it in pieces with a wait in between, or raise cpu_slice";
static const char session_text[] = "cpu_session: the handlers of this message have computed for %.1f s of CPU time in "
	"all; do less, or raise cpu_session";
static const char aside_text[] = "cpu_session: computed for %.1f s of CPU time without waiting, while loading or in "
	"a task of the scripts; an endless loop? If not, do it in pieces with a wait in between, or raise cpu_session";

/* ---- what runs, for the process that finds us dead ---- */

static void copy_text(char *to, size_t size, const char *from, size_t n)
{
	if (n > size - 1)
		n = size - 1;
	memcpy(to, from, n);
	to[n] = '\0';
}

/* Whose message it is, also when no Lua runs. */
static void note_session(struct mm_whereabouts *at, const struct mm_session *s)
{
	struct mm_text queue_id = mm_session_macro(s, "i");
	struct mm_text sender = s->message != NULL ? mm_message_text(s->message, s->message->sender)
		: (struct mm_text){ "", 0 };
	copy_text(at->session, sizeof at->session, s->id, strlen(s->id));
	copy_text(at->queue_id, sizeof at->queue_id, queue_id.bytes, queue_id.size);
	copy_text(at->sender, sizeof at->sender, sender.bytes, sender.size);
	at->size = s->message != NULL ? s->message->body_size : 0;
}

/* Called from signal handlers: it reads only memory that does not change while Lua runs, and allocates nothing. */
static void note_place(const struct mm_task *t)
{
	struct mm_whereabouts *at = &budget.row->whereabouts;
	struct mm_whose whose = mm_whose_of(t);
	const char *handler = mm_whose_handler(&whose), *script = mm_whose_path(&whose);
	if (script == NULL)
		script = t->generation->settings.milter_name;
	at->session[0] = at->queue_id[0] = at->sender[0] = '\0';
	if (whose.session != NULL)
		note_session(at, whose.session->facts);
	at->shadow = t->generation->settings.shadow_row;
	at->generation = (uint32_t)t->generation->settings.number;
	copy_text(at->handler, sizeof at->handler, handler, strlen(handler));
	copy_text(at->script, sizeof at->script, script, strlen(script));
	mm_census_set(at->is_set, 1);
	budget.has_place = 1;
}

static void note_last_place(void)
{
	struct mm_whereabouts *at = &budget.row->whereabouts;
	if (budget.running != NULL) {
		note_place(budget.running);
	} else if (budget.working != NULL && *budget.working != NULL) {
		at->script[0] = at->handler[0] = '\0';
		at->shadow = 0;
		note_session(at, *budget.working);
		mm_census_set(at->is_set, 1);
	}
}

static void on_crash(int number)
{
	note_last_place();
	mm_log_last_words(budget.log);
	signal(number, SIG_DFL);
	raise(number);
}

/* A C function that a script has called ends the process. */
static void on_exit_from_inside(void)
{
	if (!budget.is_open)
		return;
	note_last_place();
	mm_log_last_words(budget.log);
}

/* ---- the hook ---- */

static void report(lua_State *L)
{
	struct mm_log_line line;
	struct mm_whose whose = mm_whose_of(budget.running);
	luaL_traceback(L, L, NULL, 0);
	mm_log_begin(&line, budget.log, MM_LEVEL_WARN, "loop_blocked");
	mm_whose_log(&whose, &line);
	mm_log_string(&line, "script", mm_whose_path(&whose));
	if (whose.session != NULL)
		mm_log_string(&line, "handler", mm_whose_handler(&whose));
	mm_log_seconds(&line, "seconds", mm_clock_now() - budget.slice_wall);
	mm_log_string(&line, "text", "no other session was served meanwhile");
	mm_log_string(&line, "where", lua_tostring(L, -1));
	mm_log_end(&line);
	lua_pop(L, 1);
}

static void sample(lua_State *L, char state)
{
	unsigned count = (unsigned)budget.shall_sample;
	budget.shall_sample = 0;
	if (count > 0 && budget.take != NULL && budget.running != NULL && budget.sample_sequence == budget.sequence)
		budget.take(L, budget.running, count, state);
}

static void on_hook(lua_State *L, lua_Debug *where)
{
	(void)where;
	if (budget.running == NULL) {           /* a hook of a slice that is over: impossible, but must be harmless */
		lua_sethook(L, NULL, 0, 0);
		return;
	}
	if (budget.shall_report) {
		budget.shall_report = 0;
		report(L);
	}
	sample(L, 'I');
	if (budget.is_over) {
		mm_blame_push_location(L, 0);
		lua_pushfstring(L, budget.over_text, budget.over_text == slice_text ? budget.limits.slice
			: budget.limits.session);
		lua_concat(L, 2);
		lua_error(L);
	}
	lua_sethook(L, NULL, 0, 0);
	budget.is_struck = 0;
}

static void strike(lua_State *L)
{
	budget.is_struck = 1;
	lua_sethook(L, on_hook, LUA_MASKCOUNT, 1);
	if (L == budget.preferred)
		raise(SIGPROF);
}

bool mm_budget_strike(const char *text)
{
	if (!budget.is_open || budget.running == NULL)
		return false;
	budget.over_text = text;
	budget.is_over = 1;
	strike(budget.running->generation->L);
	return true;
}

/* ---- ticks ---- */

static void set_timer(timer_t timer, long ns)
{
	struct itimerspec when = { .it_interval.tv_nsec = ns, .it_value.tv_nsec = ns };
	timer_settime(timer, 0, &when, NULL);
}

/* Loading a list takes longer than a lookup in it: outside of sessions a slice may take cpu_session. */
static const char *over_slice(const struct mm_task *t, double seconds)
{
	bool is_aside = t->session == NULL && budget.limits.session >= budget.limits.slice;
	if (seconds < (is_aside ? budget.limits.session : budget.limits.slice))
		return NULL;
	return is_aside ? aside_text : slice_text;
}

static void judge(struct mm_task *t, double cpu)
{
	struct mm_script_session *ss = t->session;
	if (ss != NULL && budget.tick_cpu != 0)
		ss->cpu_used += cpu - budget.tick_cpu;
	const char *over = over_slice(t, cpu - budget.slice_cpu);
	if (over != NULL)
		budget.over_text = over;
	else if (ss != NULL && ss->cpu_used >= budget.limits.session)
		budget.over_text = session_text;
	else
		return;
	budget.is_over = 1;
}

static void look_at_slice(struct mm_task *t)
{
	double cpu = mm_clock_cpu();
	if (budget.tick_sequence != budget.sequence) {
		budget.tick_sequence = budget.sequence;
		budget.slice_cpu = cpu;
		budget.slice_wall = mm_clock_now();
		budget.has_reported = false;
		/* another slice than at the last tick: a loop with a lot of work in one turn is slow, not stuck */
		mm_census_add(budget.row->beats, 1);
	} else if (!budget.has_place) {
		note_place(t);
	}
	judge(t, cpu);
	budget.tick_cpu = cpu;
	double now = mm_clock_now();
	if (!budget.has_reported && now - budget.slice_wall >= BLOCKED_AFTER) {
		budget.has_reported = true;
		budget.shall_report = now - budget.reported_at >= BLOCKED_EVERY;
		if (budget.shall_report)
			budget.reported_at = now;
	}
	if (budget.is_over || budget.shall_report)
		strike(t->generation->L);
}

static void on_tick(int number)
{
	int saved = errno;
	struct mm_task *t = budget.running;
	(void)number;
	if (t != NULL) {
		look_at_slice(t);
	} else {
		set_timer(budget.timer, 0);
		budget.is_ticking = 0;
		budget.tick_cpu = 0;
	}
	errno = saved;
}

static void on_sample(int number)
{
	int saved = errno;
	struct mm_task *t = budget.running;
	(void)number;
	budget.looks.all++;
	budget.looks.in_lua += t != NULL;
	if (t != NULL && budget.take != NULL) {
		if (budget.sample_sequence != budget.sequence)
			budget.shall_sample = 0;
		budget.sample_sequence = budget.sequence;
		budget.shall_sample++;
		if (t->generation->L == budget.preferred)
			raise(SIGPROF);
		else
			strike(t->generation->L);
	}
	errno = saved;
}

/* ---- around a resume ---- */

struct mm_task *mm_budget_begin(struct mm_task *t)
{
	struct mm_task *before = budget.running;
	if (!budget.is_open)
		return NULL;
	if (before == NULL) {
		budget.sequence++;
		budget.at_work = mm_census_get(budget.row->at_work);
		if (t->session != NULL)         /* a task may run while no event does */
			mm_census_set(budget.row->at_work, t->session->facts->event_digest);
	}
	budget.running = t;
	if (!budget.is_ticking) {
		budget.is_ticking = 1;
		set_timer(budget.timer, TICK_NS);
	}
	return before;
}

bool mm_budget_next(const struct mm_task *t)
{
	if (!budget.is_open)
		return true;
	if (budget.is_struck || budget.is_over || budget.has_place || budget.running != t)
		return false;
	budget.sequence++;
	return true;
}

void mm_budget_next_event(const struct mm_task *t)
{
	budget.at_work = t->session->facts->event_digest;
}

static void end_slice(lua_State *L)
{
	if (budget.is_struck)
		lua_sethook(L, NULL, 0, 0);
	budget.is_struck = budget.is_over = budget.shall_report = 0;
	if (budget.has_place) {
		mm_census_set(budget.row->whereabouts.is_set, 0);
		budget.has_place = 0;
		/* a loop with many long slices in one turn is slow, not stuck */
		mm_census_add(budget.row->beats, 1);
	}
}

void mm_budget_end(struct mm_task *before)
{
	if (!budget.is_open)
		return;
	struct mm_task *t = budget.running;
	budget.running = before;                /* first of all: from here on no tick sets the hook */
	if (before == NULL)
		mm_census_set(budget.row->at_work, budget.at_work);
	if (before == NULL && (budget.is_struck || budget.has_place))
		end_slice(t->generation->L);
}

/* ---- Lua states ---- */

static void on_profile(void *data, lua_State *L, int samples, int vm_state)
{
	(void)data;
	(void)samples;
	sample(L, (char)vm_state);
}

void mm_budget_admit(lua_State *L)
{
	if (budget.is_open)
		luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
}

void mm_budget_dismiss(lua_State *L)
{
	if (budget.preferred != L)
		return;
	luaJIT_profile_stop(L);
	budget.preferred = NULL;
	luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
	luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_FLUSH);
}

void mm_budget_prefer(lua_State *L)
{
	if (!budget.is_open || budget.preferred == L)
		return;
	if (budget.preferred != NULL)
		mm_budget_dismiss(budget.preferred);
	luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_ON);
	luaJIT_profile_start(L, "li1000000", on_profile, NULL);
	budget.preferred = L;
}

/* ---- open, close ---- */

static void take_signals(void)
{
	static const int crashes[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT };
	static char stack[CRASH_STACK];
	stack_t alternate = { .ss_sp = stack, .ss_size = sizeof stack };
	struct sigaction tick = { .sa_handler = on_tick, .sa_flags = SA_RESTART };
	struct sigaction look = { .sa_handler = on_sample, .sa_flags = SA_RESTART };
	struct sigaction crash = { .sa_handler = on_crash, .sa_flags = SA_ONSTACK | SA_NODEFER };
	sigaltstack(&alternate, &budget.stack_before);
	sigaddset(&tick.sa_mask, SAMPLE_SIGNAL);        /* neither may interrupt the other: both set hooks */
	sigaddset(&look.sa_mask, SIGVTALRM);
	sigaction(SIGVTALRM, &tick, NULL);
	sigaction(SAMPLE_SIGNAL, &look, NULL);
	for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++)
		sigaction(crashes[i], &crash, NULL);
	signal(SIGPROF, SIG_IGN);
	if (!budget.sees_exit)
		budget.sees_exit = atexit(on_exit_from_inside) == 0;
}

/* Aimed at this thread. */
static bool make_timer(timer_t *timer, int number, struct mm_fault *why)
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = number };
	event.sigev_notify_thread_id = (int)syscall(SYS_gettid);
	return timer_create(CLOCK_MONOTONIC, &event, timer) == 0
		|| mm_fault_set(why, MM_FAULT_RESOURCE, "timer_create: %s", strerror(errno));
}

bool mm_budget_open(const struct mm_budget_limits *limits, struct mm_census_row *row, struct mm_log *log,
	struct mm_fault *why)
{
	if (atomic_exchange(&is_taken, true))
		return mm_fault_because(why, MM_REASON_IS_IN_USE, "only one host of a process can watch CPU budgets "
			"(guard_scripts)");
	take_signals();
	if (!make_timer(&budget.timer, SIGVTALRM, why)) {
		sigaltstack(&budget.stack_before, NULL);
		atomic_store(&is_taken, false);
		return false;
	}
	budget.limits = *limits;
	budget.row = row;
	budget.log = log;
	budget.is_open = true;
	return true;
}

void mm_budget_watch(const struct mm_session *const *working)
{
	budget.working = working;
}

void mm_budget_set(const struct mm_budget_limits *limits)
{
	budget.limits = *limits;
}

void mm_budget_close(void)
{
	if (!budget.is_open)
		return;
	if (budget.preferred != NULL)
		mm_budget_dismiss(budget.preferred);
	mm_budget_sample_no_more();
	timer_delete(budget.timer);
	sigaltstack(&budget.stack_before, NULL);
	budget.working = NULL;
	budget.is_open = false;
	budget.is_ticking = 0;
	atomic_store(&is_taken, false);
}

bool mm_budget_is_open(void)
{
	return budget.is_open;
}

/* ---- samples ---- */

bool mm_budget_sample(mm_budget_sampler take, struct mm_fault *why)
{
	if (!budget.is_open)
		return mm_fault_set(why, MM_FAULT_CONFIG, "this host does not watch its scripts' CPU time, so it "
			"cannot sample them");
	mm_budget_sample_no_more();
	if (!make_timer(&budget.sample_timer, SAMPLE_SIGNAL, why))
		return false;
	budget.looks = (struct mm_budget_looks){ 0 };
	budget.take = take;
	set_timer(budget.sample_timer, SAMPLE_NS);
	return true;
}

void mm_budget_sample_no_more(void)
{
	if (budget.take == NULL)
		return;
	timer_delete(budget.sample_timer);      /* a signal already sent still finds its handler */
	budget.take = NULL;
	budget.shall_sample = 0;
}

struct mm_budget_looks mm_budget_looks(void)
{
	return budget.looks;
}
