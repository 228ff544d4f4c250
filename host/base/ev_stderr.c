/* base/ev_stderr.c -- what libev's object file uses in place of stderr (Makefile, ev.o). libev writes there only
 * when a system call fails in a way it cannot handle. */
#include <stdio.h>

__attribute__((visibility("hidden"))) FILE *mm_ev_stderr;

__attribute__((constructor)) static void set_stderr(void)
{
	mm_ev_stderr = stderr;
}
