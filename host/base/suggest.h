/* base/suggest.h -- the word that was probably meant: "did you mean …?".
 * Nearness is edit distance (insert, delete, replace, swap of neighbours), blind to ASCII case; a word is near when at
 * most one letter in three differs. */
#ifndef MM_BASE_SUGGEST_H
#define MM_BASE_SUGGEST_H

#define MM_SUGGEST_LENGTH_MAX 64        /* longer words are near to nothing */

/* The nearest of `words`, a list that ends with NULL; NULL when no word is near. BORROWED from words; the
 * first of equals wins. */
const char *mm_suggest(const char *word, const char *const *words);

#endif
