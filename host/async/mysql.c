/* A. The library runs each operation on a stack of its own and leaves it where it would wait: ..._start() and
 *    ..._cont() return what it waits for, 0 when it is over. An operation that is given up must still be led to its
 *    end, or what is on that stack leaks: its socket is shut down first, so that it fails wherever it looks.
 * B. Rows come one by one, so that an endless answer is noticed before it fills the memory.
 * C. The library compares a certificate with the name that it connects to. So when it verifies, it gets the name, and
 *    looks it up once more itself, on the thread that may block.
 * D. With SSL_ENFORCE, version 3.3 logs in without TLS when the server offers none, unless it verifies the server. */
#include "async/mysql.h"

#include "async/library.h"
#include "base/watch.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* ---- what we use of libmariadb, by its ABI of version 3 ---- */

enum { WAIT_READ = 1, WAIT_WRITE = 2, WAIT_EXCEPT = 4 };
enum { CONNECT_TIMEOUT = 0, PROTOCOL = 9, PROTOCOL_TCP = 1 };
enum { SSL_KEY = 25, SSL_CERT = 26, SSL_CA = 27, SSL_CAPATH = 28, SSL_CIPHER = 29 };
enum { SET_CHARSET_NAME = 7, LOCAL_INFILE = 8, SSL_VERIFY_SERVER_CERT = 21, SSL_ENFORCE = 38, NONBLOCK = 6000 };
enum { CLIENT_ERRORS_FROM = 2000, CLIENT_ERRORS_TO = 2999, ER_SERVER_SHUTDOWN = 1053, ER_CONNECTION_KILLED = 1927 };

typedef struct st_mysql MYSQL;
typedef struct st_mysql_res MYSQL_RES;
typedef char **MYSQL_ROW;

static struct {
	int            (*server_init)(int, char **, char **);
	MYSQL         *(*init)(MYSQL *);
	int            (*options)(MYSQL *, int, const void *);
	void           (*close)(MYSQL *);
	int            (*get_socket)(MYSQL *);
	const char    *(*get_ssl_cipher)(MYSQL *);
	const char    *(*error)(MYSQL *);
	unsigned       (*get_errno)(MYSQL *);
	unsigned long  (*real_escape_string)(MYSQL *, char *, const char *, unsigned long);
	unsigned       (*num_fields)(MYSQL_RES *);
	unsigned long *(*fetch_lengths)(MYSQL_RES *);
	MYSQL_RES     *(*use_result)(MYSQL *);
	void           (*free_result)(MYSQL_RES *);
	int            (*connect_start)(MYSQL **, MYSQL *, const char *, const char *, const char *, const char *,
		unsigned, const char *, unsigned long);
	int            (*connect_cont)(MYSQL **, MYSQL *, int);
	int            (*query_start)(int *, MYSQL *, const char *, unsigned long);
	int            (*query_cont)(int *, MYSQL *, int);
	int            (*fetch_row_start)(MYSQL_ROW *, MYSQL_RES *);
	int            (*fetch_row_cont)(MYSQL_ROW *, MYSQL_RES *, int);
	int            (*free_result_start)(MYSQL_RES *);
	int            (*free_result_cont)(MYSQL_RES *, int);
} my;

static bool load(struct mm_fault *why)
{
	static const char *const files[] = { "libmariadb.so.3", NULL };
	static const struct mm_library_function functions[] = {
		{ "mysql_server_init", &my.server_init }, { "mysql_init", &my.init }, { "mysql_options", &my.options },
		{ "mysql_close", &my.close }, { "mysql_get_socket", &my.get_socket }, { "mysql_error", &my.error },
		{ "mysql_get_ssl_cipher", &my.get_ssl_cipher },
		{ "mysql_errno", &my.get_errno }, { "mysql_real_escape_string", &my.real_escape_string },
		{ "mysql_num_fields", &my.num_fields }, { "mysql_fetch_lengths", &my.fetch_lengths },
		{ "mysql_use_result", &my.use_result }, { "mysql_free_result", &my.free_result },
		{ "mysql_real_connect_start", &my.connect_start }, { "mysql_real_connect_cont", &my.connect_cont },
		{ "mysql_real_query_start", &my.query_start }, { "mysql_real_query_cont", &my.query_cont },
		{ "mysql_fetch_row_start", &my.fetch_row_start }, { "mysql_fetch_row_cont", &my.fetch_row_cont },
		{ "mysql_free_result_start", &my.free_result_start },
		{ "mysql_free_result_cont", &my.free_result_cont },
	};
	if (!mm_library_load(files, "libmariadb3", functions, sizeof functions / sizeof *functions, why))
		return false;
	return my.server_init(0, NULL, NULL) == 0
		|| mm_fault_set(why, MM_FAULT_RESOURCE, "libmariadb cannot be initialized");
}

/* ---- operations ---- */

enum operation { NOTHING, CONNECT, QUERY, FETCH, FREE };

struct link {
	MYSQL            *mysql;        /* owned */
	MYSQL            *connected;    /* result of CONNECT */
	int               failed;       /* result of QUERY */
	MYSQL_ROW         row;          /* result of FETCH */
	MYSQL_RES        *result;       /* owned; NULL: none */
	enum operation    operation;    /* what is not over */
	int               waits_for;    /* WAIT_ bits; 0: the operation is over */
	struct mm_buffer  sql;          /* owned: QUERY reads it */
	struct mm_answer *answer;       /* borrowed */
};

static void go_on(struct link *l, int happened)
{
	switch (l->operation) {
	case CONNECT: l->waits_for = my.connect_cont(&l->connected, l->mysql, happened);        break;
	case QUERY:   l->waits_for = my.query_cont(&l->failed, l->mysql, happened);             break;
	case FETCH:   l->waits_for = my.fetch_row_cont(&l->row, l->result, happened);           break;
	case FREE:    l->waits_for = my.free_result_cont(l->result, happened);                  break;
	default:      l->waits_for = 0;                                                         break;
	}
}

/* mm_readiness bits of what the operation waits for, and what has happened of it. */
static int wanted(const struct link *l)
{
	return ((l->waits_for & (WAIT_READ | WAIT_EXCEPT)) != 0 ? MM_READABLE : 0)
		| ((l->waits_for & WAIT_WRITE) != 0 ? MM_WRITABLE : 0);
}

static int happened(const struct link *l, int ready)
{
	return l->waits_for & (((ready & MM_READABLE) != 0 ? WAIT_READ | WAIT_EXCEPT : 0)
		| ((ready & MM_WRITABLE) != 0 ? WAIT_WRITE : 0));
}

static void close_link(void *link)
{
	enum { ROUNDS = 100 };          /* far more than an operation has waits */
	struct link *l = link;
	int fd = my.get_socket(l->mysql);
	if (l->operation != NOTHING && fd >= 0)
		shutdown(fd, SHUT_RDWR);
	for (int i = 0; l->waits_for != 0 && i < ROUNDS; i++)
		go_on(l, l->waits_for);         /* note A */
	if (l->result != NULL && l->operation != FREE)
		my.free_result(l->result);
	my.close(l->mysql);
	mm_buffer_free(&l->sql);
	free(l);
}

static enum mm_link_state fail(struct link *l, struct mm_fault *why)
{
	mm_fault_set(why, MM_FAULT_PEER, "%s", my.error(l->mysql));
	return MM_LINK_FAILED;
}

/* True for "yes". */
static bool is_on(const struct mm_database_login *login, const char *name)
{
	const char *value = mm_database_setting(login, name);
	return value != NULL && strcmp(value, "yes") == 0;
}

/* The handshake of TLS blocks, at most for CONNECT_TIMEOUT; leaving breaks it off. */
static void set_options(struct mm_handshake *h, MYSQL *mysql, const struct mm_database_login *login)
{
	static const struct { int option; const char *setting; } files[] = {
		{ SSL_KEY, "tls_key_file" }, { SSL_CERT, "tls_cert_file" }, { SSL_CA, "tls_CAfile" },
		{ SSL_CAPATH, "tls_CApath" }, { SSL_CIPHER, "tls_ciphers" },
	};
	static const unsigned none, tcp = PROTOCOL_TCP;
	char enforce = (char)is_on(login, "tls"), verify = (char)is_on(login, "tls_verify_cert");
	unsigned seconds = (unsigned)mm_handshake_seconds(h) + 1;
	my.options(mysql, NONBLOCK, NULL);
	my.options(mysql, SET_CHARSET_NAME, "utf8mb4");
	my.options(mysql, LOCAL_INFILE, &none);
	my.options(mysql, CONNECT_TIMEOUT, &seconds);
	if (login->server.address[0] != '/')
		my.options(mysql, PROTOCOL, &tcp);      /* "localhost" would be a socket */
	for (size_t i = 0; i < sizeof files / sizeof *files; i++)
		if (mm_database_setting(login, files[i].setting) != NULL)
			my.options(mysql, files[i].option, mm_database_setting(login, files[i].setting));
	my.options(mysql, SSL_ENFORCE, &enforce);               /* from 3.4 on these two are on by themselves */
	my.options(mysql, SSL_VERIFY_SERVER_CERT, &verify);
}

/* Until the server takes questions. */
static bool log_in(struct mm_handshake *h, struct link *l, const struct mm_database_login *login,
	struct mm_fault *why)
{
	const struct mm_database_server *s = &login->server;
	bool is_path = s->address[0] == '/';
	const char *host = is_on(login, "tls_verify_cert") ? s->name : s->address;      /* note C */
	l->operation = CONNECT;
	l->waits_for = my.connect_start(&l->connected, l->mysql, is_path ? NULL : host,
		mm_database_setting(login, "user"), mm_database_setting(login, "password"),
		mm_database_setting(login, "dbname"), is_path ? 0 : s->port, is_path ? s->address : NULL, 0);
	while (l->waits_for != 0) {
		int ready = mm_handshake_wait(h, my.get_socket(l->mysql), wanted(l));
		if (ready == 0)
			return mm_fault_set(why, MM_FAULT_PEER, "no connection in time");
		go_on(l, happened(l, ready));
	}
	l->operation = NOTHING;
	if (l->connected == NULL)
		return mm_fault_set(why, MM_FAULT_PEER, "%s", my.error(l->mysql));
	return !is_on(login, "tls") || my.get_ssl_cipher(l->mysql) != NULL      /* note D */
		|| mm_fault_set(why, MM_FAULT_PEER, "the server offers no TLS");
}

static void *connect_to(struct mm_handshake *h, const struct mm_database_login *login, struct mm_fault *why)
{
	struct link *l = calloc(1, sizeof *l);
	if (l == NULL || (l->mysql = my.init(NULL)) == NULL) {
		free(l);
		mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory");
		return NULL;
	}
	set_options(h, l->mysql, login);
	if (log_in(h, l, login, why))
		return l;
	close_link(l);
	return NULL;
}

/* ---- asking ---- */

static bool ask(void *link, const struct mm_question_parts *q, struct mm_answer *answer, struct mm_fault *why)
{
	struct link *l = link;
	l->answer = answer;
	mm_buffer_clear(&l->sql);
	for (unsigned i = 0; i < q->count; i++) {
		struct mm_text part = q->parts[i];
		uint8_t *to = mm_buffer_reserve(&l->sql, 2 * part.size + 1);
		if (to == NULL)
			return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory");
		if (i % 2 == 0)
			memcpy(to, part.bytes, part.size);
		l->sql.size += i % 2 == 0 ? part.size
			: my.real_escape_string(l->mysql, (char *)to, part.bytes, part.size);
	}
	l->operation = QUERY;
	l->waits_for = my.query_start(&l->failed, l->mysql, (char *)l->sql.bytes, l->sql.size);
	return true;
}

/* The server says no, or the connection is broken. */
static enum mm_link_state end_with_error(struct link *l, struct mm_fault *why)
{
	unsigned number = my.get_errno(l->mysql);
	if ((number >= CLIENT_ERRORS_FROM && number <= CLIENT_ERRORS_TO) || number == ER_SERVER_SHUTDOWN
			|| number == ER_CONNECTION_KILLED)
		return fail(l, why);
	mm_answer_refuse(l->answer, my.error(l->mysql));
	l->operation = l->result != NULL ? FREE : NOTHING;
	if (l->operation == NOTHING)
		return MM_LINK_READY;
	l->waits_for = my.free_result_start(l->result);
	return MM_LINK_WAITS;
}

static enum mm_link_state after_query(struct link *l, struct mm_fault *why)
{
	if (l->failed != 0)
		return end_with_error(l, why);
	l->result = my.use_result(l->mysql);
	if (l->result == NULL) {
		if (my.get_errno(l->mysql) != 0)
			return end_with_error(l, why);
		mm_answer_refuse(l->answer, "the query gives no rows; write a SELECT");
		l->operation = NOTHING;
		return MM_LINK_READY;
	}
	l->operation = FETCH;
	l->waits_for = my.fetch_row_start(&l->row, l->result);
	return MM_LINK_WAITS;
}

static enum mm_link_state after_fetch(struct link *l, struct mm_fault *why)
{
	if (l->row == NULL && my.get_errno(l->mysql) != 0)
		return end_with_error(l, why);
	if (l->row == NULL) {
		l->operation = FREE;
		l->waits_for = my.free_result_start(l->result);
		return MM_LINK_WAITS;
	}
	unsigned columns = my.num_fields(l->result);
	const unsigned long *sizes = my.fetch_lengths(l->result);
	bool fits = mm_answer_add_row(l->answer, columns);
	for (unsigned i = 0; i < columns && fits; i++)
		fits = mm_answer_add_value(l->answer, l->row[i], l->row[i] != NULL ? sizes[i] : 0);
	if (!fits)
		return MM_LINK_SPENT;
	l->waits_for = my.fetch_row_start(&l->row, l->result);
	return MM_LINK_WAITS;
}

/* The operation is over: begins the next one. */
static enum mm_link_state next(struct link *l, struct mm_fault *why)
{
	switch (l->operation) {
	case QUERY:
		return after_query(l, why);
	case FETCH:
		return after_fetch(l, why);
	default:
		l->result = NULL;       /* FREE has freed it */
		break;
	}
	l->operation = NOTHING;
	return MM_LINK_READY;
}

static enum mm_link_state step(void *link, int ready, struct mm_link_wants *wants, struct mm_fault *why)
{
	struct link *l = link;
	enum mm_link_state state = MM_LINK_WAITS;
	if (ready != 0)
		go_on(l, happened(l, ready));
	while (l->waits_for == 0 && state == MM_LINK_WAITS)
		state = next(l, why);
	*wants = (struct mm_link_wants){ my.get_socket(l->mysql), wanted(l) };
	return state;
}

const struct mm_database_driver mm_mysql_driver = { "mysql", load, connect_to, close_link, ask, step };
