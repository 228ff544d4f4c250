#include "story/trace_show.h"

#include "base/json.h"
#include "base/utf8.h"

#include <stdio.h>
#include <time.h>

/* ---- words ---- */

/* A backslash is doubled, so that readers can tell it from an escape. */
static size_t visible(struct mm_text t)
{
	return t.bytes[0] == '\\' ? 0 : mm_utf8_visible(t);
}

/* Words of others. quote: the mark around them, escaped too; 0: none. */
static void put_text(struct mm_buffer *out, struct mm_text text, char quote)
{
	for (size_t i = 0; i < text.size;) {
		struct mm_text rest = { text.bytes + i, text.size - i };
		size_t n = visible(rest);
		if (n == 0 && rest.bytes[0] == '\\')
			mm_buffer_format(out, "\\\\");
		else if (n == 0)
			mm_buffer_format(out, "\\x%02x", (unsigned char)rest.bytes[0]);
		else if (quote != '\0' && rest.bytes[0] == quote)
			mm_buffer_format(out, "\\%c", quote);
		else
			mm_buffer_append(out, rest.bytes, n);
		i += n > 0 ? n : 1;
	}
}

static bool needs_quotes(struct mm_text word)
{
	for (size_t i = 0; i < word.size; i++)
		if ((unsigned char)word.bytes[i] <= ' ' || word.bytes[i] == '"')
			return true;
	return word.size == 0;
}

static bool next_word(struct mm_text *rest, struct mm_text *word)
{
	if (rest->size == 0)
		return false;
	size_t size = strnlen(rest->bytes, rest->size), skip = size + (size < rest->size);
	*word = (struct mm_text){ rest->bytes, size };
	*rest = (struct mm_text){ rest->bytes + skip, rest->size - skip };
	return true;
}

static void put_words(struct mm_buffer *out, struct mm_text words)
{
	for (struct mm_text word; next_word(&words, &word);) {
		bool quotes = needs_quotes(word);
		mm_buffer_format(out, quotes ? " \"" : " ");
		put_text(out, word, quotes ? '"' : '\0');
		mm_buffer_format(out, quotes ? "\"" : "");
	}
}

static void put_time(struct mm_buffer *out, double at)
{
	char text[40];
	struct tm local;
	time_t seconds = (time_t)at;
	if (localtime_r(&seconds, &local) == NULL)
		return;
	strftime(text, sizeof text, "%H:%M:%S", &local);
	mm_buffer_format(out, "%s.%06d", text, (int)((at - (double)seconds) * 1e6));
}

static void put_took(struct mm_buffer *out, uint32_t us)
{
	mm_buffer_format(out, us >= 1000000 ? "%.2f s" : us >= 10000 ? "%.0f ms" : "%.3f ms",
		us >= 1000000 ? us / 1e6 : us / 1e3);
}

/* "10-auth.lua:12" */
static void put_place(struct mm_buffer *out, const struct mm_trace_line *l)
{
	if (l->name.size == 0)
		return;
	put_text(out, l->name, '\0');
	mm_buffer_format(out, l->line > 0 ? ".lua:%u " : ".lua ", l->line);
}

static const char *handler_of(const struct mm_trace_line *l)
{
	return l->stage < MM_STAGE_COUNT ? mm_stage_handler((enum mm_stage)l->stage) : "task";
}

/* ---- kinds ---- */

static void show_session(const struct mm_trace_line *l, struct mm_buffer *out)
{
	struct mm_text rest = l->words, name, value;
	mm_buffer_format(out, "== session");
	while (next_word(&rest, &name) && next_word(&rest, &value)) {
		mm_buffer_format(out, " ");
		put_text(out, name, '\0');
		mm_buffer_format(out, "=");
		put_text(out, value, '\0');
	}
}

static void show_packet(const struct mm_trace_line *l, struct mm_buffer *out)
{
	mm_buffer_format(out, l->kind == MM_TRACE_COMMAND ? "-> " : "<- ");
	put_text(out, l->name, '\0');
	if (l->size > 0)
		mm_buffer_format(out, " (%u byte%s)", l->size, l->size == 1 ? "" : "s");
	put_words(out, l->words);
	mm_buffer_format(out, l->by.size > 0 ? ", by " : "");
	put_text(out, l->by, '\0');
}

static void show_handler(const struct mm_trace_line *l, struct mm_buffer *out)
{
	mm_buffer_format(out, "   ");
	put_place(out, l);
	mm_buffer_format(out, "%s ", handler_of(l));
	put_took(out, l->took);
	mm_buffer_format(out, l->is_open ? ", waits" : "");
}

static void show_wait(const struct mm_trace_line *l, struct mm_buffer *out)
{
	mm_buffer_format(out, "   ");
	put_place(out, l);
	mm_buffer_format(out, "asks: ");
	put_text(out, l->words, '\0');
}

static void show_answer(const struct mm_trace_line *l, struct mm_buffer *out)
{
	mm_buffer_format(out, "   ");
	put_place(out, l);
	put_text(out, l->words, '\0');
	mm_buffer_format(out, " ");
	put_took(out, l->took);
	mm_buffer_format(out, " -> ");
	put_text(out, l->by.size > 0 ? l->by : mm_text_of("done"), '\0');
}

static void show_said(const struct mm_trace_line *l, struct mm_buffer *out)
{
	mm_buffer_format(out, "   ");
	put_place(out, l);
	mm_buffer_format(out, "%s: ", mm_trace_kind_name((enum mm_trace_kind)l->kind));
	put_text(out, l->words, '\0');
}

static void show_log(const struct mm_trace_line *l, struct mm_buffer *out)
{
	static const char *const levels[] = { "debug", "info", "warn", "error" };       /* ORDER LOG_LEVEL */
	mm_buffer_format(out, "   log %s: ", levels[l->level]);
	put_text(out, l->words, '\0');
}

static void put_verdict(const struct mm_trace_line *l, struct mm_buffer *out)
{
	mm_buffer_format(out, "%s at %s", l->is_open ? "none" : mm_verdict_name((enum mm_verdict_kind)l->verdict),
		mm_stage_name((enum mm_stage)l->stage));
	mm_buffer_format(out, l->by.size > 0 ? " by " : "");
	put_text(out, l->by, '\0');
	mm_buffer_format(out, l->words.size > 0 ? ": " : "");
	put_text(out, l->words, '\0');
}

static void show_aside(const struct mm_trace_line *l, struct mm_buffer *out)
{
	mm_buffer_format(out, "   verdict: ");
	put_verdict(l, out);
}

static void show_message(const struct mm_trace_line *l, struct mm_buffer *out)
{
	mm_buffer_format(out, "== message ");
	put_text(out, l->name, '\0');
	mm_buffer_format(out, l->name.size > 0 ? ": " : "");
	put_verdict(l, out);
	mm_buffer_format(out, ", took ");
	put_took(out, l->took);
	if (l->size > 0)
		mm_buffer_format(out, ", %u edit%s", l->size, l->size == 1 ? "" : "s");
}

static void show_closed(const struct mm_trace_line *l, struct mm_buffer *out)
{
	mm_buffer_format(out, "== closed: ");
	put_text(out, l->words, '\0');
}

static void show_worker(const struct mm_trace_line *l, struct mm_buffer *out)
{
	mm_buffer_format(out, "-- worker %u watches", l->pid);
}

void mm_trace_show(const struct mm_trace_line *l, bool has_session, struct mm_buffer *out)
{
	static void (*const rows[MM_TRACE_KIND_COUNT])(const struct mm_trace_line *, struct mm_buffer *) = {
		[MM_TRACE_SESSION] = show_session, [MM_TRACE_COMMAND] = show_packet, [MM_TRACE_REPLY] = show_packet,
		[MM_TRACE_HANDLER] = show_handler, [MM_TRACE_WAIT] = show_wait, [MM_TRACE_ANSWER] = show_answer,
		[MM_TRACE_EDIT] = show_said, [MM_TRACE_NOTE] = show_said, [MM_TRACE_ERROR] = show_said,
		[MM_TRACE_LOG] = show_log, [MM_TRACE_ASIDE] = show_aside, [MM_TRACE_MESSAGE] = show_message,
		[MM_TRACE_CLOSED] = show_closed, [MM_TRACE_WORKER] = show_worker,
	};
	if (l->at > 0) {
		put_time(out, l->at);
		mm_buffer_format(out, " ");
	}
	if (has_session && l->session.size > 0) {
		put_text(out, l->session, '\0');
		mm_buffer_format(out, " ");
	}
	rows[l->kind](l, out);
	mm_buffer_format(out, l->is_cut ? " ...\n" : "\n");
}

void mm_trace_show_lost(uint32_t lost, struct mm_buffer *out)
{
	mm_buffer_format(out, "-- %u line%s lost: they came faster than they were read\n", lost,
		lost == 1 ? " was" : "s were");
}

/* ---- JSON ---- */

static void json_text(struct mm_json *j, const char *key, struct mm_text text)
{
	if (text.size == 0)
		return;
	mm_json_key(j, key);
	mm_json_text(j, text);
}

static void json_words(struct mm_json *j, const char *key, struct mm_text words)
{
	mm_json_key(j, key);
	mm_json_open(j, '[');
	for (struct mm_text word; next_word(&words, &word);)
		mm_json_text(j, word);
	mm_json_close(j, ']');
}

static void json_facts(struct mm_json *j, struct mm_text words)
{
	char key[32];
	for (struct mm_text name, value; next_word(&words, &name) && next_word(&words, &value);) {
		snprintf(key, sizeof key, "%.*s", (int)name.size, name.bytes);
		if (strspn(key, "abcdefghijklmnopqrstuvwxyz_") == name.size)
			json_text(j, key, value);
	}
}

static void json_packet(struct mm_json *j, const struct mm_trace_line *l)
{
	json_text(j, "name", l->name);
	mm_json_key_integer(j, "bytes", l->size);
	json_words(j, "arguments", l->words);
	json_text(j, "decided_by", l->by);
}

static void json_verdict(struct mm_json *j, const struct mm_trace_line *l)
{
	json_text(j, "queue_id", l->name);
	json_text(j, "verdict", mm_text_of(l->is_open ? "none" : mm_verdict_name((enum mm_verdict_kind)l->verdict)));
	json_text(j, "stage", mm_text_of(mm_stage_name((enum mm_stage)l->stage)));
	json_text(j, "decided_by", l->by);
	json_text(j, "reply", l->words);
	if (l->kind != MM_TRACE_MESSAGE)
		return;
	mm_json_key_number(j, "seconds", l->took / 1e6);
	mm_json_key_integer(j, "edits", l->size);
}

static void json_place(struct mm_json *j, const struct mm_trace_line *l)
{
	bool is_wait = l->kind == MM_TRACE_WAIT || l->kind == MM_TRACE_ANSWER;
	json_text(j, "script", l->name);
	if (l->line > 0)
		mm_json_key_integer(j, "line", l->line);
	if (l->kind == MM_TRACE_HANDLER)
		json_text(j, "handler", mm_text_of(handler_of(l)));
	json_text(j, is_wait ? "asked" : "text", l->words);
	json_text(j, "answer", l->by);
	if (l->kind == MM_TRACE_HANDLER || l->kind == MM_TRACE_ANSWER)
		mm_json_key_number(j, "seconds", l->took / 1e6);
	if (l->is_open)
		mm_json_key_integer(j, "waits", 1);
}

static void json_log(struct mm_json *j, const struct mm_trace_line *l)
{
	static const char *const levels[] = { "debug", "info", "warn", "error" };       /* ORDER LOG_LEVEL */
	json_text(j, "level", mm_text_of(levels[l->level]));
	json_text(j, "text", l->words);
}

void mm_trace_json(const struct mm_trace_line *l, struct mm_buffer *out)
{
	struct mm_json j = { .out = out };
	mm_json_open(&j, '{');
	if (l->at > 0)
		mm_json_key_number(&j, "at", l->at);
	json_text(&j, "session", l->session);
	json_text(&j, "kind", mm_text_of(mm_trace_kind_name((enum mm_trace_kind)l->kind)));
	if (l->kind == MM_TRACE_SESSION)
		json_facts(&j, l->words);
	else if (l->kind == MM_TRACE_COMMAND || l->kind == MM_TRACE_REPLY)
		json_packet(&j, l);
	else if (l->kind == MM_TRACE_ASIDE || l->kind == MM_TRACE_MESSAGE)
		json_verdict(&j, l);
	else if (l->kind == MM_TRACE_LOG)
		json_log(&j, l);
	else if (l->kind == MM_TRACE_CLOSED)
		json_text(&j, "reason", l->words);
	else if (l->kind != MM_TRACE_WORKER)
		json_place(&j, l);
	if (l->pid != 0)
		mm_json_key_integer(&j, "worker", l->pid);
	if (l->lost > 0)
		mm_json_key_integer(&j, "lost", l->lost);
	if (l->is_cut) {
		mm_json_key(&j, "cut");
		mm_buffer_append(out, "true", 4);
		j.needs_comma = true;
	}
	mm_json_close(&j, '}');
	mm_buffer_append(out, "\n", 1);
}
