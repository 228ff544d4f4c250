#include "embed/rights.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
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
		if (getpwnam(*name) == NULL)
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
	const struct passwd *p = user != NULL ? getpwnam(user) : NULL;
	return p != NULL && p->pw_uid == owner;
}

void mm_rights_hand_over(int fd, const char *user)
{
	const struct passwd *p = geteuid() == 0 && user != NULL ? getpwnam(user) : NULL;
	struct stat status;
	if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || status.st_nlink != 1)
		return;                 /* a file with a second name (hard link) may belong to any user */
	if (p != NULL && fchown(fd, p->pw_uid, (gid_t)-1) != 0)
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

static bool become(const struct passwd *p, gid_t group, struct mm_fault *why)
{
	if (initgroups(p->pw_name, group) != 0 || setgid(group) != 0 || setuid(p->pw_uid) != 0)
		return mm_fault_because(why, MM_REASON_IS_USER, "user %s: rights cannot be dropped: %s", p->pw_name,
			strerror(errno));
	uid_t users[3] = { 0 };
	gid_t groups[3] = { 0 };
	bool is_kept = getresuid(&users[0], &users[1], &users[2]) != 0
		|| getresgid(&groups[0], &groups[1], &groups[2]) != 0;
	for (int i = 0; i < 3; i++)
		is_kept |= users[i] != p->pw_uid || groups[i] != group;
	if (is_kept || setuid(0) == 0 || setgid(0) == 0)
		return mm_fault_set(why, MM_FAULT_BUG, "user %s: root's rights came back after they "
			"were dropped", p->pw_name);
	if (setenv("HOME", p->pw_dir, 1) != 0)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory");
	return true;
}

/* *p comes from getpwnam() and is valid until the next call. */
static bool find(const char *user, const char *group, const struct passwd **p, gid_t *gid, struct mm_fault *why)
{
	*p = getpwnam(user);
	if (*p == NULL)
		return mm_fault_because(why, MM_REASON_IS_USER, "user: there is no user \"%s\"; create it (adduser "
			"--system --group %s)", user, user);
	if ((*p)->pw_uid == 0)
		return mm_fault_because(why, MM_REASON_IS_USER, "user: mail is not served as root; name another user");
	*gid = (*p)->pw_gid;
	const struct group *g = group != NULL ? getgrnam(group) : NULL;
	if (group != NULL && g == NULL)
		return mm_fault_because(why, MM_REASON_IS_USER, "group: there is no group \"%s\"", group);
	if (g != NULL)
		*gid = g->gr_gid;
	return *gid != 0 || mm_fault_because(why, MM_REASON_IS_USER,
		"group: mail is not served with root's group; name "
		"another group");
}

bool mm_rights_check(const char *user, const char *group, struct mm_fault *why)
{
	const struct passwd *p;
	gid_t gid;
	return user == NULL || find(user, group, &p, &gid, why);
}

bool mm_rights_drop(const char *user, const char *group, struct mm_fault *why)
{
	const struct passwd *p;
	gid_t gid;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "no_new_privs cannot be set: %s", strerror(errno));
	if (geteuid() != 0)
		return true;            /* nothing to drop; we cannot become another user either */
	return find(user, group, &p, &gid, why) && become(p, gid, why);
}
