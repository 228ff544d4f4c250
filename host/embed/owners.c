#include "embed/owners.h"

#include "base/users.h"
#include "config/endpoint.h"
#include "script/files.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MODULES_DEPTH_MAX 4     /* directories in directories: scripts/lib/name/... */

static void trust(struct mm_trusted_users *t, const char *name)
{
	struct mm_user u;
	if (mm_users_find("owners", name, &u, NULL))
		mm_trusted_users_add(t, u.id);
}

void mm_owners_begin(struct mm_owners *o, bool serves, const char *const *commanded)
{
	static const char key[] = "owners=";
	*o = (struct mm_owners){ .is_on = serves, .is_strict = geteuid() == 0 };
	mm_trusted_users_add(&o->of_config, 0);
	mm_trusted_users_add(&o->of_config, getuid());
	const char *before_sudo = o->is_strict ? getenv("SUDO_UID") : NULL;
	if (before_sudo != NULL)
		trust(&o->of_config, before_sudo);
	for (; commanded != NULL && *commanded != NULL; commanded++)
		if (strncmp(*commanded, key, sizeof key - 1) == 0)
			trust(&o->of_config, *commanded + sizeof key - 1);
}

/* One thing that is looked at. False: it is refused, and why says so. */
static bool judge(const struct mm_owners *o, enum mm_ownership is, const struct mm_fault *problem, bool may_refuse,
	struct mm_say doubt, struct mm_fault *why)
{
	if (is == MM_OWNERSHIP_GOOD)
		return true;
	if (is == MM_OWNERSHIP_FOREIGN && may_refuse && o->is_strict) {
		if (why != NULL)
			*why = *problem;
		return false;
	}
	if (doubt.line != NULL)
		doubt.line(doubt.self, problem->text);
	return true;
}

static bool check_file(const struct mm_owners *o, const char *path, const struct mm_trusted_users *trusted,
	struct mm_say doubt, struct mm_fault *why)
{
	char absolute[PATH_MAX];
	struct mm_fault problem;
	if (path[0] != '/') {
		if (realpath(path, absolute) == NULL)
			return true;            /* whoever reads it says why */
		path = absolute;
	}
	enum mm_ownership is = mm_ownership_of(path, trusted, &problem);
	return judge(o, is, &problem, true, doubt, why);
}

/* The modules beside scripts: lib/ and what is below it. */
static bool check_modules(const struct mm_owners *o, const char *path, unsigned depth,
	const struct mm_trusted_users *trusted, struct mm_say doubt, struct mm_fault *why)
{
	DIR *d = depth < MODULES_DEPTH_MAX ? opendir(path) : NULL;
	bool good = check_file(o, path, trusted, doubt, why);
	for (struct dirent *e; good && d != NULL && (e = readdir(d)) != NULL;) {
		char entry[PATH_MAX];
		int size = snprintf(entry, sizeof entry, "%s/%s", path, e->d_name);
		if (e->d_name[0] != '.' && size < (int)sizeof entry)
			good = check_modules(o, entry, depth + 1, trusted, doubt, why);
	}
	if (d != NULL)
		closedir(d);
	return good;
}

/* Scripts of one directory follow each other and share their modules. before NULL: this is the first. */
static bool check_modules_of(const struct mm_owners *o, const char *path, const char *before,
	const struct mm_trusted_users *trusted, struct mm_say doubt, struct mm_fault *why)
{
	char modules[PATH_MAX];
	const char *slash = strrchr(path, '/'), *other = before != NULL ? strrchr(before, '/') : NULL;
	if (slash != NULL && other != NULL && slash - path == other - before
	    && memcmp(path, before, (size_t)(slash - path)) == 0)
		return true;
	snprintf(modules, sizeof modules, "%.*s/lib", slash != NULL ? (int)(slash - path) : 1,
		slash != NULL ? path : ".");
	return access(modules, F_OK) != 0 || check_modules(o, modules, 0, trusted, doubt, why);
}

static bool check_scripts(const struct mm_owners *o, const char *path, const struct mm_trusted_users *trusted,
	struct mm_say doubt, struct mm_fault *why)
{
	struct mm_script_files list = { 0 };
	const char *const one[] = { path, NULL };
	bool good = check_file(o, path, trusted, doubt, why);
	bool is_found = good && mm_script_files_find(&list, one, NULL);         /* if not, the load says why */
	for (size_t i = 0; is_found && good && i < list.count; i++)
		good = check_file(o, list.items[i], trusted, doubt, why)
			&& check_modules_of(o, list.items[i], i > 0 ? list.items[i - 1] : NULL, trusted, doubt, why);
	mm_script_files_free(&list);
	return good;
}

static bool check_milter(const struct mm_owners *o, const struct mm_config_milter *m,
	const struct mm_trusted_users *trusted, struct mm_say doubt, struct mm_fault *why)
{
	bool good = true;
	for (size_t i = 0; good && i < m->scripts.count; i++)
		good = check_scripts(o, m->scripts.items[i], trusted, doubt, why);
	for (size_t i = 0; good && i < m->listen.count; i++) {
		struct mm_endpoint spec;
		struct mm_fault problem;
		if (mm_endpoint_parse(m->listen.items[i], &spec, NULL) && spec.kind == MM_ENDPOINT_UNIX
		    && spec.path[0] == '/')
			judge(o, mm_ownership_of_socket(spec.path, &problem), &problem, false, doubt, NULL);
	}
	return good;
}

/* Once for each problem: the scripts of a directory share its way. */
struct doubts {
	struct mm_say say;
	uint64_t      said[32];         /* hashes */
	unsigned      count;
};

static void doubt_once(void *self, const char *line)
{
	struct doubts *d = self;
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	for (const char *c = line; *c != '\0'; c++)
		hash = (hash ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
	for (unsigned i = 0; i < d->count; i++)
		if (d->said[i] == hash)
			return;
	if (d->count == sizeof d->said / sizeof *d->said)
		return;
	d->said[d->count++] = hash;
	d->say.line(d->say.self, line);
}

static struct mm_trusted_users trusted_of(const struct mm_owners *o, const struct mm_config *c)
{
	struct mm_trusted_users trusted = o->of_config;
	mm_trusted_users_add(&trusted, geteuid());      /* after the rights are dropped: the user who serves */
	if (c->user != NULL)
		trust(&trusted, c->user);
	for (size_t i = 0; i < c->owners.count; i++)
		trust(&trusted, c->owners.items[i]);
	return trusted;
}

/* True: nothing is refused. */
static bool check_all(const struct mm_owners *o, const struct mm_config *c, struct mm_say doubt, struct mm_fault *why)
{
	struct mm_trusted_users trusted = trusted_of(o, c);
	struct mm_fault problem;
	bool good = true;
	for (size_t i = 0; good && i < c->milter_count; i++)
		good = check_milter(o, &c->milters[i], &trusted, doubt, why);
	for (const char *const *module = mm_script_module_directories; good && *module != NULL; module++)
		good = check_file(o, *module, &trusted, doubt, why);
	if (good && c->control != NULL)
		judge(o, mm_ownership_of_socket(c->control, &problem), &problem, false, doubt, NULL);
	return good;
}

static const struct mm_say silence;

bool mm_owners_exist(const struct mm_config *c, struct mm_fault *why)
{
	struct mm_user u;
	if (c->owners.count > MM_OWNERS_MAX)
		return mm_fault_set(why, MM_FAULT_CONFIG, "owners: %zu users; at most %d can be named", c->owners.count,
			MM_OWNERS_MAX);
	for (size_t i = 0; i < c->owners.count; i++)
		if (!mm_users_find("owners", c->owners.items[i], &u, why))
			return false;
	return true;
}

bool mm_owners_check_config(const struct mm_owners *o, const char *file, struct mm_fault *why)
{
	return !o->is_on || file == NULL || check_file(o, file, &o->of_config, silence, why);
}

bool mm_owners_check(const struct mm_owners *o, const struct mm_config *c, struct mm_fault *why)
{
	return !o->is_on || check_all(o, c, silence, why);
}

bool mm_owners_check_shadow(const struct mm_owners *o, const struct mm_config *c, unsigned milter,
	struct mm_fault *why)
{
	struct mm_trusted_users trusted = trusted_of(o, c);
	const struct mm_config_strings *list = &c->milters[milter].shadow;
	bool good = true;
	for (size_t i = 0; o->is_on && good && i < list->count; i++)
		good = check_scripts(o, list->items[i], &trusted, silence, why);
	return good;
}

void mm_owners_describe(const struct mm_owners *o, const char *file, const struct mm_config *c, struct mm_say say)
{
	struct doubts d = { .say = say };
	struct mm_say once = { doubt_once, &d };
	if (!o->is_on)
		return;
	if (file != NULL)
		check_file(o, file, &o->of_config, once, NULL);
	check_all(o, c, once, NULL);
}
