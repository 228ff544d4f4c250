/* trial/mailbox.h -- the messages that `try` and `send` are given: files, mboxes, maildirs, directories of files,
 * standard input. Finds out what each operand is and gives its messages one by one; parses none of them.
 *
 * An mbox is a file that begins with a "From " line with a day and a time (RFC 4155); such lines after an empty line
 * begin further messages. Lines quoted as ">From " stay quoted, as writers disagree on what was quoted.
 * Ownership: a mailbox owns everything but the operands' names, which are BORROWED from argv. */
#ifndef MM_TRIAL_MAILBOX_H
#define MM_TRIAL_MAILBOX_H

#include "base/buffer.h"
#include "base/fault.h"
#include "base/text.h"

struct mm_mailbox_item {
	uint32_t file;                  /* index of its file */
	uint32_t nth;                   /* which message of an mbox, from 1; 0: the file is the message */
	size_t   at, size;              /* its bytes; size 0 with nth 0: the whole file */
};

struct mm_mailbox_file {
	char            *path;          /* owned; "-": standard input */
	struct mm_buffer bytes;         /* owned; empty when not loaded */
	bool             is_stream;     /* cannot be read again: bytes stay */
};

struct mm_mailbox {
	struct mm_mailbox_file *files;  /* owned */
	uint32_t                file_count, file_capacity;
	struct mm_mailbox_item *items;  /* owned */
	uint32_t                count, capacity;
	uint32_t                loaded; /* index of the file whose bytes are loaded and may go */
};

/* A zeroed struct is empty. */
void mm_mailbox_free(struct mm_mailbox *);
/* Adds the messages of an operand. False: it cannot be read, or holds none. */
bool mm_mailbox_add(struct mm_mailbox *, const char *path, struct mm_fault *why);
/* The bytes of a message, BORROWED until the next call. False: its file cannot be read. */
bool mm_mailbox_read(struct mm_mailbox *, uint32_t at, struct mm_text *out, struct mm_fault *why);
/* "inbox", "inbox, message 3"; written to `to`, which it returns. */
const char *mm_mailbox_name(const struct mm_mailbox *, uint32_t at, char *to, size_t size);

enum mm_operand { MM_OPERAND_MESSAGES, MM_OPERAND_SCRIPTS };

/* What an operand of `try` is, in whatever order it stands: scripts are files that end with ".lua", begin with "#!" or
 * are not like mail while messages have been given already, and directories with such a file; all else is mail. */
enum mm_operand mm_operand_of(const char *path, bool has_messages);

#endif
