/* map/source.h -- the file that a table is made of: which version of it is there, and reading one version whole.
 * Everything here may wait for a disk. Knows no formats. */
#ifndef MM_MAP_SOURCE_H
#define MM_MAP_SOURCE_H

#include "map/image.h"

/* What is at a path now, links followed; *to gets all but `options`. False: the fault says why there is no file. */
bool mm_source_look(const char *path, struct mm_image_source *to, struct mm_fault *why);
/* Is it the same version of the same file, and made with the same options? */
bool mm_source_is_same(const struct mm_image_source *, const struct mm_image_source *);
/* Seconds since it was last changed, by the wall clock; negative: in the future. */
double mm_source_age(const struct mm_image_source *);

enum mm_source_result {
	MM_SOURCE_READ,
	MM_SOURCE_CHANGED,      /* it is another version by now */
	MM_SOURCE_FAILED,       /* the fault says why */
};

/* Appends the content of this version to `to`. max: bytes. */
enum mm_source_result mm_source_read(const char *path, const struct mm_image_source *, double max, struct mm_block *to,
	struct mm_fault *why);

#endif
