/* bind/key_file.c -- files of private keys: read whole, and only when nobody else may read them. */
#include "bind/bind.h"

#include <lauxlib.h>
#include <lua.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_FILE_MAX (16u << 10)        /* bytes: RSA with 4096 bits has some 3300 */

static int refuse(lua_State *L, const char *path, const char *text, const char *what_to_do)
{
	lua_pushnil(L);
	lua_pushfstring(L, "%s: %s%s", path, text, what_to_do);
	return 2;
}

/* What is wrong with its owner or rights; NULL: nothing. A group may read it: root:moonmilter 0640 is usual. */
static const char *doubt_of(const struct stat *s)
{
	if (!S_ISREG(s->st_mode))
		return "is not a file";
	if (s->st_mode & (S_IROTH | S_IWOTH))
		return "everybody may read or change this key: chmod o-rw";
	if (s->st_mode & S_IWGRP)
		return "its group may change this key: chmod g-w";
	if (s->st_uid != 0 && s->st_uid != geteuid())
		return "belongs to another user, who can read and change it: give it to root, or to the user of "
			"moonmilter";
	return NULL;
}

/* [path …] -> text, or nil and why; closes fd */
static int read_key(lua_State *L, const char *path, int fd)
{
	char bytes[KEY_FILE_MAX];
	struct stat s;
	size_t size = 0;
	ssize_t n = 0;
	const char *doubt = fstat(fd, &s) == 0 ? doubt_of(&s) : strerror(errno);
	while (doubt == NULL && size < sizeof bytes && (n = read(fd, bytes + size, sizeof bytes - size)) > 0)
		size += (size_t)n;
	if (n < 0)
		doubt = strerror(errno);
	close(fd);
	if (doubt == NULL && size == sizeof bytes)
		doubt = "is too large for a key";
	if (doubt != NULL)
		return refuse(L, path, doubt, "");
	lua_pushlstring(L, bytes, size);
	explicit_bzero(bytes, size);
	return 1;
}

/* core.key_file(path) -> text; or nil, text */
static int key_file(lua_State *L)
{
	const char *path = mm_check_cstring(L, 1, "key file");
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd >= 0)
		return read_key(L, path, fd);
	return refuse(L, path, strerror(errno), errno == EACCES ? ": the user of moonmilter must be able to read it: "
		"chgrp it to that user's group and chmod 640" : "");
}

/* core.reads_all_keys() -> boolean */
static int reads_all_keys(lua_State *L)
{
	lua_pushboolean(L, mm_generation_of(L)->settings.reads_all_keys);
	return 1;
}

void mm_bind_key_file(lua_State *L)
{
	lua_pushcfunction(L, reads_all_keys);
	lua_setfield(L, -2, "reads_all_keys");
	lua_pushcfunction(L, key_file);
	lua_setfield(L, -2, "key_file");
}
