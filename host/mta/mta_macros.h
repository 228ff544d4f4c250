/* mta/mta_macros.h -- which macros an MTA sends before which command, and their values (protocol 2.2, 6.3). Knows no
 * order of commands.
 * Ownership: everything that facts point to is BORROWED. */
#ifndef MM_MTA_MTA_MACROS_H
#define MM_MTA_MTA_MACROS_H

#include "mta/mail_file.h"
#include "mta/mta.h"

/* A macro that the user sets. */
struct mm_mta_macro {
	int            set;             /* enum mm_macro_set; -1: where a list names it, else at connect */
	struct mm_text name;            /* as on the wire: "i", "{auth_authen}" */
	struct mm_text value;           /* bytes NULL: the MTA does not know it */
};

struct mm_mta_client {
	enum mm_family family;
	const char    *host;            /* NULL: not known, "[192.0.2.1]" is sent */
	const char    *address;         /* without "IPv6:" */
	uint16_t       port;
	const char    *auth_user;       /* NULL: not authenticated */
	const char    *tls_version, *cipher, *cipher_bits, *cert_subject, *cert_issuer;         /* NULL: no TLS */
};

/* What an MTA knows when it is about to send a command. */
struct mm_mta_facts {
	enum mm_mta_kind            kind;               /* MM_MTA_POSTFIX or MM_MTA_SENDMAIL */
	const char                 *mta_name;           /* macro j */
	const struct mm_mta        *mta;                /* what was negotiated, the filter's lists with it */
	const struct mm_mta_macro  *macros;
	size_t                      macro_count;
	struct mm_mta_client        client;

	/* one message */
	bool                        in_envelope;        /* MAIL has come; else the members below say nothing */
	uint32_t                    number;             /* of the session, from 1: makes the queue id */
	uint32_t                    recipients_taken;
	const struct mm_mail_file  *mail;
	struct mm_text              recipient;          /* the one being sent; bytes NULL: none yet */

	char                        scratch[1100];      /* value of the macro asked for last */
};

/* Appends the macro packet before a command, if one is due. MTAs send macros also before some commands
 * that are switched off. */
void mm_mta_write_macros_before(struct mm_mta_facts *, uint8_t letter, struct mm_buffer *out);
/* The client's name as the MTA writes it: BORROWED until the next call with these facts. */
struct mm_text mm_mta_client_name(struct mm_mta_facts *);
/* "IPv6:" where Sendmail puts it before the address, else "". Static. */
const char *mm_mta_address_prefix(const struct mm_mta_facts *);

#endif
