/* io/joint.h -- the runtime of a milter that has a shadow or a canary, around the runtime of its scripts. It asks the
 * MTA for all that live scripts and shadow need together, and decides for each SMTP client whose scripts decide: those
 * of the milter, or, for a share of the clients, those that come next.
 *
 * What live scripts get stays as it is without a shadow, but for more events at the MTA's side: macros are those that
 * live scripts ask for, and the shadow's are added where a list is asked for anyway; recipients that the MTA itself has
 * refused come if live scripts want them. A skip of body or fields is not passed on, because the shadow may need them.
 *
 * A client belongs to the share by a hash of its address, of the first 64 bits for IPv6: the same client has the same
 * scripts with every connection, in every worker, and after a reload. */
#ifndef MM_IO_JOINT_H
#define MM_IO_JOINT_H

#include "script/generation.h"

struct mm_joint {
	struct mm_runtime     first;            /* of the scripts that decide as a rule */
	struct mm_generation *canary;           /* BORROWED; decides for the share; NULL: none does */
	uint32_t              share;            /* hundredths of a per cent */
	struct mm_generation *also;             /* BORROWED; what it wants is asked for, too; NULL */
	const struct mm_wanted *wanted;         /* BORROWED; ask for exactly this; NULL: for what all of them want */
};

/* The joint is BORROWED until a session has been opened with it. */
struct mm_runtime mm_joint_runtime(struct mm_joint *);
/* What a session of such a runtime asks the MTA for; BORROWED from it. */
const struct mm_wanted *mm_joint_wanted(void *session);

#endif
