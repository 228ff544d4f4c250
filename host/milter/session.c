#include "milter/session.h"

#include <stdlib.h>

void mm_session_declare(struct mm_session *s, size_t besides)
{
	mm_account_declare(&s->account, &s->declared, besides + mm_macros_capacity(&s->macros) + s->text_bytes);
	if (s->message != NULL)
		mm_message_declare(s->message);
}

static void forget_text(struct mm_session *s, char **owned)
{
	if (*owned == NULL)
		return;
	s->text_bytes -= (uint32_t)strlen(*owned) + 1;
	free(*owned);
	*owned = NULL;
}

/* A text has no NUL: it comes from a string of the wire. */
static bool set_text(struct mm_session *s, char **owned, struct mm_text text)
{
	forget_text(s, owned);
	*owned = malloc(text.size + 1);
	if (*owned == NULL)
		return false;
	s->text_bytes += (uint32_t)text.size + 1;
	memcpy(*owned, text.bytes, text.size);
	(*owned)[text.size] = '\0';
	return true;
}

bool mm_session_set_client(struct mm_session *s, const struct mm_command *c)
{
	s->knows_client = true;
	s->client_family = c->family;
	s->client_port = c->port;
	if (!set_text(s, &s->client_host, c->text))
		return false;
	return c->family == MM_FAMILY_UNKNOWN || set_text(s, &s->client_address, c->value);
}

bool mm_session_set_helo(struct mm_session *s, struct mm_text name)
{
	return set_text(s, &s->helo, name);
}

bool mm_session_begin_message(struct mm_session *s, struct mm_message **pool)
{
	s->message = mm_message_take(pool);
	if (s->message == NULL)
		return false;
	s->message->number = ++s->message_count;
	s->message->account = &s->account;
	return true;
}

void mm_session_end_message(struct mm_session *s, struct mm_message **pool)
{
	if (s->message == NULL)
		return;
	mm_message_put(pool, s->message);
	s->message = NULL;
	mm_macros_clear_from(&s->macros, MM_MACRO_SET_mail);
}

static void forget_client(struct mm_session *s)
{
	forget_text(s, &s->client_host);
	forget_text(s, &s->client_address);
	forget_text(s, &s->helo);
	s->knows_client = false;
	s->client_family = MM_FAMILY_UNKNOWN;
	s->client_port = 0;
	s->mta = MM_MTA_UNKNOWN;
	s->message_count = 0;
	s->client_digest = s->event_digest = 0;
}

void mm_session_next_client(struct mm_session *s, struct mm_message **pool)
{
	mm_session_end_message(s, pool);
	forget_client(s);
	mm_macros_clear_from(&s->macros, MM_MACRO_SET_connect);
}

void mm_session_clear(struct mm_session *s, struct mm_message **pool)
{
	mm_session_end_message(s, pool);
	forget_client(s);
	mm_macros_free(&s->macros);
	mm_account_declare(&s->account, &s->declared, 0);
	free(s->peer);
	s->peer = NULL;
}

void mm_session_age_macros(struct mm_session *s, uint8_t letter)
{
	switch (letter) {
	case SMFIC_CONNECT: mm_macros_clear_from(&s->macros, MM_MACRO_SET_helo); break;
	case SMFIC_HELO:    mm_macros_clear_from(&s->macros, MM_MACRO_SET_mail); break;
	case SMFIC_MAIL:    mm_macros_clear_from(&s->macros, MM_MACRO_SET_rcpt); break;
	case SMFIC_RCPT:    mm_macros_clear_from(&s->macros, MM_MACRO_SET_data); break;
	}
}

struct mm_text mm_session_macro(const struct mm_session *s, const char *name)
{
	struct mm_text value;
	if (!mm_macros_lookup(&s->macros, (struct mm_text){ name, strlen(name) }, &value))
		return (struct mm_text){ "", 0 };
	return value;
}

static bool begins_with(struct mm_text text, const char *head)
{
	size_t n = strlen(head);
	return text.size >= n && memcmp(text.bytes, head, n) == 0;
}

static enum mm_mta_kind mta_by_macros(const struct mm_session *s)
{
	struct mm_text version = mm_session_macro(s, "v");
	if (begins_with(version, "Postfix"))
		return MM_MTA_POSTFIX;
	/* Sendmail's v is its version alone, 8 since 1993. Unasked it sends none, but of all MTAs only it names the
	 * interface by itself (protocol 6.3). */
	if (version.size > 0 || s->grants.asks_version)
		return begins_with(version, "8.") ? MM_MTA_SENDMAIL : MM_MTA_UNKNOWN;
	return mm_session_macro(s, "{if_name}").size > 0 ? MM_MTA_SENDMAIL : MM_MTA_UNKNOWN;
}

/* One MTA is at the other end of a connection: what it has said of itself is not asked for again at each message. */
enum mm_mta_kind mm_session_mta(struct mm_session *s)
{
	if (s->mta == MM_MTA_UNKNOWN)
		s->mta = mta_by_macros(s);
	return s->mta;
}
