/* A. OpenSSL writes with write(2), which raises SIGPIPE when the peer is gone, and an embedder may not ignore that: so
 *    bytes go through a BIO of our own that uses send(2) with MSG_NOSIGNAL.
 * B. Each thread has one error queue, which success never empties: an error that another library left there would be
 *    read as ours. So it is cleared before each call.
 * C. A TLS 1.3 server sends its session tickets after the handshake, before the first answer: a callback catches
 *    sessions, we do not ask for them. A ticket is for one use (RFC 8446 C.4), so its use removes it from the store. */
#include "async/tls.h"

#include "base/bounds.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

struct kept_session {
	char        *peer;      /* owned */
	SSL_SESSION *session;   /* owned */
};

struct mm_tls {
	struct mm_tls *next;
	SSL_CTX       *context;                 /* owned */
	char          *ca, *certificate, *key;  /* owned; NULL as in the settings */
	bool           no_verify;
	struct kept_session kept[MM_TLS_SESSIONS_MAX];
	unsigned       kept_at;                 /* index of the next session to be overwritten */
};

struct mm_tls_cache {
	struct mm_tls *first;   /* owned list */
};

struct mm_tls_connection {
	struct mm_tls *tls;     /* borrowed */
	SSL           *ssl;     /* owned */
	char          *peer;    /* owned; NULL: sessions are not kept */
	bool           is_up;   /* the handshake is over */
	bool           is_broken;
};

/* ---- the descriptor (note A) ---- */

static int fd_of(BIO *bio)
{
	return (int)(intptr_t)BIO_get_data(bio);
}

static int moved(BIO *bio, ssize_t n, int retry_flag)
{
	BIO_clear_retry_flags(bio);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
		BIO_set_flags(bio, retry_flag | BIO_FLAGS_SHOULD_RETRY);
	return (int)n;
}

static int bio_write(BIO *bio, const char *bytes, int size)
{
	return moved(bio, send(fd_of(bio), bytes, (size_t)size, MSG_NOSIGNAL), BIO_FLAGS_WRITE);
}

static int bio_read(BIO *bio, char *to, int size)
{
	ssize_t n = recv(fd_of(bio), to, (size_t)size, 0);
	int result = moved(bio, n, BIO_FLAGS_READ);
	if (n == 0)
		BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
	return result;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
	(void)number;
	(void)pointer;
	if (command == BIO_CTRL_EOF)
		return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
	return command == BIO_CTRL_FLUSH;
}

/* ---- sessions (note C) ---- */

static void forget(struct kept_session *kept)
{
	free(kept->peer);
	SSL_SESSION_free(kept->session);
	*kept = (struct kept_session){ 0 };
}

/* Returns 1 when it keeps the session. */
static int keep_session(SSL *ssl, SSL_SESSION *session)
{
	struct mm_tls_connection *connection = SSL_get_app_data(ssl);
	if (connection->peer == NULL)
		return 0;
	char *peer = strdup(connection->peer);
	if (peer == NULL)
		return 0;
	struct kept_session *kept = &connection->tls->kept[connection->tls->kept_at];
	connection->tls->kept_at = (connection->tls->kept_at + 1) % MM_TLS_SESSIONS_MAX;
	forget(kept);
	kept->peer = peer;
	kept->session = session;
	return 1;
}

static void use_kept_session(struct mm_tls_connection *connection)
{
	for (unsigned i = 0; i < MM_TLS_SESSIONS_MAX; i++) {
		struct kept_session *kept = &connection->tls->kept[i];
		if (kept->peer == NULL || strcmp(kept->peer, connection->peer) != 0)
			continue;
		if (SSL_SESSION_is_resumable(kept->session))
			SSL_set_session(connection->ssl, kept->session);
		forget(kept);
		return;
	}
}

/* ---- contexts ---- */

/* OpenSSL's newest reason, in words. */
static const char *reason(void)
{
	unsigned long code = ERR_peek_last_error();
	const char *text = ERR_reason_error_string(code);
	return text != NULL ? text : code != 0 ? "unknown OpenSSL error" : "no reason given";
}

static bool load_ca(SSL_CTX *context, const char *ca, struct mm_fault *why)
{
	struct stat status;
	if (ca == NULL)
		return SSL_CTX_set_default_verify_paths(context) == 1
			|| mm_fault_set(why, MM_FAULT_CONFIG, "the system's CA certificates cannot be "
			"used: %s", reason());
	if (stat(ca, &status) != 0)
		return mm_fault_set(why, MM_FAULT_CONFIG, "ca \"%s\": %s", ca, strerror(errno));
	bool ok = S_ISDIR(status.st_mode) ? SSL_CTX_load_verify_dir(context, ca) == 1
		: SSL_CTX_load_verify_file(context, ca) == 1;
	return ok || mm_fault_set(why, MM_FAULT_CONFIG, "ca \"%s\": holds no usable certificate: %s", ca, reason());
}

static bool load_identity(SSL_CTX *context, const struct mm_tls_settings *s, struct mm_fault *why)
{
	if (s->certificate == NULL)
		return true;
	const char *key = s->key != NULL ? s->key : s->certificate;
	if (SSL_CTX_use_certificate_chain_file(context, s->certificate) != 1)
		return mm_fault_set(why, MM_FAULT_CONFIG, "certificate \"%s\": %s", s->certificate, reason());
	if (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1)
		return mm_fault_set(why, MM_FAULT_CONFIG, "key \"%s\": %s", key, reason());
	if (SSL_CTX_check_private_key(context) != 1)
		return mm_fault_set(why, MM_FAULT_CONFIG, "key \"%s\" does not belong to certificate \"%s\"", key,
			s->certificate);
	return true;
}

static bool set_up(SSL_CTX *context, const struct mm_tls_settings *s, struct mm_fault *why)
{
	SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
	SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
		| SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(context, keep_session);
	SSL_CTX_set_verify(context, s->no_verify ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
	bool needs_ca = !s->no_verify || s->ca != NULL;         /* LuaSec tells the outcome even if it is ignored */
	return (!needs_ca || load_ca(context, s->ca, why)) && load_identity(context, s, why);
}

static bool same(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool copy(char **to, const char *from)
{
	*to = from != NULL ? strdup(from) : NULL;
	return from == NULL || *to != NULL;
}

static void context_free(struct mm_tls *tls)
{
	for (unsigned i = 0; i < MM_TLS_SESSIONS_MAX; i++)
		forget(&tls->kept[i]);
	SSL_CTX_free(tls->context);
	free(tls->ca);
	free(tls->certificate);
	free(tls->key);
	free(tls);
}

struct mm_tls *mm_tls_of(struct mm_tls_cache *cache, const struct mm_tls_settings *s, struct mm_fault *why)
{
	for (struct mm_tls *tls = cache->first; tls != NULL; tls = tls->next)
		if (tls->no_verify == s->no_verify && same(tls->ca, s->ca) && same(tls->certificate, s->certificate)
		    && same(tls->key, s->key))
			return tls;
	struct mm_tls *tls = calloc(1, sizeof *tls);
	if (tls == NULL) {
		mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for a TLS context");
		return NULL;
	}
	ERR_clear_error();
	tls->no_verify = s->no_verify;
	tls->context = SSL_CTX_new(TLS_client_method());
	if (tls->context == NULL || !copy(&tls->ca, s->ca) || !copy(&tls->certificate, s->certificate)
	    || !copy(&tls->key, s->key)) {
		mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for a TLS context");
		context_free(tls);
		return NULL;
	}
	if (!set_up(tls->context, s, why)) {
		context_free(tls);
		return NULL;
	}
	tls->next = cache->first;
	cache->first = tls;
	return tls;
}

bool mm_tls_begin(void)
{
	return OPENSSL_init_crypto(0, NULL) == 1;
}

struct mm_tls_cache *mm_tls_cache_new(void)
{
	return calloc(1, sizeof(struct mm_tls_cache));
}

void mm_tls_cache_free(struct mm_tls_cache *cache)
{
	if (cache == NULL)
		return;
	while (cache->first != NULL) {
		struct mm_tls *tls = cache->first;
		cache->first = tls->next;
		context_free(tls);
	}
	free(cache);
}

/* ---- a connection ---- */

static bool is_address(const char *name)
{
	unsigned char bytes[16];
	return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

static bool expect(X509_VERIFY_PARAM *rules, const char *name)
{
	if (is_address(name))
		return X509_VERIFY_PARAM_set1_ip_asc(rules, name) == 1;
	X509_VERIFY_PARAM_set_hostflags(rules, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS
		| X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
	return X509_VERIFY_PARAM_set1_host(rules, name, strlen(name)) == 1;
}

static bool expect_name(SSL *ssl, const char *name, bool verifies)
{
	return (!verifies || expect(SSL_get0_param(ssl), name))
		&& (is_address(name) || SSL_set_tlsext_host_name(ssl, name) == 1);
}

bool mm_tls_expect_name(struct ssl_ctx_st *context, const char *name)
{
	return expect(SSL_CTX_get0_param(context), name);
}

/* One method serves the whole process; it is constant once made. */
static BIO *new_bio(int fd)
{
	static BIO_METHOD *method;
	if (method == NULL) {
		BIO_METHOD *made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "moonmilter descriptor");
		if (made == NULL)
			return NULL;
		BIO_meth_set_write(made, bio_write);
		BIO_meth_set_read(made, bio_read);
		BIO_meth_set_ctrl(made, bio_control);
		BIO_METHOD *none = NULL;
		if (!__atomic_compare_exchange_n(&method, &none, made, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			BIO_meth_free(made);    /* a host on another thread was first */
	}
	BIO *bio = BIO_new(method);
	if (bio != NULL) {
		BIO_set_data(bio, (void *)(intptr_t)fd);
		BIO_set_init(bio, 1);
	}
	return bio;
}

/* A resumed session is not verified again, so a session serves only the name that it was verified for. */
static bool name_session(struct mm_tls_connection *connection, const char *name, const char *peer)
{
	return asprintf(&connection->peer, "%s %s", name != NULL ? name : "", peer) >= 0
		|| (connection->peer = NULL) != NULL;
}

struct mm_tls_connection *mm_tls_connection_new(struct mm_tls *tls, int fd, const char *name, const char *peer,
	struct mm_fault *why)
{
	struct mm_tls_connection *connection = calloc(1, sizeof *connection);
	BIO *bio = NULL;
	ERR_clear_error();
	if (connection != NULL) {
		connection->tls = tls;
		connection->ssl = SSL_new(tls->context);
		bio = new_bio(fd);
	}
	if (connection == NULL || connection->ssl == NULL || bio == NULL
	    || (peer != NULL && !name_session(connection, name, peer))) {
		BIO_free(bio);
		mm_tls_connection_free(connection);
		mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for a TLS connection");
		return NULL;
	}
	SSL_set_app_data(connection->ssl, connection);
	SSL_set_bio(connection->ssl, bio, bio);
	SSL_set_connect_state(connection->ssl);
	if (name == NULL && !tls->no_verify) {
		mm_fault_set(why, MM_FAULT_SCRIPT, "TLS needs the name that the peer's certificate must be for");
	} else if (name != NULL && !expect_name(connection->ssl, name, !tls->no_verify)) {
		mm_fault_set(why, MM_FAULT_SCRIPT, "\"%s\" is not a name that a certificate can be for", name);
	} else {
		if (connection->peer != NULL)
			use_kept_session(connection);
		return connection;
	}
	mm_tls_connection_free(connection);
	return NULL;
}

static enum mm_tls_step failed(struct mm_tls_connection *connection, const char *text, struct mm_fault *why)
{
	connection->is_broken = true;
	mm_fault_set(why, MM_FAULT_PEER, "%s", text);
	return MM_TLS_FAILED;
}

/* Turns a result <= 0 of OpenSSL into a step and a fault. */
static enum mm_tls_step explain(struct mm_tls_connection *connection, int result, int error, struct mm_fault *why)
{
	long verified = SSL_get_verify_result(connection->ssl);
	switch (SSL_get_error(connection->ssl, result)) {
	case SSL_ERROR_WANT_READ:
		return MM_TLS_WANTS_READ;
	case SSL_ERROR_WANT_WRITE:
		return MM_TLS_WANTS_WRITE;
	case SSL_ERROR_ZERO_RETURN:
		return MM_TLS_CLOSED;
	case SSL_ERROR_SYSCALL:
		if (connection->is_up && (error == ECONNRESET || error == ECONNABORTED)) {
			connection->is_broken = true;
			return MM_TLS_RESET;
		}
		return failed(connection, error != 0 ? strerror(error) : "the peer has cut the connection", why);
	}
	if (ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
		return failed(connection, connection->is_up ? "the peer cut the connection without a TLS goodbye: the "
			"data may be incomplete" : "the peer cut the connection in the TLS handshake; does it speak "
			"TLS there?", why);
	if (!connection->is_up && verified != X509_V_OK && !connection->tls->no_verify) {
		char text[256];
		snprintf(text, sizeof text, "certificate refused: %s", X509_verify_cert_error_string(verified));
		return failed(connection, text, why);
	}
	return failed(connection, reason(), why);
}

enum mm_tls_step mm_tls_handshake(struct mm_tls_connection *connection, struct mm_fault *why)
{
	ERR_clear_error();
	errno = 0;
	int result = SSL_do_handshake(connection->ssl);
	if (result == 1) {
		connection->is_up = true;
		return MM_TLS_DONE;
	}
	return explain(connection, result, errno, why);
}

enum mm_tls_step mm_tls_read(struct mm_tls_connection *connection, void *to, size_t size, size_t *got,
	struct mm_fault *why)
{
	ERR_clear_error();
	errno = 0;
	int result = SSL_read_ex(connection->ssl, to, size, got);
	return result == 1 ? MM_TLS_DONE : explain(connection, result, errno, why);
}

enum mm_tls_step mm_tls_write(struct mm_tls_connection *connection, const void *from, size_t size, size_t *written,
	struct mm_fault *why)
{
	ERR_clear_error();
	errno = 0;
	int result = SSL_write_ex(connection->ssl, from, size, written);
	return result == 1 ? MM_TLS_DONE : explain(connection, result, errno, why);
}

bool mm_tls_was_resumed(const struct mm_tls_connection *connection)
{
	return SSL_session_reused(connection->ssl) == 1;
}

const char *mm_tls_version(const struct mm_tls_connection *connection)
{
	return SSL_get_version(connection->ssl);
}

const char *mm_tls_cipher(const struct mm_tls_connection *connection)
{
	return SSL_get_cipher_name(connection->ssl);
}

const char *mm_tls_unverified(const struct mm_tls_connection *connection)
{
	long result = SSL_get_verify_result(connection->ssl);
	return result == X509_V_OK ? NULL : X509_verify_cert_error_string(result);
}

struct ssl_st *mm_tls_library_object(const struct mm_tls_connection *connection)
{
	return connection->ssl;
}

void mm_tls_connection_free(struct mm_tls_connection *connection)
{
	if (connection == NULL)
		return;
	if (connection->ssl != NULL) {
		ERR_clear_error();
		if (connection->is_up && !connection->is_broken)
			SSL_shutdown(connection->ssl);
		SSL_free(connection->ssl);
		ERR_clear_error();
	}
	free(connection->peer);
	free(connection);
}
