/* bind/received.h -- a message as the MTA has sent it and as it leaves, for mail identity (lua/moonmilter/identity/):
 * the received fields beside the edited ones, hashes of the body in its canonical forms, seals.
 *
 * Bodies are hashed here, in C, while they arrive, and only where a script has loaded moonmilter.auth and something in
 * the header needs a hash. What handlers answer does not matter: the message shows every piece to its reader
 * (milter/message.h). A session OWNS its hashes, up to the end of the message. */
#ifndef MM_BIND_RECEIVED_H
#define MM_BIND_RECEIVED_H

#include "task/task.h"

/* The message has ended: frees its hashes, forgets its table. */
void mm_received_end(struct mm_script_session *);

#endif
