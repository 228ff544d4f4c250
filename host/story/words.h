/* story/words.h -- the arguments of a packet as words for people: what `ctl trace` and `replay --show` print after its
 * name. A word is any bytes without NUL, as the wire has them; each is followed by a NUL. Personal values are left out
 * as history_redact says (story.h). A packet of the body has no words: nobody is shown what is in a mail. */
#ifndef MM_STORY_WORDS_H
#define MM_STORY_WORDS_H

#include "milter/command.h"
#include "mta/mta.h"
#include "story/story.h"

#define MM_WORDS_SIZE 1500              /* bytes of words; more are cut */

struct mm_words {
	enum mm_story_redact redact;
	bool                 is_cut;
	size_t               size;
	char                 bytes[MM_WORDS_SIZE];
};

static inline struct mm_text mm_words_text(const struct mm_words *w)
{
	return (struct mm_text){ w->bytes, w->size };
}

void mm_words_begin(struct mm_words *, enum mm_story_redact);
void mm_words_add(struct mm_words *, struct mm_text);
void mm_words_addf(struct mm_words *, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* What an MTA sends. */
void mm_words_of_command(struct mm_words *, const struct mm_command *);
/* What we answer. */
void mm_words_of_reply(struct mm_words *, const struct mm_mta_reply *);
/* The text of a reply: with MM_STORY_REDACT_ADDRESSES its codes alone. */
struct mm_text mm_words_reply_text(enum mm_story_redact, struct mm_text);

#endif
