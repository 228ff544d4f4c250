#include "story/story.h"

#include <string.h>

#define KEPT_FOR_CAUSES 360u    /* bytes that only notes, errors and verdicts may use */
#define TEXT_MAX        120u    /* bytes of an item's text */
#define CAUSE_MAX       200u    /* of a note, an error, a verdict */
#define ANSWER_SIZE     52u     /* of the answer to a wait */
#define RECIPIENTS_MAX  8u      /* recipients with an item each */
#define MERGE_LOOKS     12      /* items of a stage among which a handler looks for its own */

/* ---- texts ---- */

static void copy(char *to, size_t size, struct mm_text from)
{
	size_t n = from.size < size ? from.size : size - 1;
	if (n > 0)
		memcpy(to, from.bytes, n);
	to[n] = '\0';
}

static void copy_string(char *to, size_t size, const char *from)
{
	if (from != NULL)
		copy(to, size, (struct mm_text){ from, strlen(from) });
	else
		to[0] = '\0';
}

/* "<ann@example.org>" -> "<*@example.org>" */
static void copy_address(const struct mm_story *s, char *to, size_t size, struct mm_text from)
{
	const char *at = s->redact >= MM_STORY_REDACT_ADDRESSES && from.size > 0 ? memrchr(from.bytes, '@', from.size)
		: NULL;
	bool has_local = s->redact >= MM_STORY_REDACT_ADDRESSES && from.size > 2;
	if (!has_local) {
		copy(to, size, from);
		return;
	}
	copy(to, size, mm_text_of("<*"));
	if (at != NULL)
		copy(to + 2, size - 2, (struct mm_text){ at, from.size - (size_t)(at - from.bytes) });
	else
		copy(to + 2, size - 2, mm_text_of(">"));
}

/* The codes of "550 5.7.1 text", without the text. */
static struct mm_text shown_reply(const struct mm_story *s, struct mm_text reply)
{
	if (s->redact < MM_STORY_REDACT_ADDRESSES)
		return reply;
	size_t n = 0;
	while (n < reply.size && ((reply.bytes[n] >= '0' && reply.bytes[n] <= '9') || reply.bytes[n] == '.'
	    || reply.bytes[n] == ' '))
		n++;
	return (struct mm_text){ reply.bytes, n };
}

/* ---- items ---- */

static uint32_t padded(uint32_t size)
{
	return (size + 3) & ~3u;
}

static uint32_t since(const struct mm_story *s, uint64_t ticks)
{
	double us = ticks > s->began_ticks ? (double)(ticks - s->began_ticks) * s->us_per_tick : 0;
	return us < (double)(MM_STORY_STILL - 1) ? (uint32_t)us : MM_STORY_STILL - 1;
}

static uint32_t span_of(const struct mm_story *s, uint64_t began, uint64_t ended)
{
	double us = ended > began ? (double)(ended - began) * s->us_per_tick : 0;
	return us < (double)(MM_STORY_STILL - 1) ? (uint32_t)us : MM_STORY_STILL - 1;
}

static bool is_cause(enum mm_story_kind kind)
{
	return kind >= MM_STORY_NOTE || kind == MM_STORY_FILE;
}

/* Room for an item with this much text, not counted in `used` yet; NULL: none. */
static struct mm_story_item *room_for(struct mm_story *s, enum mm_story_kind kind, uint32_t size)
{
	uint32_t needed = (uint32_t)sizeof(struct mm_story_item) + padded(size);
	uint32_t room = MM_STORY_ITEMS_MAX - (is_cause(kind) ? 0 : KEPT_FOR_CAUSES);
	if (s->used + needed <= room)
		return (struct mm_story_item *)(void *)(s->items + s->used);
	s->lost++;
	return NULL;
}

static char *text_of(struct mm_story_item *item)
{
	return (char *)(item + 1);
}

/* The item is whole: readers may see it. Returns its offset. */
static uint32_t keep(struct mm_story *s, const struct mm_story_item *item)
{
	uint32_t at = s->used;
	__atomic_store_n(&s->used, at + (uint32_t)sizeof *item + padded(item->size), __ATOMIC_RELEASE);
	return at;
}

static struct mm_story_item *item_at(struct mm_story *s, uint32_t at)
{
	return (struct mm_story_item *)(void *)(s->items + at);
}

static bool is_file(struct mm_story *s, unsigned i, struct mm_text name)
{
	struct mm_story_item *item = item_at(s, s->files[i]);
	return item->size == name.size && memcmp(text_of(item), name.bytes, name.size) == 0;
}

static uint8_t file_of(struct mm_story *s, struct mm_text name)
{
	if (name.size > 40)
		name.size = 40;
	if (name.size == 0)
		return MM_STORY_NO_FILE;
	for (unsigned i = 0; i < s->file_count; i++)
		if (is_file(s, i, name))
			return (uint8_t)i;
	struct mm_story_item *item = s->file_count < MM_STORY_FILES_MAX
		? room_for(s, MM_STORY_FILE, (uint32_t)name.size) : NULL;
	if (item == NULL)
		return MM_STORY_NO_FILE;
	*item = (struct mm_story_item){ .kind = MM_STORY_FILE, .size = (uint32_t)name.size };
	memcpy(text_of(item), name.bytes, name.size);
	s->files[s->file_count] = (uint16_t)keep(s, item);
	return (uint8_t)s->file_count++;
}

static void fill_place(struct mm_story_item *item, const struct mm_story_place *place)
{
	item->stage = place->stage;
	item->line = place->line > 0 && place->line < UINT16_MAX ? (uint16_t)place->line : 0;
}

/* ---- writing ---- */

void mm_story_take_facts(struct mm_story *s, const struct mm_session *session)
{
	const struct mm_message *m = session->message;
	copy_string(s->milter, sizeof s->milter, session->milter);
	copy_string(s->session, sizeof s->session, session->id);
	copy_string(s->peer, sizeof s->peer, session->peer);
	copy_string(s->client, sizeof s->client, session->client_address);
	copy_string(s->host, sizeof s->host, session->client_host);
	copy_string(s->helo, sizeof s->helo, session->helo);
	if (m == NULL)
		return;
	s->has_message = 1;
	s->number = (uint32_t)m->number;
	copy_address(s, s->from, sizeof s->from, mm_message_text(m, m->sender));
}

static void take_queue_id(struct mm_story *s, const struct mm_session *session)
{
	copy(s->queue_id, sizeof s->queue_id, mm_session_macro(session, "i"));
}

/* Events of a kind that comes in numbers are one item. */
static bool joins(const struct mm_story *s, enum mm_stage stage)
{
	return stage == MM_STAGE_header || stage == MM_STAGE_body
		|| (stage == MM_STAGE_rcpt && s->recipient_items >= RECIPIENTS_MAX);
}

/* The stages at which a queue id is looked for, which takes a while; waits and the end do so, too. */
#define NAMING_STAGES (MM_STAGE_BIT(data) | MM_STAGE_BIT(eom))

/* The text of an item that has room for it. Apart from the function below, whose stack it would enlarge. */
__attribute__((noinline)) static void mask_address(const struct mm_story *s, struct mm_story_item *item,
	struct mm_text text)
{
	char shown[TEXT_MAX + 8];
	copy_address(s, shown, item->size + 1, text);
	item->size = (uint32_t)strlen(shown);
	memcpy(text_of(item), shown, item->size);
}

void mm_story_enter(struct mm_story *s, const struct mm_session *session, enum mm_stage stage, struct mm_text text)
{
	s->stage = (uint8_t)stage;
	s->joined = MM_STORY_TASK;
	memset(s->handler_keys, 0, sizeof s->handler_keys);
	if (NAMING_STAGES & 1u << stage && s->queue_id[0] == '\0')
		take_queue_id(s, session);
	if (stage == MM_STAGE_mail)
		mm_story_take_facts(s, session);
	else if (stage == MM_STAGE_rcpt && s->to[0] == '\0')
		copy_address(s, s->to, sizeof s->to, text);
	bool is_address = stage == MM_STAGE_mail || stage == MM_STAGE_rcpt;
	uint32_t size = (uint32_t)(text.size < TEXT_MAX ? text.size : TEXT_MAX);
	struct mm_story_item *item = room_for(s, MM_STORY_STAGE, size);
	if (item == NULL)
		return;
	*item = (struct mm_story_item){ .kind = MM_STORY_STAGE, .stage = (uint8_t)stage, .file = MM_STORY_NO_FILE,
		.at = since(s, mm_clock_ticks()), .count = 1, .size = size };
	if (is_address && s->redact >= MM_STORY_REDACT_ADDRESSES) {
		mask_address(s, item, text);
	} else if (size > 0) {
		memcpy(text_of(item), text.bytes, size);
	}
	s->recipient_items = (uint16_t)(s->recipient_items + (stage == MM_STAGE_rcpt));
	s->stage_at = (uint16_t)keep(s, item);
	if (joins(s, stage))
		s->joined = (uint8_t)stage;
}

/* The handler's item in this stage. NULL: none yet. */
static struct mm_story_item *find_handler(struct mm_story *s, const struct mm_story_place *place)
{
	uint32_t at = s->stage_at;
	for (int i = 0; i < MERGE_LOOKS && at < s->used; i++) {
		struct mm_story_item *item = item_at(s, at);
		if (item->kind == MM_STORY_HANDLER && item->stage == place->stage && item->line == place->line
		    && (item->file < s->file_count ? is_file(s, item->file, place->file) : place->file.size == 0))
			return item;
		at = mm_story_after(at, item);
	}
	return NULL;
}

void mm_story_ran(struct mm_story *s, const struct mm_story_place *place, uint64_t began, uint64_t ended)
{
	struct mm_story_item *item = find_handler(s, place);
	if (item != NULL) {
		item->count += item->count < UINT16_MAX;
		item->took += span_of(s, began, ended);
		return;
	}
	uint8_t file = file_of(s, place->file);
	item = room_for(s, MM_STORY_HANDLER, 0);
	if (item == NULL)
		return;
	*item = (struct mm_story_item){ .kind = MM_STORY_HANDLER, .file = file, .at = since(s, began),
		.took = span_of(s, began, ended), .count = 1 };
	fill_place(item, place);
	keep(s, item);
}

/* A new item for a handler. */
static void begin_handler(struct mm_story *s, uint32_t key, uint8_t file, enum mm_stage stage, unsigned line,
	uint64_t began, uint64_t ended)
{
	struct mm_story_item *item = room_for(s, MM_STORY_HANDLER, 0);
	if (item == NULL)
		return;
	*item = (struct mm_story_item){ .kind = MM_STORY_HANDLER, .stage = (uint8_t)stage, .file = file,
		.line = (uint16_t)line, .at = since(s, began), .took = span_of(s, began, ended), .count = 1 };
	s->handler_keys[key % MM_STORY_HANDLERS] = key;
	s->handlers[key % MM_STORY_HANDLERS] = (uint16_t)keep(s, item);
}

void mm_story_handled(struct mm_story *s, unsigned script, const char *name, enum mm_stage stage, unsigned line,
	uint64_t began, uint64_t ended)
{
	uint8_t file = script < MM_STORY_SCRIPTS ? s->script_files[script] : 0;
	if (file == 0) {
		file = (uint8_t)(file_of(s, mm_text_of(name)) + 1);
		if (script < MM_STORY_SCRIPTS)
			s->script_files[script] = file;
	}
	begin_handler(s, mm_story_key(script, line), (uint8_t)(file - 1), stage, line < UINT16_MAX ? line : 0, began,
		ended);
}

/* An item with two texts, NUL in between; second.bytes NULL: room for it. */
static struct mm_story_item *two_texts(struct mm_story *s, enum mm_story_kind kind, uint8_t file, struct mm_text first,
	uint32_t second_size)
{
	uint32_t size = (uint32_t)(first.size < TEXT_MAX ? first.size : TEXT_MAX);
	struct mm_story_item *item = room_for(s, kind, size + 1 + second_size);
	if (item == NULL)
		return NULL;
	*item = (struct mm_story_item){ .kind = (uint8_t)kind, .file = file, .at = since(s, mm_clock_ticks()),
		.count = 1, .size = size + 1 + second_size };
	memset(text_of(item), 0, item->size);
	memcpy(text_of(item), first.bytes, size);
	return item;
}

uint32_t mm_story_ask(struct mm_story *s, const struct mm_session *session, const struct mm_story_place *place,
	struct mm_text asked)
{
	uint8_t file = file_of(s, place->file);
	if (s->queue_id[0] == '\0')
		take_queue_id(s, session);
	struct mm_story_item *item = two_texts(s, MM_STORY_WAIT, file, asked, ANSWER_SIZE);
	if (item == NULL)
		return 0;
	fill_place(item, place);
	item->took = MM_STORY_STILL;
	return keep(s, item) + 1;
}

void mm_story_answer(struct mm_story *s, uint32_t at, struct mm_text answer)
{
	struct mm_story_item *item = item_at(s, at - 1);
	size_t asked = strnlen(text_of(item), item->size);
	if (asked + 1 + ANSWER_SIZE > item->size)
		return;
	copy(text_of(item) + asked + 1, ANSWER_SIZE, answer);
	item->took = since(s, mm_clock_ticks()) - item->at;
}

/* The end of what comes before the local part that ends at `end`, which has at least `from` bytes before it. */
static size_t before_local_part(struct mm_text text, size_t from, size_t end)
{
	static const char around[] = "<>()[],;:\"";     /* none of them stands in one without quotes: RFC 5322 3.2.3 */
	const char *bytes = text.bytes;
	if (end > from && bytes[end - 1] == '"') {              /* "ann smith"@example.org */
		const char *quote = end - from > 1 ? memrchr(bytes + from, '"', end - from - 1) : NULL;
		return quote != NULL ? (size_t)(quote - bytes) : from;
	}
	while (end > from && (unsigned char)bytes[end - 1] > ' ' && strchr(around, bytes[end - 1]) == NULL)
		end--;
	return end;
}

struct mm_text mm_story_said(enum mm_story_redact redact, struct mm_text text, char *to, size_t size)
{
	size_t from = 0, used = 0;
	const char *at;
	if (redact < MM_STORY_REDACT_ADDRESSES || text.size == 0 || memchr(text.bytes, '@', text.size) == NULL)
		return text;
	while ((at = memchr(text.bytes + from, '@', text.size - from)) != NULL) {
		size_t end = (size_t)(at - text.bytes), keeps = before_local_part(text, from, end) - from;
		if (used + keeps + 2 > size)
			return (struct mm_text){ to, used };
		memcpy(to + used, text.bytes + from, keeps);
		memcpy(to + used + keeps, "*@", 2);
		used += keeps + 2;
		from = end + 1;
	}
	size_t rest = text.size - from < size - used ? text.size - from : size - used;
	memcpy(to + used, text.bytes + from, rest);
	return (struct mm_text){ to, used + rest };
}

void mm_story_say(struct mm_story *s, enum mm_story_kind kind, const struct mm_story_place *place, struct mm_text text)
{
	char shown[CAUSE_MAX];
	if (kind != MM_STORY_EDIT)
		text = mm_story_said(s->redact, text, shown, sizeof shown);
	uint8_t file = file_of(s, place->file);
	uint32_t most = is_cause(kind) ? CAUSE_MAX : TEXT_MAX;
	uint32_t size = (uint32_t)(text.size < most ? text.size : most);
	struct mm_story_item *item = room_for(s, kind, size);
	s->has_error |= kind == MM_STORY_ERROR;
	if (item == NULL)
		return;
	*item = (struct mm_story_item){ .kind = (uint8_t)kind, .file = file, .at = since(s, mm_clock_ticks()),
		.count = 1, .size = size };
	fill_place(item, place);
	if (size > 0)
		memcpy(text_of(item), text.bytes, size);
	keep(s, item);
}

void mm_story_aside(struct mm_story *s, enum mm_stage stage, enum mm_verdict_kind verdict, const char *decided_by,
	struct mm_text reply)
{
	reply = shown_reply(s, reply);
	uint32_t size = (uint32_t)(reply.size < CAUSE_MAX ? reply.size : CAUSE_MAX);
	struct mm_story_item *item = two_texts(s, MM_STORY_VERDICT, MM_STORY_NO_FILE, mm_text_of(decided_by), size);
	if (item == NULL)
		return;
	item->stage = (uint8_t)stage;
	item->verdict = (uint8_t)verdict;
	if (size > 0)
		memcpy(text_of(item) + item->size - size, reply.bytes, size);
	keep(s, item);
}

void mm_story_end(struct mm_story *s, const struct mm_session *session, enum mm_stage stage,
	enum mm_verdict_kind verdict, bool is_aborted, const char *decided_by, struct mm_text reply)
{
	const struct mm_message *m = session->message;
	if (!s->has_message)
		mm_story_take_facts(s, session);
	if (s->queue_id[0] == '\0')
		take_queue_id(s, session);
	s->stage = (uint8_t)stage;
	s->verdict = (uint8_t)verdict;
	s->is_aborted = is_aborted;
	if (decided_by != NULL)
		copy_string(s->decided_by, sizeof s->decided_by, decided_by);
	if (reply.size > 0)
		copy(s->reply, sizeof s->reply, shown_reply(s, reply));
	if (m == NULL)
		return;
	s->recipients = m->recipient_count;
	s->refused = m->refused_count;
	s->edits = m->edits.count;
	if (s->to[0] == '\0' && m->recipient_count > 0)
		copy_address(s, s->to, sizeof s->to, mm_message_text(m, m->recipients[0].address));
	int64_t subject = s->redact == MM_STORY_REDACT_NOTHING ? mm_message_find_field(m, mm_text_of("Subject"), 1)
		: -1;
	if (subject >= 0)
		copy(s->subject, sizeof s->subject, mm_message_received_value(m, &m->fields[subject]));
}

/* ---- reading ---- */

uint32_t mm_story_after(uint32_t at, const struct mm_story_item *item)
{
	return at + (uint32_t)sizeof *item + padded(item->size);
}

bool mm_story_item(const struct mm_story *s, uint32_t at, struct mm_story_item *item, struct mm_text *text)
{
	if (at >= s->used || s->used - at < sizeof *item)
		return false;
	memcpy(item, s->items + at, sizeof *item);
	*text = (struct mm_text){ (const char *)s->items + at + sizeof *item, item->size };
	return item->size <= s->used - at - sizeof *item;
}

struct mm_text mm_story_file(const struct mm_story *s, uint8_t file)
{
	struct mm_story_item item;
	struct mm_text text;
	unsigned n = 0;
	for (uint32_t at = 0; mm_story_item(s, at, &item, &text); at = mm_story_after(at, &item))
		if (item.kind == MM_STORY_FILE && n++ == file)
			return text;
	return mm_text_of("?");
}

const char *mm_story_kind_name(enum mm_story_kind kind)
{
	static const char *const names[] = {    /* ORDER STORY_KIND */
		"file", "stage", "handler", "wait", "edit", "note", "error", "verdict",
	};
	return kind < MM_STORY_KIND_COUNT ? names[kind] : "?";
}

static void end_texts(struct mm_story *s)
{
	const struct { char *text; size_t size; } texts[] = {
		{ s->milter, sizeof s->milter }, { s->session, sizeof s->session },
		{ s->queue_id, sizeof s->queue_id }, { s->peer, sizeof s->peer }, { s->client, sizeof s->client },
		{ s->host, sizeof s->host }, { s->helo, sizeof s->helo }, { s->from, sizeof s->from },
		{ s->to, sizeof s->to }, { s->subject, sizeof s->subject },
		{ s->decided_by, sizeof s->decided_by }, { s->reply, sizeof s->reply },
	};
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		texts[i].text[texts[i].size - 1] = '\0';
}

/* Seconds since 1970 that a calendar can show; not a number: 0. */
static double mended_time(double at)
{
	return at >= 0 && at < 1e11 ? at : 0;
}

void mm_story_mend(struct mm_story *s)
{
	struct mm_story_item item;
	struct mm_text text;
	uint32_t at = 0;
	end_texts(s);
	s->began_at = mended_time(s->began_at);
	s->ended_at = mended_time(s->ended_at);
	if (s->used > MM_STORY_ITEMS_MAX)
		s->used = MM_STORY_ITEMS_MAX;
	while (mm_story_item(s, at, &item, &text) && item.kind < MM_STORY_KIND_COUNT && item.stage <= MM_STORY_TASK
	    && item.verdict < MM_VERDICT_COUNT && mm_story_after(at, &item) <= s->used)
		at = mm_story_after(at, &item);
	s->used = at;
	if (s->stage >= MM_STAGE_COUNT)
		s->stage = MM_STAGE_close;
	if (s->verdict >= MM_VERDICT_COUNT)
		s->verdict = MM_VERDICT_continue;
}
