/* story/trace_show.h -- a line of a trace (trace.h) for people or for programs. Bytes from outside that a terminal
 * would obey are escaped here, wherever the line goes; they cannot pose as another line. */
#ifndef MM_STORY_TRACE_SHOW_H
#define MM_STORY_TRACE_SHOW_H

#include "base/buffer.h"
#include "story/trace.h"

/* Appends the line and a line feed. has_session: begins with the session; false for a record of one. */
void mm_trace_show(const struct mm_trace_line *, bool has_session, struct mm_buffer *out);
/* The same as a JSON object. */
void mm_trace_json(const struct mm_trace_line *, struct mm_buffer *out);
/* "3 lines were lost": before a line whose `lost` is not 0. */
void mm_trace_show_lost(uint32_t lost, struct mm_buffer *out);

#endif
