/* base/ev_stderr.c -- libev's object file uses this instead of stderr (Makefile, ev.o). libev writes to it only when a
 * system call fails in a way that libev cannot handle. */
#include <stdio.h>

__attribute__((visibility("hidden"))) FILE *mm_ev_stderr;

__attribute__((constructor)) static void set_stderr(void)
{
	mm_ev_stderr = stderr;
}
