/* base/local.h -- variables of a thread that are read often, or by signal handlers: hosts of one process may be on
 * several threads. Reading them costs one instruction more than a plain variable in the shared library, and none in a
 * program; it never allocates, as it else may in a shared library. */
#ifndef MM_BASE_LOCAL_H
#define MM_BASE_LOCAL_H

#define MM_FAST_LOCAL __attribute__((tls_model("initial-exec")))

#endif
