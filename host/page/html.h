/* page/html.h -- the one writer of HTML: words of others pass through mm_html_text() or mm_html_url(), markup of our
 * own
 * through mm_html_put(). What they write is safe in text and in quoted attributes: & < > " ' ` are escaped, and what a
 * reader would not see as it is, is written out: control characters and what is not UTF-8 as \xNN, characters that
 * reorder text or have no width as \u{NNNN}. Knows no mail. */
#ifndef MM_PAGE_HTML_H
#define MM_PAGE_HTML_H

#include "base/buffer.h"
#include "base/text.h"

/* Our own markup and words: a literal, or what has been escaped. */
void mm_html_put(struct mm_buffer *, const char *markup);
/* The same with numbers and words of ours; at most 1000 bytes. */
void mm_html_format(struct mm_buffer *, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Words of others. */
void mm_html_text(struct mm_buffer *, struct mm_text);
void mm_html_string(struct mm_buffer *, const char *);
/* A value in the query of a URL, within an attribute: all but letters, digits and -._~ as %NN. */
void mm_html_url(struct mm_buffer *, struct mm_text);
/* A word of a shell command, to be shown: in single quotes where it needs them. */
void mm_html_shell(struct mm_buffer *, const char *);

#endif
