/* io/recorder.h -- conversations with MTAs, kept as files for `moonmilter replay`.
 * A record is one connection: a line of text, then every packet as on the wire, each after one byte that says which
 * side sent it. The recorder gathers it in memory, masks each packet as it comes, and lets a thread write the file
 * after the connection has ended: the loop never waits for a disk. It drops what exceeds its limits (bytes of a
 * session, bytes that wait for the disk), and the log says so. The directory is bounded, too: the oldest records make
 * room for new ones, whichever worker wrote them. Knows no sockets and no scripts. Files are written under
 * a temporary name and renamed: a reader sees only whole files. */
#ifndef MM_IO_RECORDER_H
#define MM_IO_RECORDER_H

#include "milter/frame.h"
#include "base/log.h"

#define MM_RECORD_MAGIC     "moonmilter-record 1"
#define MM_RECORD_FROM_MTA  '>'
#define MM_RECORD_FROM_US   '<'
#define MM_RECORD_CUT       '!'         /* last byte of the file: the session went on */

/* What the recorder masks. ORDER REDACT */
enum mm_redact { MM_REDACT_NOTHING, MM_REDACT_BODY, MM_REDACT_ALL };

struct mm_recorder_options {
	const char     *directory;      /* absolute; borrowed for the call */
	unsigned        sample;         /* records one connection in this many, chosen by chance */
	size_t          session_max;    /* bytes of one record */
	uint64_t        total_max;      /* bytes of all records in the directory */
	unsigned        files_max;      /* their number */
	enum mm_redact  redact;
};

struct mm_recorder;
struct mm_record;

/* NULL: the directory is not writable, or memory is out; why says which. log is BORROWED. */
struct mm_recorder *mm_recorder_new(const struct mm_recorder_options *, struct mm_log *, struct mm_fault *why);
/* Writes the records that still wait. NULL is fine. */
void mm_recorder_free(struct mm_recorder *);

/* NULL: this connection is not recorded. recorder may be NULL, and so may record below. id is copied. */
struct mm_record *mm_record_begin(struct mm_recorder *, const char *id);
/* Bytes in either direction, split anywhere. */
void mm_record_bytes(struct mm_record *, char from, const void *bytes, size_t n);
/* Hands the record to the writer. */
void mm_record_end(struct mm_record *);
/* Bytes of memory that it has. Not NULL. */
size_t mm_record_held(const struct mm_record *);
/* Keeps no more bytes. */
void mm_record_cut(struct mm_record *);

/* Masks a packet in place, as far as asked: body bytes, and with ALL everything personal, keep their number and kind
 * but not their value. Lengths, names of fields and macros, and line ends stay. */
void mm_record_mask(enum mm_redact, char from, uint8_t letter, uint8_t *data, size_t size);
const char *mm_redact_name(enum mm_redact);             /* "nothing" "body" "all". Static. */

#endif
