#include "base/remedy.h"

#include <errno.h>
#include <stddef.h>

static const struct row {
	int         error;
	const char *reading, *writing;
} rows[] = {
	{ ENOENT, "; check the name", "; make the directory first, or give another path" },
	{ ENOTDIR, "; a part of this path is no directory: check the name",
		"; a part of this path is no directory: give another one" },
	{ EACCES, "; run this as a user who may read it", "; run this as a user who may write there" },
	{ EPERM, "; run this as a user who may read it", "; run this as a user who may write there" },
	{ EISDIR, "; name a file in it", "; name a file in it" },
	{ EEXIST, "; give another name", "; remove it first, or give another name" },
	{ ELOOP, "; name the file itself, not a link", "; name the file itself, not a link" },
	{ EROFS, "; give another path", "; give a path that can be written to" },
	{ ENOSPC, "; make room on the disk", "; make room on the disk, or give another path" },
	{ EDQUOT, "; make room within the quota", "; make room within the quota, or give another path" },
	{ EMFILE, "; raise the limit of open files (ulimit -n)", "; raise the limit of open files (ulimit -n)" },
	{ EIO, "; check the disk", "; check the disk" },
};

static const struct row *row_of(int error)
{
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (rows[i].error == error)
			return &rows[i];
	return NULL;
}

const char *mm_remedy_of_reading(int error)
{
	const struct row *row = row_of(error);
	return row != NULL ? row->reading : "";
}

const char *mm_remedy_of_writing(int error)
{
	const struct row *row = row_of(error);
	return row != NULL ? row->writing : "";
}
