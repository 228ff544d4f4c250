#include "trial/transcript.h"

#include "base/utf8.h"

#include <stdio.h>

#define SHOWN_MAX 400u          /* bytes of a packet's text in a trace */

static void append(struct mm_buffer *out, const char *s)
{
	mm_buffer_append(out, s, strlen(s));
}

void mm_transcript_shown(struct mm_buffer *out, struct mm_text t)
{
	while (t.size > 0) {
		unsigned char c = (unsigned char)t.bytes[0];
		size_t size = mm_utf8_size(t);
		/* U+0080 to U+009F are control bytes to some terminals */
		bool is_plain = size > 1 && !(c == 0xc2 && (unsigned char)t.bytes[1] < 0xa0);
		if (c == '\n')
			append(out, "\\n");
		else if (c == '\r')
			append(out, "\\r");
		else if (c == '\t')
			append(out, "\\t");
		else if (is_plain || (c >= ' ' && c < 0x7f))
			mm_buffer_append(out, t.bytes, size);
		else
			mm_buffer_format(out, "\\x%02x", c);
		size = is_plain ? size : 1;
		t.bytes += size;
		t.size -= size;
	}
}

static void append_cut(struct mm_buffer *out, struct mm_text t)
{
	if (t.size <= SHOWN_MAX) {
		mm_transcript_shown(out, t);
		return;
	}
	mm_transcript_shown(out, (struct mm_text){ t.bytes, SHOWN_MAX });
	mm_buffer_format(out, "... (%zu bytes)", t.size);
}

static void append_strings(struct mm_buffer *out, struct mm_text strings, const char *between)
{
	struct mm_cursor c = mm_cursor_over(strings.bytes, strings.size);
	while (c.left > 0 && !c.failed) {
		append(out, between);
		append_cut(out, mm_cursor_text(&c));
	}
}

void mm_transcript_offer(struct mm_buffer *out, const struct mm_offer *o)
{
	char actions[256], steps[512];
	mm_buffer_format(out, "version %u; actions: %s; steps: ", o->version,
		o->actions != 0 ? mm_actions_text(o->actions, actions, sizeof actions) : "none");
	append(out, o->steps != 0 ? mm_steps_text(o->steps, steps, sizeof steps) : "none");
}

/* ---- packets ---- */

static void append_macros(struct mm_buffer *out, const struct mm_command *c)
{
	struct mm_cursor at = mm_cursor_over(c->strings.bytes, c->strings.size);
	const struct mm_command_row *of = mm_command_row(c->macros_of);
	mm_buffer_format(out, " of %s", of != NULL ? of->name : "?");
	while (at.left > 0 && !at.failed) {
		append(out, " ");
		append_cut(out, mm_cursor_text(&at));
		append(out, "=");
		if (at.left > 0)
			append_cut(out, mm_cursor_text(&at));
	}
}

static void append_command(struct mm_buffer *out, const struct mm_packet *p)
{
	struct mm_command c;
	struct mm_fault why;
	if (!mm_command_decode(p, 0, &c, &why)) {
		append(out, why.text);
		return;
	}
	append(out, c.row->name);
	switch (c.row->layout) {
	case MM_LAYOUT_NONE:
		break;
	case MM_LAYOUT_TEXT:
	case MM_LAYOUT_ADDRESS:
		append(out, " ");
		append_cut(out, c.text);
		append_strings(out, c.strings, " ");
		break;
	case MM_LAYOUT_FIELD:
		append(out, " ");
		append_cut(out, c.text);
		append(out, ":");
		append_cut(out, c.value);
		break;
	case MM_LAYOUT_BYTES:
		if (c.text.size > 0)
			mm_buffer_format(out, " %zu bytes: ", c.text.size);
		append_cut(out, (struct mm_text){ c.text.bytes, c.text.size < 60 ? c.text.size : 60 });
		append(out, c.text.size > 60 ? "..." : "");
		break;
	case MM_LAYOUT_CONNECT:
		append(out, " ");
		append_cut(out, c.text);
		mm_buffer_format(out, " %s", mm_family_name(c.family));
		if (c.family != MM_FAMILY_UNKNOWN) {
			append(out, " ");
			append_cut(out, c.value);
			mm_buffer_format(out, " port %u", c.port);
		}
		break;
	case MM_LAYOUT_MACROS:
		append_macros(out, &c);
		break;
	case MM_LAYOUT_OFFER:
		append(out, " ");
		mm_transcript_offer(out, &c.offer);
		break;
	}
}

void mm_transcript_packet(struct mm_buffer *out, bool is_command, const struct mm_packet *p)
{
	struct mm_mta_reply reply;
	struct mm_fault why;
	append(out, is_command ? "> " : "< ");
	if (is_command)
		append_command(out, p);
	else if (mm_mta_decode(p, &reply, &why))
		mm_transcript_reply(out, &reply);
	else
		append(out, why.text);
}

/* ---- replies ---- */

void mm_transcript_reply(struct mm_buffer *out, const struct mm_mta_reply *r)
{
	append(out, mm_mta_reply_word(r));
	switch (r->row->letter) {
	case SMFIR_OPTNEG:
		append(out, " ");
		mm_transcript_offer(out, &r->offer);
		return;
	case SMFIR_REPLBODY:
		mm_buffer_format(out, " %zu bytes", r->first.size);
		return;
	case SMFIR_INSHEADER:
	case SMFIR_CHGHEADER:
		mm_buffer_format(out, " %u", r->index);
		break;
	}
	if (r->first.bytes == NULL)
		return;
	append(out, " ");
	append_cut(out, r->first);
	if (r->second.bytes == NULL || (r->row->letter == SMFIR_CHGHEADER && r->second.size == 0))
		return;
	append(out, !mm_mta_reply_is_field(r) ? " "
		: r->second.size > 0 && r->second.bytes[0] == ' ' ? ":" : ": ");
	append_cut(out, r->second);
}

static void append_subject(struct mm_buffer *out, const struct mm_mail_file *m, const struct mm_dialogue_reply *e)
{
	append(out, mm_stage_name(e->stage));
	if (m == NULL)
		return;
	if (e->command == SMFIC_RCPT && e->nth < m->recipient_count) {
		append(out, " ");
		append_cut(out, mm_mail_text(m, m->recipients[e->nth].address));
	} else if (e->command == SMFIC_HEADER && e->nth < m->field_count) {
		append(out, " ");
		append_cut(out, mm_mail_text(m, m->fields[e->nth].name));
	}
}

static bool is_plain(const struct mm_dialogue_reply *e)
{
	return e->letter == SMFIR_CONTINUE && e->complaint.size == 0;
}

void mm_transcript_replies(struct mm_buffer *out, const struct mm_mail_file *m, const struct mm_dialogue_result *r)
{
	for (uint32_t i = 0; i < r->reply_count; i++) {
		const struct mm_dialogue_reply *e = &r->replies[i];
		struct mm_mta_reply reply;
		uint32_t run = 1;
		if (e->letter == SMFIR_OPTNEG && e->complaint.size == 0)
			continue;               /* the opener of the dialogue shows this once for all messages */
		while (is_plain(e) && i + run < r->reply_count && is_plain(&r->replies[i + run])
		    && r->replies[i + run].stage == e->stage)
			run++;
		append(out, "  ");
		if (run > 1) {
			mm_buffer_format(out, "%s: continue, %u times\n", mm_stage_name(e->stage), run);
			i += run - 1;
			continue;
		}
		append_subject(out, m, e);
		append(out, ": ");
		if (mm_dialogue_reply_at(r, i, &reply))
			mm_transcript_reply(out, &reply);
		append(out, "\n");
		if (e->complaint.size > 0) {
			append(out, "    complaint: ");
			append_cut(out, mm_dialogue_text(r, e->complaint));
			append(out, "\n");
		}
	}
}

void mm_transcript_edits(struct mm_buffer *out, const struct mm_dialogue_result *r)
{
	size_t body = 0;
	for (uint32_t i = 0; i < r->reply_count; i++) {
		struct mm_mta_reply reply, next;
		if (!mm_dialogue_reply_at(r, i, &reply) || mm_mta_action_of(reply.row->letter) == 0)
			continue;
		if (reply.row->letter != SMFIR_REPLBODY) {
			append(out, "  ");
			mm_transcript_reply(out, &reply);
			append(out, "\n");
			continue;
		}
		body += reply.first.size;
		if (i + 1 < r->reply_count && mm_dialogue_reply_at(r, i + 1, &next)
		    && next.row->letter == SMFIR_REPLBODY)
			continue;
		mm_buffer_format(out, "  replace_body %zu bytes\n", body);
		body = 0;
	}
}

const char *mm_transcript_word(const struct mm_dialogue_result *r)
{
	if (r->is_aborted)
		return "abort";
	if (!r->is_decided)
		return "none";
	if (r->verdict == MM_VERDICT_accept && r->is_quarantined)
		return "quarantine";
	return mm_verdict_name(r->verdict);
}

void mm_transcript_verdict(struct mm_buffer *out, const struct mm_dialogue_result *r)
{
	append(out, mm_transcript_word(r));
	if (!r->is_decided) {
		append(out, "\n");
		return;
	}
	mm_buffer_format(out, " at %s", mm_stage_name(r->stage));
	struct mm_text left = mm_dialogue_text(r, r->text);
	const char *lead = ": ";
	while (left.size > 0) {
		const char *cr = memmem(left.bytes, left.size, "\r\n", 2);
		struct mm_text line = { left.bytes, cr != NULL ? (size_t)(cr - left.bytes) : left.size };
		append(out, lead);
		mm_transcript_shown(out, line);
		lead = "\n    ";
		left.bytes += line.size + (cr != NULL ? 2 : 0);
		left.size -= line.size + (cr != NULL ? 2 : 0);
	}
	if (r->recipients_refused > 0 && r->stage != MM_STAGE_rcpt)
		mm_buffer_format(out, " (%u recipient%s refused)", r->recipients_refused,
			r->recipients_refused > 1 ? "s" : "");
	append(out, "\n");
	if (r->decided_by.size == 0)
		return;
	append(out, "  decided by ");
	mm_transcript_shown(out, mm_dialogue_text(r, r->decided_by));
	append(out, "\n");
}

void mm_transcript_refused(struct mm_buffer *out, const struct mm_mail_file *m, const struct mm_dialogue_result *r)
{
	for (uint32_t i = 0; i < r->reply_count; i++) {
		const struct mm_dialogue_reply *e = &r->replies[i];
		struct mm_mta_reply reply;
		bool is_refusal = e->letter == SMFIR_REJECT || e->letter == SMFIR_TEMPFAIL
			|| e->letter == SMFIR_REPLYCODE;
		if (e->command != SMFIC_RCPT || !is_refusal || !mm_dialogue_reply_at(r, i, &reply)
		    || e->nth >= m->recipient_count)
			continue;
		append(out, "  refused ");
		append_cut(out, mm_mail_text(m, m->recipients[e->nth].address));
		append(out, ": ");
		if (reply.first.size > 0)
			append_cut(out, reply.first);
		else
			append(out, mm_mta_reply_word(&reply));
		if (e->decided_by.size > 0) {
			append(out, " (");
			mm_transcript_shown(out, mm_dialogue_text(r, e->decided_by));
			append(out, ")");
		}
		append(out, "\n");
	}
}

/* ---- JSON ---- */

static void json_strings(struct mm_json *j, struct mm_text strings)
{
	struct mm_cursor c = mm_cursor_over(strings.bytes, strings.size);
	mm_json_open(j, '[');
	while (c.left > 0 && !c.failed)
		mm_json_text(j, mm_cursor_text(&c));
	mm_json_close(j, ']');
}

static void json_edit(struct mm_json *j, const struct mm_mta_reply *r)
{
	bool is_field = mm_mta_reply_is_field(r);
	mm_json_open(j, '{');
	mm_json_key(j, "edit");
	mm_json_string(j, mm_mta_reply_word(r));
	if (r->row->letter == SMFIR_INSHEADER || r->row->letter == SMFIR_CHGHEADER) {
		mm_json_key(j, "index");
		mm_json_integer(j, r->index);
	}
	if (r->row->letter == SMFIR_REPLBODY) {
		mm_json_key(j, "size");
		mm_json_integer(j, (int64_t)r->first.size);
	} else {
		mm_json_key(j, is_field ? "name" : r->row->letter == SMFIR_QUARANTINE ? "reason" : "address");
		mm_json_text(j, r->first);
	}
	if (r->second.bytes != NULL && !(r->row->letter == SMFIR_CHGHEADER && r->second.size == 0)) {
		struct mm_text value = r->second;
		if (is_field && value.size > 0 && value.bytes[0] == ' ') {      /* the space of HDR_LEADSPC */
			value.bytes++;
			value.size--;
		}
		mm_json_key(j, is_field ? "value" : "params");
		mm_json_text(j, value);
	}
	mm_json_close(j, '}');
}

static void json_edits(struct mm_json *j, const struct mm_dialogue_result *r)
{
	mm_json_key(j, "edits");
	mm_json_open(j, '[');
	for (uint32_t i = 0; i < r->reply_count; i++) {
		struct mm_mta_reply reply;
		if (mm_dialogue_reply_at(r, i, &reply) && mm_mta_action_of(reply.row->letter) != 0)
			json_edit(j, &reply);
	}
	mm_json_close(j, ']');
}

static void json_replies(struct mm_json *j, const struct mm_dialogue_result *r)
{
	mm_json_key(j, "replies");
	mm_json_open(j, '[');
	for (uint32_t i = 0; i < r->reply_count; i++) {
		const struct mm_dialogue_reply *e = &r->replies[i];
		struct mm_mta_reply reply;
		mm_json_open(j, '{');
		mm_json_key(j, "stage");
		mm_json_string(j, mm_stage_name(e->stage));
		mm_json_key(j, "nth");
		mm_json_integer(j, (int64_t)e->nth + 1);
		mm_json_key(j, "reply");
		if (mm_dialogue_reply_at(r, i, &reply)) {
			mm_json_string(j, mm_mta_reply_word(&reply));
			if (reply.row->letter == SMFIR_REPLYCODE) {
				mm_json_key(j, "text");
				mm_json_text(j, reply.first);
			}
		} else {
			mm_json_text(j, (struct mm_text){ NULL, 0 });
		}
		if (e->decided_by.size > 0) {
			mm_json_key(j, "decided_by");
			mm_json_text(j, mm_dialogue_text(r, e->decided_by));
		}
		mm_json_key(j, "seconds");
		mm_json_number(j, e->seconds);
		if (e->complaint.size > 0) {
			mm_json_key(j, "complaint");
			mm_json_text(j, mm_dialogue_text(r, e->complaint));
		}
		mm_json_close(j, '}');
	}
	mm_json_close(j, ']');
}

static void json_envelope(struct mm_json *j, const struct mm_mail_file *m)
{
	mm_json_key(j, "envelope");
	mm_json_open(j, '{');
	mm_json_key(j, "sender");
	mm_json_text(j, mm_address_bare(mm_mail_text(m, m->sender)));
	mm_json_key(j, "params");
	json_strings(j, mm_mail_text(m, m->sender_params));
	mm_json_key(j, "recipients");
	mm_json_open(j, '[');
	for (uint32_t i = 0; i < m->recipient_count; i++) {
		mm_json_open(j, '{');
		mm_json_key(j, "address");
		mm_json_text(j, mm_address_bare(mm_mail_text(m, m->recipients[i].address)));
		mm_json_key(j, "params");
		json_strings(j, mm_mail_text(m, m->recipients[i].params));
		mm_json_close(j, '}');
	}
	mm_json_close(j, ']');
	mm_json_close(j, '}');
}

static void json_verdict(struct mm_json *j, const struct mm_dialogue_result *r)
{
	mm_json_key(j, "verdict");
	mm_json_string(j, mm_transcript_word(r));
	mm_json_key(j, "stage");
	mm_json_string(j, r->is_decided ? mm_stage_name(r->stage) : NULL);
	mm_json_key(j, "code");
	if (r->is_decided)
		mm_json_integer(j, r->code);
	else
		mm_json_string(j, NULL);
	mm_json_key(j, "reply");
	mm_json_text(j, r->is_decided ? mm_dialogue_text(r, r->text) : (struct mm_text){ NULL, 0 });
	mm_json_key(j, "decided_by");
	mm_json_text(j, r->decided_by.size > 0 ? mm_dialogue_text(r, r->decided_by) : (struct mm_text){ NULL, 0 });
	mm_json_key(j, "recipients_refused");
	mm_json_integer(j, r->recipients_refused);
	mm_json_key(j, "complaints");
	mm_json_integer(j, r->complaint_count);
}

void mm_transcript_json(struct mm_json *j, const char *file, enum mm_mta_kind kind, const struct mm_dialogue_result *r,
	const struct mm_mail_file *edited, const struct mm_fault *why, unsigned long script_errors)
{
	mm_json_open(j, '{');
	mm_json_key(j, "file");
	mm_json_string(j, file);
	mm_json_key(j, "mta");
	mm_json_string(j, mm_mta_kind_name(kind));
	json_verdict(j, r);
	mm_json_key(j, "quarantine");
	mm_json_text(j, edited->is_quarantined ? mm_mail_text(edited, edited->reason) : (struct mm_text){ NULL, 0 });
	mm_json_key(j, "error");
	mm_json_string(j, why != NULL && why->class != MM_FAULT_NONE ? why->text : NULL);
	mm_json_key(j, "script_errors");
	mm_json_integer(j, (int64_t)script_errors);
	json_edits(j, r);
	json_replies(j, r);
	json_envelope(j, edited);
	struct mm_buffer text = { .size = 0 };
	bool passes = r->is_decided && r->verdict == MM_VERDICT_accept;
	if (passes)
		mm_mail_file_write(edited, &text);
	mm_json_key(j, "message");
	mm_json_text(j, (struct mm_text){ passes ? (const char *)text.bytes : NULL, text.size });
	j->out->failed |= text.failed;
	mm_buffer_free(&text);
	mm_json_close(j, '}');
}
