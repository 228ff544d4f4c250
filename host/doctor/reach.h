/* doctor/reach.h -- can a user of this machine connect to a socket, and if not, what is in the way?
 * As root it is tried out: a child becomes that user, in the chroot of the MTA, and connects. Otherwise modes and
 * groups are computed. The host sees a connection that says nothing, as of any health probe. */
#ifndef MM_DOCTOR_REACH_H
#define MM_DOCTOR_REACH_H

#include "config/endpoint.h"
#include "doctor/finding.h"

/* Who connects. */
struct mm_caller {
	const char *mta;        /* "Postfix"; for sentences */
	const char *user;       /* all BORROWED */
	const char *root;       /* its chroot, without a slash at the end; "" for none */
	bool        is_ours;    /* the socket is one that we listen on, or should */
};

/* Path as seen from outside of any chroot. True when all is well. */
bool mm_reach_unix(struct mm_findings *, const struct mm_caller *, const char *path);
/* The same over TCP, from here. */
bool mm_reach_inet(struct mm_findings *, const struct mm_caller *, const char *host, const char *port);
/* Both are the same socket: by their names, or by what lies there. */
bool mm_reach_is_same_socket(const char *path, const char *other);
/* A connection as ourselves, GIVEN; -1: errno says why not. */
int mm_reach_connect_unix(const char *path);

#endif
