/* script/sources.h -- the files of lua/moonmilter/, compiled into the library by the Makefile. */
#ifndef MM_LUA_SOURCES_H
#define MM_LUA_SOURCES_H

#include <stddef.h>

struct mm_lua_source {
	const char          *name;      /* as require names it: "moonmilter.runtime.loader" */
	const unsigned char *bytes;
	size_t               size;
};

extern const struct mm_lua_source mm_lua_sources[];     /* ended by name NULL */

#endif
