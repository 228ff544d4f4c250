/* story/show.h -- a story for people and for programs: one line, a time line, a JSON object. Values come from mail: in
 * text, bytes that could fake a line or move a cursor are written \xNN, whoever reads it. */
#ifndef MM_STORY_SHOW_H
#define MM_STORY_SHOW_H

#include "base/buffer.h"
#include "story/story.h"

/* "16:20:11 reject 4f9K2Z1 …" and a newline. */
void mm_story_row(const struct mm_story *, struct mm_buffer *out);
/* What a row's columns are, and a newline. */
void mm_story_row_head(struct mm_buffer *out);
/* The time line, several lines. */
void mm_story_show(const struct mm_story *, struct mm_buffer *out);
/* One object without a newline. has_items: with the time line. */
void mm_story_json(const struct mm_story *, bool has_items, struct mm_buffer *out);

#endif
