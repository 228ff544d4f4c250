/* codec/indexes.h -- the indexes of the WHATWG Encoding Standard: which character a number in an encoding means.
 *
 * Data only, made by spec/mail/whatwg/make.mjs; 182 KiB in the program. whatwg.c knows how bytes make numbers. 0 is
 * "no character". Not iconv's tables: those of glibc lack what mail has had for decades (NEC and IBM rows in Japanese,
 * Hong Kong's characters in Big5) and map other characters than mail readers do. */
#ifndef MM_CODEC_INDEXES_H
#define MM_CODEC_INDEXES_H

#include <stdint.h>

#define MM_INDEX_JIS0208_SIZE   11280
#define MM_INDEX_JIS0212_SIZE   8836
#define MM_INDEX_EUC_KR_SIZE    23940
#define MM_INDEX_GB18030_SIZE   23940
#define MM_INDEX_BIG5_SIZE      19782
#define MM_INDEX_GB18030_RANGES 210
#define MM_INDEX_SINGLES        27

struct mm_index_single {
	char     name[16];      /* in upper case */
	uint16_t upper[128];    /* bytes 0x80 to 0xFF */
};

extern const uint16_t mm_index_jis0208[MM_INDEX_JIS0208_SIZE];
extern const uint16_t mm_index_jis0212[MM_INDEX_JIS0212_SIZE];
extern const uint16_t mm_index_euc_kr[MM_INDEX_EUC_KR_SIZE];
extern const uint16_t mm_index_gb18030[MM_INDEX_GB18030_SIZE];
extern const uint16_t mm_index_big5[MM_INDEX_BIG5_SIZE];
extern const uint8_t mm_index_big5_plane_2[(MM_INDEX_BIG5_SIZE + 7) / 8];
extern const uint16_t mm_index_gb18030_ranges[MM_INDEX_GB18030_RANGES][2];
extern const struct mm_index_single mm_index_singles[MM_INDEX_SINGLES];

#endif
