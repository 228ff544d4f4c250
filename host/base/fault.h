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

/* More exactly, for programs. The first of a class is what mm_fault_set() gives. ORDER REASON: enum mm_error_reason of
 * moonmilter.h
 *        name           word for scripts  class */
#define MM_REASONS(X) \
	X(NONE,          "none",           NONE) \
	X(BUG,           "bug",            BUG) \
	X(CONFIG,        "config",         CONFIG) \
	X(PROTOCOL,      "protocol",       PEER) \
	X(BAD_VALUE,     "bad_value",      SCRIPT) \
	X(MEMORY,        "memory",         RESOURCE)        /* or descriptors, threads */ \
	X(NOT_GRANTED,   "not_granted",    SCRIPT)          /* the MTA has not agreed to this edit */ \
	X(WRONG_STAGE,   "wrong_stage",    SCRIPT) \
	X(TOO_LARGE,     "too_large",      SCRIPT)          /* too long, or too many */ \
	X(TOO_LATE,      "too_late",       SCRIPT)          /* the handler is over, or another one runs */ \
	X(IN_USE,        "in_use",         CONFIG)          /* a socket */ \
	X(NOT_ALLOWED,   "not_allowed",    CONFIG)          /* the system refuses */ \
	X(BIND,          "bind",           CONFIG)          /* a socket cannot be opened for another reason */ \
	X(USER,          "user",           CONFIG)          /* of the system, or a group: unknown, or unfit */ \
	X(NOT_FOUND,     "not_found",      CONFIG) \
	X(NOT_SUPPORTED, "not_supported",  CONFIG)          /* by a host inside another program */

enum mm_fault_reason {
#define X(name, word, class) MM_REASON_IS_##name,
	MM_REASONS(X)
#undef X
	MM_REASON_COUNT
};

struct mm_fault {
	enum mm_fault_class  class;
	enum mm_fault_reason reason;            /* when there is a class */
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

/* The same, with the class of the reason. */
bool mm_fault_because(struct mm_fault *why, enum mm_fault_reason reason, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* The reason of a bind(2), chmod(2) or the like that has failed. */
enum mm_fault_reason mm_fault_reason_of(int error);
/* "not_granted". Static. */
const char *mm_fault_word(enum mm_fault_reason);
/* The exit status of a program that ends because of it (sysexits.h): EX_NOUSER, EX_UNAVAILABLE for a socket, EX_OSERR,
 * else EX_CONFIG. */
int mm_fault_status(const struct mm_fault *);

/* Cuts a text of `size` bytes in the middle, so that it fits into `max` bytes with its NUL: an error begins with its
 * place and often ends with its point. True when it was too long. */
bool mm_fault_shorten(char *text, size_t size, size_t max);

struct mm_error;
/* Copies the fault into an embedder's error; NULL is fine. Returns false, as mm_fault_set() does. */
bool mm_fault_tell(const struct mm_fault *, struct mm_error *);

/* "bug", "config", "peer", "script", "resource". Static. */
const char *mm_fault_class_name(enum mm_fault_class class);

#endif
