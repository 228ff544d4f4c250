#include "io/admission.h"

#include "base/list.h"

#include <stdlib.h>
#include <string.h>

#define SHARED_OUT 4            /* one in this many sessions is kept for listeners that have few */

/* Exists while the MTA has sessions. */
struct mm_mta_sessions {
	struct mm_mta_sessions *next, *previous;
	uint8_t                 address[16];
	size_t                  size;
	unsigned                bucket;
	unsigned                count;
};

void mm_admission_free(struct mm_admission *a)
{
	for (size_t i = 0; i < sizeof a->mtas / sizeof *a->mtas; i++)
		for (struct mm_mta_sessions *m; (m = a->mtas[i]) != NULL;) {
			a->mtas[i] = m->next;
			free(m);
		}
	free(a->by_listener);
	a->by_listener = NULL;
}

bool mm_admission_knows(struct mm_admission *a, unsigned listener)
{
	if (listener < a->listener_count)
		return true;
	unsigned *grown = reallocarray(a->by_listener, listener + 1, sizeof *grown);
	if (grown == NULL)
		return false;
	while (a->listener_count <= listener)
		grown[a->listener_count++] = 0;
	a->by_listener = grown;
	return true;
}

/* Sessions that each listener may always have. */
static unsigned share(const struct mm_admission *a)
{
	unsigned part = a->max / SHARED_OUT / a->listener_count;
	return part > 0 ? part : a->max > a->listener_count;
}

bool mm_admission_has_room(const struct mm_admission *a, unsigned listener)
{
	if (a->count >= a->max)
		return false;
	unsigned part = share(a), kept = 0;
	if (a->by_listener[listener] < part)
		return true;
	for (unsigned i = 0; i < a->listener_count; i++)
		if (i != listener && a->by_listener[i] < part)
			kept += part - a->by_listener[i];
	return a->max - a->count > kept;
}

static unsigned bucket_of(const struct mm_admission *a, const struct mm_peer *peer)
{
	unsigned hash = 0;
	for (size_t i = 0; i < peer->size; i++)
		hash = hash * 31 + peer->address[i];
	return hash % (sizeof a->mtas / sizeof *a->mtas);
}

/* NULL: out of memory. */
static struct mm_mta_sessions *find_or_add(struct mm_admission *a, const struct mm_peer *peer)
{
	unsigned bucket = bucket_of(a, peer);
	struct mm_mta_sessions *m = a->mtas[bucket];
	while (m != NULL && (m->size != peer->size || memcmp(m->address, peer->address, peer->size) != 0))
		m = m->next;
	if (m != NULL || (m = calloc(1, sizeof *m)) == NULL)
		return m;
	memcpy(m->address, peer->address, sizeof m->address);
	m->size = peer->size;
	m->bucket = bucket;
	MM_LIST_PUSH(a->mtas[bucket], m);
	return m;
}

enum mm_admission_answer mm_admission_take(struct mm_admission *a, unsigned listener, const struct mm_peer *peer,
	struct mm_admitted *out)
{
	*out = (struct mm_admitted){ .listener = listener };
	if (peer != NULL && !peer->is_loopback) {
		struct mm_mta_sessions *m = find_or_add(a, peer);
		if (m == NULL)
			return MM_ADMISSION_NO_MEMORY;
		if (a->max_per_mta > 0 && m->count >= a->max_per_mta)
			return MM_ADMISSION_TOO_MANY;
		m->count++;
		out->mta = m;
	}
	a->by_listener[listener]++;
	a->count++;
	return MM_ADMITTED;
}

void mm_admission_give_back(struct mm_admission *a, const struct mm_admitted *admitted)
{
	struct mm_mta_sessions *m = admitted->mta;
	a->by_listener[admitted->listener]--;
	a->count--;
	if (m == NULL || --m->count > 0)
		return;
	MM_LIST_REMOVE(a->mtas[m->bucket], m);
	free(m);
}
