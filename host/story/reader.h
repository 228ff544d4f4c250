/* story/reader.h -- reads the last messages of a host from the memory that the host hands out (history.h), while its
 * workers write it. Believes nothing in it: sizes are compared with the file, a story that is being written is left
 * out, and one that has been read is mended (mm_story_mend). Copies each story; maps nothing. */
#ifndef MM_STORY_READER_H
#define MM_STORY_READER_H

#include "story/history.h"

struct mm_story_reader {
	int                    fd;      /* borrowed */
	struct mm_history_head head;
};

/* False: why says why it is no history that this program can read. */
bool mm_story_reader_open(struct mm_story_reader *, int fd, struct mm_fault *why);
/* The number of the last story, 0: there is none yet; and of the first that may still be there. */
uint64_t mm_story_reader_last(const struct mm_story_reader *);
uint64_t mm_story_reader_first(const struct mm_story_reader *, uint64_t last);
/* Copies a story. False: it is not there, has been overwritten or is too old. now: seconds since 1970. */
bool mm_story_reader_get(const struct mm_story_reader *, uint64_t number, double now, struct mm_story *);
/* Copies a story that is under way: i counts the places of all workers. False: nobody's. */
bool mm_story_reader_open_one(const struct mm_story_reader *, uint32_t i, struct mm_story *);
uint32_t mm_story_reader_places(const struct mm_story_reader *);

#endif
