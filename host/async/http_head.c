#include "async/http_head.h"

#include <string.h>
#include <strings.h>

static bool is_blank(const char *line, size_t size)
{
	return size == 0 || line[0] == '\n' || (size >= 2 && line[0] == '\r' && line[1] == '\n');
}

/* "HTTP/1.1 100 Continue": 1xx but 101, after which no other head comes. */
static bool is_interim(const char *line, size_t size)
{
	const char *code = memchr(line, ' ', size);
	size_t left = code != NULL ? size - (size_t)(code - line) : 0;
	return left >= 4 && code[1] == '1' && memcmp(code + 1, "101", 3) != 0;
}

/* "HTTP/1.1 ": a higher minor version is read as 1.1 (RFC 9110 2.5). We ask for no other major version; whether libcurl
 * refuses one depends on its own. */
static bool has_our_version(const char *line, size_t size)
{
	return size >= 9 && memcmp(line, "HTTP/1.", 7) == 0 && line[7] >= '0' && line[7] <= '9' && line[8] == ' ';
}

/* One length of the field's value, without blanks around it. Leading zeros do not make it another. */
static bool take_length(struct mm_http_head *h, const char *digits, size_t size)
{
	if (size == 0 || strspn(digits, "0123456789") < size)
		return false;
	while (size > 1 && digits[0] == '0') {
		digits++;
		size--;
	}
	if (size >= sizeof h->length)
		return false;
	bool is_first = h->length[0] == '\0', is_same = strlen(h->length) == size
		&& memcmp(h->length, digits, size) == 0;
	memcpy(h->length, digits, size);
	h->length[size] = '\0';
	return is_first || is_same;
}

/* The value may be a list of the same length (RFC 9110 8.6). */
static bool take_lengths(struct mm_http_head *h, const char *value, size_t size)
{
	for (;;) {
		const char *comma = memchr(value, ',', size);
		size_t n = comma != NULL ? (size_t)(comma - value) : size;
		const char *from = value, *to = value + n;
		while (from < to && strchr(" \t", *from) != NULL)
			from++;
		while (to > from && strchr(" \t\r\n", to[-1]) != NULL)
			to--;
		if (!take_length(h, from, (size_t)(to - from)))
			return false;
		if (comma == NULL)
			return true;
		value += n + 1;
		size -= n + 1;
	}
}

static const char length_name[] = "Content-Length";

static bool is_length(const char *line, size_t size)
{
	size_t n = sizeof length_name - 1;
	if (size < n || strncasecmp(line, length_name, n) != 0)
		return false;
	while (n < size && (line[n] == ' ' || line[n] == '\t'))
		n++;
	return n < size && line[n] == ':';
}

enum mm_http_line mm_http_head_read(struct mm_http_head *h, const char *line, size_t size)
{
	if (!h->is_over && size >= 5 && memcmp(line, "HTTP/", 5) == 0) {
		*h = (struct mm_http_head){ .is_interim = is_interim(line, size) };
		return has_our_version(line, size) ? MM_HTTP_STATUS : MM_HTTP_MALFORMED;
	}
	if (is_blank(line, size)) {
		h->is_over = !h->is_interim;
		return MM_HTTP_BLANK;
	}
	if (h->is_over)
		return MM_HTTP_TRAILER;
	if (!h->is_interim && is_length(line, size)) {
		const char *value = (const char *)memchr(line, ':', size) + 1;
		if (!take_lengths(h, value, size - (size_t)(value - line)))
			return MM_HTTP_MALFORMED;
	}
	return MM_HTTP_FIELD;
}
