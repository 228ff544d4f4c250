/* base/remedy.h -- what to do about a file that cannot be read or written. It follows what the system says of it:
 * "…/pid cannot be opened: No such file or directory; make the directory first, or give another path". */
#ifndef MM_BASE_REMEDY_H
#define MM_BASE_REMEDY_H

/* error: an errno. The result begins with "; "; "": there is nothing to be said. */
const char *mm_remedy_of_reading(int error);
const char *mm_remedy_of_writing(int error);

#endif
