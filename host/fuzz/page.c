/* fuzz/page.c -- libFuzzer target for what the web page parses itself: path and query of a URL, a Host header,
 * samples of
 * metrics, and for the writer of HTML that all words of others pass. Laws: a query that is read has texts that end; its
 * link is read as the same query; what is written as text holds no byte that could begin markup or move a cursor, and
 * what is written into a URL only letters, digits and %. */
#include "page/html.h"
#include "page/layout.h"
#include "page/query.h"
#include "page/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LAW(holds) ((holds) ? (void)0 : law_broken(#holds, __LINE__))

static void law_broken(const char *law, int line)
{
	fprintf(stderr, "law broken, line %d: %s\n", line, law);
	abort();
}

static void replace(char *text, const char *from, char to)
{
	for (char *at; (at = strstr(text, from)) != NULL;) {
		*at = to;
		memmove(at + 1, at + strlen(from), strlen(at + strlen(from)) + 1);
	}
}

/* The link of a query, as a browser would send it. */
static void check_link(const struct mm_page_query *q)
{
	struct mm_buffer link = { 0 };
	struct mm_page_query *again = malloc(sizeof *again);
	mm_page_query_link(q, "/messages", NULL, &link);
	mm_buffer_append_u8(&link, '\0');
	if (!link.failed && again != NULL) {
		replace((char *)link.bytes, "&amp;", '&');
		LAW(strpbrk((char *)link.bytes, "\"'<> `") == NULL);
		if (strlen((char *)link.bytes) <= MM_PAGE_TARGET_MAX) {
			LAW(mm_page_query_read(again, (char *)link.bytes, 1e9));
			LAW(again->route == MM_PAGE_MESSAGES);
			LAW(memcmp(q->values, again->values, sizeof q->values) == 0);
		}
	}
	free(again);
	mm_buffer_free(&link);
}

static void check_query(const char *text)
{
	struct mm_story *s = calloc(1, sizeof *s);
	struct mm_page_query *q = malloc(sizeof *q);
	if (q != NULL && s != NULL && mm_page_query_read(q, text, 1e9)) {
		LAW(strlen(text) <= MM_PAGE_TARGET_MAX);
		LAW(q->route <= MM_PAGE_NOWHERE && q->count >= 1 && q->count <= MM_PAGE_ROWS_MAX);
		for (int i = 0; i < MM_PAGE_FILTER_COUNT; i++)
			LAW(memchr(q->values[i], '\0', sizeof q->values[i]) != NULL);
		LAW(memchr(q->wrong, '\0', sizeof q->wrong) != NULL && memchr(q->name, '\0', sizeof q->name) != NULL);
		mm_story_filter_wants(&q->filter, s);
		check_link(q);
	}
	free(q);
	free(s);
}

static void check_writer(const uint8_t *data, size_t size)
{
	struct mm_buffer out = { 0 }, url = { 0 };
	struct mm_text text = { (const char *)data, size };
	mm_html_text(&out, text);
	mm_html_url(&url, text);
	for (size_t i = 0; i < out.size; i++) {
		LAW(out.bytes[i] >= ' ' && out.bytes[i] != 0x7f && strchr("<>\"'`", out.bytes[i]) == NULL);
		LAW(out.bytes[i] != '&' || memchr(out.bytes + i, ';', out.size - i) != NULL);
	}
	for (size_t i = 0; i < url.size; i++)
		LAW(url.bytes[i] > ' ' && url.bytes[i] < 0x7f && strchr("<>\"'`&?#+", url.bytes[i]) == NULL);
	LAW(out.failed || url.failed || size == 0 || (out.size >= 1 && url.size >= size));
	mm_buffer_free(&out);
	mm_buffer_free(&url);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mm_sample *sample = malloc(sizeof *sample);
	struct mm_page_server server = { .names = { "page.example.org" }, .name_count = 1 };
	struct mm_buffer shell = { 0 };
	char *text = malloc(size + 1);
	if (text != NULL && sample != NULL) {
		memcpy(text, data, size);
		text[size] = '\0';
		check_query(text);
		if (mm_page_knows_host(&server, text))
			LAW(strncasecmp(text, "localhost", 9) == 0 || strncasecmp(text, "page.example.org", 16) == 0
				|| strncmp(text, "127.", 4) == 0 || text[0] == '[' || strchr(text, ':') != NULL);
		if (mm_layout_sample(text, sample))
			LAW(sample->label_count <= 4 && sample->name[0] != '\0' && strlen(mm_layout_label(sample,
			"script")) < 128);
		mm_html_shell(&shell, text);
		check_writer(data, size);
	}
	mm_buffer_free(&shell);
	free(text);
	free(sample);
	return 0;
}
