/* base/utf8.h -- whether bytes are UTF-8 (RFC 3629 4): no over-long forms, no surrogates, nothing above U+10FFFF.
 * codec/charset.c has its own copy of this rule, because codec/ is also built without the host. */
#ifndef MM_BASE_UTF8_H
#define MM_BASE_UTF8_H

#include "base/text.h"

/* Bytes of the UTF-8 sequence at the start of t, 0 when there is none. t is not empty. */
size_t mm_utf8_size(struct mm_text t);
/* Is this character, of two bytes or more, one that a terminal obeys instead of showing it: a C1 control
 * (U+0080-U+009F), or one that reorders text (U+200E-F, U+202A-E, U+2066-9)? */
bool mm_utf8_is_command(struct mm_text character);
/* Bytes of the character at the start of t that people can be shown as it is, whatever reads it: a terminal, a pager, a
 * mail. 0: its first byte must be escaped: a control, a part of no character, or one that is a command, a line or
 * paragraph separator. t is not empty. */
size_t mm_utf8_visible(struct mm_text t);

#endif
