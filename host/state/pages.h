/* state/pages.h -- whether a file of LMDB is whole. LMDB believes its pages: with damaged ones it aborts, reads and
 * writes outside of them, or never ends. So a file that somebody else may have changed is walked before LMDB sees it.
 *
 * Whole: LMDB will find each page where it expects it, in the form that it expects, and every page has one use. Keys
 * are in order; what is in a record is not known here, and a changed byte of it is not seen. Believes nothing, needs
 * memory for a bit of each page, and takes 0.1 s for some 100 MB. */
#ifndef MM_STATE_PAGES_H
#define MM_STATE_PAGES_H

/* 0, errno, or MDB_CORRUPTED. The file has the tables of state/store.h, or some of them, and nothing else. Nobody may
 * change it meanwhile. */
int mm_pages_check(int fd);

#endif
