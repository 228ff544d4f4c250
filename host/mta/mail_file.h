/* mta/mail_file.h -- a message as a file holds it, split as a milter receives it. Header fields keep their folds as LF,
 * the body has CRLF, as on the wire (protocol 3.9). Knows no order of packets and no file system: bytes in, bytes out.
 * What an MTA makes of a filter's edits is in mail_edit.h.
 *
 * Limits: only the first message of an mbox; "From " lines quoted as ">From " stay quoted.
 * Ownership: a mail file owns its bytes; texts are BORROWED until its next change. A zeroed struct is empty. */
#ifndef MM_MTA_MAIL_FILE_H
#define MM_MTA_MAIL_FILE_H

#include "milter/edit_write.h"
#include "mta/mta.h"

struct mm_mail_field {
	struct mm_span name;            /* without blanks before the colon */
	struct mm_span value;           /* everything after the colon, without the final line end */
	uint32_t       blanks;          /* bytes of blanks before the colon, after name in the store */
	bool           is_own;          /* added by the MTA itself: no filter sees it */
	bool           is_trace;        /* own, and never replaced: Received, Return-Path */
	bool           is_gone;         /* unset or deleted: not written */
};

struct mm_mail_recipient {
	struct mm_span address;         /* as in the command, angle brackets included */
	struct mm_span params;          /* ESMTP parameters, each ended by NUL */
};

struct mm_mail_file {
	struct mm_buffer      store;            /* owned: bytes of all spans */
	struct mm_mail_field *fields;           /* owned */
	uint32_t              field_count, field_capacity;
	struct mm_buffer      body;             /* owned, CRLF */
	bool                  has_lf_lines;     /* the file's lines end with LF; written the same way */
	struct mm_span        sender, sender_params;            /* as in the command */
	struct mm_mail_recipient *recipients;   /* owned */
	uint32_t              recipient_count, recipient_capacity;
	bool                  is_quarantined;
	struct mm_span        reason;
	bool                  replaces_body;    /* an edit has begun a new body */
};

static inline struct mm_text mm_mail_text(const struct mm_mail_file *m, struct mm_span span)
{
	return (struct mm_text){ span.size > 0 ? (const char *)m->store.bytes + span.at : "", span.size };
}

/* Reads a message: LF or CRLF, perhaps an mbox "From " line first. As in an MTA, the header ends at an empty line or at
 * the first line that is not a field. False: not a message (its first line is neither), a NUL in the header, or a field
 * too long to send. The struct must be empty before the call, and must be freed after a failure, too. */
bool mm_mail_file_parse(struct mm_mail_file *, const void *bytes, size_t n, struct mm_fault *why);
bool mm_mail_file_copy(struct mm_mail_file *to, const struct mm_mail_file *from, struct mm_fault *why);
void mm_mail_file_free(struct mm_mail_file *);

/* "ann@example.org SIZE=100", with or without angle brackets; "" or "<>" is the null sender. False: out of memory. */
bool mm_mail_file_set_sender(struct mm_mail_file *, struct mm_text);
bool mm_mail_file_add_recipient(struct mm_mail_file *, struct mm_text);
/* Fills gaps in the envelope from the header: Return-Path or From; Delivered-To, or To and Cc. */
bool mm_mail_file_guess_envelope(struct mm_mail_file *);
/* The value of the first field of that name that a filter sees; bytes NULL: there is none. */
struct mm_text mm_mail_file_value(const struct mm_mail_file *, const char *name);

/* ---- for those that build or change a message: mail_edit.h, player.h ----
 * When memory runs out, the store is marked failed. */

/* Copies a text into the store. It may be a text of the store itself. */
struct mm_span mm_mail_file_keep(struct mm_mail_file *, struct mm_text);
/* Keeps an address with angle brackets. The text must not be in the store; the same holds for
 * mm_mail_file_keep_params(). */
struct mm_span mm_mail_file_keep_address(struct mm_mail_file *, struct mm_text);
/* Keeps "A=1 B=2" as strings, each ended by NUL. */
struct mm_span mm_mail_file_keep_params(struct mm_mail_file *, struct mm_text);
/* Inserts an empty field before the one at `at`: BORROWED until the next change. NULL: out of memory. */
struct mm_mail_field *mm_mail_file_put_field(struct mm_mail_file *, uint32_t at);
/* Adds a recipient as in the command, without parsing. False: out of memory, here and in mm_mail_file_end_body(). */
bool mm_mail_file_put_recipient(struct mm_mail_file *, struct mm_text address, struct mm_text params);
/* After the body has been put together from pieces: gives its lines their CRLF. */
bool mm_mail_file_end_body(struct mm_mail_file *);

/* Appends the message as a file: the MTA's own fields only when an edit has set them. */
void mm_mail_file_write(const struct mm_mail_file *, struct mm_buffer *out);
/* Appends one field with its line end. */
void mm_mail_file_write_field(const struct mm_mail_file *, const struct mm_mail_field *, struct mm_buffer *out);

#endif
