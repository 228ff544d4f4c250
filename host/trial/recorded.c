#include "trial/recorded.h"

#include "story/trace_show.h"
#include "story/words.h"

static void show(struct mm_trace_line *l, const struct mm_words *w, bool is_json, struct mm_buffer *out)
{
	l->words = mm_words_text(w);
	l->is_cut = w->is_cut;
	if (is_json)
		mm_trace_json(l, out);
	else
		mm_trace_show(l, false, out);
}

static void show_command(const struct mm_replay *r, const struct mm_packet *p, bool is_json, struct mm_buffer *out)
{
	struct mm_words w;
	struct mm_command c;
	struct mm_fault why;
	struct mm_trace_line l = { .kind = MM_TRACE_COMMAND, .size = (uint32_t)p->size };
	mm_words_begin(&w, MM_STORY_REDACT_NOTHING);
	if (mm_command_decode(p, r->agreed.steps, &c, &why)) {
		mm_words_of_command(&w, &c);
		l.stage = (uint8_t)c.row->stage;
		l.name = mm_text_of(c.row->name);
	} else {
		mm_words_add(&w, mm_text_of(why.text));
		l.name = mm_text_of("unreadable");
	}
	show(&l, &w, is_json, out);
}

static void show_reply(const struct mm_packet *p, bool is_json, struct mm_buffer *out)
{
	struct mm_words w;
	struct mm_mta_reply reply;
	struct mm_fault ignored;
	struct mm_trace_line l = { .kind = MM_TRACE_REPLY, .size = (uint32_t)p->size };
	mm_words_begin(&w, MM_STORY_REDACT_NOTHING);
	if (!mm_mta_decode(p, &reply, &ignored))        /* the replay has decoded it already */
		return;
	mm_words_of_reply(&w, &reply);
	l.name = mm_text_of(mm_mta_reply_word(&reply));
	show(&l, &w, is_json, out);
}

void mm_recorded_show(const struct mm_replay *r, bool is_json, struct mm_buffer *out)
{
	static const char more[] = "-- the record ends here; the session went on\n";
	for (uint32_t i = 0; i < r->command_count; i++) {
		const struct mm_replay_command *c = &r->commands[i];
		show_command(r, &c->packet, is_json, out);
		for (uint32_t k = 0; k < c->reply_count; k++)
			show_reply(&r->replies[c->first_reply + k], is_json, out);
	}
	if (r->is_cut && !is_json)
		mm_buffer_append(out, more, sizeof more - 1);
}
