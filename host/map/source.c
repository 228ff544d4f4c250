#include "map/source.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define STEP (1u << 20)         /* bytes read at a time */

static bool complain(struct mm_fault *why, int error)
{
	if (error == EACCES)
		return mm_fault_set(why, MM_FAULT_CONFIG, "%s: the user of moonmilter must be able to read it and to "
			"enter its directories", strerror(error));
	if (error == ENOENT)
		return mm_fault_because(why, MM_REASON_IS_NOT_FOUND, "%s; write it, or correct its name in the script",
			strerror(error));
	return mm_fault_set(why, MM_FAULT_CONFIG, "%s", strerror(error));
}

static bool take_stat(const struct stat *s, struct mm_image_source *to, struct mm_fault *why)
{
	if (!S_ISREG(s->st_mode))
		return mm_fault_set(why, MM_FAULT_CONFIG, "not a file");
	*to = (struct mm_image_source){ .device = s->st_dev, .inode = s->st_ino, .size = (uint64_t)s->st_size,
		.modified = s->st_mtim.tv_sec * 1000000000L + s->st_mtim.tv_nsec,
		.changed = s->st_ctim.tv_sec * 1000000000L + s->st_ctim.tv_nsec };
	return true;
}

bool mm_source_look(const char *path, struct mm_image_source *to, struct mm_fault *why)
{
	struct stat is;
	return stat(path, &is) == 0 ? take_stat(&is, to, why) : complain(why, errno);
}

bool mm_source_is_same(const struct mm_image_source *a, const struct mm_image_source *b)
{
	return memcmp(a, b, sizeof *a) == 0;
}

double mm_source_age(const struct mm_image_source *s)
{
	int64_t last = s->changed > s->modified ? s->changed : s->modified;
	return mm_clock_wall() - (double)last / 1e9;
}

static bool is_still(const struct mm_image_source *expected, const struct stat *is)
{
	struct mm_image_source now;
	if (!take_stat(is, &now, NULL))
		return false;
	now.options = expected->options;
	return mm_source_is_same(expected, &now);
}

/* False: errno says why. */
static bool read_all(int fd, uint64_t size, struct mm_block *to)
{
	for (uint64_t left = size; left > 0;) {
		size_t step = left < STEP ? (size_t)left : STEP;
		errno = ENOMEM;
		ssize_t n = mm_block_reserve(to, step) ? read(fd, to->bytes + to->size, step) : -1;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		if (n == 0)
			return true;            /* it is shorter now: then it has changed */
		to->size += (size_t)n;
		left -= (uint64_t)n;
	}
	return true;
}

static enum mm_source_result read_version(int fd, const char *path, const struct mm_image_source *expected,
	struct mm_block *to, struct mm_fault *why)
{
	struct stat is;
	if (fstat(fd, &is) != 0 || !is_still(expected, &is))
		return MM_SOURCE_CHANGED;
	if (!read_all(fd, expected->size, to)) {
		complain(why, errno);
		return MM_SOURCE_FAILED;
	}
	if (fstat(fd, &is) != 0 || !is_still(expected, &is) || stat(path, &is) != 0 || !is_still(expected, &is)
	    || to->size != expected->size)
		return MM_SOURCE_CHANGED;
	return MM_SOURCE_READ;
}

enum mm_source_result mm_source_read(const char *path, const struct mm_image_source *expected, double max,
	struct mm_block *to, struct mm_fault *why)
{
	if ((double)expected->size > max) {
		mm_fault_set(why, MM_FAULT_CONFIG, "%.0f bytes are more than text_max, which is %.0f",
			(double)expected->size, max);
		return MM_SOURCE_FAILED;
	}
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0) {
		complain(why, errno);
		return MM_SOURCE_FAILED;
	}
	enum mm_source_result r = read_version(fd, path, expected, to, why);
	close(fd);
	return r;
}
