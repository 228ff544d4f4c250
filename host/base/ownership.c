#include "base/ownership.h"

#include "base/users.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool is_trusted(const struct mm_trusted_users *t, uid_t user)
{
	for (unsigned i = 0; i < t->count; i++)
		if (t->ids[i] == user)
			return true;
	return false;
}

void mm_trusted_users_add(struct mm_trusted_users *t, uid_t user)
{
	if (t->count < MM_TRUSTED_USERS_MAX && !is_trusted(t, user))
		t->ids[t->count++] = user;
}

/* A group that nobody but the owner is in: many systems give each user such a group, and files its write bit. */
static bool is_owners_own(const struct stat *s)
{
	return mm_users_is_own_group(s->st_uid, s->st_gid);
}

/* who: S_IWGRP or S_IWOTH */
static bool may_write(const struct stat *s, mode_t who)
{
	bool guards_entries = S_ISDIR(s->st_mode) && (s->st_mode & S_ISVTX) != 0;     /* /tmp */
	return (s->st_mode & who) != 0 && !guards_entries;
}

static bool group_may_write(const struct stat *s)
{
	return may_write(s, S_IWGRP) && s->st_gid != 0 && !is_owners_own(s);
}

static enum mm_ownership tell_owner(const char *path, const struct stat *s, struct mm_fault *why)
{
	bool is_name;
	char name[48];
	mm_users_name(s->st_uid, name, sizeof name, &is_name);
	const char *quote = is_name ? "\"" : "";
	mm_fault_set(why, MM_FAULT_CONFIG, "%.400s belongs to user %s%s%s, who could change what the service does; "
		"chown root %.400s, or trust that user: owners = { \"%s\" }", path, quote, name, quote, path,
		name);
	return MM_OWNERSHIP_FOREIGN;
}

static enum mm_ownership tell_all(const char *path, struct mm_fault *why)
{
	mm_fault_set(why, MM_FAULT_CONFIG, "%.400s: every user of this machine may write there; chmod o-w %.400s", path,
		path);
	return MM_OWNERSHIP_FOREIGN;
}

static enum mm_ownership tell_group(const char *path, const struct stat *s, struct mm_fault *why)
{
	char name[48];
	mm_fault_set(why, MM_FAULT_CONFIG, "%.400s: the members of group %.40s may write there; chmod g-w %.400s", path,
		mm_users_group_name(s->st_gid, name, sizeof name), path);
	return MM_OWNERSHIP_SHARED;
}

/* trusted NULL: owners and groups do not matter. */
static enum mm_ownership look_at(const char *path, const struct mm_trusted_users *trusted, struct mm_fault *why)
{
	struct stat status;
	if (stat(path, &status) != 0)
		return MM_OWNERSHIP_GOOD;
	if (trusted != NULL && !is_trusted(trusted, status.st_uid))
		return tell_owner(path, &status, why);
	if (may_write(&status, S_IWOTH))
		return tell_all(path, why);
	if (trusted != NULL && group_may_write(&status))
		return tell_group(path, &status, why);
	return MM_OWNERSHIP_GOOD;
}

/* Keeps the worst, and what is said about it: the topmost directory. */
static enum mm_ownership look_along(const char *path, const struct mm_trusted_users *trusted, struct mm_fault *why)
{
	enum mm_ownership worst = MM_OWNERSHIP_GOOD;
	struct mm_fault one;
	char part[PATH_MAX];
	size_t size = 1;
	for (;;) {
		snprintf(part, sizeof part, "%.*s", (int)size, path);
		enum mm_ownership is = look_at(part, trusted, &one);
		if (is > worst) {
			worst = is;
			if (why != NULL)
				*why = one;
		}
		if (path[size] == '\0')
			return worst;
		size += strspn(path + size, "/");
		size += strcspn(path + size, "/");
	}
}

enum mm_ownership mm_ownership_of(const char *path, const struct mm_trusted_users *trusted, struct mm_fault *why)
{
	char real[PATH_MAX];
	enum mm_ownership is = look_along(path, trusted, why);
	if (is == MM_OWNERSHIP_FOREIGN || realpath(path, real) == NULL || strcmp(real, path) == 0)
		return is;
	struct mm_fault other;
	enum mm_ownership really = look_along(real, trusted, &other);
	if (really <= is)
		return is;
	if (why != NULL)
		*why = other;
	return really;
}

enum mm_ownership mm_ownership_of_socket(const char *path, struct mm_fault *why)
{
	char directory[PATH_MAX];
	const char *slash = strrchr(path, '/');
	snprintf(directory, sizeof directory, "%.*s", slash == path ? 1 : (int)(slash - path), path);
	return look_along(directory, NULL, why);
}
