#include "embed/log_target.h"

#include "base/remedy.h"
#include "base/safe_path.h"
#include "embed/parts.h"
#include "embed/rights.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void sink_to_embedder(void *self, enum mm_level level, const char *line, size_t size)
{
	struct mm_host *h = self;
	h->options.log(h->options.log_self, level, line, size);
}

/* What root finds in a directory that another user may change: a file of the user we are about to become is that user's
 * anyway, and a file of root that has no second name cannot have been put there. But root does not give it away: it
 * may have had a name in another directory until now (a hard link). */
static bool may_use(const struct mm_safe_path *p, int fd, const char *user, struct mm_fault *why)
{
	struct stat status;
	if (geteuid() != 0 || p->is_trusted || !p->is_guarded)
		return true;
	if (fstat(fd, &status) != 0)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "%s", strerror(errno));
	if (mm_rights_is_user(status.st_uid, user))
		return true;
	if (status.st_uid == 0 && S_ISREG(status.st_mode) && status.st_nlink == 1)
		return true;
	return mm_fault_set(why, MM_FAULT_CONFIG, "user %u owns it%s, in a directory where other users than root may "
		"write; remove it, or let the log be in a directory of root", (unsigned)status.st_uid,
		status.st_nlink > 1 ? " and it has a second name" : "");
}

/* A new file is handed over to the user we are about to become, who must be able to reopen it. So is an existing one
 * where only root could have put it. */
static int open_log(const struct mm_safe_path *p, const char *user, struct mm_fault *why)
{
	int flags = O_WRONLY | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | mm_safe_path_flags(p);
	int fd = openat(p->directory, p->name, flags | O_CREAT | O_EXCL, 0640);
	bool is_new = fd >= 0;
	if (!is_new && errno == EEXIST)
		fd = openat(p->directory, p->name, flags);
	if (fd < 0) {
		mm_fault_set(why, MM_FAULT_CONFIG, "%s%s", strerror(errno), mm_remedy_of_writing(errno));
		return -1;
	}
	if (!is_new && !may_use(p, fd, user, why)) {
		close(fd);
		return -1;
	}
	if (p->is_guarded && (is_new || p->is_trusted))
		mm_rights_hand_over(fd, user);
	return fd;
}

static int find_log(const char *path, const char *user, struct mm_fault *why)
{
	struct mm_safe_path p;
	struct mm_fault problem;
	int fd = -1;
	if (mm_safe_path_open(&p, path, &problem)) {
		fd = open_log(&p, user, &problem);
		mm_safe_path_close(&p);
	}
	if (fd < 0)
		mm_fault_set(why, MM_FAULT_CONFIG, "log: %.300s cannot be opened: %s%s", path, problem.text,
			mm_remedy_of_writing(p.error));
	return fd;
}

void mm_host_tune_log(struct mm_host *h)
{
	h->log.level = h->config.log_level;
	h->log.rate = (double)h->config.log_rate;
	h->log.is_json = h->config.log_format == MM_CONFIG_LOG_JSON;
	mm_log_output_name(&h->log.output, (int)h->config.syslog_facility, h->config.syslog_ident);
}

bool mm_host_reopen_log(struct mm_host *h, struct mm_fault *why)
{
	const char *where = h->config.log != NULL ? h->config.log : "stderr";
	if (h->config.daemon && strcmp(where, "stderr") == 0)
		where = "syslog";
	if (h->options.log != NULL) {
		mm_log_close(&h->log);
		h->log.sink = sink_to_embedder;
		h->log.sink_self = h;
		h->log.is_terminal = false;     /* the embedder gets whole lines, whatever standard error is */
	} else if (where[0] == '/') {
		int fd = find_log(where, h->config.user, why);
		if (fd < 0)
			return false;
		mm_log_to_file(&h->log, fd);
	} else if (strcmp(where, "syslog") == 0) {
		mm_log_to_syslog(&h->log);
	} else {
		mm_log_to_descriptor(&h->log, STDERR_FILENO);
	}
	mm_host_tune_log(h);
	return true;
}

void mm_host_set_log_level(struct mm_host *h, enum mm_level level)
{
	h->log.level = level;
}
