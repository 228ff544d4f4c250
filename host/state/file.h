/* state/file.h -- files of LMDB that may not be whole. LMDB believes its file: it aborts or crashes when the file is
 * damaged. So a file that a disk has kept, or that was cut off, is first read by a process of its own. */
#ifndef MM_STATE_FILE_H
#define MM_STATE_FILE_H

#include <lmdb.h>
#include <stdbool.h>
#include <stddef.h>

/* All functions give 0, errno or an error of LMDB, which mdb_strerror() knows all; MDB_CORRUPTED: it is damaged. */

/* True when there is no file, or only the beginning of one: the file system was full when it was made, so nobody can
 * have used it. */
bool mm_file_is_absent(const char *path);
/* Empties such a beginning, so that LMDB makes it again. */
int mm_file_drop_beginning(const char *path);
/* Opens it with flags of LMDB beside those that all our files have. *env is to be closed even after an error. */
int mm_file_open(MDB_env **env, const char *path, size_t map_size, unsigned flags);
/* To read a page beyond the end would be a SIGBUS: a file that was cut off gets empty pages there. LMDB may leave
 * pages at the end unwritten, too; whether one is missing that is needed, a process of its own finds out. */
int mm_file_fill_end(MDB_env *env, const char *path);
/* Reads all records. */
int mm_file_check(const char *path);
/* Copies all records into a new file, which is whole, whatever was read. */
int mm_file_copy(const char *from, const char *to);

#endif
