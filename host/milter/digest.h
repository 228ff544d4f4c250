/* milter/digest.h -- what an event looks like, as a number: when an MTA brings the same message again, its events have
 * the same digests; another message, of the same sender, too, has others. So the host can refuse what has killed a
 * worker (base/poison.h) without running it.
 *
 * A digest covers what a script could have seen and what stays the same over retries, whatever host, relay or queue id
 * brings them:
 *   connect, helo, unknown   client host and address, and the words of the command
 *   mail, rcpt, data         the client's address, sender, parameters; the recipient; all recipients
 *   header                   sender, the fields before this one, and this one
 *   eoh, body, eom           fields and body so far; without fields the sender, too; without either the envelope
 * Fields that relays add or renew are left out, except at their own event. Of long texts only both ends and the size
 * count. Digests of connect and helo are weak (MM_POISON_IS_WEAK): all messages of a client share them. Costs some
 * nanoseconds an event, and nothing where no process would be left to compare (session->seed 0). */
#ifndef MM_MILTER_DIGEST_H
#define MM_MILTER_DIGEST_H

#include "milter/session.h"

/* After the facts of a command have been stored. */
void mm_digest_note(struct mm_session *, const struct mm_command *);
/* The digest of the event that runs next. abort, done and close have that of the event before them, because they have
 * no reply that could refuse them. 0: none. */
uint64_t mm_digest_of_event(const struct mm_session *, enum mm_stage);

#endif
