/* embed/event.c -- what handlers of a filter in C can do: mm_event_* of moonmilter.h, but for mm_event_finish(), which
 * is in filter.c. */
#include "base/text.h"
#include "embed/filter.h"
#include "embed/parts.h"

#include <string.h>

static const struct mm_filter_session *look_at(const struct mm_event *event)
{
	return (const struct mm_filter_session *)event;
}

static struct mm_filter_session *session_of(struct mm_event *event)
{
	return (struct mm_filter_session *)event;
}

void *mm_event_self(const struct mm_event *event)
{
	return look_at(event)->filter->self;
}

/* ---- facts ---- */

const char *mm_event_id(const struct mm_event *event)
{
	return look_at(event)->facts->id;
}

const char *mm_event_stage(const struct mm_event *event)
{
	return mm_stage_name(event->stage);
}

const char *mm_event_client_host(const struct mm_event *event)
{
	return look_at(event)->facts->client_host;
}

const char *mm_event_client_address(const struct mm_event *event)
{
	return look_at(event)->facts->client_address;
}

const char *mm_event_helo(const struct mm_event *event)
{
	return look_at(event)->facts->helo;
}

const char *mm_event_sender(struct mm_event *event)
{
	struct mm_filter_session *f = session_of(event);
	const struct mm_message *m = f->facts->message;
	return m != NULL ? mm_filter_string(f, 2, mm_address_bare(mm_message_text(m, m->sender))) : NULL;
}

unsigned mm_event_recipient_count(const struct mm_event *event)
{
	const struct mm_message *m = look_at(event)->facts->message;
	return m != NULL ? m->recipient_count : 0;
}

const char *mm_event_recipient(struct mm_event *event, unsigned at, bool *is_refused)
{
	struct mm_filter_session *f = session_of(event);
	const struct mm_message *m = f->facts->message;
	if (m == NULL || at >= m->recipient_count)
		return NULL;
	if (is_refused != NULL)
		*is_refused = m->recipients[at].is_refused;
	return mm_filter_string(f, 2, mm_address_bare(mm_message_text(m, m->recipients[at].address)));
}

const char *mm_event_macro(struct mm_event *event, const char *name)
{
	struct mm_filter_session *f = session_of(event);
	struct mm_text value;
	if (!mm_macros_lookup(&f->facts->macros, mm_text_of(name), &value))
		return NULL;
	return mm_filter_string(f, 2, value);
}

unsigned long mm_event_message_number(const struct mm_event *event)
{
	const struct mm_message *m = look_at(event)->facts->message;
	return m != NULL ? (unsigned long)m->number : 0;
}

bool mm_event_can(const struct mm_event *event, const char *edit)
{
	return look_at(event)->facts->grants.actions & mm_action_bit(edit);
}

/* ---- data of the embedder ---- */

static void keep(struct mm_filter_kept *k, void *data, void (*destroy)(void *))
{
	mm_filter_drop(k);
	*k = (struct mm_filter_kept){ data, destroy };
}

void mm_event_keep_for_client(struct mm_event *event, void *data, void (*destroy)(void *))
{
	keep(&session_of(event)->of_client, data, destroy);
}

void mm_event_keep_for_message(struct mm_event *event, void *data, void (*destroy)(void *))
{
	keep(&session_of(event)->of_message, data, destroy);
}

void *mm_event_of_client(const struct mm_event *event)
{
	return look_at(event)->of_client.data;
}

void *mm_event_of_message(const struct mm_event *event)
{
	return look_at(event)->of_message.data;
}

/* ---- replies and edits ---- */

bool mm_event_reply(struct mm_event *event, unsigned code, const char *enhanced, const char *const *lines,
	struct mm_error *error)
{
	struct mm_filter_session *f = session_of(event);
	struct mm_text texts[MM_REPLY_LINES_MAX + 1];
	struct mm_fault why;
	size_t count = 0;
	for (; lines[count] != NULL && count <= MM_REPLY_LINES_MAX; count++)
		texts[count] = mm_text_of(lines[count]);
	return mm_verdict_worded(&f->worded, code < 500 ? MM_VERDICT_tempfail : MM_VERDICT_reject, code,
		mm_text_of(enhanced != NULL ? enhanced : ""), texts, count, &why) || mm_fault_tell(&why, error);
}

/* The message of an edit; NULL: the error says why there is none. */
static struct mm_message *edited(struct mm_event *event, struct mm_error *error)
{
	const struct mm_filter_session *f = session_of(event);
	struct mm_fault why;
	uint32_t allowed = MM_STAGES_OF_MESSAGE | MM_STAGE_BIT(unknown);
	if (f->facts->message != NULL && allowed & 1u << event->stage)
		return f->facts->message;
	mm_fault_because(&why, MM_REASON_IS_WRONG_STAGE, "no message is open at %s; edits can be asked for from "
		"on_mail to on_eom", mm_stage_name(event->stage));
	mm_fault_tell(&why, error);
	return NULL;
}

#define GRANTS(event) (&session_of(event)->facts->grants)

static bool told(bool ok, const struct mm_fault *why, struct mm_error *error)
{
	return ok || mm_fault_tell(why, error);
}

static struct mm_text text_or_none(const char *string)
{
	return mm_text_of(string != NULL ? string : "");
}

bool mm_event_add_header(struct mm_event *event, const char *name, const char *value, struct mm_error *error)
{
	struct mm_message *m = edited(event, error);
	struct mm_fault why;
	return m != NULL && told(mm_edit_add_header(m, GRANTS(event), mm_text_of(name), mm_text_of(value), &why), &why,
		error);
}

bool mm_event_insert_header(struct mm_event *event, unsigned position, const char *name, const char *value,
	struct mm_error *error)
{
	struct mm_message *m = edited(event, error);
	struct mm_fault why;
	return m != NULL && told(mm_edit_insert_header(m, GRANTS(event), position, mm_text_of(name), mm_text_of(value),
		&why), &why, error);
}

bool mm_event_change_header(struct mm_event *event, const char *name, int n, const char *value, struct mm_error *error)
{
	struct mm_message *m = edited(event, error);
	struct mm_fault why;
	return m != NULL && told(mm_edit_change_header(m, GRANTS(event), mm_text_of(name), n, text_or_none(value),
		&why), &why, error);
}

bool mm_event_change_from(struct mm_event *event, const char *address, const char *params, struct mm_error *error)
{
	struct mm_message *m = edited(event, error);
	struct mm_fault why;
	return m != NULL && told(mm_edit_change_from(m, GRANTS(event), mm_text_of(address), text_or_none(params), &why),
		&why, error);
}

bool mm_event_add_recipient(struct mm_event *event, const char *address, const char *params, struct mm_error *error)
{
	struct mm_message *m = edited(event, error);
	struct mm_fault why;
	return m != NULL && told(mm_edit_add_recipient(m, GRANTS(event), mm_text_of(address), text_or_none(params),
		&why), &why, error);
}

bool mm_event_delete_recipient(struct mm_event *event, const char *address, struct mm_error *error)
{
	struct mm_message *m = edited(event, error);
	struct mm_fault why;
	return m != NULL && told(mm_edit_delete_recipient(m, GRANTS(event), mm_text_of(address), &why), &why, error);
}

bool mm_event_replace_body(struct mm_event *event, const void *piece, size_t size, struct mm_error *error)
{
	struct mm_message *m = edited(event, error);
	struct mm_text text = { piece, size };
	struct mm_fault why;
	return m != NULL && told(mm_edit_replace_body(m, GRANTS(event), text,
		session_of(event)->of->host->config.body_max, &why), &why, error);
}

bool mm_event_quarantine(struct mm_event *event, const char *reason, struct mm_error *error)
{
	struct mm_message *m = edited(event, error);
	struct mm_fault why;
	return m != NULL && told(mm_edit_quarantine(m, GRANTS(event), mm_text_of(reason), &why), &why, error);
}
