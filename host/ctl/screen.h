/* ctl/screen.h -- the whole terminal for pictures that replace each other, and keys without Enter. However the process
 * ends (return, exit, SIGINT, SIGTERM, SIGHUP, SIGQUIT), the terminal is then as it was; while it is stopped by Ctrl-Z,
 * too. Only SIGKILL leaves it as it is: `reset` helps. One screen in a process. Knows nothing of what is drawn. */
#ifndef MM_CTL_SCREEN_H
#define MM_CTL_SCREEN_H

#include "base/buffer.h"

#include <stdbool.h>

/* Takes the terminal. False: standard output is none. */
bool mm_screen_begin(void);
/* Gives it back; also when it was not taken. */
void mm_screen_end(void);

struct mm_screen_line {
	char text[512];                 /* UTF-8 of any origin: shown escaped, cut to the width */
	bool is_head;
};

/* Draws the lines from the top, as many as fit. */
void mm_screen_draw(const struct mm_screen_line *lines, unsigned count);

enum mm_screen_input { MM_SCREEN_TIME, MM_SCREEN_REDRAW, MM_SCREEN_END };

/* Waits for so many seconds. END: q, Ctrl-C, Ctrl-D, a signal that ends, or the terminal is gone. REDRAW: its size has
 * changed, it was stopped, or another key was pressed. Where standard input is no terminal, it is not read. */
enum mm_screen_input mm_screen_wait(double seconds);

#endif
