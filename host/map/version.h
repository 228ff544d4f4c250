/* map/version.h -- makes a version of a table from its file, once for a host: the process that gets the lock compiles
 * the text and writes the image aside, then gives it its name; all others find and map it. What cannot be used is
 * refused, and what was in force stays.
 * Everything here may wait for a disk: it runs on the thread of map/tables.h. */
#ifndef MM_MAP_VERSION_H
#define MM_MAP_VERSION_H

#include "map/source.h"

#define MM_VERSION_NAME_SIZE 40         /* of an image, without directory and ending; NUL included */

/* What a version is to be made of, and what is demanded of it. BORROWED for the calls. */
struct mm_version_order {
	const struct mm_table_format  *format;
	const struct mm_table_options *options;
	const char                    *path;            /* of the file; of a database, with its suffix */
	const char                    *directory;       /* of images; "": this process shares nothing */
	const char                    *name;            /* of the image */
	double                         shrink;          /* how much of the entries in force may be missing, 0 to 1 */
	bool                           may_be_empty;
};

enum mm_version_result {
	MM_VERSION_MADE,
	MM_VERSION_BUSY,        /* another process makes it: ask again soon */
	MM_VERSION_CHANGED,     /* the file is another one by now */
	MM_VERSION_REFUSED,     /* the fault says why */
};

/* The version in force. */
struct mm_version_had {
	uint64_t entries;               /* UINT64_MAX: not known, or there is no version */
	bool     is_ended;              /* its text ended with a newline */
};

struct mm_version {
	struct mm_table *table;
	char             note[512];     /* about lines that were left out; "": none, or another process compiled it */
};

/* Finds or makes the table of this version of the file, which is GIVEN when it is MADE. */
enum mm_version_result mm_version_make(const struct mm_version_order *, const struct mm_image_source *,
	const struct mm_version_had *, struct mm_version *, struct mm_fault *why);
/* GIVES the image that is there, whichever version it is; NULL: none that is whole. */
struct mm_table *mm_version_last(const struct mm_version_order *);
/* Says to other processes that this one uses the map; the descriptor is GIVEN, -1: it cannot be said. To be closed by
 * mm_version_leave(). *is_alone: no other process uses it. */
int mm_version_join(const struct mm_version_order *, bool *is_alone);
/* removes: removes the image if no other process uses it. */
void mm_version_leave(const struct mm_version_order *, int descriptor, bool removes);

#endif
