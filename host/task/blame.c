#include "task/blame.h"

#include <lauxlib.h>
#include <lua.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MESSAGE_MAX 640u        /* bytes of an error before its traceback */

/* ---- frames ---- */

/* The reader of an error has no use for the runtime's own Lua between a primitive and the script. */
bool mm_blame_is_ours(const lua_Debug *frame)
{
	return frame->what[0] == 'C' || strncmp(frame->short_src, "moonmilter.", 11) == 0;
}

/* Finds the innermost frame of the script, from a level on; name: that of the runtime's function
 * that it called, or "". */
static bool find_script(lua_State *co, int level, lua_Debug *frame, const char **name)
{
	*name = "";
	for (; lua_getstack(co, level, frame) && lua_getinfo(co, "Sln", frame); level++) {
		if (!mm_blame_is_ours(frame))
			return true;
		if (frame->what[0] != 'C')
			*name = frame->name != NULL ? frame->name : "";
	}
	return false;
}

static void push_location(lua_State *L, lua_State *co, int level)
{
	lua_Debug frame;
	const char *name;
	if (find_script(co, level, &frame, &name))
		lua_pushfstring(L, "%s:%d: ", frame.short_src, frame.currentline);
	else
		lua_pushliteral(L, "");
}

void mm_blame_push_location(lua_State *L, int level)
{
	push_location(L, L, level);
}

int mm_raise_at_script(lua_State *L, const char *format, ...)
{
	mm_blame_push_location(L, 1);
	va_list args;
	va_start(args, format);
	lua_pushvfstring(L, format, args);
	va_end(args);
	lua_concat(L, 2);
	return lua_error(L);
}

/* ---- errors of primitives ---- */

/* "bad argument #1 to 'raw' (string expected, got nil)" without the function's name, which is the runtime's. */
static const char *push_complaint(lua_State *L, const char *complaint)
{
	const char *rest = strncmp(complaint, "bad argument #", 14) == 0 ? strstr(complaint, " to '") : NULL;
	const char *after = rest != NULL ? strstr(rest, "' (") : NULL;
	if (after == NULL)
		return complaint;
	lua_pushlstring(L, complaint, (size_t)(rest - complaint));
	lua_pushstring(L, after + 1);
	lua_concat(L, 2);
	return lua_tostring(L, -1);
}

static const char *push_blamed(lua_State *L, const lua_Debug *frame, const char *name, const char *complaint)
{
	complaint = push_complaint(L, complaint);
	bool is_named = name[0] == '\0' || strncmp(complaint, name, strlen(name)) == 0;
	return lua_pushfstring(L, "%s:%d: %s%s%s", frame->short_src, frame->currentline, is_named ? "" : name,
		is_named ? "" : ": ", complaint);
}

/* For an error raised in the runtime's own Lua, on the stack of co: pushes it with the script's line and the name of
 * the function that the script called. Other errors are returned unchanged. May push values onto L
 * that keep the text alive. */
static const char *push_blame(lua_State *L, lua_State *co, const char *message)
{
	lua_Debug frame;
	const char *name;
	size_t name_size = strncmp(message, "moonmilter.", 11) == 0 ? strcspn(message, ":") : 0;
	if (name_size == 0 || message[name_size] == '\0')
		return message;
	const char *complaint = strstr(message + name_size + 1, ": ");
	if (complaint == NULL || !find_script(co, 0, &frame, &name))
		return message;
	return push_blamed(L, &frame, name, complaint + 2);
}

/* A C function called by pcall has no location, unless it has looked up the script's itself. */
void mm_blame_caller(lua_State *L, const char *message)
{
	lua_Debug frame;
	const char *name;
	if (!find_script(L, 1, &frame, &name))
		return;
	const char *place = lua_pushfstring(L, "%s:%d: ", frame.short_src, frame.currentline);
	if (strncmp(message, place, strlen(place)) == 0)
		lua_pop(L, 1);
	else
		push_blamed(L, &frame, name, message);
}

/* ---- errors that have ended a coroutine ---- */

/* A file that does not compile has no script frame, and its reader has no use for the frames of
 * the runtime's loader. */
static bool has_script_frame(lua_State *co)
{
	lua_Debug frame;
	for (int level = 0; lua_getstack(co, level, &frame); level++)
		if (lua_getinfo(co, "S", &frame) && !mm_blame_is_ours(&frame))
			return true;
	return false;
}

/* "…: 12: …", in the first line. */
static bool has_location(const char *message)
{
	for (const char *at = message; *at != '\0' && *at != '\n'; at++) {
		size_t digits = *at == ':' ? strspn(at + 1, "0123456789") : 0;
		if (digits > 0 && strncmp(at + 1 + digits, ": ", 2) == 0)
			return true;
	}
	return false;
}

/* A handler's error is logged with script and handler. A load's error is only the text, whatever the script has raised:
 * a table, nil, error(text, 0). */
static const char *push_located(lua_State *L, lua_State *co, const char *message)
{
	if (has_location(message))
		return message;
	push_location(L, co, 0);
	lua_pushstring(L, message);
	lua_concat(L, 2);
	return lua_tostring(L, -1);
}

/* A message that leaves no room for a traceback is cut in its middle. */
static const char *push_shortened(lua_State *L, const char *message)
{
	size_t size = strlen(message);
	char text[2 * MESSAGE_MAX];
	if (size < MESSAGE_MAX)
		return message;
	size_t tail = size > MESSAGE_MAX ? MESSAGE_MAX : size;
	memcpy(text, message, MESSAGE_MAX);
	memcpy(text + MESSAGE_MAX, message + size - tail, tail);
	size = MESSAGE_MAX + tail;
	mm_fault_shorten(text, size, MESSAGE_MAX);
	lua_pushstring(L, text);
	return lua_tostring(L, -1);
}

void mm_blame_describe(lua_State *L, lua_State *co, bool needs_location, struct mm_fault *why)
{
	const char *message = lua_tostring(co, -1);
	if (message == NULL && luaL_callmeta(co, -1, "__tostring"))
		message = lua_tostring(co, -1);
	char shape[64];
	if (message == NULL) {
		snprintf(shape, sizeof shape, "(error object is a %s value)", luaL_typename(co, -1));
		message = shape;
	}
	message = push_blame(L, co, message);
	if (needs_location)
		message = push_located(L, co, message);
	message = push_shortened(L, message);
	lua_pushliteral(L, "");
	if (has_script_frame(co))
		luaL_traceback(L, co, "", 0);
	bool no_memory = strcmp(message, "not enough memory") == 0;
	mm_fault_set(why, MM_FAULT_SCRIPT, "%s%s%s", message, no_memory ? ": Lua has all that memory_hard gives "
		"this worker" : "", lua_tostring(L, -1));
}

/* ---- tracebacks ---- */

static bool is_frame_of_runtime(const char *line)
{
	size_t name = strcspn(line, ":\n");
	return strncmp(line, "\tmoonmilter.", 12) == 0 && name > 4 && strncmp(line + name - 4, ".lua", 4) == 0;
}

static bool starts(const char *line, const char *with)
{
	return strncmp(line, with, strlen(with)) == 0;
}

/* Works in place, line by line: removes the runtime's own frames, those of C functions that it called, and a title that
 * no script frame follows. */
void mm_blame_hide_runtime(char *text)
{
	char *to = text, *calls = NULL, *title = NULL;  /* where C frames, and a title without
	                                                 * frames, begin in the output */
	for (char *line = text, *next; *line != '\0'; line = next) {
		next = line + strcspn(line, "\n");
		next += *next == '\n';
		bool is_title = starts(line, "stack traceback:\n"), is_c = starts(line, "\t[C]: ");
		if (is_frame_of_runtime(line)) {
			to = calls != NULL ? calls : to;
			calls = NULL;
			continue;
		}
		if (title != NULL && line[0] != '\t')
			to = title;
		calls = !is_c ? NULL : calls != NULL ? calls : to;
		title = is_title ? to : is_c ? title : NULL;
		memmove(to, line, (size_t)(next - line));
		to += next - line;
	}
	to = title != NULL ? title : to;
	if (to > text && to[-1] == '\n')
		to--;
	*to = '\0';
}
