/* page/screens.h -- the five screens, each as HTML and as JSON: now, messages, one message, scripts, state. */
#ifndef MM_PAGE_SCREENS_H
#define MM_PAGE_SCREENS_H

#include "page/rows.h"

/* Writes the whole page, and its status. */
typedef void mm_screen_show(struct mm_screen *);

mm_screen_show mm_screen_now, mm_screen_messages, mm_screen_message, mm_screen_scripts, mm_screen_state;

/* The same as JSON. Returns its media type. Static. */
typedef const char *mm_screen_json(struct mm_screen *);

mm_screen_json mm_screen_now_json, mm_screen_messages_json, mm_screen_message_json, mm_screen_scripts_json,
	mm_screen_state_json;

/* What changes by itself on the screen of now. */
mm_screen_show mm_screen_now_part;

/* "key": what ctl --json says, or null. is_first: no comma before. */
void mm_screen_member(struct mm_screen *, const char *key, const struct mm_inquiry_answer *, bool is_first);

#endif
