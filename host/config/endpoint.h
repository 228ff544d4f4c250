/* config/endpoint.h -- where a milter listens, as users write it, and the line to paste into the MTA's configuration.
 *
 *     unix:PATH  local:PATH  /PATH     a unix socket
 *     inet:PORT                        IPv4, this machine only: 127.0.0.1. inet:PORT@0.0.0.0 opens it to others
 *     inet:PORT@HOST  inet:PORT@[ADDR] Sendmail's order; an IPv6 ADDR makes it IPv6
 *     inet6:PORT  inet6:PORT@HOST      IPv6; without HOST ::1
 *     inet:HOST:PORT  inet:[ADDR]:PORT Postfix' order
 *     fd:N                             an open, listening descriptor
 *     systemd  systemd:NAME            sockets from socket activation: all, or those of FileDescriptorName=NAME
 *
 * HOST is a numeric address, "localhost" (the loopback address of that family) or "*" (all addresses of that family):
 * other names would need a resolver, and nothing here may wait for one. IPv6 zones (fe80::1%eth0) are not supported.
 *
 * Reads and prints text; makes no socket and looks at no file (listener.h does). */
#ifndef MM_CONFIG_ENDPOINT_H
#define MM_CONFIG_ENDPOINT_H

#include "base/bounds.h"
#include "base/fault.h"

#include <stdint.h>

struct sockaddr_storage;

#define MM_ENDPOINT_HOST_SIZE 46        /* bytes of a numeric address, NUL included */
#define MM_ENDPOINT_NAME_SIZE 256       /* bytes of a FileDescriptorName, NUL included (sd_listen_fds_with_names) */
#define MM_ENDPOINT_TEXT_SIZE 320       /* bytes that hold anything mm_endpoint_text() writes, NUL included */
#define MM_ENDPOINT_LINE_SIZE 512       /* bytes that hold any mm_endpoint_sendmail() with a name of up to 64 bytes */

/* ORDER ENDPOINT_KIND */
enum mm_endpoint_kind { MM_ENDPOINT_UNIX, MM_ENDPOINT_INET, MM_ENDPOINT_INET6, MM_ENDPOINT_FD, MM_ENDPOINT_SYSTEMD };

struct mm_endpoint {
	enum mm_endpoint_kind kind;
	char                  path[MM_UNIX_PATH_MAX + 1];       /* unix; may be relative */
	char                  host[MM_ENDPOINT_HOST_SIZE];      /* inet, inet6: numeric, as inet_ntop() writes it */
	uint16_t              port;                             /* inet, inet6: 1..65535 */
	int                   fd;                               /* fd. BORROWED */
	char                  name[MM_ENDPOINT_NAME_SIZE];      /* systemd; "" means all */
};

/* False: the fault names the value, the rule and what to write. */
bool mm_endpoint_parse(const char *text, struct mm_endpoint *out, struct mm_fault *why);
/* The one canonical form, which parses to the same: "unix:/run/m.sock", "inet:10025@127.0.0.1",
 * "inet6:10025@[::1]". Returns to. */
char *mm_endpoint_text(const struct mm_endpoint *, char *to, size_t size);
/* True when the address is known and can be given to an MTA: not for fd and systemd, whose address only
 * the open socket knows. */
bool mm_endpoint_has_address(const struct mm_endpoint *);
/* Does it listen on all addresses of its family? */
bool mm_endpoint_is_everywhere(const struct mm_endpoint *);
/* A copy that a client on this machine can connect to: "all addresses" becomes the loopback address. */
struct mm_endpoint mm_endpoint_reachable(const struct mm_endpoint *);
/* The address for bind(2) and connect(2). -> its bytes; 0 when has_address is false. */
size_t mm_endpoint_address(const struct mm_endpoint *, struct sockaddr_storage *out);
/* For smtpd_milters in main.cf: "inet:127.0.0.1:10025", "unix:/run/m.sock". "All addresses" becomes the loopback
 * address, for an MTA on this machine. A chrooted smtpd (Debian's master.cf) looks for PATH below /var/spool/postfix; a
 * path there is printed relative to it, which is right with and without chroot. Returns to, which is empty when
 * has_address is false. */
char *mm_endpoint_postfix(const struct mm_endpoint *, char *to, size_t size);
/* True for a unix socket that an MTA in Postfix's chroot does not see: it is outside the queue directory. */
bool mm_endpoint_is_beyond_chroot(const struct mm_endpoint *);
/* The line for sendmail.mc. F=T: no mail passes unfiltered while we are down. The T= times leave room for our deadlines
 * (seconds), so that Sendmail never gives up on a handler before we do. Returns to, empty when has_address is false. */
char *mm_endpoint_sendmail(const struct mm_endpoint *, const char *name, double stage_deadline,
	double eom_deadline, char *to, size_t size);

#endif
