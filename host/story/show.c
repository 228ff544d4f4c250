#include "story/show.h"

#include "base/json.h"
#include "base/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* ---- text ---- */

/* Words of our own. */
static void put_word(struct mm_buffer *out, const char *word)
{
	mm_buffer_append(out, word, strlen(word));
}

/* Words of others. */
static void put_text(struct mm_buffer *out, struct mm_text text)
{
	for (size_t i = 0; i < text.size;) {
		struct mm_text rest = { text.bytes + i, text.size - i };
		size_t n = mm_utf8_visible(rest);
		if (n == 0)
			mm_buffer_format(out, "\\x%02x", (unsigned char)rest.bytes[0]);
		else
			mm_buffer_append(out, rest.bytes, n);
		i += n > 0 ? n : 1;
	}
}

static void put_string(struct mm_buffer *out, const char *text)
{
	put_text(out, mm_text_of(text));
}

static void put_time(struct mm_buffer *out, double at, bool has_date)
{
	char text[40];
	struct tm local;
	time_t seconds = (time_t)at;
	if (localtime_r(&seconds, &local) == NULL)
		return;
	strftime(text, sizeof text, has_date ? "%Y-%m-%d %H:%M:%S" : "%b %d %H:%M:%S", &local);
	put_string(out, text);
	if (has_date)
		mm_buffer_format(out, ".%03d", (int)((at - (double)seconds) * 1000));
}

const char *mm_story_verdict_word(const struct mm_story *s)
{
	return s->is_unfinished ? "unfinished" : s->is_aborted ? "none"
		: mm_verdict_name((enum mm_verdict_kind)s->verdict);
}

const char *mm_story_name(const struct mm_story *s)
{
	return s->queue_id[0] != '\0' ? s->queue_id : s->session;
}

bool mm_story_last_aside(const struct mm_story *s, struct mm_story_item *found, struct mm_text *by,
	struct mm_text *reply)
{
	struct mm_story_item item;
	struct mm_text text;
	bool has = false;
	for (uint32_t at = 0; mm_story_item(s, at, &item, &text); at = mm_story_after(at, &item)) {
		if (item.kind != MM_STORY_VERDICT)
			continue;
		size_t first = strnlen(text.bytes, text.size), after = first + (first < text.size);
		*by = (struct mm_text){ text.bytes, first };
		*reply = (struct mm_text){ text.bytes + after, text.size - after };
		*found = item;
		has = true;
	}
	return has;
}

void mm_story_row_head(struct mm_buffer *out)
{
	mm_buffer_format(out, "%-15s %-10s %-6s %-14s %-15s %s\n", "TIME", "VERDICT", "STAGE", "ID", "CLIENT",
		"FROM -> TO, WHO DECIDED, REPLY");
}

void mm_story_row(const struct mm_story *s, struct mm_buffer *out)
{
	struct mm_story_item item;
	struct mm_text by, reply;
	put_time(out, s->ended_at, false);
	mm_buffer_format(out, " %-10s %-6s ", mm_story_verdict_word(s), mm_stage_name((enum mm_stage)s->stage));
	put_string(out, mm_story_name(s));
	mm_buffer_format(out, "%*s ", (int)(strlen(mm_story_name(s)) < 14 ? 14 - strlen(mm_story_name(s)) : 0), "");
	put_string(out, s->client[0] != '\0' ? s->client : "-");
	mm_buffer_format(out, "%*s ",
		(int)(strlen(s->client) < 15 ? 15 - (strlen(s->client) + (s->client[0] == '\0')) : 0), "");
	put_string(out, s->has_message ? s->from : s->helo);
	if (s->to[0] != '\0')
		put_word(out, " -> ");
	put_string(out, s->to);
	if (s->recipients > 1)
		mm_buffer_format(out, " (+%u)", s->recipients - 1);
	if (s->decided_by[0] != '\0') {
		put_word(out, ", ");
		put_string(out, s->decided_by);
	}
	if (s->reply[0] != '\0') {
		put_word(out, ", ");
		put_string(out, s->reply);
	}
	if (s->decided_by[0] == '\0' && mm_story_last_aside(s, &item, &by, &reply)) {
		mm_buffer_format(out, ", %s at %s by ", mm_verdict_name((enum mm_verdict_kind)item.verdict),
			mm_stage_name((enum mm_stage)item.stage));
		put_text(out, by);
		put_string(out, reply.size > 0 ? ": " : "");
		put_text(out, reply);
	}
	put_word(out, "\n");
}

/* ---- the time line ---- */

static int by_time(const void *a, const void *b)
{
	const struct mm_story_line *x = a, *y = b;
	/* of one moment, what contains the others comes first */
	bool x_first = x->item.kind == MM_STORY_HANDLER, y_first = y->item.kind == MM_STORY_HANDLER;
	if (x->item.at != y->item.at)
		return x->item.at < y->item.at ? -1 : 1;
	if (x_first != y_first && x->item.kind != MM_STORY_STAGE && y->item.kind != MM_STORY_STAGE)
		return x_first ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

unsigned mm_story_lines(const struct mm_story *s, struct mm_story_line *lines)
{
	unsigned count = 0;
	struct mm_story_line line = { .order = 0 };
	for (uint32_t at = 0; mm_story_item(s, at, &line.item, &line.text) && count < MM_STORY_LINES_MAX;
	    at = mm_story_after(at, &line.item)) {
		line.order = count;
		if (line.item.kind != MM_STORY_FILE)
			lines[count++] = line;
	}
	qsort(lines, count, sizeof *lines, by_time);
	return count;
}

static void put_duration(struct mm_buffer *out, uint32_t us)
{
	if (us >= 10000000)
		mm_buffer_format(out, "%.1f s", us / 1e6);
	else if (us >= 10000)
		mm_buffer_format(out, "%.0f ms", us / 1e3);
	else
		mm_buffer_format(out, "%.2f ms", us / 1e3);
}

static void put_place(const struct mm_story *s, const struct mm_story_item *item, struct mm_buffer *out)
{
	if (item->file == MM_STORY_NO_FILE)
		return;
	put_text(out, mm_story_file(s, item->file));
	put_word(out, ".lua");
	if (item->line > 0)
		mm_buffer_format(out, ":%u", item->line);
	put_word(out, " ");
}

static void put_stage(const struct mm_story *s, const struct mm_story_line *l, struct mm_buffer *out)
{
	(void)s;
	put_string(out, mm_stage_name((enum mm_stage)l->item.stage));
	if (l->text.size > 0)
		put_word(out, " ");
	put_text(out, l->text);
	if (l->item.count > 1)
		mm_buffer_format(out, " (%u times)", l->item.count);
}

static void put_handler(const struct mm_story *s, const struct mm_story_line *l, struct mm_buffer *out)
{
	put_word(out, "  ");
	put_place(s, &l->item, out);
	put_string(out, l->item.stage == MM_STORY_TASK ? "task" : mm_stage_handler((enum mm_stage)l->item.stage));
	put_word(out, ": ");
	put_duration(out, l->item.took);
	if (l->item.count > 1)
		mm_buffer_format(out, " in %u runs", l->item.count);
}

static void put_wait(const struct mm_story *s, const struct mm_story_line *l, struct mm_buffer *out)
{
	size_t asked = strnlen(l->text.bytes, l->text.size), after = asked + (asked < l->text.size);
	struct mm_text answer = { l->text.bytes + after, strnlen(l->text.bytes + after, l->text.size - after) };
	put_word(out, "  ");
	put_place(s, &l->item, out);
	put_word(out, "waits: ");
	put_text(out, (struct mm_text){ l->text.bytes, asked });
	if (l->item.took == MM_STORY_STILL) {
		put_word(out, ": no answer yet");
		return;
	}
	put_word(out, ", ");
	put_duration(out, l->item.took);
	put_string(out, answer.size > 0 ? " -> " : "");
	put_text(out, answer);
}

static void put_said(const struct mm_story *s, const struct mm_story_line *l, struct mm_buffer *out)
{
	put_word(out, "  ");
	put_place(s, &l->item, out);
	mm_buffer_format(out, "%s: ", mm_story_kind_name((enum mm_story_kind)l->item.kind));
	put_text(out, l->text);
}

static void put_verdict(const struct mm_story *s, const struct mm_story_line *l, struct mm_buffer *out)
{
	size_t by = strnlen(l->text.bytes, l->text.size), after = by + (by < l->text.size);
	(void)s;
	mm_buffer_format(out, "  %s at %s", mm_verdict_name((enum mm_verdict_kind)l->item.verdict),
		mm_stage_name((enum mm_stage)l->item.stage));
	put_string(out, by > 0 ? " by " : "");
	put_text(out, (struct mm_text){ l->text.bytes, by });
	put_string(out, after < l->text.size ? ": " : "");
	put_text(out, (struct mm_text){ l->text.bytes + after, l->text.size - after });
}

static void put_line(const struct mm_story *s, const struct mm_story_line *l, struct mm_buffer *out)
{
	static void (*const rows[])(const struct mm_story *, const struct mm_story_line *, struct mm_buffer *) = {
		[MM_STORY_STAGE] = put_stage, [MM_STORY_HANDLER] = put_handler, [MM_STORY_WAIT] = put_wait,
		[MM_STORY_EDIT] = put_said, [MM_STORY_NOTE] = put_said, [MM_STORY_ERROR] = put_said,
		[MM_STORY_VERDICT] = put_verdict,
	};
	mm_buffer_format(out, "%10.1f ms  ", l->item.at / 1e3);
	rows[l->item.kind](s, l, out);
	put_word(out, "\n");
}

static void put_fact(struct mm_buffer *out, const char *name, const char *value)
{
	if (value[0] == '\0')
		return;
	mm_buffer_format(out, "  %-9s", name);
	put_string(out, value);
	put_word(out, "\n");
}

static void put_client(const struct mm_story *s, struct mm_buffer *out)
{
	mm_buffer_format(out, "  %-9s", "client");
	put_string(out, s->client[0] != '\0' ? s->client : "-");
	put_string(out, s->host[0] != '\0' ? " " : "");
	put_string(out, s->host);
	put_string(out, s->helo[0] != '\0' ? ", helo " : "");
	put_string(out, s->helo);
	put_string(out, s->peer[0] != '\0' ? ", through the MTA at " : "");
	put_string(out, s->peer);
	put_word(out, "\n");
}

static void put_verdict_line(const struct mm_story *s, struct mm_buffer *out)
{
	mm_buffer_format(out, "  %-9s%s at %s", "verdict", mm_story_verdict_word(s),
		mm_stage_name((enum mm_stage)s->stage));
	put_string(out, s->decided_by[0] != '\0' ? " by " : "");
	put_string(out, s->decided_by);
	put_string(out, s->reply[0] != '\0' ? ": " : "");
	put_string(out, s->reply);
	put_string(out, s->is_unfinished ? " (its worker has ended, or it is under way)" : s->is_aborted
		? " (the MTA gave the message up)" : "");
	put_word(out, "\n");
}

void mm_story_show(const struct mm_story *s, struct mm_buffer *out)
{
	struct mm_story_line lines[MM_STORY_LINES_MAX];
	unsigned count = mm_story_lines(s, lines);
	put_string(out, s->has_message ? "message " : "client ");
	put_string(out, mm_story_name(s));
	mm_buffer_format(out, ", session ");
	put_string(out, s->session);
	mm_buffer_format(out, s->has_message ? ", number %u in it\n" : "\n", s->number);
	mm_buffer_format(out, "  %-9s", "time");
	put_time(out, s->began_at, true);
	put_word(out, ", took ");
	put_duration(out, s->seconds_us);
	put_word(out, ", waited ");
	put_duration(out, s->waited_us);
	put_word(out, ", computed ");
	put_duration(out, s->computed_us);
	mm_buffer_format(out, ", worker %u, generation %u\n", s->pid, s->generation);
	put_client(s, out);
	put_fact(out, "milter", s->milter);
	put_fact(out, "from", s->from);
	put_fact(out, "to", s->to);
	if (s->recipients > 1 || s->refused > 0)
		mm_buffer_format(out, "  %-9s%u recipients, %u of them refused\n", "", s->recipients, s->refused);
	put_fact(out, "subject", s->subject);
	put_verdict_line(s, out);
	for (unsigned i = 0; i < count; i++)
		put_line(s, &lines[i], out);
	if (s->lost > 0)
		mm_buffer_format(out, "  %u further items did not fit\n", s->lost);
}

/* ---- JSON ---- */

static void json_text(struct mm_json *j, const char *key, const char *value)
{
	if (value[0] == '\0')
		return;
	mm_json_key(j, key);
	mm_json_string(j, value);
}

static void json_two_texts(struct mm_json *j, struct mm_text text, const char *first, const char *second)
{
	size_t size = strnlen(text.bytes, text.size), after = size + (size < text.size);
	mm_json_key(j, first);
	mm_json_text(j, (struct mm_text){ text.bytes, size });
	size_t rest = strnlen(text.bytes + after, text.size - after);
	if (rest == 0)
		return;
	mm_json_key(j, second);
	mm_json_text(j, (struct mm_text){ text.bytes + after, rest });
}

static void json_item(const struct mm_story *s, const struct mm_story_line *l, struct mm_json *j)
{
	bool is_wait = l->item.kind == MM_STORY_WAIT, is_verdict = l->item.kind == MM_STORY_VERDICT;
	mm_json_open(j, '{');
	json_text(j, "kind", mm_story_kind_name((enum mm_story_kind)l->item.kind));
	mm_json_key_number(j, "at", l->item.at / 1e6);
	json_text(j, "stage", l->item.stage == MM_STORY_TASK ? "task" : mm_stage_name((enum mm_stage)l->item.stage));
	if (l->item.file != MM_STORY_NO_FILE) {
		mm_json_key(j, "script");
		mm_json_text(j, mm_story_file(s, l->item.file));
	}
	if (l->item.line > 0)
		mm_json_key_integer(j, "line", l->item.line);
	if (l->item.count > 1)
		mm_json_key_integer(j, "count", l->item.count);
	if (l->item.kind == MM_STORY_HANDLER || (is_wait && l->item.took != MM_STORY_STILL))
		mm_json_key_number(j, "seconds", l->item.took / 1e6);
	if (is_verdict)
		json_text(j, "verdict", mm_verdict_name((enum mm_verdict_kind)l->item.verdict));
	if (is_wait || is_verdict) {
		json_two_texts(j, l->text, is_wait ? "asked" : "decided_by", is_wait ? "answer" : "reply");
	} else if (l->text.size > 0) {
		mm_json_key(j, "text");
		mm_json_text(j, l->text);
	}
	mm_json_close(j, '}');
}

static void json_items(const struct mm_story *s, struct mm_json *j)
{
	struct mm_story_line lines[MM_STORY_LINES_MAX];
	unsigned count = mm_story_lines(s, lines);
	mm_json_key(j, "items");
	mm_json_open(j, '[');
	for (unsigned i = 0; i < count; i++)
		json_item(s, &lines[i], j);
	mm_json_close(j, ']');
	mm_json_key_integer(j, "lost", s->lost);
}

void mm_story_json(const struct mm_story *s, bool has_items, struct mm_buffer *out)
{
	struct mm_json j = { .out = out };
	mm_json_open(&j, '{');
	mm_json_key_number(&j, "began", s->began_at);
	mm_json_key_number(&j, "ended", s->ended_at);
	json_text(&j, "milter", s->milter);
	json_text(&j, "session", s->session);
	mm_json_key_integer(&j, "message", s->number);
	json_text(&j, "queue_id", s->queue_id);
	json_text(&j, "mta", s->peer);
	json_text(&j, "client", s->client);
	json_text(&j, "client_name", s->host);
	json_text(&j, "helo", s->helo);
	json_text(&j, "from", s->from);
	json_text(&j, "to", s->to);
	mm_json_key_integer(&j, "recipients", s->recipients);
	mm_json_key_integer(&j, "refused", s->refused);
	json_text(&j, "subject", s->subject);
	json_text(&j, "verdict", mm_story_verdict_word(s));
	json_text(&j, "stage", mm_stage_name((enum mm_stage)s->stage));
	json_text(&j, "decided_by", s->decided_by);
	json_text(&j, "reply", s->reply);
	mm_json_key_integer(&j, "edits", s->edits);
	mm_json_key_number(&j, "seconds", s->seconds_us / 1e6);
	mm_json_key_number(&j, "waited", s->waited_us / 1e6);
	mm_json_key_number(&j, "computed", s->computed_us / 1e6);
	mm_json_key_integer(&j, "worker", s->pid);
	mm_json_key_integer(&j, "generation", s->generation);
	if (has_items)
		json_items(s, &j);
	mm_json_close(&j, '}');
}
