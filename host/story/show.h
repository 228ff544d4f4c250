/* story/show.h -- a story for people and for programs: one line, a time line, a JSON object. Values come from mail: in
 * text, bytes that could fake a line or move a cursor are written \xNN, whoever reads it. */
#ifndef MM_STORY_SHOW_H
#define MM_STORY_SHOW_H

#include "base/buffer.h"
#include "story/story.h"

/* ---- what a view of a story says ---- */

/* Most lines of a time line. */
#define MM_STORY_LINES_MAX (MM_STORY_ITEMS_MAX / sizeof(struct mm_story_item) + 1)

struct mm_story_line {
	struct mm_story_item item;
	struct mm_text       text;      /* borrowed from the story */
	unsigned             order;     /* in which they were told */
};

/* The lines of the time line, by their times, into `lines`, which has MM_STORY_LINES_MAX. Returns how many. */
unsigned mm_story_lines(const struct mm_story *, struct mm_story_line *lines);
/* "reject", "unfinished", of a message that was given up "none". Static. */
const char *mm_story_verdict_word(const struct mm_story *);
/* Queue id, or session. BORROWED. */
const char *mm_story_name(const struct mm_story *);
/* The last verdict on a recipient or client, which did not decide the message; by and reply are BORROWED from the
 * story. False: there is none. */
bool mm_story_last_aside(const struct mm_story *, struct mm_story_item *found, struct mm_text *by,
	struct mm_text *reply);

/* ---- whole views ---- */

/* "16:20:11 reject 4f9K2Z1 …" and a newline. */
void mm_story_row(const struct mm_story *, struct mm_buffer *out);
/* What a row's columns are, and a newline. */
void mm_story_row_head(struct mm_buffer *out);
/* The time line, several lines. */
void mm_story_show(const struct mm_story *, struct mm_buffer *out);
/* One object without a newline. has_items: with the time line. */
void mm_story_json(const struct mm_story *, bool has_items, struct mm_buffer *out);

#endif
