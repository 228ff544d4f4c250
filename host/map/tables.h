/* map/tables.h -- the maps that this process has open, each with the version of its table that is in force.
 *
 * A thread looks after their files: it reads what has changed, checks it, and has it made into a table (map/version.h).
 * The loop then takes the new version in place of the old one, which is one pointer. A version that cannot be read, is
 * empty, or has lost too much, is refused: the last good one stays in force, and the log says so once, and once when
 * all is well again. A file that is being written is left alone until it has been quiet for a while.
 *
 * The kernel tells of changes (inotify in the directory of the file, and in that of the file that a link leads to);
 * where it does not, as on network file systems, the thread looks every few seconds.
 * Knows no Lua. Maps are shared: the same format, path and options are one map. */
#ifndef MM_MAP_TABLES_H
#define MM_MAP_TABLES_H

#include "base/clock.h"
#include "base/log.h"
#include "base/say.h"
#include "map/table.h"

#define MM_TABLES_SHRINK 0.5            /* share of the entries that a new version may lack */
#define MM_TABLES_EVERY  5.0            /* seconds between looks without a word of the kernel */
#define MM_TABLES_SETTLE 0.5            /* seconds without a change before a file is read */

struct mm_tables;
struct mm_map;

struct mm_tables_settings {
	struct mm_clock *clock;         /* borrowed */
	struct mm_log   *log;           /* borrowed */
	bool             tells_failures;        /* one process of a host is enough */
};

struct mm_map_options {
	struct mm_table_options table;
	double                  shrink;         /* 0 to 1 */
	double                  every, settle;  /* seconds */
	bool                    may_be_empty;
};

struct mm_tables *mm_tables_new(const struct mm_tables_settings *);     /* NULL: out of memory */
/* Ends the thread; no map may be open. NULL is fine. */
void mm_tables_free(struct mm_tables *);
/* In a forked process whose parent looks on: closes the descriptors. It must not use the tables again. */
void mm_tables_close_copies(struct mm_tables *);

/* Opens a map, or finds it open; each call needs one mm_map_release(). path is absolute; of an inline table it is the
 * table. directory: of images, which belongs to the user that serves; "": nothing is shared. NULL: the fault says
 * why. The first version may not be there yet. */
struct mm_map *mm_tables_open(struct mm_tables *, const struct mm_table_format *, const char *path,
	const char *directory, const struct mm_map_options *, struct mm_fault *why);
void mm_map_release(struct mm_map *);

/* Somebody who waits for the first version. Embedded; in one list at a time. */
struct mm_map_wait {
	struct mm_map_wait *next;
	/* It is there, or cannot be had: mm_map_failure() says why. From the loop. */
	void              (*fire)(struct mm_map_wait *);
};

/* Somebody who is told of each version. Embedded; of one map at a time. */
struct mm_map_follower {
	struct mm_map_follower *next;
	/* It is in force now. From the loop; must not release maps. */
	void                  (*fire)(struct mm_map_follower *);
};

void mm_map_follow(struct mm_map *, struct mm_map_follower *);
void mm_map_unfollow(struct mm_map *, struct mm_map_follower *);

/* A first version is there, or is known to be missing. */
bool mm_map_is_settled(const struct mm_map *);
void mm_map_wait(struct mm_map *, struct mm_map_wait *);
void mm_map_unwait(struct mm_map *, struct mm_map_wait *);      /* not waiting: nothing happens */
/* Why the file as it is now is not in force, BORROWED until the loop runs; NULL: it is. */
const char *mm_map_failure(const struct mm_map *);
/* The version in force, BORROWED until the loop runs; NULL: none yet. */
struct mm_table *mm_map_table(const struct mm_map *);

struct mm_map_info {
	const char *format, *path;      /* BORROWED from the map */
	uint64_t    entries;            /* UINT64_MAX: not known */
	uint64_t    versions;           /* that this process has taken */
	double      taken_at;           /* when it took the last one, seconds since 1970 */
	double      modified_at;        /* of the file in force; 0: it has none */
};

void mm_map_describe(const struct mm_map *, struct mm_map_info *);
/* For people: a line of key=value for each open map, and below it, indented, what is wrong with its file. From the
 * loop. */
void mm_tables_list(struct mm_tables *, struct mm_say);

#endif
