/* bind/metric.c -- core.metric, on which moonmilter.metric is built. An update finds its series by the values of the
 * labels and changes a number in shared memory: it makes no Lua value and never waits. */
#include "bind/bind.h"

#include "base/figures.h"
#include "task/blame.h"

#include <lauxlib.h>
#include <lua.h>
#include <math.h>
#include <stdio.h>

struct metric {
	struct mm_tag           tag;
	struct mm_meter        *meter;          /* owned; NULL: none */
	enum mm_exposition_kind kind;
	unsigned                labels;
};

static const char kind;                 /* of the userdata */

/* Label values as C sees them: numbers need room, because Lua would make a string. */
struct values {
	struct mm_text text[MM_METER_LABELS];
	char           numbers[MM_METER_LABELS][32];
};

static int collect(lua_State *L)
{
	struct metric *m = mm_tagged(L, 1, &kind);
	if (m != NULL)
		mm_meter_close(m->meter);
	if (m != NULL)
		m->meter = NULL;
	return 0;
}

/* ---- updates ---- */

static struct metric *check_metric(lua_State *L, const char *method)
{
	struct metric *m = mm_tagged(L, 1, &kind);
	if (m == NULL || m->meter == NULL)
		mm_raise_at_script(L, "metric: %s is called on a %s; write metric:%s(…), with a colon", method,
			luaL_typename(L, 1), method);
	return m;
}

static struct mm_text value_at(lua_State *L, int at, char *number, size_t size)
{
	struct mm_text t = { number, 0 };
	switch (lua_type(L, at)) {
	case LUA_TSTRING:
		t.bytes = lua_tolstring(L, at, &t.size);
		return t;
	case LUA_TNUMBER:
		t.size = (size_t)snprintf(number, size, "%.14g", lua_tonumber(L, at));
		return t;
	case LUA_TBOOLEAN:
		return mm_text_of(lua_toboolean(L, at) ? "true" : "false");
	case LUA_TNIL:
		return mm_text_of("");
	default:
		mm_raise_at_script(L, "metric: the value of a label is a %s; give a string, a number, a boolean or nil",
			luaL_typename(L, at));
		return t;
	}
}

/* The values of the labels from an index on. */
static void read_values(lua_State *L, const struct metric *m, int from, struct values *v)
{
	int given = lua_gettop(L) - from + 1;
	if (given != (int)m->labels)
		mm_raise_at_script(L, "metric: %d label values are given, and the metric has %d labels", given < 0 ? 0
			: given, (int)m->labels);
	for (unsigned i = 0; i < m->labels; i++)
		v->text[i] = value_at(L, from + (int)i, v->numbers[i], sizeof v->numbers[i]);
}

static double number_at(lua_State *L, int at, const char *method)
{
	double n = lua_type(L, at) == LUA_TNUMBER ? lua_tonumber(L, at) : (double)NAN;
	if (!isfinite(n))
		mm_raise_at_script(L, "metric: %s takes a finite number, not %s", method,
			lua_type(L, at) == LUA_TNUMBER ? "this one" : luaL_typename(L, at));
	return n;
}

static void refuse_kind(lua_State *L, const struct metric *m, const char *method, const char *instead)
{
	mm_raise_at_script(L, "metric: a %s has no %s; it has %s", mm_exposition_kind_name(m->kind), method, instead);
}

/* counter:inc(value of each label…) */
static int metric_inc(lua_State *L)
{
	struct values v;
	const struct metric *m = check_metric(L, "inc");
	if (m->kind == MM_EXPOSE_HISTOGRAM)
		refuse_kind(L, m, "inc", "observe");
	read_values(L, m, 2, &v);
	mm_meter_add(m->meter, v.text, 1);
	return 0;
}

/* counter:add(number, value of each label…) */
static int metric_add(lua_State *L)
{
	struct values v;
	const struct metric *m = check_metric(L, "add");
	double by = number_at(L, 2, "add");
	if (m->kind == MM_EXPOSE_HISTOGRAM)
		refuse_kind(L, m, "add", "observe");
	if (m->kind == MM_EXPOSE_COUNTER && by < 0)
		mm_raise_at_script(L, "metric: a counter only grows; use a gauge for what also falls");
	read_values(L, m, 3, &v);
	mm_meter_add(m->meter, v.text, by);
	return 0;
}

/* gauge:set(number, value of each label…) */
static int metric_set(lua_State *L)
{
	struct values v;
	const struct metric *m = check_metric(L, "set");
	double to = number_at(L, 2, "set");
	if (m->kind != MM_EXPOSE_GAUGE)
		refuse_kind(L, m, "set", m->kind == MM_EXPOSE_COUNTER ? "inc and add" : "observe");
	read_values(L, m, 3, &v);
	mm_meter_set(m->meter, v.text, to);
	return 0;
}

/* histogram:observe(number, value of each label…) */
static int metric_observe(lua_State *L)
{
	struct values v;
	const struct metric *m = check_metric(L, "observe");
	double value = number_at(L, 2, "observe");
	if (m->kind != MM_EXPOSE_HISTOGRAM)
		refuse_kind(L, m, "observe", m->kind == MM_EXPOSE_COUNTER ? "inc and add" : "set and add");
	read_values(L, m, 3, &v);
	mm_meter_observe(m->meter, v.text, value);
	return 0;
}

/* metric:value(value of each label…) -> number, of a histogram how many it has seen, sum; nil: not counted yet */
static int metric_value(lua_State *L)
{
	struct values v;
	double number, sum;
	const struct metric *m = check_metric(L, "value");
	read_values(L, m, 2, &v);
	if (!mm_meter_read(m->meter, v.text, &number, &sum))
		return 0;
	lua_pushnumber(L, number);
	if (m->kind != MM_EXPOSE_HISTOGRAM)
		return 1;
	lua_pushnumber(L, sum);
	return 2;
}

/* ---- making ---- */

/* Names and numbers of the lists at two indexes, which moonmilter.metric has checked. */
static void read_lists(lua_State *L, int labels, int bounds, struct mm_meter_spec *spec, const char **names,
	double *limits)
{
	spec->label_count = (unsigned)lua_objlen(L, labels);
	spec->bound_count = (unsigned)lua_objlen(L, bounds);
	if (spec->label_count > MM_METER_LABELS || spec->bound_count > MM_METER_BOUNDS_MAX)
		luaL_error(L, "metric: too many labels or buckets");
	for (unsigned i = 0; i < spec->label_count; i++) {
		lua_rawgeti(L, labels, (int)i + 1);
		names[i] = mm_check_cstring(L, -1, "metric: label");    /* borrowed from the list */
		lua_pop(L, 1);
	}
	for (unsigned i = 0; i < spec->bound_count; i++) {
		lua_rawgeti(L, bounds, (int)i + 1);
		limits[i] = luaL_checknumber(L, -1);
		lua_pop(L, 1);
	}
}

/* [… class] -> [… userdata]; what collects it is the host's, not a field of the class */
static struct metric *push_metric(lua_State *L, int class)
{
	struct metric *m = mm_tagged_new(L, &kind, sizeof *m);
	lua_createtable(L, 0, 3);
	lua_pushvalue(L, class);
	lua_setfield(L, -2, "__index");
	lua_pushcfunction(L, collect);
	lua_setfield(L, -2, "__gc");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_setmetatable(L, -2);
	return m;
}

/* metric.new(kind, name, help, labels, bounds, max_series, is_of_host, class) -> metric | nil, text, code. kind:
 * "counter", "gauge", "histogram". class: a table of its methods. */
static int metric_new(lua_State *L)
{
	static const char *const kinds[] = { "counter", "gauge", "histogram", NULL };   /* ORDER EXPOSITION_KIND */
	const struct mm_generation *g = mm_generation_of(L);
	const char *labels[MM_METER_LABELS];
	double bounds[MM_METER_BOUNDS_MAX];
	struct mm_fault why = { .text = "this host keeps no metrics" };
	struct mm_meter_spec spec = {
		.kind = (enum mm_exposition_kind)luaL_checkoption(L, 1, NULL, kinds), .labels = labels,
		.name = mm_check_cstring(L, 2, "metric: name"), .help = mm_check_cstring(L, 3, "metric: help"),
		.milter = g->settings.milter_name, .bounds = bounds, .generation = g->settings.number,
		.max_series = (unsigned)luaL_checknumber(L, 6),
		.scope = lua_toboolean(L, 7) ? MM_METER_OF_HOST : MM_METER_OF_WORKER,
	};
	luaL_checktype(L, 4, LUA_TTABLE);
	luaL_checktype(L, 5, LUA_TTABLE);
	luaL_checktype(L, 8, LUA_TTABLE);
	read_lists(L, 4, 5, &spec, labels, bounds);
	if (spec.max_series < 1 || spec.max_series > MM_METER_SERIES_MAX
	    || (spec.bound_count > 0) != (spec.kind == MM_EXPOSE_HISTOGRAM))
		luaL_error(L, "metric: wrong max_series or buckets");
	struct metric *m = push_metric(L, 8);
	m->kind = spec.kind;
	m->labels = spec.label_count;
	m->meter = g->settings.meters != NULL ? mm_meter_open(g->settings.meters, &spec, &why) : NULL;
	return m->meter != NULL ? 1 : mm_push_failure(L, why.text, why.class == MM_FAULT_CONFIG ? "kind" : "full");
}

/* metric.fallback(limit, state): an answer of a limit that was given without what counts */
static int metric_fallback(lua_State *L)
{
	mm_figures_count(mm_generation_of(L)->settings.figures, MM_FIGURE_fallbacks,
		mm_check_cstring(L, 1, "metric: limit"), mm_check_cstring(L, 2, "metric: state"));
	return 0;
}

void mm_bind_metric(lua_State *L)
{
	static const luaL_Reg functions[] = {
		{ "new", metric_new }, { "fallback", metric_fallback }, { "inc", metric_inc }, { "add", metric_add },
		{ "set", metric_set }, { "observe", metric_observe }, { "value", metric_value }, { NULL, NULL },
	};
	lua_newtable(L);
	luaL_setfuncs(L, functions, 0);
	lua_setfield(L, -2, "metric");
}
