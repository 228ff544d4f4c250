#include "embed/rights.h"

#include "base/users.h"

#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES_WANTED 1048576            /* descriptors; more than max_sessions ever needs */
#define STACK_WANTED (64ul << 20)       /* bytes: a gsub callback in a gsub callback … ends in an error at this size */

bool mm_rights_need_a_user(char **user, struct mm_fault *why)
{
	static const char *const candidates[] = { "moonmilter", "nobody", NULL };
	if (geteuid() != 0)
		return true;
	for (const char *const *name = candidates; *name != NULL; name++) {
		struct mm_user u;
		if (!mm_users_find("user", *name, &u, NULL))
			continue;
		*user = strdup(*name);
		return *user != NULL || mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory");
	}
	return mm_fault_because(why, MM_REASON_IS_USER,
		"mail is not served as root, and there is no user \"moonmilter\"; "
		"create one (adduser --system --group moonmilter) or set user in the configuration");
}

bool mm_rights_is_user(uid_t owner, const char *user)
{
	struct mm_user u;
	return user != NULL && mm_users_find("user", user, &u, NULL) && u.id == owner;
}

void mm_rights_hand_over(int fd, const char *user)
{
	struct mm_user u;
	struct stat status;
	if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || status.st_nlink != 1)
		return;                 /* a file with a second name (hard link) may belong to any user */
	if (geteuid() == 0 && user != NULL && mm_users_find("user", user, &u, NULL)
	    && fchown(fd, u.id, (gid_t)-1) != 0)
		return;                 /* SIGUSR1 will report that it cannot be opened */
}

static void raise_limit(int what, rlim_t wanted)
{
	struct rlimit limit;
	if (getrlimit(what, &limit) != 0 || (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur >= wanted))
		return;
	limit.rlim_cur = limit.rlim_max == RLIM_INFINITY || limit.rlim_max > wanted ? wanted : limit.rlim_max;
	setrlimit(what, &limit);
}

void mm_rights_raise_limits(void)
{
	raise_limit(RLIMIT_NOFILE, FILES_WANTED);
	raise_limit(RLIMIT_STACK, STACK_WANTED);
}

/* A number without an entry has no groups of its own. */
static bool set_groups(const struct mm_user *u, gid_t group)
{
	return (u->is_known ? initgroups(u->name, group) : setgroups(1, &group)) == 0;
}

static bool become(const struct mm_user *u, const char *user, gid_t group, struct mm_fault *why)
{
	if (!set_groups(u, group) || setgid(group) != 0 || setuid(u->id) != 0)
		return mm_fault_because(why, MM_REASON_IS_USER, "user %s: rights cannot be dropped: %s", user,
			strerror(errno));
	uid_t users[3] = { 0 };
	gid_t groups[3] = { 0 };
	bool is_kept = getresuid(&users[0], &users[1], &users[2]) != 0
		|| getresgid(&groups[0], &groups[1], &groups[2]) != 0;
	for (int i = 0; i < 3; i++)
		is_kept |= users[i] != u->id || groups[i] != group;
	if (is_kept || setuid(0) == 0 || setgid(0) == 0)
		return mm_fault_set(why, MM_FAULT_BUG, "user %s: root's rights came back after they "
			"were dropped", user);
	if (setenv("HOME", u->home, 1) != 0)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory");
	return true;
}

static bool find(const char *user, const char *group, struct mm_user *u, gid_t *gid, struct mm_fault *why)
{
	if (!mm_users_find("user", user, u, why))
		return false;
	if (u->id == 0)
		return mm_fault_because(why, MM_REASON_IS_USER, "user: mail is not served as root; name another user");
	if (group == NULL && !u->is_known)
		return mm_fault_because(why, MM_REASON_IS_USER, "user: %s is a number without an entry among the "
			"users, so it has no group; set group, too", user);
	*gid = u->group;
	if (group != NULL && !mm_users_find_group("group", group, gid, why))
		return false;
	return *gid != 0 || mm_fault_because(why, MM_REASON_IS_USER,
		"group: mail is not served with root's group; name "
		"another group");
}

bool mm_rights_check(const char *user, const char *group, struct mm_fault *why)
{
	struct mm_user u;
	gid_t gid;
	return user == NULL || find(user, group, &u, &gid, why);
}

bool mm_rights_drop(const char *user, const char *group, struct mm_fault *why)
{
	struct mm_user u;
	gid_t gid;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "no_new_privs cannot be set: %s", strerror(errno));
	if (geteuid() != 0)
		return true;            /* nothing to drop; we cannot become another user either */
	return find(user, group, &u, &gid, why) && become(&u, user, gid, why);
}
