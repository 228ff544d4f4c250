/* bind/map.c -- core.map: tables in files, on which lua/moonmilter/maps/file.lua is built. To open one may take a
 * while: open() gives a handle at once, wait() waits until its first version is there, or is known to be missing. A
 * lookup never waits. A map ends with its generation. */
#include "bind/bind.h"

#include "base/figures.h"
#include "bind/handle.h"
#include "bind/packed.h"
#include "map/formats.h"
#include "map/geo_table.h"
#include "map/tables.h"
#include "state/stores.h"

#include <lauxlib.h>
#include <lua.h>
#include <stdio.h>
#include <stdlib.h>

struct box {
	struct mm_map         *map;     /* owned: a reference */
	struct mm_map_wait     wait;
	struct mm_task        *task;    /* borrowed: the one that waits; NULL: none */
	struct mm_buffer       value;   /* owned */
	struct mm_map_follower follower;
	struct mm_figures     *figures; /* borrowed: of the milter */
};

static void box_end(void *thing)
{
	struct box *b = thing;
	if (b->task != NULL) {
		mm_map_unwait(b->map, &b->wait);
		mm_task_ready(b->task, 0);      /* from the loop: another task may be running now */
	}
	mm_map_unfollow(b->map, &b->follower);
	mm_map_release(b->map);
	mm_buffer_free(&b->value);
	free(b);
}

static const struct mm_handle_class class = { "a map is expected, not a %s", box_end, MM_HANDLE_MAP };

static struct box *check_box(lua_State *L)
{
	struct box *b = mm_handle_check(L, &class);
	if (b == NULL)
		luaL_error(L, "the map is closed");
	return b;
}

/* When the version was loaded. Each worker loads it; what counts is the first of them. */
static void note_version(struct mm_map_follower *f)
{
	struct box *b = MM_OWNER_OF(f, struct box, follower);
	struct mm_map_info i;
	char name[MM_METER_VALUE_MAX + 1];
	mm_map_describe(b->map, &i);
	if (i.versions == 0)
		return;
	snprintf(name, sizeof name, "%s:%s", i.format, i.path);
	double had = mm_figures_read(b->figures, MM_FIGURE_maps, name, NULL);
	if (i.versions > 1 || had == 0 || had < i.modified_at)
		mm_figures_set(b->figures, MM_FIGURE_maps, name, i.taken_at);
}

/* ---- open ---- */

static double number_option(lua_State *L, const char *name, double otherwise)
{
	lua_getfield(L, 3, name);
	double n = lua_isnil(L, -1) ? otherwise : luaL_checknumber(L, -1);
	lua_pop(L, 1);
	return n;
}

static bool flag_option(lua_State *L, const char *name)
{
	lua_getfield(L, 3, name);
	bool is = lua_toboolean(L, -1);
	lua_pop(L, 1);
	return is;
}

/* BORROWED while the table keeps it. */
static const char *text_option(lua_State *L, const char *name)
{
	lua_getfield(L, 3, name);
	const char *text = mm_opt_cstring(L, lua_gettop(L), "map: an option");
	lua_pop(L, 1);
	return text;
}

static struct mm_map_options options_at_3(lua_State *L)
{
	luaL_checktype(L, 3, LUA_TTABLE);
	return (struct mm_map_options){
		.table = { .text_max = number_option(L, "text_max", 0), .keeps_case = flag_option(L, "keeps_case"),
			.key = text_option(L, "key_column"), .value = text_option(L, "value_column"),
			.separator = text_option(L, "separator"), .has_header = flag_option(L, "header"),
			.query = text_option(L, "query"), .steps = number_option(L, "steps", 0) },
		.shrink = number_option(L, "shrink", MM_TABLES_SHRINK),
		.every = number_option(L, "every", MM_TABLES_EVERY),
		.settle = number_option(L, "settle", MM_TABLES_SETTLE),
		.may_be_empty = flag_option(L, "empty"),
	};
}

static struct mm_map *open_map(const struct mm_generation *g, const char *kind, const char *path,
	const struct mm_map_options *o, struct mm_fault *why)
{
	const struct mm_table_format *format = mm_table_format_of(kind);
	const struct mm_generation_settings *s = &g->settings;
	if (format == NULL) {
		mm_fault_set(why, MM_FAULT_CONFIG, "there is no format of this name");
		return NULL;
	}
	const char *directory = s->stores != NULL ? mm_stores_directory(s->stores, why) : "";
	return directory != NULL ? mm_tables_open(s->tables, format, path, directory, o, why) : NULL;
}

/* map.open(kind, path, options) -> handle | nil, text, code */
static int map_open(lua_State *L)
{
	struct mm_generation *g = mm_generation_of(L);
	struct mm_fault why = { .text = "this host has no maps" };
	const char *kind = mm_check_cstring(L, 1, "map: kind"), *path = mm_check_cstring(L, 2, "map: path");
	struct mm_map_options o = options_at_3(L);
	if (g->is_loaded && !flag_option(L, "later"))
		return mm_raise_at_script(L, "map.open: open maps of files at the top level of the script or in "
			"on_load: then one that cannot be read is found while the script loads");
	struct mm_handle *h = mm_handle_new(L, &class);
	struct box *b = calloc(1, sizeof *b);
	if (b != NULL && g->settings.tables != NULL)
		b->map = open_map(g, kind, path, &o, &why);
	if (b != NULL && b->map != NULL) {
		b->figures = g->settings.figures;
		b->follower.fire = note_version;
		mm_map_follow(b->map, &b->follower);
		note_version(&b->follower);
		mm_handle_open(h, b, g);
		return 1;
	}
	free(b);
	return mm_push_failure(L, why.text, "down");
}

static void settled(struct mm_map_wait *w)
{
	struct box *b = MM_OWNER_OF(w, struct box, wait);
	struct mm_task *t = b->task;
	b->task = NULL;
	mm_task_ready(t, 0);
}

static void undo_wait(struct mm_task *t)
{
	struct box *b = t->waits_for;
	b->task = NULL;
	mm_map_unwait(b->map, &b->wait);
}

/* map.wait(handle): until the first version is there or known to be missing */
static int map_wait(lua_State *L)
{
	struct box *b = check_box(L);
	struct mm_task *t = mm_task_may_wait(L, "map.open");
	if (t == NULL)
		return 2;
	if (mm_map_is_settled(b->map) || b->task != NULL)
		return 0;
	b->task = t;
	b->wait.fire = settled;
	mm_map_wait(b->map, &b->wait);
	return mm_task_wait(L, t, "map.open", undo_wait, b);
}

/* ---- use ---- */

static int fail(lua_State *L, const struct mm_fault *why)
{
	return mm_push_failure(L, why->text, why->class == MM_FAULT_RESOURCE ? "limit" : "down");
}

/* map.get(handle, key) -> value | nothing | nil, text, code */
static int map_get(lua_State *L)
{
	struct box *b = check_box(L);
	struct mm_text key = mm_check_text(L, 2);
	struct mm_table *t = mm_map_table(b->map);
	struct mm_fault why;
	if (t == NULL)
		return mm_push_failure(L, mm_map_failure(b->map) != NULL ? mm_map_failure(b->map)
			: "has not been read yet", "down");
	if (b->value.failed)
		mm_buffer_free(&b->value);
	mm_buffer_clear(&b->value);
	switch (t->format->get(t, key, &b->value, &why)) {
	case MM_TABLE_NONE:
		return 0;
	case MM_TABLE_ERROR:
		return fail(L, &why);
	case MM_TABLE_FOUND:
		break;
	}
	lua_pushlstring(L, b->value.size > 0 ? (const char *)b->value.bytes : "", b->value.size);
	return 1;
}

/* Entries for Lua, which may run out of memory while it makes strings of them: so they are gathered first, each as the
 * sizes of key and value, key and value. */
static bool gather(void *self, struct mm_text key, struct mm_text value)
{
	struct mm_buffer *to = self;
	const size_t sizes[2] = { key.size, value.size };
	mm_buffer_append(to, sizes, sizeof sizes);
	mm_buffer_append(to, key.bytes, key.size);
	mm_buffer_append(to, value.bytes, value.size);
	return !to->failed;
}

/* [] -> [list of keys, list of values] */
static void push_entries(lua_State *L, const struct mm_buffer *from)
{
	int n = 0;
	lua_newtable(L);
	lua_newtable(L);
	for (size_t at = 0; at < from->size;) {
		size_t sizes[2];
		memcpy(sizes, from->bytes + at, sizeof sizes);
		const char *key = (const char *)from->bytes + at + sizeof sizes;
		lua_pushlstring(L, key, sizes[0]);
		lua_rawseti(L, -3, ++n);
		lua_pushlstring(L, key + sizes[0], sizes[1]);
		lua_rawseti(L, -2, n);
		at += sizeof sizes + sizes[0] + sizes[1];
	}
}

/* map.all(handle) -> keys, values | nil, text, code. For tables that a script wants whole: it takes a copy */
static int map_all(lua_State *L)
{
	struct box *b = check_box(L);
	struct mm_table *t = mm_map_table(b->map);
	struct mm_fault why = { .class = MM_FAULT_CONFIG, .text = "a table of patterns has no list of keys" };
	if (t == NULL)
		return mm_push_failure(L, "has not been read yet", "down");
	mm_buffer_free(&b->value);
	if (t->format->each == NULL || !t->format->each(t, gather, &b->value, &why))
		return fail(L, &why);
	if (b->value.failed)
		return mm_push_failure(L, "out of memory for all entries", "limit");
	push_entries(L, &b->value);             /* a map that is open stays so: its handle is on the stack */
	mm_buffer_free(&b->value);
	return 2;
}

static void set_number(lua_State *L, const char *name, double n)
{
	lua_pushnumber(L, n);
	lua_setfield(L, -2, name);
}

/* map.info(handle) -> { path =, entries =, version =, age =, modified =, error = } */
static int map_info(lua_State *L)
{
	struct box *b = check_box(L);
	struct mm_map_info i;
	mm_map_describe(b->map, &i);
	lua_createtable(L, 0, 6);
	lua_pushstring(L, i.path);
	lua_setfield(L, -2, "path");
	if (i.entries != UINT64_MAX)
		set_number(L, "entries", (double)i.entries);
	set_number(L, "version", (double)i.versions);
	if (i.versions > 0)
		set_number(L, "age", mm_clock_wall() - (i.modified_at > 0 ? i.modified_at : i.taken_at));
	if (i.modified_at > 0)
		set_number(L, "modified", i.modified_at);
	if (mm_map_failure(b->map) != NULL) {
		lua_pushstring(L, mm_map_failure(b->map));
		lua_setfield(L, -2, "error");
	}
	return 1;
}

/* map.failure(handle) -> why there is no version at all; nil: there is one */
static int map_failure(lua_State *L)
{
	struct box *b = check_box(L);
	if (mm_map_table(b->map) != NULL)
		return 0;
	lua_pushstring(L, mm_map_failure(b->map) != NULL ? mm_map_failure(b->map) : "has not been read yet");
	return 1;
}

/* ---- MaxMind DBs ---- */

/* False: nil, text, code are pushed. */
static bool geo_of(lua_State *L, struct box *b, struct mm_geo *g)
{
	struct mm_table *t = mm_map_table(b->map);
	struct mm_fault why = { .class = MM_FAULT_CONFIG, .text = "has not been read yet" };
	if (t != NULL && mm_geo_of_table(t, g, &why))
		return true;
	fail(L, &why);
	return false;
}

/* map.geo(handle, ip) -> record | nothing | nil, text, code */
static int map_geo(lua_State *L)
{
	struct box *b = check_box(L);
	struct mm_text ip = mm_check_text(L, 2);
	struct mm_geo g;
	struct mm_fault why;
	if (!geo_of(L, b, &g))
		return 3;
	if (b->value.failed)
		mm_buffer_free(&b->value);
	mm_buffer_clear(&b->value);
	switch (mm_geo_get(&g, ip, &b->value, &why)) {
	case MM_GEO_NONE:
		return 0;
	case MM_GEO_NO_ADDRESS:
		return mm_push_failure(L, "this is no IP address", "bad_key");
	case MM_GEO_BROKEN:
		return fail(L, &why);
	case MM_GEO_FOUND:
		break;
	}
	mm_packed_push(L, (struct mm_text){ (const char *)b->value.bytes, b->value.size });
	return 1;
}

/* map.geo_type(handle) -> type, when it was made (seconds since 1970) | nil, text, code */
static int map_geo_type(lua_State *L)
{
	struct mm_geo g;
	if (!geo_of(L, check_box(L), &g))
		return 3;
	lua_pushstring(L, g.type);
	lua_pushnumber(L, g.built);
	return 2;
}

void mm_bind_map(lua_State *L)
{
	static const luaL_Reg functions[] = {
		{ "open", map_open }, { "wait", map_wait }, { "get", map_get }, { "all", map_all },
		{ "info", map_info }, { "failure", map_failure }, { "geo", map_geo },
		{ "geo_type", map_geo_type }, { NULL, NULL },
	};
	lua_newtable(L);
	luaL_setfuncs(L, functions, 0);
	mm_handle_push_class(L, &class);        /* Lua never calls methods of it */
	lua_pop(L, 1);
	lua_setfield(L, -2, "map");
}
