/* doctor/reach.h -- can a user of this machine connect to a socket, and if not, what is in the way? As root we try it:
 * a child becomes that user, in the MTA's chroot, and connects. Otherwise we compute it from modes and groups. The host
 * sees a silent connection, as from any health probe. */
#ifndef MM_DOCTOR_REACH_H
#define MM_DOCTOR_REACH_H

#include "config/endpoint.h"
#include "doctor/finding.h"

/* The user who connects. */
struct mm_caller {
	const char *mta;        /* "Postfix"; for sentences */
	const char *user;       /* all BORROWED */
	const char *root;       /* the MTA's chroot, without a slash at the end; "": none */
	bool        is_ours;    /* the socket is one that we listen on, or should */
};

/* Path as seen from outside any chroot. True when the user can connect. */
bool mm_reach_unix(struct mm_findings *, const struct mm_caller *, const char *path);
/* The same over TCP, from here. */
bool mm_reach_inet(struct mm_findings *, const struct mm_caller *, const char *host, const char *port);
/* True when both are the same socket: the same name, or the same file. */
bool mm_reach_is_same_socket(const char *path, const char *other);
/* GIVES a connection as ourselves; -1: errno says why not. */
int mm_reach_connect_unix(const char *path);

#endif
