/* base/fault.h -- what went wrong: a class and a sentence for people.
 * A function that can fail returns bool and fills a fault the caller owns; mm_fault_set() returns false so that
 * `return mm_fault_set(why, …)` reads well. The text names the offending value, the rule it breaks, and the remedy. */
#ifndef MM_BASE_FAULT_H
#define MM_BASE_FAULT_H

#include <stdbool.h>
#include <stddef.h>

/* ORDER FAULT_CLASS: enum mm_error_code of moonmilter.h */
enum mm_fault_class {
	MM_FAULT_NONE,
	MM_FAULT_BUG,           /* an impossible state in our own code */
	MM_FAULT_CONFIG,        /* options, scripts that do not load: refuse to start, keep the old ones on reload */
	MM_FAULT_PEER,          /* the MTA broke the protocol: close that connection */
	MM_FAULT_SCRIPT,        /* a handler raised or misused the API: on_error for that message */
	MM_FAULT_RESOURCE,      /* memory, descriptors: tempfail, shed load */
};

struct mm_fault {
	enum mm_fault_class class;
	char                text[1024];         /* NUL-terminated; of a longer one, beginning and end */
};

/* Nothing has gone wrong so far. Only the first byte of the text is cleared: it is a kilobyte, and
 * this runs at every read. */
static inline void mm_fault_clear(struct mm_fault *f)
{
	f->class = MM_FAULT_NONE;
	f->text[0] = '\0';
}

/* Fills *why (NULL is fine) and returns false. */
bool mm_fault_set(struct mm_fault *why, enum mm_fault_class class, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Cuts a text of `size` bytes in the middle, so that it fits into `max` bytes with its NUL: an error begins with its
 * place and often ends with its point. True when it was too long. */
bool mm_fault_shorten(char *text, size_t size, size_t max);

struct mm_error;
/* Copies the fault into an embedder's error; NULL is fine. Returns false, as mm_fault_set() does. */
bool mm_fault_tell(const struct mm_fault *, struct mm_error *);

/* "bug", "config", "peer", "script", "resource". Static. */
const char *mm_fault_class_name(enum mm_fault_class class);

#endif
