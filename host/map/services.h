/* map/services.h -- the services that maps of this process ask, and how they answered: SQL, LDAP, Redis, socketmap, tcp
 * tables, DNS, lists of web servers. Nothing is asked here: whoever asks, notes the answer. So a worker can say how its
 * services fare without entering Lua. Maps of one kind and one name are one service, as long as any of them is open. */
#ifndef MM_MAP_SERVICES_H
#define MM_MAP_SERVICES_H

#include "base/say.h"
#include "base/text.h"

#define MM_SERVICE_NAME_MAX  255u       /* bytes, as they are kept */
#define MM_SERVICE_ERROR_MAX 255u

struct mm_service;

/* All of a process. Zeroed: there are none. */
struct mm_services {
	struct mm_service *first;       /* owned by those who have them open */
};

/* ORDER OUTCOME: host/bind/service.c */
enum mm_service_outcome { MM_SERVICE_FOUND, MM_SERVICE_NONE, MM_SERVICE_FAILED };

/* Finds it or makes it; each call needs one mm_service_close(). name: for people, without passwords. NULL: out of
 * memory. */
struct mm_service *mm_services_open(struct mm_services *, const char *kind, const char *name);
void mm_service_close(struct mm_service *);
/* It has been asked, and answered or failed after so many seconds. error: of a failure, for people. */
void mm_service_note(struct mm_service *, enum mm_service_outcome, double seconds, struct mm_text error);
/* For people: a line of key=value for each, in the order in which they were opened, and below that of one whose last
 * question failed, indented, what went wrong. */
void mm_services_list(const struct mm_services *, struct mm_say);

#endif
