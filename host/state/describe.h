/* state/describe.h -- records as text for people: values of scripts (state/packed.h) as Lua would write
 * them. */
#ifndef MM_STATE_DESCRIBE_H
#define MM_STATE_DESCRIBE_H

#include "base/text.h"

/* Writes the value, cut to fit, with a NUL; bytes that are not printable ASCII as \xNN. Returns to. */
char *mm_describe_value(struct mm_text record, char *to, size_t size);
/* The same of text alone, in quotes only where it has blanks: for keys. */
char *mm_describe_text(struct mm_text, char *to, size_t size);

#endif
