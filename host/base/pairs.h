/* base/pairs.h -- the fields that scripts add to the line of a message (log.fields): names and values in one block of
 * fixed size, sorted by name; a name that is set again gets the new value. What does not fit is counted, and the line
 * says how much it was: a value comes from mail, and a message must not fail because its log line is full.
 * A name can never be one that the host uses itself. */
#ifndef MM_BASE_PAIRS_H
#define MM_BASE_PAIRS_H

#include "base/bounds.h"
#include "base/log.h"

struct mm_pair {
	uint16_t at;                    /* in bytes: the name, its value after it */
	uint16_t name_size, size;       /* of name and value, bytes */
	bool     is_bare;               /* a number or a boolean: JSON has it without quotes */
};

struct mm_pairs {
	uint32_t       lost;            /* values that found no room, or were cut */
	uint16_t       count, used;
	struct mm_pair pairs[MM_PAIRS_MAX];
	char           bytes[MM_PAIRS_BYTES_MAX];
};

/* 1 to MM_PAIR_NAME_MAX of a-z, 0-9 and "_", a letter first. */
bool mm_pairs_is_name(struct mm_text);
/* A name of the host's own, in the line of a message or of a verdict. */
bool mm_pairs_is_reserved(struct mm_text name);
/* The name must be valid and free. A value above MM_PAIR_VALUE_MAX is cut between characters; with no room left, an
 * earlier value of the name stays. */
void mm_pairs_set(struct mm_pairs *, struct mm_text name, struct mm_text value, bool is_bare);
/* Adds all of them to a line, and `fields_lost` when some were lost. */
void mm_pairs_log(const struct mm_pairs *, struct mm_log_line *);

#endif
