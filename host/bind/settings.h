/* bind/settings.h -- the settings of a milter, from the configuration's value to a Lua table: host.settings. */
#ifndef MM_BIND_SETTINGS_H
#define MM_BIND_SETTINGS_H

#include "base/value.h"

struct lua_State;

/* Pushes a table with the content of `settings`, which is a table; NULL or any other kind: an empty table. */
void mm_push_settings(struct lua_State *, const struct mm_value *settings);

#endif
