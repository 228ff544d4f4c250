#include "process/listing.h"

#include <stdio.h>
#include <sysexits.h>

#define LIST_TIMEOUT 2.0        /* seconds a worker has to write a listing */

static void end_question(struct mm_listing_question *q)
{
	const char *text = NULL;
	if (q->owed > 0)
		text = "a worker does not answer; it is busy, or hangs and will be replaced";
	else if (q->has_skipped)
		text = "a worker is stopped (moonmilter ctl status); its part is missing";
	else if (q->has_lost)
		text = "a worker has ended meanwhile; its part is missing";
	mm_control_client_end(q->client, text == NULL ? EX_OK : EX_TEMPFAIL, text);
	q->client = NULL;
}

static void settle(struct mm_listing_question *q, unsigned slot)
{
	q->owes[slot] = false;
	if (--q->owed == 0)
		end_question(q);
}

static unsigned slot_of(const struct mm_listings *l, const struct mm_worker_process *worker)
{
	return (unsigned)(worker - l->workforce->workers);
}

void mm_listings_forget_worker(struct mm_listings *l, unsigned slot)
{
	for (int i = 0; i < MM_LISTINGS_MAX; i++) {
		struct mm_listing_question *q = &l->questions[i];
		if (q->client == NULL || !q->owes[slot])
			continue;
		q->has_lost = true;
		settle(q, slot);
	}
}

void mm_listings_answer(struct mm_listings *l, const struct mm_worker_process *worker, const struct mm_note *note,
	int listing_fd)
{
	unsigned slot = slot_of(l, worker);
	for (int i = 0; i < MM_LISTINGS_MAX; i++) {
		struct mm_listing_question *q = &l->questions[i];
		if (q->client == NULL || q->ticket != note->ticket || !q->owes[slot])
			continue;
		mm_control_client_say(q->client, "worker pid=%d", (int)worker->pid);
		if (listing_fd >= 0)
			mm_control_client_give(q->client, listing_fd);
		settle(q, slot);
		return;
	}
}

/* note: the question, without its ticket. pid: of the worker that is asked; 0: all. */
static void ask(struct mm_listings *l, struct mm_control_client *client, struct mm_note *note, unsigned pid,
	double seconds)
{
	struct mm_listing_question *q = NULL;
	for (int i = 0; i < MM_LISTINGS_MAX && q == NULL; i++)
		if (l->questions[i].client == NULL)
			q = &l->questions[i];
	if (q == NULL) {
		mm_control_client_end(client, EX_TEMPFAIL, "too many requests at the same time");
		return;
	}
	*q = (struct mm_listing_question){ .client = client, .ticket = ++l->tickets };
	q->until = mm_clock_now() + LIST_TIMEOUT + seconds;
	note->kind = MM_NOTE_LIST;
	note->ticket = q->ticket;
	q->is_profile = note->number == MM_LIST_PROFILE;
	for (int i = 0; i < MM_WORKFORCE_MAX; i++) {
		const struct mm_worker_process *worker = &l->workforce->workers[i];
		bool is_meant = mm_worker_process_has_sessions(worker) && (pid == 0 || pid == (unsigned)worker->pid);
		q->has_skipped |= is_meant && worker->is_stopped;
		is_meant &= !worker->is_stopped;
		q->owes[i] = is_meant && worker->channel >= 0 && mm_channel_send(worker->channel, note, -1);
		q->owed += q->owes[i];
	}
	if (q->owed == 0)
		end_question(q);
}

void mm_listings_ask(struct mm_listings *l, struct mm_control_client *client, enum mm_listing what)
{
	struct mm_note note = { .number = what };
	ask(l, client, &note, 0, 0);
}

void mm_listings_ask_end(struct mm_listings *l, struct mm_control_client *client, const char *session)
{
	struct mm_note note = { .number = MM_LIST_ENDED };
	snprintf(note.text, sizeof note.text, "%s", session);
	ask(l, client, &note, 0, 0);
}

void mm_listings_ask_profile(struct mm_listings *l, struct mm_control_client *client,
	const struct mm_profile_request *request)
{
	struct mm_note note = { .number = MM_LIST_PROFILE };
	mm_profile_request_write(request, note.text, sizeof note.text);
	ask(l, client, &note, request->worker, request->seconds);
}

/* The client has hung up. */
static void forget_profile(struct mm_listings *l, struct mm_listing_question *q)
{
	for (int i = 0; i < MM_WORKFORCE_MAX; i++)
		if (q->owes[i])
			mm_worker_process_tell(&l->workforce->workers[i], MM_NOTE_FORGET, 0);
	mm_control_client_end(q->client, EX_TEMPFAIL, NULL);
	q->client = NULL;
}

static void forget_unwanted_profiles(struct mm_listings *l)
{
	for (int i = 0; i < MM_LISTINGS_MAX; i++) {
		struct mm_listing_question *q = &l->questions[i];
		if (q->client != NULL && q->is_profile && mm_control_client_has_gone(q->client))
			forget_profile(l, q);
	}
}

void mm_listings_sweep(struct mm_listings *l, double now)
{
	forget_unwanted_profiles(l);
	for (int i = 0; i < MM_LISTINGS_MAX; i++)
		if (l->questions[i].client != NULL && now >= l->questions[i].until)
			end_question(&l->questions[i]);
}

bool mm_listings_is_profiling(struct mm_listings *l)
{
	forget_unwanted_profiles(l);
	for (int i = 0; i < MM_LISTINGS_MAX; i++)
		if (l->questions[i].client != NULL && l->questions[i].is_profile)
			return true;
	return false;
}
