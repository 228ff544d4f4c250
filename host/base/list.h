/* base/list.h -- doubly linked lists whose items carry their own `next` and `previous`.
 * The list is a pointer to its first item, NULL when empty. An item is in at most one list at a time; the list BORROWS
 * it. The arguments are evaluated several times: pass plain names and fields. */
#ifndef MM_BASE_LIST_H
#define MM_BASE_LIST_H

#include <stddef.h>

/* The item becomes the first. */
#define MM_LIST_PUSH(first, item) \
	do { \
		(item)->previous = NULL; \
		(item)->next = (first); \
		if ((first) != NULL) \
			(first)->previous = (item); \
		(first) = (item); \
	} while (0)

/* The item must be in the list. Its own links stay unchanged. */
#define MM_LIST_REMOVE(first, item) \
	do { \
		if ((item)->previous != NULL) \
			(item)->previous->next = (item)->next; \
		else \
			(first) = (item)->next; \
		if ((item)->next != NULL) \
			(item)->next->previous = (item)->previous; \
	} while (0)

#endif
