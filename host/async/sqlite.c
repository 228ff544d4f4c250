#include "async/sqlite.h"

#include "async/library.h"
#include "base/watch.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- what we use of libsqlite3, by its ABI of version 3 ---- */

enum { ROW = 100, DONE = 101, OPEN_READONLY = 1, OPEN_NOMUTEX = 0x8000, NULL_VALUE = 5 };
enum { BUSY_MS = 5000, STEPS_BETWEEN_LOOKS = 1000, STACK_SIZE = 512 * 1024 };

typedef struct sqlite3 sqlite3;
typedef struct sqlite3_stmt sqlite3_stmt;

static struct {
	int         (*open_v2)(const char *, sqlite3 **, int, const char *);
	int         (*close_v2)(sqlite3 *);
	int         (*busy_timeout)(sqlite3 *, int);
	void        (*progress_handler)(sqlite3 *, int, int (*)(void *), void *);
	const char *(*errmsg)(sqlite3 *);
	int         (*prepare_v2)(sqlite3 *, const char *, int, sqlite3_stmt **, const char **);
	int         (*column_count)(sqlite3_stmt *);
	int         (*step)(sqlite3_stmt *);
	int         (*column_type)(sqlite3_stmt *, int);
	const void *(*column_text)(sqlite3_stmt *, int);
	int         (*column_bytes)(sqlite3_stmt *, int);
	int         (*finalize)(sqlite3_stmt *);
} sq;

static bool load(struct mm_fault *why)
{
	static const char *const files[] = { "libsqlite3.so.0", NULL };
	static const struct mm_library_function functions[] = {
		{ "sqlite3_open_v2", &sq.open_v2 }, { "sqlite3_close_v2", &sq.close_v2 },
		{ "sqlite3_busy_timeout", &sq.busy_timeout }, { "sqlite3_progress_handler", &sq.progress_handler },
		{ "sqlite3_errmsg", &sq.errmsg }, { "sqlite3_prepare_v2", &sq.prepare_v2 },
		{ "sqlite3_column_count", &sq.column_count }, { "sqlite3_step", &sq.step },
		{ "sqlite3_column_type", &sq.column_type }, { "sqlite3_column_text", &sq.column_text },
		{ "sqlite3_column_bytes", &sq.column_bytes }, { "sqlite3_finalize", &sq.finalize },
	};
	return mm_library_load(files, "libsqlite3-0", functions, sizeof functions / sizeof *functions, why);
}

/* ---- what loop and thread share ---- */

enum work { IDLE, ASKED, FINISHED, BROKEN };

struct link {
	/* of the thread, once it runs */
	sqlite3          *db;           /* owned */
	dev_t             device;       /* of the file that is open */
	ino_t             inode;
	/* of the loop */
	struct mm_answer *answer;       /* borrowed; NULL: none is expected */
	/* of the thread while it is asked, else of the loop */
	struct mm_buffer  sql;          /* NUL-ended; empty: only open the file */
	struct mm_answer  own;          /* owned */
	struct mm_fault   why;          /* of BROKEN */
	/* guarded by mutex */
	pthread_mutex_t   mutex;
	pthread_cond_t    wake;
	enum work         work;
	bool              ends;         /* the loop has left: the thread frees this */
	int               event;        /* owned by the loop: the thread writes to it while ends is false */
	char              path[];
};

static bool is_left(struct link *l)
{
	pthread_mutex_lock(&l->mutex);
	bool ends = l->ends;
	pthread_mutex_unlock(&l->mutex);
	return ends;
}

static void free_link(struct link *l)
{
	mm_buffer_free(&l->sql);
	mm_buffer_free(&l->own.packed);
	pthread_mutex_destroy(&l->mutex);
	pthread_cond_destroy(&l->wake);
	free(l);
}

/* ---- the thread ---- */

static int on_progress(void *link)
{
	return is_left(link);
}

static bool break_off(struct link *l, const char *text)
{
	mm_fault_set(&l->why, MM_FAULT_PEER, "%s: %s", l->path, text);
	if (l->db != NULL)
		sq.close_v2(l->db);
	l->db = NULL;
	return false;
}

/* Opens the file, or the one that has taken its place. */
static bool open_file(struct link *l)
{
	struct stat st;
	if (stat(l->path, &st) != 0)
		return break_off(l, "there is no such file, or it cannot be reached");
	if (l->db != NULL && st.st_dev == l->device && st.st_ino == l->inode)
		return true;
	if (l->db != NULL)
		sq.close_v2(l->db);
	l->db = NULL;
	if (sq.open_v2(l->path, &l->db, OPEN_READONLY | OPEN_NOMUTEX, NULL) != 0)
		return break_off(l, l->db != NULL ? sq.errmsg(l->db) : "out of memory");
	sq.busy_timeout(l->db, BUSY_MS);
	sq.progress_handler(l->db, STEPS_BETWEEN_LOOKS, on_progress, l);
	l->device = st.st_dev;
	l->inode = st.st_ino;
	return true;
}

static bool add_row(struct link *l, sqlite3_stmt *statement)
{
	if (sq.column_count(statement) == 0 || !mm_answer_add_row(&l->own, 1))
		return false;
	if (sq.column_type(statement, 0) == NULL_VALUE)
		return mm_answer_add_value(&l->own, NULL, 0);
	const void *text = sq.column_text(statement, 0);
	return mm_answer_add_value(&l->own, text != NULL ? text : "", (size_t)sq.column_bytes(statement, 0));
}

static void answer(struct link *l)
{
	sqlite3_stmt *statement = NULL;
	int rc = sq.prepare_v2(l->db, (const char *)l->sql.bytes, (int)l->sql.size, &statement, NULL);
	if (rc == 0 && statement == NULL) {
		mm_answer_refuse(&l->own, "the query is empty");
		return;
	}
	while (rc == 0 || rc == ROW) {
		rc = sq.step(statement);
		if (rc == ROW && !add_row(l, statement))
			break;
	}
	if (rc != ROW && rc != DONE)
		mm_answer_refuse(&l->own, sq.errmsg(l->db));
	sq.finalize(statement);
}

/* Waits for a question. False: the loop has left. */
static bool wait_for_work(struct link *l)
{
	pthread_mutex_lock(&l->mutex);
	while (l->work != ASKED && !l->ends)
		pthread_cond_wait(&l->wake, &l->mutex);
	bool ends = l->ends;
	pthread_mutex_unlock(&l->mutex);
	return !ends;
}

static void tell(struct link *l, enum work work)
{
	uint64_t one = 1;
	pthread_mutex_lock(&l->mutex);
	l->work = work;
	if (!l->ends && write(l->event, &one, sizeof one) < 0)
		l->why.class = MM_FAULT_BUG;    /* an eventfd takes any one below its maximum */
	pthread_mutex_unlock(&l->mutex);
}

static void *run(void *link)
{
	struct link *l = link;
	while (wait_for_work(l)) {
		bool is_open = open_file(l);
		if (is_open && l->sql.size > 0)
			answer(l);
		tell(l, is_open ? FINISHED : BROKEN);
	}
	if (l->db != NULL)
		sq.close_v2(l->db);
	free_link(l);
	return NULL;
}

/* Signals are for the loop. */
static bool start_thread(struct link *l)
{
	pthread_attr_t a;
	pthread_t thread;
	sigset_t all, had;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &had);
	pthread_attr_init(&a);
	pthread_attr_setstacksize(&a, STACK_SIZE);
	pthread_attr_setdetachstate(&a, PTHREAD_CREATE_DETACHED);
	int rc = pthread_create(&thread, &a, run, l);
	pthread_attr_destroy(&a);
	pthread_sigmask(SIG_SETMASK, &had, NULL);
	return rc == 0;
}

/* ---- the loop ---- */

static void give_work(struct link *l)
{
	pthread_mutex_lock(&l->mutex);
	l->work = ASKED;
	pthread_cond_signal(&l->wake);
	pthread_mutex_unlock(&l->mutex);
}

static void close_link(void *link)
{
	struct link *l = link;
	pthread_mutex_lock(&l->mutex);
	l->ends = true;
	close(l->event);
	pthread_cond_signal(&l->wake);
	pthread_mutex_unlock(&l->mutex);        /* it may be gone now */
}

static struct link *new_link(const char *path)
{
	struct link *l = calloc(1, sizeof *l + strlen(path) + 1);
	int event = l != NULL ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
	if (event < 0) {
		free(l);
		return NULL;
	}
	strcpy(l->path, path);
	l->event = event;
	pthread_mutex_init(&l->mutex, NULL);
	pthread_cond_init(&l->wake, NULL);
	return l;
}

static void *connect_to(struct mm_handshake *h, const struct mm_database_login *login, struct mm_fault *why)
{
	(void)h;
	struct link *l = new_link(login->server.address);
	const char *text = l == NULL ? "no memory or descriptor for a connection" : !open_file(l) ? l->why.text
		: !start_thread(l) ? "no thread for a connection" : NULL;
	if (text == NULL)
		return l;
	mm_fault_set(why, MM_FAULT_PEER, "%s", text);
	if (l != NULL) {
		close(l->event);
		if (l->db != NULL)
			sq.close_v2(l->db);
		free_link(l);
	}
	return NULL;
}

static void append_escaped(struct mm_buffer *sql, struct mm_text value)
{
	for (size_t i = 0; i < value.size; i++) {
		if (value.bytes[i] == '\'')
			mm_buffer_append_u8(sql, '\'');
		mm_buffer_append_u8(sql, (uint8_t)value.bytes[i]);
	}
}

static bool ask(void *link, const struct mm_question_parts *q, struct mm_answer *answer, struct mm_fault *why)
{
	struct link *l = link;
	bool is_bad = false;
	mm_buffer_clear(&l->sql);
	for (unsigned i = 0; i < q->count; i++) {
		is_bad = is_bad || memchr(q->parts[i].bytes, '\0', q->parts[i].size) != NULL;
		if (i % 2 == 0)
			mm_buffer_append(&l->sql, q->parts[i].bytes, q->parts[i].size);
		else
			append_escaped(&l->sql, q->parts[i]);
	}
	mm_buffer_append_u8(&l->sql, '\0');
	if (l->sql.failed)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory");
	if (is_bad)
		mm_buffer_clear(&l->sql);       /* then the thread only looks whether the file is there */
	l->answer = answer;
	if (is_bad)
		mm_answer_refuse(answer, "a key with a byte 0");
	give_work(l);
	return true;
}

/* What the thread has found becomes the answer. */
static void hand_over(struct link *l)
{
	struct mm_answer *a = l->answer, *own = &l->own;
	mm_buffer_append(&a->packed, own->packed.bytes, own->packed.size);
	a->rows += own->rows;
	a->is_too_large = a->is_too_large || own->is_too_large;
	if (own->is_refused)
		mm_answer_refuse(a, own->why.text);
	if (own->packed.failed)
		mm_answer_refuse(a, "out of memory");
	mm_buffer_free(&own->packed);
	*own = (struct mm_answer){ .rows = 0 };
	l->answer = NULL;
}

static enum mm_link_state step(void *link, int ready, struct mm_link_wants *wants, struct mm_fault *why)
{
	struct link *l = link;
	uint64_t count;
	(void)ready;
	*wants = (struct mm_link_wants){ l->event, MM_READABLE };
	pthread_mutex_lock(&l->mutex);
	enum work work = l->work;
	if (work != ASKED && read(l->event, &count, sizeof count) > 0)
		l->work = IDLE;
	pthread_mutex_unlock(&l->mutex);
	if (work == BROKEN) {
		mm_fault_set(why, MM_FAULT_PEER, "%s", l->why.text);
		return MM_LINK_FAILED;
	}
	if (work == ASKED)
		return MM_LINK_WAITS;
	if (l->answer != NULL && work == FINISHED)
		hand_over(l);
	return MM_LINK_READY;
}

const struct mm_database_driver mm_sqlite_driver = { "sqlite", load, connect_to, close_link, ask, step };
