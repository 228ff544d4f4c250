/* base/json.h -- writes JSON text (RFC 8259) into a buffer, piece by piece; commas are added automatically.
 * Strings are bytes: UTF-8 passes, any byte that is not UTF-8 becomes U+FFFD, so that every
 * reader accepts the result. */
#ifndef MM_BASE_JSON_H
#define MM_BASE_JSON_H

#include "base/buffer.h"
#include "base/text.h"

struct mm_json {
	struct mm_buffer *out;          /* borrowed; its `failed` is set when memory ran out */
	bool              needs_comma;  /* a value precedes on this level */
};

void mm_json_open(struct mm_json *, char bracket);      /* '{' or '[' */
void mm_json_close(struct mm_json *, char bracket);     /* '}' or ']' */
void mm_json_key(struct mm_json *, const char *name);
void mm_json_member(struct mm_json *, struct mm_text name);      /* a key of any bytes */
void mm_json_text(struct mm_json *, struct mm_text);    /* bytes NULL: null */
void mm_json_string(struct mm_json *, const char *);    /* NULL: null */
void mm_json_integer(struct mm_json *, int64_t);
void mm_json_boolean(struct mm_json *, bool);
void mm_json_real(struct mm_json *, double);            /* as short as 15 digits allow; null when it is not finite */
void mm_json_number(struct mm_json *, double);          /* six digits after the point */
/* Key and value. */
void mm_json_key_string(struct mm_json *, const char *name, const char *);
void mm_json_key_integer(struct mm_json *, const char *name, int64_t);
void mm_json_key_number(struct mm_json *, const char *name, double);

#endif
