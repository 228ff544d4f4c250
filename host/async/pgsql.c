/* A. A question goes through the extended protocol, which takes one statement only, and its rows come one by one, so
 *    that an endless answer is noticed before it fills the memory.
 * B. libpq resolves names with getaddrinfo(), which blocks: `hostaddr` keeps it from that, and comes after dbname,
 *    which may be a connection string with a host of its own. */
#include "async/pgsql.h"

#include "async/library.h"
#include "base/watch.h"

#include <stdlib.h>
#include <stdio.h>
#include <string.h>

/* ---- what we use of libpq, by its ABI of version 5 ---- */

enum { CONNECTION_OK = 0, CONNECTION_BAD = 1 };
enum { POLLING_FAILED = 0, POLLING_READING = 1, POLLING_WRITING = 2, POLLING_OK = 3 };
enum { COMMAND_OK = 1, TUPLES_OK = 2, FATAL_ERROR = 7, SINGLE_TUPLE = 9 };
enum { DIAG_SQLSTATE = 'C', DIAG_MESSAGE = 'M' };

typedef struct pg_conn PGconn;
typedef struct pg_result PGresult;

static struct {
	PGconn     *(*connectStartParams)(const char *const *, const char *const *, int);
	int         (*connectPoll)(PGconn *);
	int         (*status)(const PGconn *);
	int         (*socket)(const PGconn *);
	char       *(*errorMessage)(const PGconn *);
	void        (*finish)(PGconn *);
	int         (*setnonblocking)(PGconn *, int);
	size_t      (*escapeStringConn)(PGconn *, char *, const char *, size_t, int *);
	int         (*sendQueryParams)(PGconn *, const char *, int, const unsigned *, const char *const *, const int *,
		const int *, int);
	int         (*setSingleRowMode)(PGconn *);
	int         (*consumeInput)(PGconn *);
	int         (*flush)(PGconn *);
	int         (*isBusy)(PGconn *);
	PGresult   *(*getResult)(PGconn *);
	int         (*resultStatus)(const PGresult *);
	char       *(*resultErrorField)(const PGresult *, int);
	int         (*ntuples)(const PGresult *);
	int         (*nfields)(const PGresult *);
	int         (*getisnull)(const PGresult *, int, int);
	int         (*getlength)(const PGresult *, int, int);
	char       *(*getvalue)(const PGresult *, int, int);
	void        (*clear)(PGresult *);
	void     *(*(*setNoticeProcessor)(PGconn *, void (*)(void *, const char *), void *))(void *, const char *);
} pq;

static bool load(struct mm_fault *why)
{
	static const char *const files[] = { "libpq.so.5", NULL };
	static const struct mm_library_function functions[] = {
		{ "PQconnectStartParams", &pq.connectStartParams }, { "PQconnectPoll", &pq.connectPoll },
		{ "PQstatus", &pq.status }, { "PQsocket", &pq.socket }, { "PQerrorMessage", &pq.errorMessage },
		{ "PQfinish", &pq.finish }, { "PQsetnonblocking", &pq.setnonblocking },
		{ "PQescapeStringConn", &pq.escapeStringConn }, { "PQsendQueryParams", &pq.sendQueryParams },
		{ "PQsetSingleRowMode", &pq.setSingleRowMode }, { "PQconsumeInput", &pq.consumeInput },
		{ "PQflush", &pq.flush }, { "PQisBusy", &pq.isBusy }, { "PQgetResult", &pq.getResult },
		{ "PQresultStatus", &pq.resultStatus }, { "PQresultErrorField", &pq.resultErrorField },
		{ "PQntuples", &pq.ntuples }, { "PQnfields", &pq.nfields }, { "PQgetisnull", &pq.getisnull },
		{ "PQgetlength", &pq.getlength }, { "PQgetvalue", &pq.getvalue }, { "PQclear", &pq.clear },
		{ "PQsetNoticeProcessor", &pq.setNoticeProcessor },
	};
	return mm_library_load(files, "libpq5", functions, sizeof functions / sizeof *functions, why);
}

/* ---- connecting ---- */

enum { EXTRA_SETTINGS = 7 };

struct link {
	PGconn           *conn;         /* owned */
	struct mm_answer *answer;       /* borrowed; NULL: none is expected */
};

/* libpq would write it to standard error. */
static void ignore_notice(void *self, const char *text)
{
	(void)self, (void)text;
}

/* NULL: out of memory. */
static PGconn *start(const struct mm_database_login *login)
{
	const struct mm_database_server *s = &login->server;
	const char **names = calloc(2 * (login->count + EXTRA_SETTINGS + 1), sizeof *names);
	if (names == NULL)
		return NULL;
	const char **values = names + login->count + EXTRA_SETTINGS + 1;
	char port[16];
	bool is_path = s->address[0] == '/';
	unsigned n = 0;
#define SET(name, value) (names[n] = (name), values[n++] = (value))
	SET("fallback_application_name", "moonmilter");
	for (unsigned i = 0; i < login->count; i++)
		SET(login->settings[i].name, login->settings[i].value);
	snprintf(port, sizeof port, "%u", s->port);
	SET("host", is_path ? s->address : s->name);
	SET("hostaddr", is_path ? "" : s->address);
	SET("port", port);
	SET("client_encoding", "UTF8");
	SET("gssencmode", "disable");
#undef SET
	PGconn *conn = pq.connectStartParams(names, values, 1);
	free(names);
	return conn;
}

static void close_link(void *link)
{
	struct link *l = link;
	pq.finish(l->conn);
	free(l);
}

static bool fail(struct link *l, struct mm_fault *why)
{
	return mm_fault_set(why, MM_FAULT_PEER, "%s", pq.errorMessage(l->conn));
}

/* Until the server takes questions. */
static bool log_in(struct mm_handshake *h, struct link *l, struct mm_fault *why)
{
	int wants = POLLING_WRITING;
	if (pq.status(l->conn) == CONNECTION_BAD)
		return fail(l, why);
	pq.setNoticeProcessor(l->conn, ignore_notice, NULL);
	while (wants == POLLING_WRITING || wants == POLLING_READING) {
		int readiness = wants == POLLING_WRITING ? MM_WRITABLE : MM_READABLE;
		if (mm_handshake_wait(h, pq.socket(l->conn), readiness) == 0)
			return mm_fault_set(why, MM_FAULT_PEER, "no connection in time");
		wants = pq.connectPoll(l->conn);
	}
	return (wants == POLLING_OK && pq.setnonblocking(l->conn, 1) == 0) || fail(l, why);
}

static void *connect_to(struct mm_handshake *h, const struct mm_database_login *login, struct mm_fault *why)
{
	struct link *l = calloc(1, sizeof *l);
	if (l == NULL || (l->conn = start(login)) == NULL) {
		free(l);
		mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory");
		return NULL;
	}
	if (log_in(h, l, why))
		return l;
	close_link(l);
	return NULL;
}

/* ---- asking ---- */

/* Appends a value as it is written between quotes. */
static void append_escaped(struct link *l, struct mm_buffer *sql, struct mm_text value, bool *is_bad)
{
	int error = 0;
	uint8_t *to = mm_buffer_reserve(sql, 2 * value.size + 1);
	if (to == NULL)
		return;
	sql->size += pq.escapeStringConn(l->conn, (char *)to, value.bytes, value.size, &error);
	*is_bad = *is_bad || error != 0 || memchr(value.bytes, '\0', value.size) != NULL;
}

static bool ask(void *link, const struct mm_question_parts *q, struct mm_answer *answer, struct mm_fault *why)
{
	struct link *l = link;
	struct mm_buffer sql = { .size = 0 };
	bool is_bad = false;
	l->answer = answer;
	for (unsigned i = 0; i < q->count; i++) {
		if (i % 2 == 0)
			mm_buffer_append(&sql, q->parts[i].bytes, q->parts[i].size);
		else
			append_escaped(l, &sql, q->parts[i], &is_bad);
	}
	mm_buffer_append_u8(&sql, '\0');
	bool is_sent = !sql.failed && (is_bad
		|| (pq.sendQueryParams(l->conn, (char *)sql.bytes, 0, NULL, NULL, NULL, NULL, 0) == 1
			&& pq.setSingleRowMode(l->conn) == 1));
	if (is_bad)
		mm_answer_refuse(answer, "the key cannot be written in UTF-8");
	if (!is_sent)
		mm_fault_set(why, MM_FAULT_PEER, "%s", sql.failed ? "out of memory" : pq.errorMessage(l->conn));
	mm_buffer_free(&sql);
	return is_sent;
}

static void add_rows(struct mm_answer *a, const PGresult *r)
{
	int columns = pq.nfields(r), rows = pq.ntuples(r);
	for (int i = 0; i < rows && mm_answer_add_row(a, (unsigned)columns); i++) {
		bool fits = true;
		for (int j = 0; j < columns && fits; j++)
			fits = pq.getisnull(r, i, j) ? mm_answer_add_value(a, NULL, 0)
				: mm_answer_add_value(a, pq.getvalue(r, i, j), (size_t)pq.getlength(r, i, j));
	}
}

/* Does the server end the connection with this error? It shuts down, or is not up yet (SQLSTATE 57P01 to 57P03, class
 * 08). */
static bool ends_connection(const char *state)
{
	return state != NULL && (strncmp(state, "57P0", 4) == 0 || strncmp(state, "08", 2) == 0);
}

/* False: the connection is broken. */
static bool take_result(struct link *l, const PGresult *r, struct mm_fault *why)
{
	const char *state = pq.resultErrorField(r, DIAG_SQLSTATE), *text = pq.resultErrorField(r, DIAG_MESSAGE);
	switch (pq.resultStatus(r)) {
	case SINGLE_TUPLE:
	case TUPLES_OK:
		add_rows(l->answer, r);
		return true;
	case COMMAND_OK:
		mm_answer_refuse(l->answer, "the query gives no rows; write a SELECT");
		return true;
	case FATAL_ERROR:
		if (state == NULL || ends_connection(state)) {  /* libpq's own errors have no state */
			mm_fault_set(why, MM_FAULT_PEER, "%s", text != NULL ? text : pq.errorMessage(l->conn));
			return false;
		}
		mm_answer_refuse(l->answer, text != NULL ? text : state);
		return true;
	default:
		return mm_fault_set(why, MM_FAULT_PEER, "the query copies data; write a SELECT");
	}
}

static enum mm_link_state failed(struct link *l, struct mm_fault *why)
{
	fail(l, why);
	return MM_LINK_FAILED;
}

static enum mm_link_state step(void *link, int ready, struct mm_link_wants *wants, struct mm_fault *why)
{
	struct link *l = link;
	if (l->answer == NULL)
		goto answered;          /* just connected */
	if (l->answer->is_refused && l->answer->rows == 0 && ready == 0)
		goto answered;          /* it was not even sent */
	if ((ready & MM_READABLE) != 0 && pq.consumeInput(l->conn) == 0)
		return failed(l, why);
	int unsent = pq.flush(l->conn);
	if (unsent < 0)
		return failed(l, why);
	while (!pq.isBusy(l->conn)) {
		PGresult *r = pq.getResult(l->conn);
		if (r == NULL)
			goto answered;
		bool is_well = take_result(l, r, why);
		pq.clear(r);
		if (!is_well)
			return MM_LINK_FAILED;
		if (l->answer->is_too_large || l->answer->packed.failed)
			return MM_LINK_SPENT;
	}
	*wants = (struct mm_link_wants){ pq.socket(l->conn), MM_READABLE | (unsent ? MM_WRITABLE : 0) };
	return MM_LINK_WAITS;
answered:
	l->answer = NULL;
	*wants = (struct mm_link_wants){ pq.socket(l->conn), MM_READABLE };
	return MM_LINK_READY;
}

const struct mm_database_driver mm_pgsql_driver = { "pgsql", load, connect_to, close_link, ask, step };
