/* map/geo.h -- a MaxMind DB (*.mmdb): what is known of the network in which an IP address is.
 * The bytes are somebody else's file: each offset is checked where it is used, and the items, the depth and the bytes
 * of a record are bounded.
 * Knows no files and no Lua. Ownership: a database BORROWS the bytes that it reads.
 * Format: MaxMind DB File Format Specification, version 2.0. */
#ifndef MM_MAP_GEO_H
#define MM_MAP_GEO_H

#include "base/buffer.h"
#include "base/fault.h"
#include "base/text.h"

#include <stdint.h>

#define MM_GEO_ITEMS_MAX  8192          /* values in a record, those in tables among them */
#define MM_GEO_RECORD_MAX 262144        /* bytes of a record as packed */

struct mm_geo {
	/* of the metadata */
	double         format, nodes, record_bits, ip_version;
	double         built;           /* seconds since 1970 */
	char           type[64];        /* "GeoLite2-Country" */
	/* borrowed */
	const uint8_t *tree, *data;
	size_t         data_size;
};

enum mm_geo_result {
	MM_GEO_FOUND,
	MM_GEO_NONE,
	MM_GEO_BROKEN,          /* *why says what */
	MM_GEO_NO_ADDRESS,      /* the key is not an IP address */
};

/* False: *why says what is wrong with the file, as a sentence that begins with "it". */
bool mm_geo_read(struct mm_geo *, struct mm_text file, struct mm_fault *why);
/* Appends the record of an address in text form (192.0.2.7, 2001:db8::1) as a packed table (state/packed.h): strings,
 * numbers, booleans, tables; an array has the keys 1, 2, …; bytes are a string, a number of 128 bits is one of 32
 * hexadecimal digits. Numbers of 64 bits are as exact as a double. */
enum mm_geo_result mm_geo_get(const struct mm_geo *, struct mm_text address, struct mm_buffer *record,
	struct mm_fault *why);

#endif
