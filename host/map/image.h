/* map/image.h -- a text table in the form in which it is looked up: one run of bytes that all processes of a host map,
 * read only, so that it is in memory once. It holds keys and values with a hash table over them, or ranges of IP
 * addresses in order, which a binary search finds.
 *
 * An image is for this machine and this version of the program: byte order is the processor's. Its header is checked,
 * and a checksum over all bytes, when it is opened; after that each offset is checked again where it is used. So a
 * damaged image is refused or answers with an error. (A file that is cut off while it is mapped is beyond that: nobody
 * may write to an image that has its name.)
 * Knows no files that change and no text formats. Ownership: a writer OWNS all that was added. */
#ifndef MM_MAP_IMAGE_H
#define MM_MAP_IMAGE_H

#include "map/block.h"
#include "map/table.h"

#define MM_IMAGE_MAX ((uint64_t)1 << 31)        /* bytes of an image */

/* Which version of which file an image was made of, and how. */
struct mm_image_source {
	uint64_t device, inode, size;
	int64_t  modified, changed;     /* nanoseconds since 1970: mtime and ctime */
	uint64_t options;               /* hash of format and options */
};

/* ---- writing ---- */

struct mm_image_writer;

struct mm_image_writer *mm_image_writer_new(void);      /* NULL: out of memory */
void mm_image_writer_free(struct mm_image_writer *);    /* NULL is fine */
/* From now on keys differ by more than the case of ASCII letters. Before the first key. */
void mm_image_fold(struct mm_image_writer *);
/* Adds a key. One that is there already stays as it is, and *is_new is false; is_new may be NULL. False: the image
 * would be too large, or memory ran out. */
bool mm_image_add(struct mm_image_writer *, struct mm_text key, struct mm_text value, bool *is_new,
	struct mm_fault *why);
/* The same, and the last of equal keys stays. */
bool mm_image_replace(struct mm_image_writer *, struct mm_text key, struct mm_text value, struct mm_fault *why);
/* Takes a key away again; not there: nothing happens. */
void mm_image_remove(struct mm_image_writer *, struct mm_text key);
/* From now on it has ranges instead of keys. */
void mm_image_be_ranges(struct mm_image_writer *);
/* A value of ranges, as a number that is never 0; 0: *why says why. Equal values have one number. */
uint32_t mm_image_value(struct mm_image_writer *, struct mm_text value, struct mm_fault *why);
/* Addresses from this one up to the next start lead to a value; 0: to none. Starts are added in order, IPv4 apart from
 * IPv6; an address is 4 or 16 bytes in network order. */
bool mm_image_add_start(struct mm_image_writer *, bool is_ipv6, const uint8_t *address, uint32_t value,
	struct mm_fault *why);
/* How many entries it has, for ranges: how many rules they came from. */
void mm_image_set_count(struct mm_image_writer *, uint64_t count);
uint64_t mm_image_writer_count(const struct mm_image_writer *);
/* The text ended with a newline. */
void mm_image_set_ended(struct mm_image_writer *);
/* Notes a line that the format does not accept and leaves out, as Postfix does. The first one's words are kept. */
void mm_image_ignore(struct mm_image_writer *, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* How many lines were left out, and what the first one is about (BORROWED). */
unsigned mm_image_ignored(const struct mm_image_writer *, const char **first);

/* The bytes of the image, BORROWED from the writer, which takes nothing more. NULL: the fault says why. */
const struct mm_block *mm_image_finish(struct mm_image_writer *, const struct mm_image_source *,
	struct mm_fault *why);

/* The same as a table in this process alone; the writer gives its bytes away. NULL: the fault says
 * why. */
struct mm_table *mm_image_keep(struct mm_image_writer *, const struct mm_image_source *, struct mm_fault *why);

/* ---- reading: tables with the functions of table.h ---- */

/* Maps an image; fd stays the caller's. NULL: the fault says why. */
struct mm_table *mm_image_map(int fd, struct mm_fault *why);

/* TAKES the bytes (emptied), also when they are no image. */
struct mm_table *mm_image_of_block(struct mm_block *bytes, struct mm_fault *why);
/* The value of a key, BORROWED from the table. False: it has no such key, or is no image. */
bool mm_image_find(struct mm_table *, struct mm_text key, struct mm_text *value);
/* What an image was made of, BORROWED from it. */
const struct mm_image_source *mm_image_source(const struct mm_table *);
/* Did its text end with a newline? What was cut off usually does not. */
bool mm_image_is_ended(const struct mm_table *);
/* Makes the checksum fit the bytes. */
void mm_image_sum(uint8_t *bytes, size_t size);

#endif
