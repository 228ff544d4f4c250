/* base/say.h -- where lines for people go: a function and its object. */
#ifndef MM_BASE_SAY_H
#define MM_BASE_SAY_H

struct mm_say {
	void (*line)(void *self, const char *text);     /* text: without a newline; BORROWED for the call */
	void  *self;
};

#endif
