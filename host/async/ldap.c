/* A. libldap writes with write(2), which raises SIGPIPE when the server is gone, and an embedding program may not
 *    ignore that: the signal is blocked around each call that may write, and taken off if it came.
 *    Threads that connect have it blocked anyway.
 * B. Its first call of all looks up the name of this machine, which may ask a name server; so load() makes it.
 * C. libldap makes the socket block after its TLS handshake. TLS 1.3 servers send tickets after it: so a connection
 *    with TLS always begins with a bind, an anonymous one if need be (RFC 4513 5.1.1: nothing changes by it), whose
 *    answer comes after them. An unasked message would end the connection. */
#include "async/ldap.h"

#include "async/library.h"
#include "base/bounds.h"
#include "base/watch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* ---- what we use of libldap, by its ABI of 2.5 and 2.6 ---- */

enum { PROTO_TCP = 1, PROTO_IPC = 3 };
enum { TLS_CACERTFILE = 0x6002, TLS_CACERTDIR, TLS_CERTFILE, TLS_KEYFILE, TLS_REQUIRE_CERT, TLS_CIPHER_SUITE = 0x6008,
	TLS_NEWCTX = 0x600f, TLS_NEVER = 0, TLS_DEMAND = 2 };
enum { OPT_TIMEOUT = 0x5002, OPT_NETWORK_TIMEOUT = 0x5005, OPT_DIAGNOSTIC_MESSAGE = 0x32 };
enum { OPT_DEREF = 0x02, OPT_REFERRALS = 0x08, OPT_PROTOCOL_VERSION = 0x11, OPT_RESULT_CODE = 0x31,
	OPT_SOCKBUF = 0x5008, SB_SET_MAX_INCOMING = 14 };
enum { SUCCESS = 0x00, NO_SUCH_OBJECT = 0x20, BUSY = 0x33, UNAVAILABLE = 0x34, FILTER_ERROR = -7 };
enum { RES_BIND = 0x61, RES_SEARCH_ENTRY = 0x64, RES_SEARCH_RESULT = 0x65 };

typedef struct ldap LDAP;
typedef struct ldapmsg LDAPMessage;
typedef struct berelement BerElement;

struct berval {
	unsigned long size;
	char         *bytes;
};

static struct {
	int             (*init_fd)(int, int, const char *, LDAP **);
	int             (*set_option)(LDAP *, int, const void *);
	int             (*get_option)(LDAP *, int, void *);
	int             (*sockbuf_ctrl)(void *, int, void *);
	int             (*sasl_bind)(LDAP *, const char *, const char *, struct berval *, void **, void **, int *);
	int             (*start_tls_s)(LDAP *, void **, void **);
	int             (*install_tls)(LDAP *);
	int             (*search_ext)(LDAP *, const char *, int, const char *, char **, int, void **, void **,
		struct timeval *, int, int *);
	int             (*result)(LDAP *, int, int, struct timeval *, LDAPMessage **);
	int             (*parse_result)(LDAP *, LDAPMessage *, int *, char **, char **, char ***, void ***, int);
	char           *(*get_dn)(LDAP *, LDAPMessage *);
	char           *(*first_attribute)(LDAP *, LDAPMessage *, BerElement **);
	char           *(*next_attribute)(LDAP *, LDAPMessage *, BerElement *);
	struct berval **(*get_values_len)(LDAP *, LDAPMessage *, const char *);
	void            (*value_free_len)(struct berval **);
	void            (*ber_free)(BerElement *, int);
	void            (*memfree)(void *);
	int             (*msgfree)(LDAPMessage *);
	char           *(*err2string)(int);
	int             (*unbind_ext)(LDAP *, void **, void **);
} ld;

static bool load(struct mm_fault *why)
{
	static const char *const files[] = { "libldap-2.5.so.0", "libldap.so.2", NULL };
	static const struct mm_library_function functions[] = {
		{ "ldap_init_fd", &ld.init_fd }, { "ldap_set_option", &ld.set_option },
		{ "ldap_get_option", &ld.get_option }, { "ber_sockbuf_ctrl", &ld.sockbuf_ctrl },
		{ "ldap_sasl_bind", &ld.sasl_bind }, { "ldap_search_ext", &ld.search_ext },
		{ "ldap_start_tls_s", &ld.start_tls_s }, { "ldap_install_tls", &ld.install_tls },
		{ "ldap_result", &ld.result }, { "ldap_parse_result", &ld.parse_result },
		{ "ldap_get_dn", &ld.get_dn }, { "ldap_first_attribute", &ld.first_attribute },
		{ "ldap_next_attribute", &ld.next_attribute }, { "ldap_get_values_len", &ld.get_values_len },
		{ "ldap_value_free_len", &ld.value_free_len }, { "ber_free", &ld.ber_free },
		{ "ldap_memfree", &ld.memfree }, { "ldap_msgfree", &ld.msgfree },
		{ "ldap_err2string", &ld.err2string }, { "ldap_unbind_ext", &ld.unbind_ext },
	};
	static const int version = 3;
	return mm_library_load(files, "libldap-2.5-0 (Debian 13: libldap2)", functions,
			sizeof functions / sizeof *functions, why)
		&& (ld.set_option(NULL, OPT_PROTOCOL_VERSION, &version) == 0    /* note B */
			|| mm_fault_set(why, MM_FAULT_RESOURCE, "libldap cannot be initialized"));
}

/* ---- note A ---- */

struct quiet {
	sigset_t before;
	bool     was_pending;
};

static void begin_quiet(struct quiet *q)
{
	sigset_t pipe_signal, pending;
	sigemptyset(&pipe_signal);
	sigaddset(&pipe_signal, SIGPIPE);
	sigpending(&pending);
	q->was_pending = sigismember(&pending, SIGPIPE) == 1;
	pthread_sigmask(SIG_BLOCK, &pipe_signal, &q->before);
}

static void end_quiet(const struct quiet *q)
{
	static const struct timespec none;
	sigset_t pipe_signal;
	sigemptyset(&pipe_signal);
	sigaddset(&pipe_signal, SIGPIPE);
	if (!q->was_pending)
		while (sigtimedwait(&pipe_signal, NULL, &none) < 0 && errno == EINTR)
			continue;
	pthread_sigmask(SIG_SETMASK, &q->before, NULL);
}

/* ---- connecting ---- */

struct link {
	LDAP             *ld;           /* owned */
	int               fd;           /* borrowed from ld */
	int               message;      /* the id of what is under way; 0: nothing */
	bool              may_lack_base;
	struct mm_answer *answer;       /* borrowed; NULL while it connects */
};

/* "" when there is none. */
static const char *setting(const struct mm_database_login *login, const char *name)
{
	const char *value = mm_database_setting(login, name);
	return value != NULL ? value : "";
}

static bool is_on(const struct mm_database_login *login, const char *name)
{
	return strcmp(setting(login, name), "yes") == 0;
}

static socklen_t address_of(const struct mm_database_server *s, struct sockaddr_storage *to)
{
	struct sockaddr_un *local = (struct sockaddr_un *)to;
	struct sockaddr_in *v4 = (struct sockaddr_in *)to;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)to;
	memset(to, 0, sizeof *to);
	if (s->address[0] == '/' && strlen(s->address) < sizeof local->sun_path) {
		local->sun_family = AF_UNIX;
		strcpy(local->sun_path, s->address);
		return sizeof *local;
	}
	if (inet_pton(AF_INET, s->address, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)s->port);
		return sizeof *v4;
	}
	if (inet_pton(AF_INET6, s->address, &v6->sin6_addr) != 1)
		return 0;
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons((uint16_t)s->port);
	return sizeof *v6;
}

/* A connected socket; -1: *why says the reason. */
static int connect_socket(struct mm_handshake *h, const struct mm_database_server *s, struct mm_fault *why)
{
	struct sockaddr_storage address;
	socklen_t size = address_of(s, &address), int_size = sizeof(int);
	int type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, error = EINVAL;
	int fd = size > 0 ? socket(address.ss_family, type, 0) : -1;
	if (fd >= 0) {
		error = connect(fd, (struct sockaddr *)&address, size) == 0 ? 0 : errno;
		if (error == EINPROGRESS && mm_handshake_wait(h, fd, MM_WRITABLE) != 0)
			getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &int_size);
	}
	if (error == 0)
		return fd;
	mm_fault_set(why, MM_FAULT_PEER, "%s", error == EINPROGRESS ? "no connection in time" : strerror(error));
	if (fd >= 0)
		close(fd);
	return -1;
}

static void close_link(void *link)
{
	struct link *l = link;
	struct quiet quiet;
	begin_quiet(&quiet);
	if (l->ld != NULL)
		ld.unbind_ext(l->ld, NULL, NULL);
	else if (l->fd >= 0)
		close(l->fd);
	end_quiet(&quiet);
	free(l);
}

static bool say(int error, struct mm_fault *why)
{
	return error == SUCCESS || mm_fault_set(why, MM_FAULT_PEER, "%s", ld.err2string(error));
}

static enum mm_link_state fail(int error, struct mm_fault *why)
{
	say(error, why);
	return MM_LINK_FAILED;
}

static int last_error(struct link *l)
{
	int error = -1;
	ld.get_option(l->ld, OPT_RESULT_CODE, &error);
	return error;
}

/* What went wrong with TLS is in a text of the library. */
static bool say_tls(struct link *l, int error, struct mm_fault *why)
{
	char *text = NULL;
	if (error == SUCCESS)
		return true;
	bool has_text = ld.get_option(l->ld, OPT_DIAGNOSTIC_MESSAGE, &text) == 0 && text != NULL && text[0] != '\0';
	mm_fault_set(why, MM_FAULT_PEER, has_text ? "TLS: %s: %s" : "TLS: %s", ld.err2string(error), text);
	if (text != NULL)
		ld.memfree(text);
	return false;
}

static void set_options(struct link *l, const struct mm_database_login *login, double seconds)
{
	static const int none;
	size_t most = 2 * MM_DATABASE_ANSWER_MAX;
	int version = strcmp(setting(login, "version"), "2") == 0 ? 2 : 3;
	void *buffer = NULL;
	struct timeval patience = { (time_t)seconds, (suseconds_t)((seconds - (double)(time_t)seconds) * 1e6) };
	ld.set_option(l->ld, OPT_PROTOCOL_VERSION, &version);
	ld.set_option(l->ld, OPT_REFERRALS, NULL);      /* LDAP_OPT_OFF */
	ld.set_option(l->ld, OPT_DEREF, &none);
	ld.set_option(l->ld, OPT_TIMEOUT, &patience);
	ld.set_option(l->ld, OPT_NETWORK_TIMEOUT, &patience);
	if (ld.get_option(l->ld, OPT_SOCKBUF, &buffer) == 0 && buffer != NULL)
		ld.sockbuf_ctrl(buffer, SB_SET_MAX_INCOMING, &most);
}

/* Note C. */
static bool begin_tls(struct link *l, const struct mm_database_login *login, struct mm_fault *why)
{
	static const struct { int option; const char *setting; } files[] = {
		{ TLS_CACERTFILE, "tls_ca_cert_file" }, { TLS_CACERTDIR, "tls_ca_cert_dir" },
		{ TLS_CERTFILE, "tls_cert" }, { TLS_KEYFILE, "tls_key" }, { TLS_CIPHER_SUITE, "tls_cipher_suite" },
	};
	static const int is_client;
	int require = is_on(login, "tls_require_cert") ? TLS_DEMAND : TLS_NEVER, error = SUCCESS;
	for (size_t i = 0; i < sizeof files / sizeof *files && error == SUCCESS; i++)
		if (setting(login, files[i].setting)[0] != '\0')
			error = ld.set_option(l->ld, files[i].option, setting(login, files[i].setting));
	if (error == SUCCESS)
		error = ld.set_option(l->ld, TLS_REQUIRE_CERT, &require);
	if (error == SUCCESS && ld.set_option(l->ld, TLS_NEWCTX, &is_client) != SUCCESS)
		return mm_fault_set(why, MM_FAULT_PEER, "TLS: a file of certificates, or tls_cipher_suite, is bad");
	if (error == SUCCESS)
		error = is_on(login, "ldaps") ? ld.install_tls(l->ld) : ld.start_tls_s(l->ld, NULL, NULL);
	return say_tls(l, error, why) && (fcntl(l->fd, F_SETFL, fcntl(l->fd, F_GETFL) | O_NONBLOCK) == 0
		|| mm_fault_set(why, MM_FAULT_PEER, "%s", strerror(errno)));
}

/* ---- results ---- */

enum { MESSAGES_OF_TURN = 64 };

/* The code of a result, and its words. */
static int read_result(struct link *l, LDAPMessage *m, struct mm_fault *words)
{
	int code = -1;
	char *text = NULL;
	int error = ld.parse_result(l->ld, m, &code, NULL, &text, NULL, NULL, 0);
	if (error != SUCCESS)
		code = error;
	bool has_text = text != NULL && text[0] != '\0';
	mm_fault_set(words, MM_FAULT_PEER, has_text ? "%s: %s" : "%s", ld.err2string(code), text);
	if (text != NULL)
		ld.memfree(text);
	return code;
}

static unsigned count_values(struct link *l, LDAPMessage *entry)
{
	BerElement *ber = NULL;
	unsigned count = 0;
	char *name = ld.first_attribute(l->ld, entry, &ber);
	for (; name != NULL; name = ld.next_attribute(l->ld, entry, ber)) {
		struct berval **values = ld.get_values_len(l->ld, entry, name);
		for (unsigned i = 0; values != NULL && values[i] != NULL; i++)
			count++;
		if (values != NULL)
			ld.value_free_len(values);
		ld.memfree(name);
	}
	if (ber != NULL)
		ld.ber_free(ber, 0);
	return count;
}

static void add_entry(struct link *l, LDAPMessage *entry)
{
	struct mm_answer *a = l->answer;
	BerElement *ber = NULL;
	char *dn = ld.get_dn(l->ld, entry);
	bool fits = mm_answer_add_row(a, 1 + 2 * count_values(l, entry))
		&& mm_answer_add_value(a, dn != NULL ? dn : "", dn != NULL ? strlen(dn) : 0);
	if (dn != NULL)
		ld.memfree(dn);
	char *name = ld.first_attribute(l->ld, entry, &ber);
	for (; name != NULL; name = ld.next_attribute(l->ld, entry, ber)) {
		struct berval **values = fits ? ld.get_values_len(l->ld, entry, name) : NULL;
		for (unsigned i = 0; values != NULL && values[i] != NULL && fits; i++)
			fits = mm_answer_add_value(a, name, strlen(name))
				&& mm_answer_add_value(a, values[i]->bytes, values[i]->size);
		if (values != NULL)
			ld.value_free_len(values);
		ld.memfree(name);
	}
	if (ber != NULL)
		ld.ber_free(ber, 0);
}

static enum mm_link_state take(struct link *l, int type, LDAPMessage *m, struct mm_fault *why)
{
	struct mm_fault words;
	if (type == RES_SEARCH_ENTRY && l->answer != NULL) {
		add_entry(l, m);
		return l->answer->is_too_large || l->answer->packed.failed ? MM_LINK_SPENT : MM_LINK_WAITS;
	}
	if (type != RES_BIND && type != RES_SEARCH_RESULT)
		return MM_LINK_WAITS;           /* a reference to another server */
	int code = read_result(l, m, &words);
	l->message = 0;
	if (type == RES_BIND ? code != SUCCESS : code == BUSY || code == UNAVAILABLE || code < 0) {
		*why = words;
		return MM_LINK_FAILED;
	}
	if (code != SUCCESS && !(code == NO_SUCH_OBJECT && l->may_lack_base))
		mm_answer_refuse(l->answer, words.text);
	return MM_LINK_READY;
}

/* Takes what has come, at most so many messages as one turn of the loop should. *has_more: there may be more. */
static enum mm_link_state take_some(struct link *l, bool *has_more, struct mm_fault *why)
{
	enum mm_link_state state = MM_LINK_WAITS;
	*has_more = false;
	for (int i = 0; state == MM_LINK_WAITS; i++) {
		struct timeval now = { 0, 0 };
		LDAPMessage *m = NULL;
		*has_more = i == MESSAGES_OF_TURN;
		int type = *has_more ? 0 : ld.result(l->ld, l->message, 0, &now, &m);
		if (type == 0)
			return MM_LINK_WAITS;
		if (type < 0)
			return fail(last_error(l), why);
		state = take(l, type, m, why);
		ld.msgfree(m);
	}
	return state;
}

/* ---- logging in ---- */

static bool bind_to(struct mm_handshake *h, struct link *l, const struct mm_database_login *login,
	struct mm_fault *why)
{
	bool is_named = is_on(login, "bind");
	const char *password = is_named ? setting(login, "bind_pw") : "";
	struct berval credentials = { strlen(password), (char *)(uintptr_t)password };
	if (!say(ld.sasl_bind(l->ld, is_named ? setting(login, "bind_dn") : "", NULL, &credentials, NULL, NULL,
			&l->message), why))
		return false;
	bool has_more;
	enum mm_link_state state = take_some(l, &has_more, why);
	while (state == MM_LINK_WAITS) {
		if (!has_more && mm_handshake_wait(h, l->fd, MM_READABLE) == 0)
			return mm_fault_set(why, MM_FAULT_PEER, "no connection in time");
		state = take_some(l, &has_more, why);
	}
	return state == MM_LINK_READY;
}

/* Until the server takes questions. */
static bool log_in(struct mm_handshake *h, struct link *l, const struct mm_database_login *login,
	struct mm_fault *why)
{
	bool is_path = login->server.address[0] == '/', has_tls = is_on(login, "start_tls") || is_on(login, "ldaps");
	bool is_v6 = strchr(login->server.name, ':') != NULL;
	char url[300];
	snprintf(url, sizeof url, is_path ? "ldapi:///" : is_v6 ? "ldap://[%s]" : "ldap://%s", login->server.name);
	int error = ld.init_fd(l->fd, is_path ? PROTO_IPC : PROTO_TCP, url, &l->ld);
	if (error != SUCCESS) {
		l->ld = NULL;
		return say(error, why);
	}
	set_options(l, login, mm_handshake_seconds(h));
	return (!has_tls || begin_tls(l, login, why))
		&& ((!has_tls && !is_on(login, "bind")) || bind_to(h, l, login, why));
}

static void *connect_to(struct mm_handshake *h, const struct mm_database_login *login, struct mm_fault *why)
{
	struct link *l = calloc(1, sizeof *l);
	if (l == NULL) {
		mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory");
		return NULL;
	}
	l->fd = connect_socket(h, &login->server, why);
	if (l->fd >= 0) {
		mm_handshake_guard(h, l->fd);
		if (log_in(h, l, login, why))
			return l;
	}
	close_link(l);
	return NULL;
}

/* ---- asking ---- */

enum { BASE, SCOPE, FILTER, DEREFERENCE, SIZE_LIMIT, MAY_LACK_BASE, ATTRIBUTES };

static bool ask(void *link, const struct mm_question_parts *q, struct mm_answer *answer, struct mm_fault *why)
{
	struct link *l = link;
	struct quiet quiet;
	char **names = calloc(q->count + 1, sizeof *names);
	if (names == NULL || q->count < ATTRIBUTES) {
		free(names);
		return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory");
	}
	for (unsigned i = ATTRIBUTES; i < q->count; i++)
		names[i - ATTRIBUTES] = (char *)(uintptr_t)q->parts[i].bytes;
	int dereference = atoi(q->parts[DEREFERENCE].bytes);
	l->answer = answer;
	l->may_lack_base = q->parts[MAY_LACK_BASE].bytes[0] == '1';
	ld.set_option(l->ld, OPT_DEREF, &dereference);
	begin_quiet(&quiet);
	int error = ld.search_ext(l->ld, q->parts[BASE].bytes, atoi(q->parts[SCOPE].bytes), q->parts[FILTER].bytes,
		names, 0, NULL, NULL, NULL, atoi(q->parts[SIZE_LIMIT].bytes), &l->message);
	end_quiet(&quiet);
	free(names);
	if (error == SUCCESS)
		return true;
	l->message = 0;
	if (error == FILTER_ERROR) {
		mm_answer_refuse(answer, "query_filter is not a filter (RFC 4515)");
		return true;
	}
	return fail(error, why) != MM_LINK_FAILED;
}

static enum mm_link_state step(void *link, int ready, struct mm_link_wants *wants, struct mm_fault *why)
{
	struct link *l = link;
	struct quiet quiet;
	(void)ready;
	begin_quiet(&quiet);
	bool has_more = false;
	enum mm_link_state state = l->message != 0 ? take_some(l, &has_more, why) : MM_LINK_READY;
	end_quiet(&quiet);
	*wants = (struct mm_link_wants){ l->fd, MM_READABLE | (has_more ? MM_WRITABLE : 0) };  /* which it is at once */
	return state;
}

const struct mm_database_driver mm_ldap_driver = { "ldap", load, connect_to, close_link, ask, step };
