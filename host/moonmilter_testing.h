/* moonmilter_testing.h -- what tests of filters need in addition to moonmilter.h: a host whose clock stands still, and
 * a player of an MTA. lua/moonmilter/testing/ is built on it. Not for programs that serve mail. */
#ifndef MOONMILTER_TESTING_H
#define MOONMILTER_TESTING_H

#include "moonmilter.h"

#ifdef __cplusplus
extern "C" {
#endif

/* As mm_host_new(), with a clock that stands at `now`, seconds since 1970. It moves only where a loop waits for time to
 * pass, and then it jumps: mm_host_turn(host, 60) lets 60 seconds go by at once. The clock is the calling thread's.
 * Fails with an embedder's loop, and when libev is not the one inside the shared library. */
MM_API struct mm_host *mm_testing_host_new(const struct mm_host_options *, double now, struct mm_error *);

/* Seconds of the monotonic clock of this thread, which stands still with such a host. */
MM_API double mm_testing_now(void);

/* The nearest of `words`, a list that ends with NULL, for "did you mean"; NULL: none is near. BORROWED from words. */
MM_API const char *mm_testing_suggest(const char *word, const char *const *words);

/* The metrics of the host as a Prometheus reads them. BORROWED until the next call; NULL: out of memory. */
MM_API const char *mm_testing_metrics(struct mm_host *, size_t *size);

/* ---- an MTA, played ----
 * A player sends a filter what Postfix or Sendmail would send, stage by stage, with macros. It turns the filter's
 * answers into a verdict, a reply to the SMTP client, and the message as it would be delivered. A player knows no
 * transport: after each stage the caller passes mm_player_output() to the filter and the filter's bytes to
 * mm_player_hear(), in pieces of any size, until mm_player_is_waiting() returns false. Then mm_player_reply() is the
 * result of the stage.
 *
 * One player plays one milter connection. It sends whatever it is asked to send: the caller must know that DATA needs a
 * recipient. Strings of a profile and of a client are BORROWED while the player lives, all others for the call. */

struct mm_player;

struct mm_player_macro {
	const char *stage;      /* connect helo mail rcpt data eoh eom; NULL: where a list names it, else at connect */
	const char *name;       /* as on the wire: "i", "{auth_authen}" */
	const char *value;      /* NULL: the MTA does not know it */
};

struct mm_player_profile {
	const char *kind;                       /* "postfix" or "sendmail" */
	const char *name;                       /* of the MTA, macro j */
	unsigned    version, actions, steps;    /* its offer, as milter bits */
	const struct mm_player_macro *macros;   /* set by the caller; ended by a row without a name; NULL: none */
	bool        is_bare;                    /* for tests of the protocol itself: sends no macros, and the caller
	                                         * decides what comes next, whatever the filter answers */
};

struct mm_player_client {
	const char *family;                     /* "inet" "inet6" "unix" "unknown" */
	const char *host;                       /* NULL: not known, "[192.0.2.1]" is sent */
	const char *address;                    /* without "IPv6:" */
	unsigned    port;
	const char *auth_user;                  /* NULL: not authenticated */
	const char *tls_version, *cipher, *cipher_bits, *cert_subject, *cert_issuer;    /* NULL: no TLS */
};

/* BORROWED until the next stage. */
struct mm_player_reply {
	const char *stage;      /* "rcpt" */
	const char *verdict;    /* "continue" "accept" "reject" "tempfail" "discard" "skip"; "none": the filter was not
	                         * asked, or has promised not to reply */
	unsigned    code;       /* of the reply to the SMTP client: 550; 0: none */
	const char *text;       /* of the whole reply, lines separated by CRLF, without a NUL; NULL: none */
	size_t      text_size;
	unsigned    edit_count; /* see mm_player_edit() */
	unsigned    progress;   /* how many progress packets the filter sent */
	const char *complaint;  /* what Postfix or Sendmail, whichever is stricter, would object to; NULL: nothing. The
	                         * reply takes effect all the same */
	bool        ends_message;       /* this was the final verdict on the message */
	bool        ends_session;       /* the client is refused, or got a 421 */
};

struct mm_player_edit {
	const char *name;       /* as scripts call it: "insert_header", "delete_header", ... */
	bool        has_index;
	unsigned    index;
	const char *first, *second;     /* name and value, address and parameters, reason, body; without a NUL; NULL:
	                                 * absent. A value does not include the space after the colon */
	size_t      first_size, second_size;
};

/* NULL: no such MTA, or out of memory. */
MM_API struct mm_player *mm_player_open(const struct mm_player_profile *, struct mm_error *);
MM_API void mm_player_close(struct mm_player *);        /* NULL is fine */

/* The stages. Each sends nothing when the filter has switched it off, or has accepted the client for good. */
MM_API void mm_player_negotiate(struct mm_player *);
MM_API void mm_player_connect(struct mm_player *, const struct mm_player_client *);
MM_API void mm_player_helo(struct mm_player *, const char *name, size_t size);
MM_API void mm_player_unknown(struct mm_player *, const char *line, size_t size);
/* params: ESMTP parameters, each ended by NUL. */
MM_API void mm_player_mail(struct mm_player *, const char *address, size_t size, const char *params,
	size_t params_size);
MM_API void mm_player_rcpt(struct mm_player *, const char *address, size_t size, const char *params,
	size_t params_size);
/* The last recipient is refused and no recipient was accepted: the refusal ends the message. */
MM_API void mm_player_no_recipients(struct mm_player *);
MM_API void mm_player_data(struct mm_player *);
/* value: everything after the colon, including its space; folds as LF. */
MM_API void mm_player_header(struct mm_player *, const char *name, size_t size, const char *value, size_t value_size);
MM_API void mm_player_eoh(struct mm_player *);
MM_API void mm_player_body(struct mm_player *, const void *bytes, size_t size);         /* at most 65535 bytes */
MM_API void mm_player_eom(struct mm_player *);
/* The client gives the message up. */
MM_API void mm_player_abort(struct mm_player *);
/* The client leaves. Nothing is sent where the MTA just closes. Anything that the filter still sends is a complaint. */
MM_API void mm_player_quit(struct mm_player *);
/* The next message's queue id is made from number + 1. A new player counts from 0. */
MM_API void mm_player_count_from(struct mm_player *, unsigned number);

/* The bytes for the filter. */
MM_API const void *mm_player_output(const struct mm_player *, size_t *size);
MM_API void mm_player_consume(struct mm_player *, size_t size);
/* Bytes from the filter, cut anywhere. False: no MTA could go on; mm_player_error() says why. */
MM_API bool mm_player_hear(struct mm_player *, const void *bytes, size_t size);
MM_API bool mm_player_is_waiting(const struct mm_player *);     /* a reply is due */
MM_API const struct mm_error *mm_player_error(const struct mm_player *);       /* NULL: the player can go on */

MM_API const struct mm_player_reply *mm_player_reply(const struct mm_player *);
/* The i-th edit of the last reply, from 0; BORROWED until the next stage. False: there are fewer edits. */
MM_API bool mm_player_edit(const struct mm_player *, unsigned i, struct mm_player_edit *);

/* After the reply that ended a message, until the next message: the message that the MTA would deliver. Edits are
 * applied when it was accepted. BORROWED until the next stage. */
MM_API const char *mm_player_message(struct mm_player *, size_t *size);         /* a file with CRLF; NULL: no memory */
MM_API const char *mm_player_sender(struct mm_player *, size_t *size);          /* as in the command, with brackets */
MM_API const char *mm_player_recipient(struct mm_player *, unsigned i, size_t *size);  /* NULL: not so many */
MM_API const char *mm_player_quarantine(struct mm_player *, size_t *size);      /* the reason; NULL: none */

/* The caller of a bare player has written this command itself: its reply is due. */
MM_API void mm_player_await(struct mm_player *, char command);
/* What the filter has agreed to. */
MM_API void mm_player_agreed(const struct mm_player *, unsigned *version, unsigned *actions, unsigned *steps);

#ifdef __cplusplus
}
#endif

#endif
