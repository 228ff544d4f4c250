#include "codec/pad.h"

#include <stdlib.h>
#include <string.h>

#define KEPT_BYTES (256 * 1024) /* working memory kept between calls */

bool mm_pad_grow(struct mm_pad *p, size_t size)
{
	if (size <= p->size)
		return true;
	unsigned char *bytes = realloc(p->bytes, size);
	if (!bytes) {
		p->refused = size;
		return false;
	}
	p->bytes = bytes;
	p->size = size;
	return true;
}

static void let_go(struct mm_pad *p)
{
	free(p->bytes);
	p->bytes = NULL;
	p->size = 0;
}

void mm_pad_relax(struct mm_pad *p, size_t used)
{
	if (p->size > KEPT_BYTES && used <= KEPT_BYTES / 2)
		let_go(p);
}

/* glibc's UTF-16 and UTF-32 follow a byte order mark, and a reset does not make a handle forget the order: the next
 * text would be read with the mark of the previous one. All their names contain one of these words,
 * and few other names do. */
static bool has_byte_order(const char *charset)
{
	return strstr(charset, "16") || strstr(charset, "32") || strcasestr(charset, "unicode");
}

iconv_t mm_pad_iconv_again(iconv_t cd, const char *charset)
{
	if (has_byte_order(charset)) {
		iconv_close(cd);
		return iconv_open("UTF-8", charset);
	}
	iconv(cd, NULL, NULL, NULL, NULL);      /* back to the initial shift state */
	return cd;
}

static iconv_t cached_again(struct mm_pad_iconv *slot)
{
	slot->cd = mm_pad_iconv_again(slot->cd, slot->name);
	if (slot->cd == (iconv_t)-1)
		slot->name[0] = '\0';
	return slot->cd;
}

iconv_t mm_pad_iconv(struct mm_pad *p, const char *charset)
{
	for (int i = 0; i < MM_PAD_ICONVS; i++)
		if (strcmp(p->cached[i].name, charset) == 0)
			return cached_again(&p->cached[i]);
	iconv_t cd = iconv_open("UTF-8", charset);
	if (cd == (iconv_t)-1)
		return cd;
	struct mm_pad_iconv *slot = &p->cached[p->next_victim++ % MM_PAD_ICONVS];
	if (slot->name[0])
		iconv_close(slot->cd);
	strcpy(slot->name, charset); /* the caller bounds it */
	slot->cd = cd;
	return cd;
}

void mm_pad_free(struct mm_pad *p)
{
	let_go(p);
	for (int i = 0; i < MM_PAD_ICONVS; i++) {
		if (p->cached[i].name[0])
			iconv_close(p->cached[i].cd);
		p->cached[i].name[0] = '\0';
	}
}
