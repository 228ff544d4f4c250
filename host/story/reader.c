#include "story/reader.h"

#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WRITERS_MAX 254u

static bool read_at(int fd, void *to, size_t size, size_t at)
{
	return pread(fd, to, size, (off_t)at) == (ssize_t)size;
}

static bool is_sound(const struct mm_history_head *h, int fd)
{
	struct stat file;
	return h->capacity >= 1 && h->capacity <= MM_HISTORY_MAX && h->writers >= 1 && h->writers <= WRITERS_MAX
		&& h->open_max <= MM_HISTORY_OPEN_MAX && fstat(fd, &file) == 0
		&& (size_t)file.st_size >= mm_history_ring_at(h) + (size_t)h->capacity
			* sizeof(struct mm_history_slot);
}

bool mm_story_reader_open(struct mm_story_reader *r, int fd, struct mm_fault *why)
{
	*r = (struct mm_story_reader){ .fd = fd };
	if (!read_at(fd, &r->head, sizeof r->head, 0)
	    || memcmp(r->head.magic, MM_HISTORY_MAGIC, sizeof r->head.magic) != 0
	    || r->head.story_size != sizeof(struct mm_story))
		return mm_fault_set(why, MM_FAULT_PEER, "the host's history has another form; does moonmilter ctl have "
			"the same version as the host?");
	return is_sound(&r->head, fd)
		|| mm_fault_set(why, MM_FAULT_PEER, "the host's history makes no sense");
}

uint64_t mm_story_reader_last(const struct mm_story_reader *r)
{
	uint64_t tickets = 0;
	read_at(r->fd, &tickets, sizeof tickets, offsetof(struct mm_history_head, tickets));
	return tickets;
}

uint64_t mm_story_reader_first(const struct mm_story_reader *r, uint64_t last)
{
	return last >= r->head.capacity ? last - r->head.capacity + 1 : 1;
}

/* The word of the slot is read before and after: a story that is overwritten meanwhile does not count. */
bool mm_story_reader_get(const struct mm_story_reader *r, uint64_t number, double now, struct mm_story *s)
{
	uint64_t before = 0, after = 0;
	size_t at = mm_history_ring_at(&r->head) + (size_t)(number % r->head.capacity) * sizeof(struct mm_history_slot);
	if (number == 0 || !read_at(r->fd, &before, sizeof before, at) || before != number << 8
	    || !read_at(r->fd, s, sizeof *s, at + offsetof(struct mm_history_slot, story))
	    || !read_at(r->fd, &after, sizeof after, at) || after != before)
		return false;
	mm_story_mend(s);
	return now - s->ended_at <= r->head.retention;
}

uint32_t mm_story_reader_places(const struct mm_story_reader *r)
{
	return r->head.writers * r->head.open_max;
}

bool mm_story_reader_open_one(const struct mm_story_reader *r, uint32_t i, struct mm_story *s)
{
	size_t at = MM_HISTORY_HEAD + (size_t)i * sizeof *s;
	uint32_t owner = 0;
	if (!read_at(r->fd, &owner, sizeof owner, at + offsetof(struct mm_story, owner)) || owner == 0
	    || !read_at(r->fd, s, sizeof *s, at) || s->owner == 0 || s->ticket != 0)
		return false;
	mm_story_mend(s);
	s->is_unfinished = 1;
	return true;
}
