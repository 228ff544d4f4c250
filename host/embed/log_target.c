#include "embed/log_target.h"

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

/* The log's directory is often owned by the user we are about to become. While we are root, a link that another user
 * has put there must not make us write to another file or give it away. A link that root owns (/dev/stdout) is fine. */
static int open_log(const char *path, const char *user)
{
	struct stat at;
	bool is_link = lstat(path, &at) == 0 && S_ISLNK(at.st_mode);
	if (is_link && geteuid() == 0 && at.st_uid != 0) {
		errno = ELOOP;
		return -1;
	}
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | (is_link ? 0 : O_NOFOLLOW), 0640);
	if (fd >= 0 && !is_link)
		mm_rights_hand_over(fd, user);
	return fd;
}

void mm_host_tune_log(struct mm_host *h)
{
	h->log.level = h->config.log_level;
	h->log.rate = (double)h->config.log_rate;
	h->log.is_json = h->config.log_format == MM_CONFIG_LOG_JSON;
}

bool mm_host_reopen_log(struct mm_host *h, struct mm_fault *why)
{
	const char *where = h->config.log != NULL ? h->config.log : "stderr";
	if (h->options.log != NULL) {
		mm_log_close(&h->log);
		h->log.sink = sink_to_embedder;
		h->log.sink_self = h;
	} else if (where[0] == '/') {
		int fd = open_log(where, h->config.user);
		if (fd < 0)
			return mm_fault_set(why, MM_FAULT_CONFIG, "log: %s cannot be opened: %s", where,
				strerror(errno));
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
