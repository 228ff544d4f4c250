/* base/terminal.h -- what the commands print, when a terminal reads it.
 * Much of it comes from mail, and a terminal obeys what it is sent: escape sequences move the cursor, set the title or
 * answer as if typed. So the streams themselves escape, at the one place that all commands write through, and no
 * command can forget it. A pipe or a file gets the bytes unchanged: a diff must apply, a message must stay a message.
 *
 * Shown as \xNN: control bytes except LF, tabs and the CR of a line's end; DEL; what is not UTF-8; C1 controls
 * (U+0080-U+009F); and the characters that reorder text (U+200E-F, U+202A-E, U+2066-9). */
#ifndef MM_BASE_TERMINAL_H
#define MM_BASE_TERMINAL_H

#include "base/buffer.h"
#include "base/text.h"

struct mm_terminal {
	bool          is_bytewise;      /* its charset is not UTF-8: everything from 0x80 on is escaped */
	unsigned char pending[4];       /* the beginning of a character, or a CR, whose rest has not come yet */
	size_t        pending_size;
};

/* Appends the text as the terminal may see it. */
void mm_terminal_escape(struct mm_terminal *, struct mm_text, struct mm_buffer *out);
/* Appends what is pending: no more will come. */
void mm_terminal_end(struct mm_terminal *, struct mm_buffer *out);
/* From now on standard output and standard error, each if it is a terminal, escape what is written to them. Call it
 * once, before anything is printed. Writes to the descriptors themselves pass unchanged. */
void mm_terminal_guard(void);

/* Columns and rows of the terminal; 80 and 24 where it does not say. False: the descriptor is no terminal. */
bool mm_terminal_size(int fd, unsigned *columns, unsigned *rows);

/* ---- colour ---- */

/* ORDER PAINT */
enum mm_paint { MM_PAINT_NONE, MM_PAINT_RED, MM_PAINT_GREEN, MM_PAINT_YELLOW, MM_PAINT_MAGENTA, MM_PAINT_CYAN,
	MM_PAINT_DIM };

/* "auto" (the default), "always", "never". AUTO: on a terminal, unless NO_COLOR is set and not empty (no-color.org), or
 * TERM is "dumb" or not set. False: another word. */
bool mm_terminal_set_colour(const char *when);
/* May what goes to this descriptor have colours and the like? */
bool mm_terminal_has_colour(int fd);
/* What follows on standard output (fd 1) or standard error (2) has this colour; NONE: its own again. Does nothing where
 * there is no colour. */
void mm_terminal_paint(int fd, enum mm_paint);

#endif
