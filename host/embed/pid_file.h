/* embed/pid_file.h -- the file with the number of the process that serves, for init scripts.
 * It is locked (flock) for as long as the process lives, so a number that a killed process has left is told apart from
 * one that counts, whoever has the number now. It is opened before rights are dropped and belongs to whoever started
 * us: the user who serves cannot put another number there, unless the directory is its own. At the end the file is
 * removed, or, where the user who serves may not do that, emptied. Root follows only links that root alone could have
 * made (safe_path.h), another user none as the last component. */
#ifndef MM_EMBED_PID_FILE_H
#define MM_EMBED_PID_FILE_H

#include "base/fault.h"

#include <sys/types.h>

struct mm_pid_file {
	int   fd;               /* owned; -1: there is none */
	char *path;             /* owned */
	pid_t writer;           /* only this process removes it */
};

/* Opens and locks it, and writes our number. user: who will serve, or NULL. False: another process holds it (IN_USE),
 * or it cannot be opened or written; f->fd is -1. */
bool mm_pid_file_open(struct mm_pid_file *f, const char *path, const char *user, struct mm_fault *why);
/* In a child process that goes on as the server: its own number from now on. */
void mm_pid_file_renew(struct mm_pid_file *f);
/* In a child process that is not the server: closes it, and leaves the lock to the server. */
void mm_pid_file_leave(struct mm_pid_file *f);
void mm_pid_file_close(struct mm_pid_file *f);

#endif
