#include "milter/digest.h"

#include "base/poison.h"
#include "base/text.h"

#define SAMPLE 128u             /* bytes that count at each end of a long text */

static uint64_t mix(uint64_t so_far, uint64_t word)
{
	so_far = so_far * UINT64_C(0x9e3779b97f4a7c15) + word;  /* mix(x, x) differs for each x */
	so_far = (so_far ^ so_far >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
	return so_far ^ so_far >> 32;
}

static uint64_t mix_bytes(uint64_t so_far, const char *bytes, size_t size)
{
	uint64_t word;
	for (; size >= sizeof word; bytes += sizeof word, size -= sizeof word) {
		memcpy(&word, bytes, sizeof word);
		so_far = mix(so_far, word);
	}
	word = 0;
	if (size > 0)
		memcpy(&word, bytes, size);
	return mix(so_far, word);
}

static uint64_t mix_text(uint64_t so_far, struct mm_text text)
{
	so_far = mix(so_far, text.size);
	if (text.size <= 2 * SAMPLE)
		return mix_bytes(so_far, text.bytes, text.size);
	so_far = mix_bytes(so_far, text.bytes, SAMPLE);
	return mix_bytes(so_far, text.bytes + text.size - SAMPLE, SAMPLE);
}

/* Fields that each relay, and some senders at each attempt, write anew. */
static bool is_of_the_way(struct mm_text name)
{
#define NAME(text) { text, sizeof text - 1 }
	static const struct mm_text names[] = {
		NAME("Received"), NAME("X-Received"), NAME("DKIM-Signature"), NAME("ARC-Seal"),
		NAME("ARC-Message-Signature"), NAME("ARC-Authentication-Results"), NAME("Authentication-Results"),
		NAME("Received-SPF"), NAME("Return-Path"), NAME("Delivered-To"),
	};
#undef NAME
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (mm_text_equal_blind(names[i], name))
			return true;
	return false;
}

static void note_mail(struct mm_session *s)
{
	struct mm_message_digest *d = &s->message->digest;
	const char *client = s->client_address != NULL ? s->client_address : "";
	d->sender = mix_text(s->seed, mm_message_text(s->message, s->message->sender));
	d->envelope = mix_text(s->said, (struct mm_text){ client, strlen(client) });
	d->recipients = d->content = s->seed;
}

void mm_digest_note(struct mm_session *s, const struct mm_command *c)
{
	if (s->seed == 0)
		return;
	s->said = mix_text(mix_text(mix_text(s->seed, c->text), c->value), c->strings);
	if (c->row->letter == SMFIC_CONNECT)
		s->client_digest = s->said;
	struct mm_message_digest *d = s->message != NULL ? &s->message->digest : NULL;
	if (d == NULL)
		return;
	switch (c->row->letter) {
	case SMFIC_MAIL:
		note_mail(s);
		break;
	case SMFIC_RCPT:
		d->recipients = mix(d->recipients, s->said);
		break;
	case SMFIC_HEADER:
		if (!is_of_the_way(c->text)) {
			d->content = mix(d->content, s->said);
			d->has_fields = true;
		}
		break;
	case SMFIC_BODY:
	case SMFIC_BODYEOB:
		if (c->text.size > 0) {
			d->content = mix(d->content, s->said);
			d->has_body = true;
		}
		break;
	default:
		break;
	}
}

static uint64_t of_content(const struct mm_message_digest *d)
{
	if (d->has_fields)
		return d->content;
	return d->has_body ? mix(d->content, d->sender) : mix(d->recipients, d->envelope);
}

uint64_t mm_digest_of_event(const struct mm_session *s, enum mm_stage stage)
{
	const struct mm_message_digest *d = s->message != NULL ? &s->message->digest : NULL;
	uint64_t digest = 0;
	if (s->seed == 0)
		return 0;
	if (MM_STAGES_AFTERWARDS & 1u << stage)
		return s->event_digest;
	if ((MM_STAGES_OF_CLIENT | MM_STAGE_BIT(unknown)) & 1u << stage)
		digest = mix(s->client_digest, s->said);
	else if (d == NULL)
		return 0;
	else if (stage == MM_STAGE_mail || stage == MM_STAGE_rcpt)
		digest = mix(d->envelope, s->said);
	else if (stage == MM_STAGE_data)
		digest = mix(d->envelope, d->recipients);
	else if (stage == MM_STAGE_header)
		digest = mix(mix(d->content, d->sender), s->said);
	else
		digest = of_content(d);
	digest = mix(digest, (uint64_t)stage + 1) | MM_POISON_IS_WEAK << 1;     /* never 0 */
	bool is_weak = MM_STAGES_OF_CLIENT & 1u << stage;
	return is_weak ? digest | MM_POISON_IS_WEAK : digest & ~MM_POISON_IS_WEAK;
}
