/* milter/message.h -- one message as the MTA sends it and as scripts have changed it so far: envelope, header fields,
 * body edits. All state with the lifetime of a message is here, and only mm_message_put() clears it: a fact of one
 * message can never reach the next.
 * Texts handed out are BORROWED until the next call that adds to the message.
 *
 * The index rule. Scripts see one ordered list of fields, edits applied: field n of a name, from 1, counts what is in
 * that list now, negative from its end; insert position k counts all fields from 0 and, as both MTAs do, includes the
 * Received field that the MTA itself has put on top and shows to no filter: 0 is above it, 1 below it.
 * milter/edit_write.c turns the final list into packets whose indexes mean the same on Postfix and Sendmail. */
#ifndef MM_MILTER_MESSAGE_H
#define MM_MILTER_MESSAGE_H

#include "base/account.h"
#include "base/buffer.h"
#include "base/cursor.h"
#include "base/fault.h"
#include "base/pairs.h"
#include "milter/new_body.h"
#include "milter/reply.h"

/* A piece of message.store. An offset, because the store moves when it grows. */
struct mm_span {
	uint32_t at;
	uint32_t size;
};

struct mm_recipient {
	struct mm_span address;         /* as given, angle brackets included */
	struct mm_span params;          /* strings ended by NUL each */
	bool           is_refused;      /* by the MTA or by a verdict */
	uint8_t        refused_with;    /* enum mm_verdict_kind; continue: by the MTA */
};

/* An insert position that means the end: both MTAs append when the index is beyond it. */
#define MM_INSERT_AT_END 0x7fffffffu

struct mm_field {
	struct mm_span name;
	struct mm_span value;           /* without the space after the colon */
	struct mm_span original;        /* the value before any change */
	uint32_t       id;              /* within this message, from 1; scripts keep it while indexes move */
	uint32_t       asked;           /* added: number of the edit that asked for it, from 1, for
	                                 * the order on the wire */
	uint32_t       blind_at;        /* added while fields are unknown: insert position, UINT32_MAX for the end */
	bool           is_received : 1; /* the MTA sent it; else a script added it */
	bool           has_space : 1;   /* received: a space came after the colon */
	bool           is_changed : 1;  /* received, but the value is a script's */
	bool           is_deleted : 1;  /* received, to be deleted; an added one just leaves the list */
	bool           fills : 1;       /* added: Sendmail has put it into one of its own fields, above the client's */
};

/* An envelope edit (protocol 3.11). */
struct mm_envelope_edit {
	enum mm_reply_letter letter;    /* ADDRCPT, ADDRCPT_PAR or DELRCPT */
	struct mm_span address;         /* with angle brackets */
	struct mm_span params;          /* text, ADDRCPT_PAR only */
};

/* A header edit by number while the fields are unknown: passed on unchanged. */
struct mm_blind_edit {
	struct mm_span name;
	struct mm_span value;           /* empty: delete */
	uint32_t       nth;
};

/* The edits that scripts have asked for; all zero: none. It owns nothing: a copy taken before a handler runs is enough
 * to take back everything that the handler asks for, except fields and new body, which are copied separately
 * (`mm_edits_mark`). A new kind of edit gets its members here. */
struct mm_edits {
	uint32_t       count;           /* of all kinds */
	uint32_t       envelope_count;  /* of message.envelope_edits */
	uint32_t       blind_count;     /* of message.blind_edits */
	uint32_t       hidden_at;       /* fields before this index are above the MTA's own Received */
	uint32_t       seals;           /* signatures and the like that the runtime makes after the last handler, of
	                                 * the message as it leaves; they become fields then */
	bool           changes_sender, replaces_body, quarantines;
	struct mm_span new_sender, new_sender_params;
	struct mm_span quarantine_reason;
};

/* Who reads the body as it arrives: every piece, once and in order, whatever handlers answer. It is set before the
 * first piece, and whoever sets it keeps `self` until the message ends. */
struct mm_body_reader {
	void (*read)(void *self, struct mm_text piece); /* NULL: nobody */
	void *self;                     /* borrowed */
};

/* What the message looks like so far, for milter/digest.h. */
struct mm_message_digest {
	uint64_t sender, envelope, recipients, content;
	bool     has_fields, has_body;          /* in content */
};

struct mm_message {
	struct mm_message *next_free;   /* link in the pool */
	uint32_t           pool_depth;  /* messages in the pool below this one */
	uint64_t           number;      /* of this session, from 1 */
	struct mm_account *account;     /* borrowed: its session's; NULL: its bytes are not counted */
	size_t             declared;      /* for the account */

	struct mm_buffer   store;       /* owned: bytes of all spans */
	struct mm_span     sender;      /* as given, angle brackets included */
	struct mm_span     sender_params;
	bool               knows_sender;
	struct mm_recipient *recipients;        /* owned */
	uint32_t           recipient_count, recipient_capacity;
	uint32_t           recipient_bytes;     /* of their addresses and parameters */
	uint32_t           refused_count;
	uint32_t           recipients_unkept;   /* came beyond what we keep and were not refused: the list is cut */
	bool               last_is_unkept;      /* the recipient that came last is one of them */
	struct mm_field   *fields;      /* owned, in the order scripts see */
	uint32_t           field_count, field_capacity;
	uint32_t           fields_ever;         /* ids given out */
	uint32_t           received_count;
	uint32_t           header_size;         /* bytes of names and values that the MTA has sent and we keep */
	uint32_t           fields_changed;      /* counts every change of the list, so that a view of it
	                                         * knows when to look again */
	bool               knows_fields;        /* header events come, so numbers can be resolved */
	bool               is_header_cut;       /* more fields or bytes came than we keep: none after the first of them
	                                         * is in the list */
	uint64_t           body_size;   /* bytes of body seen */
	struct mm_body_reader body_reader;
	struct mm_message_digest digest;

	/* Times for the log: seconds; points in time are on mm_clock_now()'s clock. */
	double             began_at, decided_at;        /* when MAIL came; when the verdict left, 0: it has not */
	double             waited;      /* in which handlers waited */
	struct mm_pairs   *log_fields;  /* owned: what scripts add to its line; NULL: nothing */
	uint64_t           busy;        /* ticks (clock.h) in which its handlers ran and nothing else could */

	/* Edits, and the memory they own. */
	struct mm_edits    edits;
	struct mm_envelope_edit *envelope_edits;        /* owned */
	uint32_t           envelope_edit_capacity;
	struct mm_blind_edit *blind_edits;              /* owned */
	uint32_t           blind_edit_capacity;
	struct mm_new_body new_body;            /* owned */
};

/* A cleared message, from the pool or new; NULL: out of memory. */
struct mm_message *mm_message_take(struct mm_message **pool);
/* Clears it and puts it back; large memory is freed. message may be NULL. */
void mm_message_put(struct mm_message **pool, struct mm_message *);
void mm_message_pool_free(struct mm_message **pool);

/* Tells the account how many bytes the message holds now. */
void mm_message_declare(struct mm_message *);

static inline struct mm_text mm_message_text(const struct mm_message *m, struct mm_span span)
{
	return (struct mm_text){ span.size > 0 ? (const char *)m->store.bytes + span.at : "", span.size };
}

/* The value of a received field as it came, whatever edits have made of it. */
static inline struct mm_text mm_message_received_value(const struct mm_message *m, const struct mm_field *f)
{
	return mm_message_text(m, f->is_changed ? f->original : f->value);
}

/* Copies bytes into the store; on failure store.failed is set and the span is empty. */
struct mm_span mm_message_keep(struct mm_message *, struct mm_text);

/* The facts that a message keeps only up to a bound (bounds.h). */
enum mm_part { MM_PART_HEADER, MM_PART_RECIPIENTS };

/* More of it came than is kept: a list of it must not pass for whole. */
static inline bool mm_message_is_cut(const struct mm_message *m, enum mm_part part)
{
	return part == MM_PART_HEADER ? m->is_header_cut : m->recipients_unkept > 0;
}

/* These return false when out of memory. Beyond a bound they keep nothing, and the part is cut. */
bool mm_message_set_sender(struct mm_message *, struct mm_text address, struct mm_text params);
bool mm_message_add_recipient(struct mm_message *, struct mm_text address, struct mm_text params, bool refused);
bool mm_message_add_field(struct mm_message *, struct mm_text name, struct mm_text value, bool has_space);
/* Adds a field to the line of the message (base/pairs.h). */
bool mm_message_log_field(struct mm_message *, struct mm_text name, struct mm_text value, bool is_bare);
/* A piece of the body has come. */
void mm_message_note_body(struct mm_message *, struct mm_text piece);
/* The recipient that came last was refused with a verdict (enum mm_verdict_kind), 0: by the MTA. */
void mm_message_refuse_recipient(struct mm_message *, uint8_t with);

/* Index into fields of field n of a name (case-blind), as scripts count: 1 first, -1 last. -1: there is none. */
int64_t mm_message_find_field(const struct mm_message *, struct mm_text name, int64_t n);
/* Index into fields of the field with an id, -1 when it is gone. */
int64_t mm_message_field_of_id(const struct mm_message *, uint32_t id);
/* "<a@b>" without the brackets and the blanks around it; text without brackets comes back unchanged. */
struct mm_text mm_address_bare(struct mm_text raw);

#endif
