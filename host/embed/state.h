/* embed/state.h -- where the stores of a host are (state/stores.h). */
#ifndef MM_EMBED_STATE_H
#define MM_EMBED_STATE_H

#include <limits.h>

struct mm_host;

struct mm_host_state {
	const char *directory;          /* of durable stores, BORROWED from the host or from `buffer`; NULL: none */
	const char *identity;           /* likewise; the same in all workers. NULL: nothing is shared */
	char        buffer[PATH_MAX], name[PATH_MAX];
};

void mm_host_find_state(const struct mm_host *, struct mm_host_state *);
/* Removes the stores of a host that has no name of its own: neither a state_dir nor a configuration file. The next such
 * host could not find them. Only the process that bound the host does it. */
void mm_host_remove_state(const struct mm_host *);

#endif
