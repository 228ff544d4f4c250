/* A. libldap writes with write(2), which raises SIGPIPE when the server is gone, and an embedding program may not
 *    ignore that: the signal is blocked around each call that may write, and taken off if it came.
 * B. Its first call of all looks up the name of this machine, which may ask a name server; so load() makes it. */
#include "async/ldap.h"

#include "async/library.h"
#include "base/bounds.h"
#include "base/watch.h"

#include <arpa/inet.h>
#include <errno.h>
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
	int                               fd;           /* owned while ld is NULL */
	LDAP                             *ld;           /* owned */
	const struct mm_database_setting *settings;     /* borrowed */
	unsigned                          setting_count;
	bool                              is_path;
	int                               message;      /* the id of what is under way; 0: nothing */
	bool                              may_lack_base;
	struct mm_answer                 *answer;       /* borrowed; NULL while it connects */
};

static const char *setting(const struct link *l, const char *name)
{
	for (unsigned i = 0; i < l->setting_count; i++)
		if (strcmp(l->settings[i].name, name) == 0)
			return l->settings[i].value;
	return "";
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

static void *connect_to(const struct mm_database_setting *settings, unsigned count, const struct mm_database_server *s,
	struct mm_fault *why)
{
	struct sockaddr_storage address;
	socklen_t size = address_of(s, &address);
	struct link *l = calloc(1, sizeof *l);
	int fd = l != NULL && size > 0 ? socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) : -1;
	if (fd < 0 || (connect(fd, (struct sockaddr *)&address, size) != 0 && errno != EINPROGRESS)) {
		mm_fault_set(why, MM_FAULT_PEER, "%s", l == NULL ? "out of memory" : size == 0 ? "not an address"
			: strerror(errno));
		if (fd >= 0)
			close(fd);
		free(l);
		return NULL;
	}
	*l = (struct link){ .fd = fd, .settings = settings, .setting_count = count,
		.is_path = address.ss_family == AF_UNIX };
	return l;
}

static void close_link(void *link)
{
	struct link *l = link;
	struct quiet quiet;
	begin_quiet(&quiet);
	if (l->ld != NULL)
		ld.unbind_ext(l->ld, NULL, NULL);
	else
		close(l->fd);
	end_quiet(&quiet);
	free(l);
}

static enum mm_link_state fail(int error, struct mm_fault *why)
{
	mm_fault_set(why, MM_FAULT_PEER, "%s", ld.err2string(error));
	return MM_LINK_FAILED;
}

static int last_error(struct link *l)
{
	int error = -1;
	ld.get_option(l->ld, OPT_RESULT_CODE, &error);
	return error;
}

/* The socket is connected: hands it to the library and binds. */
static enum mm_link_state begin_session(struct link *l, struct mm_fault *why)
{
	static const int none;
	size_t most = 2 * MM_DATABASE_ANSWER_MAX;
	int version = strcmp(setting(l, "version"), "2") == 0 ? 2 : 3, error = 0;
	void *buffer = NULL;
	socklen_t size = sizeof error;
	if (getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0) {
		mm_fault_set(why, MM_FAULT_PEER, "%s", strerror(error != 0 ? error : errno));
		return MM_LINK_FAILED;
	}
	error = ld.init_fd(l->fd, l->is_path ? PROTO_IPC : PROTO_TCP, l->is_path ? "ldapi:///" : "ldap:///", &l->ld);
	if (error != SUCCESS) {
		l->ld = NULL;
		return fail(error, why);
	}
	ld.set_option(l->ld, OPT_PROTOCOL_VERSION, &version);
	ld.set_option(l->ld, OPT_REFERRALS, NULL);      /* LDAP_OPT_OFF */
	ld.set_option(l->ld, OPT_DEREF, &none);
	if (ld.get_option(l->ld, OPT_SOCKBUF, &buffer) == 0 && buffer != NULL)
		ld.sockbuf_ctrl(buffer, SB_SET_MAX_INCOMING, &most);
	if (strcmp(setting(l, "bind"), "yes") != 0)
		return MM_LINK_READY;
	const char *password = setting(l, "bind_pw");
	struct berval credentials = { strlen(password), (char *)(uintptr_t)password };
	error = ld.sasl_bind(l->ld, setting(l, "bind_dn"), NULL, &credentials, NULL, NULL, &l->message);
	return error == SUCCESS ? MM_LINK_WAITS : fail(error, why);
}

/* ---- results ---- */

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

static enum mm_link_state take_all(struct link *l, struct mm_fault *why)
{
	enum mm_link_state state = MM_LINK_WAITS;
	while (state == MM_LINK_WAITS) {
		struct timeval now = { 0, 0 };
		LDAPMessage *m = NULL;
		int type = ld.result(l->ld, l->message, 0, &now, &m);
		if (type == 0)
			return MM_LINK_WAITS;
		if (type < 0)
			return fail(last_error(l), why);
		state = take(l, type, m, why);
		ld.msgfree(m);
	}
	return state;
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
	enum mm_link_state state = MM_LINK_WAITS;
	*wants = (struct mm_link_wants){ l->fd, l->ld != NULL ? MM_READABLE : MM_WRITABLE };
	if (l->ld == NULL && ready == 0)
		return state;
	begin_quiet(&quiet);
	if (l->ld == NULL)
		state = begin_session(l, why);
	if (state == MM_LINK_WAITS)
		state = l->message != 0 ? take_all(l, why) : MM_LINK_READY;
	end_quiet(&quiet);
	wants->readiness = MM_READABLE;
	return state;
}

const struct mm_database_driver mm_ldap_driver = { "ldap", load, connect_to, close_link, ask, step };
