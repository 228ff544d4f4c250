/* trial/explained.h -- the story of a message (story/story.h) as the MTA's side can tell it: what was sent, how long
 * the milter took to answer, edits, verdicts. It names no script, unless the transport knows who decided. For
 * `send --explain`, whose milter may be anybody's. */
#ifndef MM_TRIAL_EXPLAINED_H
#define MM_TRIAL_EXPLAINED_H

#include "mta/dialogue.h"
#include "mta/mail_file.h"
#include "story/story.h"

/* opening: of offer, connect and HELO; result: of the message. number: of the message in its session, from 1. */
void mm_explained_tell(struct mm_story *, const struct mm_dialogue_plan *, const struct mm_mail_file *,
	const struct mm_dialogue_result *opening, const struct mm_dialogue_result *, unsigned number);

#endif
