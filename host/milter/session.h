/* milter/session.h -- one SMTP connection as the MTA reports it, and the rules for when its facts end.
 * Lifetimes, longest first: the milter connection (grants), one SMTP client (QUIT_NC begins the next), one message.
 * Owns its texts and macros; owns the message until mm_session_end_message(). */
#ifndef MM_MILTER_SESSION_H
#define MM_MILTER_SESSION_H

#include "base/account.h"
#include "milter/command.h"
#include "milter/edit.h"
#include "milter/edit_write.h"
#include "milter/macro.h"
#include "milter/message.h"
#include "milter/negotiate.h"

struct mm_story;

#define MM_SESSION_ID_SIZE 28   /* bytes of an id, NUL included */

struct mm_session {
	char               id[MM_SESSION_ID_SIZE];      /* unique across restarts; in every log line */

	/* the connection to the MTA: outlives a client */
	struct mm_grants   grants;
	double             began_at;            /* mm_clock_now(): of the connection, or of its present client */
	char              *peer;                /* owned: address of the MTA as text; NULL when it has none */
	const char        *milter;              /* borrowed: for log lines; NULL: there is only one */
	struct mm_figures *figures;             /* borrowed: of the milter; NULL: nothing is counted */
	bool               is_negotiated;
	uint8_t            traced;              /* who watches it: bits, one for each trace (story/tracer.h) */
	uint8_t            traced_next;         /* who watches the message that begins while another is open */
	uint32_t           judged;              /* when it was last asked whether somebody does; 0: never */
	struct mm_account  account;             /* of everything that this session makes us hold */
	size_t             declared;              /* for the account */

	/* what events look like: milter/digest.h */
	uint64_t           seed;                /* 0: nobody compares them */
	uint64_t           client_digest;
	uint64_t           said;                /* the words of the last command */
	uint64_t           event_digest;        /* of the event that runs, or ran last; 0: none yet */

	/* one SMTP client: cleared by mm_session_next_client() */
	bool               knows_client;
	bool               is_canary;           /* the scripts that come next decide (io/joint.h) */
	uint16_t           client_port;
	enum mm_family     client_family;
	char              *client_host;         /* owned, NUL-terminated; NULL before connect */
	char              *client_address;      /* owned, NUL-terminated; NULL when unknown */
	char              *helo;                /* owned, may hold no NUL; NULL before HELO */
	uint32_t           text_bytes;          /* of host, address and helo */
	struct mm_macros   macros;              /* sets from mail on belong to the message */
	enum mm_mta_kind   mta;                 /* UNKNOWN until its macros have told (mm_session_mta()) */
	uint64_t           message_count;       /* messages opened */

	/* one message: cleared by mm_session_end_message() */
	struct mm_message *message;             /* owned; NULL when none is open */
	struct mm_story   *story;               /* borrowed: where runtime and owner write what happens to it, and to
	                                         * the client before it (story/); NULL: nowhere */
};

/* Tells the account how many bytes facts and message hold now, and the engine besides them. */
void mm_session_declare(struct mm_session *, size_t besides);
/* Each returns false when out of memory. */
bool mm_session_set_client(struct mm_session *, const struct mm_command *);
bool mm_session_set_helo(struct mm_session *, struct mm_text name);
/* Opens a message; none may be open. */
bool mm_session_begin_message(struct mm_session *, struct mm_message **pool);
/* Ends the message: its facts and macros are gone. No message open: nothing happens. */
void mm_session_end_message(struct mm_session *, struct mm_message **pool);
/* QUIT_NC: clears everything but the negotiation. */
void mm_session_next_client(struct mm_session *, struct mm_message **pool);
void mm_session_clear(struct mm_session *, struct mm_message **pool);
/* When a command comes, clears the macros of later stages than its own (protocol 6.2). */
void mm_session_age_macros(struct mm_session *, uint8_t letter);

struct mm_text mm_session_macro(const struct mm_session *, const char *name);   /* "" when not known */
/* Recognised by its macros, once for each client; MM_MTA_UNKNOWN is any other MTA, and one whose macros do not tell. */
enum mm_mta_kind mm_session_mta(struct mm_session *);

#endif
