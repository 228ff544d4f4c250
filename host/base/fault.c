#include "base/fault.h"

#include "moonmilter.h"

#include <stdarg.h>
#include <stdio.h>

bool mm_fault_set(struct mm_fault *why, enum mm_fault_class class, const char *format, ...)
{
	if (why == NULL)
		return false;
	why->class = class;
	va_list args;
	va_start(args, format);
	vsnprintf(why->text, sizeof why->text, format, args);
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
