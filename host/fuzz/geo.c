/* fuzz/geo.c -- libFuzzer target for map/geo: any bytes as a MaxMind DB, asked for addresses at its edges. The laws
 * that must hold: a record is one packed value, and not larger than it may be; what is not found appends nothing. */
#include "fuzz/watch.h"
#include "map/geo.h"
#include "state/packed.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LAW(holds) ((holds) ? (void)0 : law_broken(#holds, __LINE__))

static void law_broken(const char *law, int line)
{
	fprintf(stderr, "law broken, line %d: %s\n", line, law);
	abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const addresses[] = { "0.0.0.0", "192.0.2.7", "255.255.255.255", "::", "2001:db8::1", "x",
		"::ffff:192.0.2.7", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff" };
	struct mm_geo g;
	struct mm_fault why;
	if (!mm_geo_read(&g, (struct mm_text){ (const char *)data, size }, &why))
		return 0;
	for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++) {
		struct mm_buffer record = { 0 };
		enum mm_geo_result result = mm_geo_get(&g, mm_text_of(addresses[i]), &record, &why);
		if (result == MM_GEO_FOUND) {
			struct mm_packed p = mm_packed_of((struct mm_text){ (const char *)record.bytes, record.size });
			while (mm_packed_next(&p) != MM_PACKED_NONE)
				;
			LAW(mm_packed_is_whole(&p));
			LAW(record.size <= 2 * MM_GEO_RECORD_MAX + MM_PACKED_SIZE_MAX);
		} else {
			LAW(record.size == 0);
		}
		mm_buffer_free(&record);
	}
	return 0;
}
