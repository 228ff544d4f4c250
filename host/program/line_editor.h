/* program/line_editor.h -- a line that a user types at a terminal: with editing and history where libedit is installed
 * (loaded when it is first needed), plainly where it is not. Knows nothing of what the lines mean. */
#ifndef MM_PROGRAM_LINE_EDITOR_H
#define MM_PROGRAM_LINE_EDITOR_H

/* meanwhile is called again and again while the user types, and may take 50 ms each time; NULL: nothing happens
 * meanwhile. Without libedit it is not called. -> the package to install for editing; NULL: there is libedit. */
const char *mm_line_editor_begin(void (*meanwhile)(void));
/* GIVES a line without its newline. NULL: there are no more. */
char *mm_line_editor_read(const char *prompt);

#endif
