#include "base/fault.h"

#include "moonmilter.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

bool mm_fault_set(struct mm_fault *why, enum mm_fault_class class, const char *format, ...)
{
	if (why == NULL)
		return false;
	why->class = class;
	va_list args, again;
	va_start(args, format);
	va_copy(again, args);
	if (vsnprintf(why->text, sizeof why->text, format, args) >= (int)sizeof why->text)
		set_long(why, format, again);
	va_end(again);
	va_end(args);
	return false;
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
	snprintf(error->text, sizeof error->text, "%s", f->text);
	return false;
}
