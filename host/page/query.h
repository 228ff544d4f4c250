/* page/query.h -- what a browser asks for: path and query of a URL ("/messages?verdict=reject&since=2h"), bytes from
 * outside, read once into fields of fixed size. Knows no HTTP beyond that. */
#ifndef MM_PAGE_QUERY_H
#define MM_PAGE_QUERY_H

#include "base/buffer.h"
#include "story/filter.h"

#define MM_PAGE_TARGET_MAX 2048u        /* bytes of path and query; longer ones are refused (414) */
#define MM_PAGE_ROWS       50u          /* messages of a page, and the most that may be asked for */
#define MM_PAGE_ROWS_MAX   500u

/* ORDER PAGE_ROUTE */
enum mm_page_route {
	MM_PAGE_NOW, MM_PAGE_MESSAGES, MM_PAGE_MESSAGE, MM_PAGE_SCRIPTS, MM_PAGE_STATE,
	MM_PAGE_LIVE_NOW, MM_PAGE_LIVE_MESSAGES,        /* server-sent events */
	MM_PAGE_STYLE, MM_PAGE_SCRIPT,
	MM_PAGE_NOWHERE
};

/* What may be filtered by, in the order of the form: the name in the URL, the option of ctl history, the field.
 * ORDER PAGE_FILTER */
#define MM_PAGE_FILTERS(X) \
	X(from,    "from") \
	X(to,      "to") \
	X(ip,      "ip") \
	X(id,      "queue-id") \
	X(verdict, "verdict") \
	X(script,  "script") \
	X(since,   "since") \
	X(until,   "until")

enum mm_page_filter {
#define X(name, option) MM_PAGE_FILTER_##name,
	MM_PAGE_FILTERS(X)
#undef X
	MM_PAGE_FILTER_COUNT
};

#define MM_PAGE_VALUE_SIZE 128

struct mm_page_query {
	enum mm_page_route     route;
	bool                   is_json;
	char                   values[MM_PAGE_FILTER_COUNT][MM_PAGE_VALUE_SIZE];        /* as they came; "": not given
		*/
	char                   name[MM_PAGE_VALUE_SIZE];        /* of a limit or a store on the screen of the state */
	bool                   is_store;
	uint64_t               before;          /* messages with smaller numbers only; 0: all */
	unsigned               count;
	struct mm_story_filter filter;          /* points into values */
	char                   wrong[256];      /* "": all is right. Else what is not, in words */
};

/* False: the target is too long or has escapes that are none. Unknown names are ignored, the first of equal names
 * counts; values that make no sense are named in `wrong`, and do not filter. now: seconds since 1970. The query must
 * stay where it is: its filter points into it. */
bool mm_page_query_read(struct mm_page_query *, const char *target, double now);
bool mm_page_query_has_filter(const struct mm_page_query *);
/* "/messages?from=…&verdict=…" with all filters, and more after it: "before=12"; NULL: nothing. Within an attribute. */
void mm_page_query_link(const struct mm_page_query *, const char *path, const char *more, struct mm_buffer *out);
extern const char *const mm_page_filter_names[MM_PAGE_FILTER_COUNT];
extern const char *const mm_page_filter_options[MM_PAGE_FILTER_COUNT];

#endif
