/* page/assets.h -- page.css and page.js, which the Makefile compiles in. */
#ifndef MM_PAGE_ASSETS_H
#define MM_PAGE_ASSETS_H

#include <stddef.h>

struct mm_page_asset {
	const char *bytes;
	size_t      size;
};

extern const struct mm_page_asset mm_page_style, mm_page_script;

#endif
