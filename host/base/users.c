#include "base/users.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENTRY_SIZE    65536     /* bytes of an entry: a group names its members */
#define ID_DIGITS_MAX 10        /* of 4294967295, which is nobody's number */

/* False: the text is no number that a user or group can have. */
static bool number_of(const char *text, uint32_t *number)
{
	size_t digits = strspn(text, "0123456789");
	unsigned long long n = digits > 0 && digits <= ID_DIGITS_MAX ? strtoull(text, NULL, 10) : UINT32_MAX;
	*number = (uint32_t)n;
	return text[digits] == '\0' && n < UINT32_MAX;
}

/* error: 0, or what getpwnam_r() has returned; some of its values only say that there is none. */
static bool refuse(const char *key, const char *kind, const char *text, int error, struct mm_fault *why)
{
	bool is_missing = error == 0 || error == ENOENT || error == ESRCH || error == EBADF || error == EPERM;
	if (!is_missing)
		return mm_fault_because(why, MM_REASON_IS_USER, "%s: %s \"%s\" cannot be looked up: %s", key, kind,
			text, strerror(error));
	return mm_fault_because(why, MM_REASON_IS_USER, "%s: there is no %s \"%s\"; create it (adduser --system "
		"--group %s), or write a number", key, kind, text, text);
}

static void take(struct mm_user *u, const struct passwd *p)
{
	u->is_known = true;
	u->id = p->pw_uid;
	u->group = p->pw_gid;
	snprintf(u->name, sizeof u->name, "%s", p->pw_name);
	snprintf(u->home, sizeof u->home, "%s", p->pw_dir);
}

bool mm_users_find(const char *key, const char *text, struct mm_user *u, struct mm_fault *why)
{
	char entry[ENTRY_SIZE];
	struct passwd p, *found = NULL;
	uint32_t number;
	*u = (struct mm_user){ .home = "/" };
	int error = getpwnam_r(text, &p, entry, sizeof entry, &found);
	if (found == NULL && number_of(text, &number)) {
		error = getpwuid_r(number, &p, entry, sizeof entry, &found);
		u->id = number;
		if (found == NULL)
			return true;
	}
	if (found == NULL)
		return refuse(key, "user", text, error, why);
	take(u, found);
	return true;
}

bool mm_users_find_group(const char *key, const char *text, gid_t *id, struct mm_fault *why)
{
	char entry[ENTRY_SIZE];
	struct group g, *found = NULL;
	uint32_t number;
	int error = getgrnam_r(text, &g, entry, sizeof entry, &found);
	if (found != NULL)
		*id = found->gr_gid;
	else if (number_of(text, &number))
		*id = number;
	else
		return refuse(key, "group", text, error, why);
	return true;
}

char *mm_users_name(uid_t id, char *to, size_t size, bool *is_name)
{
	char entry[ENTRY_SIZE];
	struct passwd p, *found = NULL;
	getpwuid_r(id, &p, entry, sizeof entry, &found);
	if (is_name != NULL)
		*is_name = found != NULL;
	if (found != NULL)
		snprintf(to, size, "%s", found->pw_name);
	else
		snprintf(to, size, "%u", (unsigned)id);
	return to;
}

char *mm_users_group_name(gid_t id, char *to, size_t size)
{
	char entry[ENTRY_SIZE];
	struct group g, *found = NULL;
	getgrgid_r(id, &g, entry, sizeof entry, &found);
	if (found != NULL)
		snprintf(to, size, "%s", found->gr_name);
	else
		snprintf(to, size, "%u", (unsigned)id);
	return to;
}

bool mm_users_is_own_group(uid_t user, gid_t group)
{
	char user_entry[ENTRY_SIZE], group_entry[ENTRY_SIZE];
	struct passwd p, *u = NULL;
	struct group one, *g = NULL;
	getpwuid_r(user, &p, user_entry, sizeof user_entry, &u);
	getgrgid_r(group, &one, group_entry, sizeof group_entry, &g);
	return u != NULL && g != NULL && u->pw_gid == group && g->gr_mem[0] == NULL;
}
