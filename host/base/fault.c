#include "base/fault.h"

#include "moonmilter.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define CUT "[...]"

/* A cut must not leave half a character on either side. */
static bool is_inside_character(char c)
{
	return ((unsigned char)c & 0xc0) == 0x80;
}

bool mm_fault_shorten(char *text, size_t size, size_t max)
{
	if (size < max)
		return false;
	size_t head = (max - sizeof CUT) / 2, tail = size - (max - sizeof CUT - head);
	while (head > 0 && is_inside_character(text[head]))
		head--;
	while (tail < size && is_inside_character(text[tail]))
		tail++;
	memcpy(text + head, CUT, sizeof CUT - 1);
	memmove(text + head + sizeof CUT - 1, text + tail, size - tail);
	text[head + sizeof CUT - 1 + size - tail] = '\0';
	return true;
}

/* The whole text needs memory of its own; without it, its beginning must do. */
static void set_long(struct mm_fault *why, const char *format, va_list args)
{
	char *whole;
	int size = vasprintf(&whole, format, args);
	if (size < 0)
		return;
	mm_fault_shorten(whole, (size_t)size, sizeof why->text);
	memcpy(why->text, whole, strlen(whole) + 1);
	free(whole);
}

static const struct {
	const char         *word;
	enum mm_fault_class class;
} reasons[] = {
#define X(name, word, class) { word, MM_FAULT_##class },
	MM_REASONS(X)
#undef X
};

#define X(name, word, class) _Static_assert(MM_REASON_IS_##name == (int)MM_REASON_##name, "ORDER REASON");
MM_REASONS(X)
#undef X

static void set_text(struct mm_fault *why, const char *format, va_list args)
{
	va_list again;
	va_copy(again, args);
	if (vsnprintf(why->text, sizeof why->text, format, args) >= (int)sizeof why->text)
		set_long(why, format, again);
	va_end(again);
}

bool mm_fault_set(struct mm_fault *why, enum mm_fault_class class, const char *format, ...)
{
	if (why == NULL)
		return false;
	why->class = class;
	why->reason = MM_REASON_IS_NONE;
	while (reasons[why->reason].class != class)
		why->reason++;
	va_list args;
	va_start(args, format);
	set_text(why, format, args);
	va_end(args);
	return false;
}

bool mm_fault_because(struct mm_fault *why, enum mm_fault_reason reason, const char *format, ...)
{
	if (why == NULL)
		return false;
	why->class = reasons[reason].class;
	why->reason = reason;
	va_list args;
	va_start(args, format);
	set_text(why, format, args);
	va_end(args);
	return false;
}

enum mm_fault_reason mm_fault_reason_of(int error)
{
	return error == EADDRINUSE ? MM_REASON_IS_IN_USE
		: error == EACCES || error == EPERM ? MM_REASON_IS_NOT_ALLOWED : MM_REASON_IS_BIND;
}

const char *mm_fault_word(enum mm_fault_reason reason)
{
	return reasons[reason].word;
}

int mm_fault_status(const struct mm_fault *f)
{
	switch (f->reason) {
	case MM_REASON_IS_USER:
		return EX_NOUSER;
	case MM_REASON_IS_IN_USE:
	case MM_REASON_IS_NOT_ALLOWED:
	case MM_REASON_IS_BIND:
		return EX_UNAVAILABLE;
	case MM_REASON_IS_MEMORY:
		return EX_OSERR;
	default:
		return EX_CONFIG;
	}
}

const char *mm_fault_class_name(enum mm_fault_class class)
{
	static const char *const names[] = {
		[MM_FAULT_NONE] = "none", [MM_FAULT_BUG] = "bug", [MM_FAULT_CONFIG] = "config",
		[MM_FAULT_PEER] = "peer", [MM_FAULT_SCRIPT] = "script", [MM_FAULT_RESOURCE] = "resource",
	};
	return names[class];
}

_Static_assert(MM_FAULT_RESOURCE == (int)MM_ERROR_RESOURCE, "ORDER FAULT_CLASS");

bool mm_fault_tell(const struct mm_fault *f, struct mm_error *error)
{
	if (error == NULL)
		return false;
	error->code = (enum mm_error_code)f->class;
	error->reason = (enum mm_error_reason)f->reason;
	snprintf(error->text, sizeof error->text, "%s", f->text);
	return false;
}
