/* seal/method.h -- OpenSSL's objects for hash algorithms, fetched once for each process, because fetching costs more
 * than hashing a short text. */
#ifndef MM_SEAL_METHOD_H
#define MM_SEAL_METHOD_H

#define MM_METHOD_BYTES 64              /* of the longest hash */

enum mm_method { MM_METHOD_SHA1, MM_METHOD_SHA256, MM_METHOD_SHA512 };

/* BORROWED; NULL: out of memory, or this OpenSSL is configured without the algorithm. */
const struct evp_md_st *mm_method(enum mm_method);

#endif
