/* state/key.h -- keys of any length. What keys are made of comes from mail, so a long one is no error: its beginning
 * and its SHA-256 stand for it, in scripts and for the administrator. */
#ifndef MM_STATE_KEY_H
#define MM_STATE_KEY_H

#include "base/text.h"

#define MM_KEY_HASH_SIZE   32u          /* bytes of the hash, at the end of a key that is shortened */
#define MM_KEY_DIGEST_SIZE 16u          /* bytes of a digest */

/* The key, or its short form of `most` bytes, which is written to `to`. BORROWED from key or from to. */
struct mm_text mm_key_shorten(struct mm_text key, size_t most, char *to);
/* Writes MM_KEY_DIGEST_SIZE bytes, the letters of base64url (RFC 4648 5) for 96 bits of the key's SHA-256: a short name
 * for long keys of which a server has millions. */
void mm_key_digest(struct mm_text key, char *to);

#endif
