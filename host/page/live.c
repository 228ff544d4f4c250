#include "page/live.h"

#include "base/clock.h"
#include "page/screens.h"

#include <microhttpd.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK        4096u      /* bytes that MHD asks for at once */
#define EVERY        2.0        /* seconds between two looks for a reader */
#define HEARTBEAT    15.0       /* seconds of silence after which he is sent a comment: is he still there? */
#define SLOW_AFTER   60u        /* seconds without taking anything: he is hung up on */
#define ROWS_AT_ONCE 50u

struct reader {
	struct mm_live        *live;            /* borrowed; NULL: the place is free */
	struct MHD_Connection *connection;      /* borrowed */
	struct mm_page_query   query;
	char                   target[MM_PAGE_TARGET_MAX + 1];
	struct mm_buffer       pending;         /* owned: what he is being sent */
	size_t                 sent;            /* bytes of it */
	double                 look_at, heard_at;       /* mm_clock_real() */
	uint64_t               last;            /* number of the last message he has seen */
	uint64_t               part, summary;   /* hashes of what he has */
	bool                   is_asleep, is_gone, was_down;
};

struct mm_live {
	struct mm_inquiry *source;               /* borrowed */
	const char       *path;                 /* borrowed */
	struct reader     readers[MM_LIVE_MAX];
	struct mm_buffer  part;                 /* owned: the part of now, as it was at part_at */
	double            part_at;
};

/* ---- events ---- */

static void put_event(struct mm_buffer *out, const char *name, const struct mm_buffer *html)
{
	const char *at = (const char *)html->bytes;
	size_t left = html->size;
	mm_html_format(out, "event: %s\n", name);
	while (left > 0) {
		const char *end = memchr(at, '\n', left);
		size_t size = end != NULL ? (size_t)(end - at) : left;
		mm_html_put(out, "data: ");
		mm_buffer_append(out, at, size);
		mm_html_put(out, "\n");
		size += end != NULL;
		at += size;
		left -= size;
	}
	mm_html_put(out, "\n");
}

/* Of what is new: how long ago something was changes all the time, and the browser counts that itself. */
static uint64_t hash_of(const struct mm_buffer *html)
{
	static const char ago[] = "class=\"ago\"";
	uint64_t hash = 1;
	const char *at = (const char *)html->bytes, *end = at + html->size;
	while (at < end) {
		const char *found = memmem(at, (size_t)(end - at), ago, sizeof ago - 1);
		const char *stop = found != NULL ? found : end;
		hash = hash * 31 + mm_text_hash((struct mm_text){ at, (size_t)(stop - at) });
		const char *close = found != NULL ? memmem(found, (size_t)(end - found), "</span>", 7) : NULL;
		at = close != NULL ? close : end;
	}
	return hash;
}

static struct mm_screen screen_of(struct reader *r, struct mm_buffer *out)
{
	return (struct mm_screen){ .source = r->live->source, .query = &r->query, .path = r->live->path,
		.now = mm_clock_wall(), .out = out, .status = 200 };
}

static void tell_summary(struct reader *r, const char *trouble)
{
	struct mm_buffer html = { 0 };
	struct mm_screen s = screen_of(r, &html);
	mm_layout_summary(&s, trouble);
	uint64_t hash = hash_of(&html);
	if (hash != r->summary && !html.failed)
		put_event(&r->pending, "summary", &html);
	r->summary = hash;
	mm_buffer_free(&html);
}

static void tell_part(struct reader *r)
{
	struct mm_live *l = r->live;
	double now = mm_clock_real();
	if (l->part_at == 0 || now - l->part_at > EVERY / 2) {
		mm_buffer_clear(&l->part);
		struct mm_screen s = screen_of(r, &l->part);
		mm_screen_now_part(&s);
		l->part_at = now;
	}
	uint64_t hash = l->part.size > 0 ? hash_of(&l->part) : 0;
	if (hash != r->part && !l->part.failed)
		put_event(&r->pending, "part", &l->part);
	r->part = hash;
}

static void tell_rows(struct reader *r)
{
	struct mm_rows rows;
	struct mm_buffer html = { 0 };
	const struct mm_story_reader *history = mm_inquiry_history(r->live->source);
	uint64_t last = history != NULL ? mm_story_reader_last(history) : 0;
	struct mm_screen s = screen_of(r, &html);
	if (last < r->last)
		r->last = 0;            /* another host's */
	if (history == NULL || last == r->last)
		return;
	mm_rows_find(&rows, history, &r->query.filter, 0, ROWS_AT_ONCE, s.now);
	while (rows.count > 0 && rows.numbers[rows.count - 1] <= r->last)
		rows.count--;
	r->last = last;
	mm_rows_put_bare(&rows, &s, history);
	if (rows.count > 0 && !html.failed)
		put_event(&r->pending, "rows", &html);
	mm_buffer_free(&html);
}

/* What he does not know yet goes into pending. */
static void tell(struct reader *r)
{
	double now = mm_clock_real();
	const char *trouble = mm_inquiry_trouble(r->live->source);
	r->look_at = now + EVERY;
	tell_summary(r, trouble);
	if (trouble != NULL && !r->was_down)
		mm_html_put(&r->pending, "event: down\ndata: the host does not answer\n\n");
	if (trouble == NULL && r->was_down)
		mm_html_put(&r->pending, "event: up\ndata: the host answers\n\n");
	r->was_down = trouble != NULL;
	if (trouble == NULL && r->query.route == MM_PAGE_LIVE_NOW)
		tell_part(r);
	if (trouble == NULL && r->query.route == MM_PAGE_LIVE_MESSAGES)
		tell_rows(r);
	if (r->pending.size == 0 && now - r->heard_at > HEARTBEAT)
		mm_html_put(&r->pending, ":\n\n");
	if (r->pending.size > 0)
		r->heard_at = now;
}

/* ---- what MHD calls ---- */

static ssize_t read_some(void *self, uint64_t at, char *to, size_t size)
{
	struct reader *r = self;
	(void)at;
	if (r->is_gone || r->pending.failed)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	if (r->sent == r->pending.size) {
		mm_buffer_clear(&r->pending);
		r->sent = 0;
		if (mm_clock_real() >= r->look_at)
			tell(r);
	}
	size_t left = r->pending.size - r->sent;
	if (left == 0) {
		r->is_asleep = true;
		MHD_suspend_connection(r->connection);
		return 0;
	}
	size = left < size ? left : size;
	memcpy(to, r->pending.bytes + r->sent, size);
	r->sent += size;
	return (ssize_t)size;
}

static void leave(void *self)
{
	struct reader *r = self;
	mm_buffer_free(&r->pending);
	*r = (struct reader){ .live = NULL };
}

/* ---- the others' side ---- */

struct mm_live *mm_live_new(struct mm_inquiry *source, const char *path)
{
	struct mm_live *l = calloc(1, sizeof *l);
	if (l == NULL)
		return NULL;
	l->source = source;
	l->path = path;
	return l;
}

struct MHD_Response *mm_live_begin(struct mm_live *l, struct MHD_Connection *c, const char *target)
{
	struct reader *r = NULL;
	for (unsigned i = 0; i < MM_LIVE_MAX && r == NULL; i++)
		if (l->readers[i].live == NULL)
			r = &l->readers[i];
	if (r == NULL)
		return NULL;
	*r = (struct reader){ .live = l, .connection = c, .heard_at = mm_clock_real() };
	snprintf(r->target, sizeof r->target, "%s", target);
	mm_page_query_read(&r->query, r->target, mm_clock_wall());
	r->last = r->query.before > 0 ? r->query.before - 1 : 0;
	mm_html_put(&r->pending, "retry: 3000\n\n");
	struct MHD_Response *response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, read_some, r, leave);
	if (response == NULL)
		leave(r);
	else
		MHD_set_connection_option(c, MHD_CONNECTION_OPTION_TIMEOUT, SLOW_AFTER);
	return response;
}

/* He has closed his end: while he sleeps, MHD does not look. */
static bool has_gone(const struct reader *r)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(r->connection,
		MHD_CONNECTION_INFO_CONNECTION_FD);
	struct pollfd fd = { .fd = info != NULL ? info->connect_fd : -1, .events = POLLRDHUP };
	return poll(&fd, 1, 0) == 1;
}

void mm_live_turn(struct mm_live *l)
{
	double now = mm_clock_real();
	for (unsigned i = 0; i < MM_LIVE_MAX; i++) {
		struct reader *r = &l->readers[i];
		if (r->live == NULL || !r->is_asleep)
			continue;
		r->is_gone = has_gone(r);
		if (now < r->look_at && !r->is_gone)
			continue;
		if (!r->is_gone)
			tell(r);
		if (r->pending.size == 0 && !r->is_gone)
			continue;
		r->is_asleep = false;
		MHD_resume_connection(r->connection);
	}
}
