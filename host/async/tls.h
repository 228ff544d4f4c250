/* async/tls.h -- TLS as a client, over a connected non-blocking descriptor: OpenSSL 3, which only tls.c drives.
 * A cache keeps one context for each way to verify and to identify (reading the CA bundle takes milliseconds, so it is
 * read once). A context keeps the last sessions by peer, so that a second connection needs no full handshake. Files are
 * read when a context is made: a new generation of scripts has a new cache and so sees new files.
 * Verification is on unless the settings say otherwise: chain, dates, and the name or address of the peer, which must
 * be among the certificate's subjectAltNames (RFC 9525 6.3: its subject's CN does not count). At least TLS 1.2. Limits:
 * client only, no ALPN, no OCSP, no CRL. Knows no sockets and does not wait: it returns what to wait for. */
#ifndef MM_ASYNC_TLS_H
#define MM_ASYNC_TLS_H

#include "base/fault.h"

struct mm_tls_cache;            /* contexts; owns them */
struct mm_tls;                  /* a context; owned by its cache */
struct mm_tls_connection;             /* one connection */
struct ssl_ctx_st;
struct ssl_st;

struct mm_tls_settings {
	bool        no_verify;
	const char *ca;                 /* file or directory; NULL: the system's. All borrowed for the call */
	const char *certificate;        /* PEM file with the chain to show; NULL: none */
	const char *key;                /* PEM file; NULL: the key is in the certificate file */
};

enum mm_tls_step {
	MM_TLS_DONE,
	MM_TLS_WANTS_READ,      /* wait until the descriptor is readable, then call again with the same bytes */
	MM_TLS_WANTS_WRITE,
	MM_TLS_CLOSED,          /* the peer has said goodbye */
	MM_TLS_RESET,           /* the connection was reset after the handshake */
	MM_TLS_FAILED,          /* why says what happened; the connection can only be freed */
};

/* Prepares the library: what is registered with atexit(3) from now on runs before it ends itself. False: it cannot. */
bool mm_tls_begin(void);
struct mm_tls_cache *mm_tls_cache_new(void);                    /* NULL: out of memory */
void mm_tls_cache_free(struct mm_tls_cache *);                  /* after its last connection; NULL is fine */
/* The context for these settings, BORROWED from the cache. NULL: a file cannot be used. */
struct mm_tls *mm_tls_of(struct mm_tls_cache *, const struct mm_tls_settings *, struct mm_fault *why);

/* name: the DNS name or numeric address that the peer's certificate must be for; NULL only when the context does not
 * verify, and then a name is only told to the peer (SNI). peer: the key of its session in the cache, "name:port"; NULL:
 * no reuse. The descriptor is borrowed. Returns NULL: why says the reason. */
struct mm_tls_connection *mm_tls_connection_new(struct mm_tls *, int fd, const char *name, const char *peer,
	struct mm_fault *why);
/* For connections that libcurl makes in an SSL_CTX: the same rules for the name. */
bool mm_tls_expect_name(struct ssl_ctx_st *, const char *name);
enum mm_tls_step mm_tls_handshake(struct mm_tls_connection *, struct mm_fault *why);
/* *moved: bytes read or written. DONE means at least one. */
enum mm_tls_step mm_tls_read(struct mm_tls_connection *, void *to, size_t size, size_t *moved, struct mm_fault *why);
enum mm_tls_step mm_tls_write(struct mm_tls_connection *, const void *from, size_t size, size_t *moved,
	struct mm_fault *why);
bool mm_tls_was_resumed(const struct mm_tls_connection *);            /* the handshake reused a session */
/* "TLSv1.3", "TLS_AES_256_GCM_SHA384". Static. */
const char *mm_tls_version(const struct mm_tls_connection *);
const char *mm_tls_cipher(const struct mm_tls_connection *);
/* NULL: the certificate was verified; or why not, when the context does not insist. Static. */
const char *mm_tls_unverified(const struct mm_tls_connection *);
/* The TLS library's object, BORROWED: for the facts that rocks ask for (bind/tls_facts.c). */
struct ssl_st *mm_tls_library_object(const struct mm_tls_connection *);
/* Says goodbye if the peer listens, but does not wait. NULL is fine. */
void mm_tls_connection_free(struct mm_tls_connection *);

#endif
