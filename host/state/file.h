/* state/file.h -- files of LMDB that may not be whole: what a disk has kept, what was cut off, what another program has
 * written to. Each is checked (state/pages.h) before LMDB opens it. A disk that cannot be read would still be a SIGBUS;
 * so a process of its own copies what a disk has kept. */
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
 * pages at the end unwritten, too. */
int mm_file_fill_end(MDB_env *env, const char *path);
/* Whether the file is whole. Nobody may change it meanwhile. */
int mm_file_check(const char *path);
/* Copies all records of a whole file into a new one. */
int mm_file_copy(const char *from, const char *to);

#endif
