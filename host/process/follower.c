/* process/follower.c -- see follower.h.
 *
 * (a) A master that dies closes its end of the channel: then we drain as after SIGTERM. A worker whose loop hangs would
 *     not notice, so the kernel also sends SIGUSR2, whose handler sets an alarm that ends us whatever we do.
 * (b) A terminal's SIGINT and a SIGHUP for the process group also reach workers; the master handles both. */
#include "process/follower.h"

#include "process/measure.h"
#include "base/watch.h"
#include "embed/inherited.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sysexits.h>
#include <unistd.h>

#define GRACE_WITHOUT_MASTER 10         /* seconds beyond drain_timeout */

struct follower {
	struct mm_host *host;           /* borrowed */
	int             channel;        /* owned */
	struct mm_watch notes;
	struct mm_measure measure;
	uint64_t        measure_ticket; /* of the question */
	bool            is_leaving;
};

static unsigned alarm_seconds = GRACE_WITHOUT_MASTER;

static void on_orphaned(int number)
{
	(void)number;
	alarm(alarm_seconds);           /* SIGALRM's default ends the process */
}

static void leave(struct follower *f)
{
	if (f->is_leaving)
		return;
	f->is_leaving = true;
	mm_host_stop(f->host, MM_STOP_DRAIN);
}

/* ---- notes from the master ---- */

static void on_prepared(void *self, bool ok, const struct mm_fault *why);

static void do_prepare(struct follower *f, const struct mm_note *note, int descriptor)
{
	(void)descriptor;
	if (!f->is_leaving)
		mm_host_prepare(f->host, note->number, note->ticket != 0, on_prepared, f);
}

static void do_commit(struct follower *f, const struct mm_note *note, int descriptor)
{
	struct mm_fault why;
	(void)note;
	(void)descriptor;
	if (!mm_host_commit(f->host, &why))
		mm_log_say(mm_host_log(f->host), MM_LEVEL_ERROR, "worker", "%s", why.text);
}

static void do_discard(struct follower *f, const struct mm_note *note, int descriptor)
{
	(void)note;
	(void)descriptor;
	mm_host_discard(f->host);
}

static void do_drain(struct follower *f, const struct mm_note *note, int descriptor)
{
	(void)descriptor;
	if (note->number == 0)
		leave(f);
	else
		mm_host_retire(f->host);
}

static void do_halt(struct follower *f, const struct mm_note *note, int descriptor)
{
	(void)note;
	(void)descriptor;
	f->is_leaving = true;
	mm_host_stop(f->host, MM_STOP_NOW);
}

static void do_reopen(struct follower *f, const struct mm_note *note, int descriptor)
{
	struct mm_fault why;
	(void)note;
	(void)descriptor;
	if (!mm_host_reopen_log(f->host, &why))
		mm_log_say(mm_host_log(f->host), MM_LEVEL_ERROR, "log", "%s", why.text);
}

static void do_log_level(struct follower *f, const struct mm_note *note, int descriptor)
{
	(void)descriptor;
	if (note->number <= MM_LEVEL_ERROR)
		mm_host_set_log_level(f->host, (enum mm_level)note->number);
}

static void on_measured(void *self, int listing_fd)
{
	struct follower *f = self;
	struct mm_note answer = { .kind = MM_NOTE_LISTED, .number = MM_LIST_PROFILE, .ticket = f->measure_ticket };
	if (listing_fd >= 0)
		mm_listing_seal(listing_fd);
	mm_channel_send(f->channel, &answer, listing_fd);
}

static void begin_measure(struct follower *f, const struct mm_note *note)
{
	struct mm_profile_request request;
	if (!mm_profile_request_read(note->text, &request))
		return;
	f->measure_ticket = note->ticket;
	mm_measure_begin(&f->measure, &request);
}

static void do_forget(struct follower *f, const struct mm_note *note, int descriptor)
{
	(void)note;
	(void)descriptor;
	mm_measure_drop(&f->measure);
}

static void do_list(struct follower *f, const struct mm_note *note, int descriptor)
{
	if (note->number == MM_LIST_PROFILE) {
		begin_measure(f, note);
		return;
	}
	struct mm_note answer = { .kind = MM_NOTE_LISTED, .number = note->number, .ticket = note->ticket };
	int listing_fd = mm_listing_open();
	(void)descriptor;
	if (listing_fd >= 0 && note->number == MM_LIST_ENDED)
		mm_host_end_listed(f->host, note->text, listing_fd);
	else if (listing_fd >= 0 && note->number < MM_LISTING_COUNT)
		mm_host_list(f->host, (enum mm_listing)note->number, listing_fd);
	if (listing_fd >= 0)
		mm_listing_seal(listing_fd);
	mm_channel_send(f->channel, &answer, listing_fd);
	if (listing_fd >= 0)
		close(listing_fd);
}

static void do_listen(struct follower *f, const struct mm_note *note, int descriptor)
{
	struct mm_fault why;
	int fd = dup(descriptor);       /* the note's own is closed after the call */
	if (fd < 0 || note->number >= mm_host_listener_count(f->host) || f->is_leaving) {
		if (fd >= 0)
			close(fd);
	} else if (!mm_host_listener_replace(f->host, note->number, fd, &why)) {
		mm_log_say(mm_host_log(f->host), MM_LEVEL_ERROR, "listener", "%s", why.text);
	}
}

static void do_trace(struct follower *f, const struct mm_note *note, int descriptor)
{
	int fd = dup(descriptor);       /* the note's own is closed after the call */
	if (fd >= 0)
		mm_host_trace(f->host, note->text, fd);
}

typedef void (*doing)(struct follower *, const struct mm_note *, int descriptor);

static const doing doings[MM_NOTE_KIND_COUNT] = {
	[MM_NOTE_PREPARE] = do_prepare, [MM_NOTE_COMMIT] = do_commit, [MM_NOTE_DISCARD] = do_discard,
	[MM_NOTE_DRAIN] = do_drain, [MM_NOTE_HALT] = do_halt, [MM_NOTE_REOPEN] = do_reopen,
	[MM_NOTE_LOG_LEVEL] = do_log_level, [MM_NOTE_LIST] = do_list, [MM_NOTE_LISTEN] = do_listen,
	[MM_NOTE_FORGET] = do_forget, [MM_NOTE_TRACE] = do_trace,
};

static void on_notes(struct mm_watch *watch, int ready)
{
	struct follower *f = MM_OWNER_OF(watch, struct follower, notes);
	struct mm_note note;
	int descriptor;
	enum mm_channel_state got;
	(void)ready;
	while ((got = mm_channel_receive(f->channel, &note, &descriptor)) == MM_CHANNEL_NOTE) {
		if (doings[note.kind] != NULL)
			doings[note.kind](f, &note, descriptor);
		if (descriptor >= 0)
			close(descriptor);
	}
	if (got != MM_CHANNEL_GONE)
		return;
	mm_watch_stop(&f->notes);
	if (!f->is_leaving)
		mm_log_say(mm_host_log(f->host), MM_LEVEL_WARN, "worker", "the master is gone; sessions may "
			"finish, then worker %d ends", (int)getpid());
	leave(f);
}

/* ---- notes to the master ---- */

static void on_prepared(void *self, bool ok, const struct mm_fault *why)
{
	struct follower *f = self;
	uint32_t generation = (uint32_t)mm_host_preparing(f->host);
	mm_channel_post(f->channel, ok ? MM_NOTE_PREPARED : MM_NOTE_FAILED, generation, ok ? NULL : why->text);
}

static void on_retire(void *self, const char *why)
{
	struct follower *f = self;
	mm_channel_post(f->channel, MM_NOTE_RETIRE, 0, why);
}

/* ---- life ---- */

static void take_signals(const struct mm_host *host, int master)
{
	struct sigaction orphaned = { .sa_handler = on_orphaned, .sa_flags = SA_RESTART };
	sigset_t none;
	alarm_seconds = (unsigned)mm_host_config(host)->drain_timeout + GRACE_WITHOUT_MASTER;
	sigaction(SIGUSR2, &orphaned, NULL);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_PDEATHSIG, SIGUSR2, 0, 0, 0);
	if (getppid() != master)        /* it died before we could ask for a signal */
		_exit(EX_OK);
}

int mm_follow(struct mm_host *host, struct mm_census *census, struct mm_census_row *row, int channel, int master)
{
	struct follower f = { .host = host, .channel = channel };
	struct mm_host_member place = { census, row, on_retire, &f };
	struct mm_fault why = { .class = MM_FAULT_NONE };
	take_signals(host, master);
	mm_inherited_forget_manager();
	if (!mm_host_raise(host, &place, &why)) {
		mm_channel_post(channel, MM_NOTE_FAILED, 0, why.text);
		return EX_OSERR;
	}
	mm_measure_init(&f.measure, host, on_measured, &f);
	mm_watch_init(&f.notes, mm_host_clock(host), on_notes);
	mm_watch_start(&f.notes, channel, MM_READABLE);
	mm_host_run(host);
	mm_watch_stop(&f.notes);
	mm_measure_drop(&f.measure);
	mm_host_free(host);
	close(channel);
	return EX_OK;
}
