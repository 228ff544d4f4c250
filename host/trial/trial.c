#include "trial/trial.h"

#include "base/remedy.h"
#include "base/safe_path.h"
#include "base/terminal.h"
#include "story/show.h"
#include "trial/diff.h"
#include "trial/explained.h"
#include "trial/transcript.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

int mm_trial_fail(const struct mm_trial *t, int code, const char *text)
{
	fflush(stdout);
	fprintf(stderr, "moonmilter %s: %s\n", t->command, text);
	return code;
}

/* ---- messages ---- */

static bool fill_envelope(const struct mm_trial *t, struct mm_mail_file *m)
{
	if (t->from != NULL && !mm_mail_file_set_sender(m, (struct mm_text){ t->from, strlen(t->from) }))
		return false;
	for (uint32_t i = 0; i < t->rcpt_count; i++)
		if (!mm_mail_file_add_recipient(m, (struct mm_text){ t->rcpts[i], strlen(t->rcpts[i]) }))
			return false;
	return mm_mail_file_guess_envelope(m);
}

static const char *empty_text(const char *file)
{
	return strcmp(file, "-") == 0 ? "standard input is empty: name a message file, or pipe one to this command"
		: "the file is empty: there is no message in it";
}

/* 0, EX_NOINPUT or EX_DATAERR. */
static int load(const struct mm_trial *t, struct mm_mailbox *box, uint32_t at, const char *file, struct mm_mail_file *m,
	struct mm_fault *why)
{
	struct mm_text bytes;
	struct mm_fault text;
	if (!mm_mailbox_read(box, at, &bytes, why))
		return EX_NOINPUT;
	bool is_empty = bytes.size == strspn(bytes.size > 0 ? bytes.bytes : "", "\r\n") && bytes.size < 16;
	if (bytes.size == 0 || is_empty) {
		mm_fault_set(why, MM_FAULT_CONFIG, "%s: %s", file, empty_text(file));
		return EX_DATAERR;
	}
	if (!mm_mail_file_parse(m, bytes.bytes, bytes.size, &text)) {
		mm_fault_set(why, text.class, "%s: %s", file, text.text);
		return EX_DATAERR;
	}
	if (fill_envelope(t, m))
		return 0;
	mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory");
	return EX_OSERR;
}

/* ---- one outcome ---- */

struct outcome {
	struct mm_dialogue_result result;
	struct mm_mail_file       sent, edited;
	struct mm_fault           why;          /* class NONE: the dialogue had no fault */
	unsigned long             script_errors;        /* that its scripts made */
};

static bool passes(const struct outcome *o)
{
	return o->why.class == MM_FAULT_NONE && o->result.is_decided && o->result.verdict == MM_VERDICT_accept;
}

/* Prints what a buffer has gathered, and empties it. */
static void print(const struct mm_trial *t, struct mm_buffer *b)
{
	if (b->failed)
		mm_trial_fail(t, 0, "out of memory");
	else
		mm_buffer_print(b, stdout);
	mm_buffer_free(b);
}

/* The word at the beginning of the text, in the colour of what happens to the mail. */
static void print_verdict(const struct mm_trial *t, struct mm_buffer *b)
{
	static const struct {
		const char   *word;
		enum mm_paint paint;
	} rows[] = {
		{ "accept", MM_PAINT_GREEN }, { "reject", MM_PAINT_RED }, { "tempfail", MM_PAINT_YELLOW },
		{ "discard", MM_PAINT_MAGENTA }, { "quarantine", MM_PAINT_MAGENTA }, { "failed", MM_PAINT_RED },
	};
	size_t size = b->size > 0 ? strcspn((const char *)b->bytes, " :\n") : 0;
	for (size_t i = 0; !b->failed && i < sizeof rows / sizeof *rows; i++) {
		if (strlen(rows[i].word) != size || memcmp(rows[i].word, b->bytes, size) != 0)
			continue;
		mm_terminal_paint(STDOUT_FILENO, rows[i].paint);
		fwrite(b->bytes, 1, size, stdout);
		mm_terminal_paint(STDOUT_FILENO, MM_PAINT_NONE);
		mm_buffer_consume(b, size);
		break;
	}
	print(t, b);
}

static void print_changes(const struct mm_trial *t, struct mm_buffer *b)
{
	const char *at = (const char *)b->bytes, *end = at + b->size;
	while (!b->failed && at < end) {
		const char *stop = memchr(at, '\n', (size_t)(end - at));
		size_t size = stop != NULL ? (size_t)(stop - at) : (size_t)(end - at);
		enum mm_paint paint = *at == '-' ? MM_PAINT_RED : *at == '+' ? MM_PAINT_GREEN
			: *at == '@' ? MM_PAINT_CYAN : MM_PAINT_NONE;
		if (paint != MM_PAINT_NONE)
			mm_terminal_paint(STDOUT_FILENO, paint);
		fwrite(at, 1, size, stdout);
		if (paint != MM_PAINT_NONE)
			mm_terminal_paint(STDOUT_FILENO, MM_PAINT_NONE);
		if (stop != NULL)
			fputc('\n', stdout);
		at += size + (stop != NULL);
	}
	if (b->failed)
		mm_trial_fail(t, 0, "out of memory");
	mm_buffer_free(b);
}

static void append_changes(const char *file, const struct outcome *o, struct mm_buffer *out)
{
	struct mm_buffer before = { .size = 0 }, after = { .size = 0 };
	char new_name[300];
	snprintf(new_name, sizeof new_name, "%.280s (edited)", file);
	mm_mail_file_write(&o->sent, &before);
	mm_mail_file_write(&o->edited, &after);
	if (before.failed || after.failed
	    || !mm_diff_unified(out, file, (struct mm_text){ (const char *)before.bytes, before.size }, new_name,
	    (struct mm_text){ (const char *)after.bytes, after.size }))
		out->failed = true;
	mm_buffer_free(&before);
	mm_buffer_free(&after);
}

static void show_verdict(const struct mm_trial *t, const char *file, const struct outcome *o, bool is_one)
{
	struct mm_buffer out = { .size = 0 };
	if (!is_one)
		printf("%s: ", file);
	if (o->why.class != MM_FAULT_NONE) {
		mm_buffer_append(&out, "failed: ", 8);
		mm_transcript_shown(&out, mm_text_of(o->why.text));
		mm_buffer_append_u8(&out, '\n');
	} else {
		mm_transcript_verdict(&out, &o->result);
	}
	mm_buffer_append_u8(&out, '\0');        /* for strcspn() */
	out.size -= out.size > 0;
	print_verdict(t, &out);
	if (t->shows_replies || o->result.complaint_count > 0) {
		mm_transcript_replies(&out, &o->sent, &o->result);
	} else {
		mm_transcript_refused(&out, &o->sent, &o->result);
		mm_transcript_edits(&out, &o->result);
	}
	print(t, &out);
}

static void show_json(const struct mm_trial *t, const char *file, const struct outcome *o)
{
	struct mm_buffer out = { .size = 0 };
	struct mm_json j = { .out = &out };
	mm_transcript_json(&j, file, t->plan.kind, &o->result, &o->edited, &o->why, o->script_errors);
	mm_buffer_append_u8(&out, '\n');
	print(t, &out);
}

/* Of several messages the text is shown only as a diff: the verdicts would be lost in it. */
static void show(const struct mm_trial *t, const char *file, const struct outcome *o, bool is_one)
{
	struct mm_buffer out = { .size = 0 };
	if (t->shows_json) {
		show_json(t, file, o);
		return;
	}
	show_verdict(t, file, o, is_one);
	if (passes(o) && t->shows_diff) {
		append_changes(file, o, &out);
		print_changes(t, &out);
	} else if (passes(o) && t->output == NULL && is_one && !t->explains) {
		mm_buffer_append_u8(&out, '\n');
		mm_mail_file_write(&o->edited, &out);
		print(t, &out);
	}
}

/* NULL: a sentence has been printed. */
static FILE *open_output(const struct mm_trial *t)
{
	struct mm_safe_path at;
	struct mm_fault why;
	if (!mm_safe_path_open(&at, t->output, &why)) {
		fprintf(stderr, "moonmilter %s: %s%s\n", t->command, why.text, mm_remedy_of_writing(at.error));
		return NULL;
	}
	int fd = openat(at.directory, at.name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | mm_safe_path_flags(&at),
		0666);
	FILE *f = fd >= 0 ? fdopen(fd, "wb") : NULL;
	if (f == NULL)
		fprintf(stderr, "moonmilter %s: %s: %s%s\n", t->command, t->output,
			strerror(errno), mm_remedy_of_writing(errno));
	if (f == NULL && fd >= 0)
		close(fd);
	mm_safe_path_close(&at);
	return f;
}

static bool write_output(const struct mm_trial *t, const struct outcome *o)
{
	bool is_stdout = strcmp(t->output, "-") == 0;
	FILE *f = is_stdout ? stdout : open_output(t);
	if (f == NULL)
		return false;
	struct mm_buffer out = { .size = 0 };
	mm_mail_file_write(&o->edited, &out);
	bool ok = !out.failed && mm_buffer_print(&out, f);
	ok = (is_stdout ? fflush(f) : fclose(f)) == 0 && ok;
	mm_buffer_free(&out);
	if (!ok)
		fprintf(stderr, "moonmilter %s: %s: %s%s\n", t->command, t->output,
			strerror(errno), mm_remedy_of_writing(errno));
	return ok;
}

static const char *word_of(const struct mm_trial *t, const struct outcome *o)
{
	if (t->expect != NULL && strcmp(t->expect, "error") == 0 && o->script_errors > 0)
		return "error";
	return o->why.class != MM_FAULT_NONE ? "failed" : mm_transcript_word(&o->result);
}

static bool is_expected(const struct mm_trial *t, const char *file, const struct outcome *o, bool is_one)
{
	const char *word = word_of(t, o);
	char wanted[8] = "", got[8] = "", text[512];
	if (strcmp(word, t->expect) == 0 && (t->expect_code == 0 || t->expect_code == o->result.code))
		return true;
	if (t->expect_code != 0)
		snprintf(wanted, sizeof wanted, ":%u", t->expect_code % 1000);
	if (o->result.is_decided)
		snprintf(got, sizeof got, ":%u", o->result.code % 1000);
	snprintf(text, sizeof text, "%.256s%sexpected %s%s, got %s%s", is_one ? "" : file, is_one ? "" : ": ",
		t->expect, wanted, word, got);
	mm_trial_fail(t, 1, text);
	return false;
}

/* A script that failed is never what a test expects, unless it says so: its verdict is that of on_error. */
static int code_of(const struct mm_trial *t, const char *file, const struct outcome *o, bool is_one)
{
	bool is_wanted = t->expect != NULL && strcmp(t->expect, "error") == 0;
	if (t->expect != NULL && !is_expected(t, file, o, is_one))
		return 1;
	if (o->why.class != MM_FAULT_NONE && t->expect == NULL)
		return mm_trial_fail(t, EX_PROTOCOL, o->why.text);
	if (o->script_errors == 0 || is_wanted)
		return 0;
	return mm_trial_fail(t, EX_SOFTWARE, "a script failed: see the error above. What is shown is what on_error "
		"makes of it, not what the script wanted");
}

static void free_outcome(struct outcome *o)
{
	mm_dialogue_result_free(&o->result);
	mm_mail_file_free(&o->sent);
	mm_mail_file_free(&o->edited);
}

/* ---- the run ---- */

struct mm_trial_run {
	struct mm_trial    *trial;
	const struct mm_trial_peer *peer;       /* borrowed */
	struct mm_mailbox  *box;                /* borrowed */
	struct mm_dialogue_transport transport;
	struct mm_dialogue *dialogue;
	struct mm_dialogue_result opening;      /* of offer, connect and helo */
	struct mm_fault     why;                /* of the opening */
	bool                is_one;             /* there is only one message */
	bool                is_stdout_taken;
	int                 code;               /* the worst so far */
	unsigned            counts[MM_VERDICT_COUNT + 3];       /* of outcomes, by word_row() */
	/* for mm_trial_overdue(): the message that is being tried; NULL: none is */
	struct outcome     *current;
	const char         *file;
	unsigned            tried;              /* messages */
};

static void worsen(struct mm_trial_run *r, int code)
{
	r->code = r->code > code ? r->code : code;
}

static void note_script_errors(struct mm_trial_run *r, struct outcome *o)
{
	unsigned long now = r->peer->script_errors != NULL ? r->peer->script_errors(r->peer->self) : 0;
	o->script_errors = now - r->trial->script_errors;
	r->trial->script_errors = now;
}

/* The words of a summary, in its order. */
static const char *const words[] = {
	"accept", "quarantine", "reject", "tempfail", "discard", "abort", "none", "failed",
};
_Static_assert(sizeof words / sizeof *words <= MM_VERDICT_COUNT + 3, "counts[] has a place for each");

static void count(struct mm_trial_run *r, const struct outcome *o)
{
	const char *word = o->why.class != MM_FAULT_NONE ? "failed" : mm_transcript_word(&o->result);
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		r->counts[i] += strcmp(words[i], word) == 0;
}

static void explain(struct mm_trial_run *r, const struct outcome *o)
{
	struct mm_buffer out = { .size = 0 };
	struct mm_story story;
	bool is_json = r->trial->shows_json;
	if (r->peer->explain != NULL) {
		r->peer->explain(r->peer->self, is_json, &out);
	} else {
		mm_explained_tell(&story, &r->trial->plan, &o->sent, &r->opening, &o->result, r->tried);
		if (is_json)
			mm_story_json(&story, true, &out);
		else
			mm_story_show(&story, &out);
		if (is_json)
			mm_buffer_append_u8(&out, '\n');
	}
	print(r->trial, &out);
}

static int finish_message(struct mm_trial_run *r, struct outcome *o)
{
	struct mm_trial *t = r->trial;
	note_script_errors(r, o);
	count(r, o);
	if (!t->is_quiet && !r->is_stdout_taken)
		show(t, r->file, o, r->is_one);
	r->tried++;
	if (t->explains && !t->is_quiet && !r->is_stdout_taken)
		explain(r, o);
	int code = code_of(t, r->file, o, r->is_one);
	if (t->output != NULL && passes(o) && !write_output(t, o))
		code = EX_CANTCREAT;
	fflush(stdout);                         /* the next may never end */
	return code;
}

static int run_message(struct mm_trial_run *r, uint32_t at)
{
	struct mm_trial *t = r->trial;
	struct outcome o = { .why = r->why };
	struct mm_fault why = { .class = MM_FAULT_NONE };
	char name[512];
	r->file = mm_mailbox_name(r->box, at, name, sizeof name);
	int code = load(t, r->box, at, r->file, &o.sent, &why);
	if (code != 0) {
		free_outcome(&o);
		return mm_trial_fail(t, code, why.text);
	}
	r->current = &o;
	if (o.why.class == MM_FAULT_NONE)
		mm_dialogue_message(r->dialogue, &o.sent, t->stop_after, t->hangs_up, &o.result, &o.why);
	r->current = NULL;
	if (!mm_mail_file_copy(&o.edited, &o.sent, &why)
	    || (o.why.class == MM_FAULT_NONE && !mm_dialogue_apply(r->dialogue, &o.result, &o.edited, &why)))
		code = mm_trial_fail(t, EX_OSERR, why.text);
	else
		code = finish_message(r, &o);
	free_outcome(&o);
	return code;
}

int mm_trial_overdue(struct mm_trial *t, const char *text)
{
	struct mm_trial_run *r = t->run;
	struct mm_fault ignored;
	if (r == NULL || r->current == NULL)
		return mm_trial_fail(t, EX_PROTOCOL, text);
	struct outcome *o = r->current;
	mm_fault_set(&o->why, MM_FAULT_PEER, "%s", text);
	mm_mail_file_copy(&o->edited, &o->sent, &ignored);
	worsen(r, finish_message(r, o));
	return r->code;
}

static void print_packet(void *self, bool is_command, const struct mm_packet *p)
{
	struct mm_buffer line = { .size = 0 };
	mm_transcript_packet(&line, is_command, p);
	mm_buffer_append_u8(&line, '\n');
	mm_terminal_paint(STDOUT_FILENO, is_command ? MM_PAINT_DIM : MM_PAINT_CYAN);
	print(self, &line);
	mm_terminal_paint(STDOUT_FILENO, MM_PAINT_NONE);
	fflush(stdout);
}

/* Shows the dialogue before any message. A fault there is reported with each message. */
static void open_dialogue(struct mm_trial_run *r)
{
	const struct mm_trial *t = r->trial;
	struct mm_buffer out = { .size = 0 };
	bool ok = mm_dialogue_open(r->dialogue, &r->opening, &r->why);
	if (t->is_quiet || r->is_stdout_taken || t->shows_json
	    || (!t->shows_replies && r->opening.complaint_count == 0))
		return;
	if (ok) {
		mm_buffer_append(&out, r->peer->name, strlen(r->peer->name));
		mm_buffer_append(&out, ": ", 2);
		mm_transcript_offer(&out, &mm_dialogue_mta(r->dialogue)->agreed);
		mm_buffer_append_u8(&out, '\n');
	}
	mm_transcript_replies(&out, NULL, &r->opening);
	print(t, &out);
}

static void quit(struct mm_trial_run *r)
{
	struct mm_dialogue_result end = { .reply_count = 0 };
	struct mm_fault why = { .class = MM_FAULT_NONE };
	if (!mm_dialogue_quit(r->dialogue, &end, &why))
		mm_trial_fail(r->trial, 0, why.text);
	for (uint32_t i = 0; i < end.reply_count; i++) {
		struct mm_text complaint = mm_dialogue_text(&end, end.replies[i].complaint);
		fprintf(stderr, "moonmilter %s: %.*s\n", r->trial->command, (int)complaint.size, complaint.bytes);
	}
	mm_dialogue_result_free(&end);
}

/* False: out of memory. */
static bool begin_session(struct mm_trial_run *r)
{
	mm_dialogue_result_free(&r->opening);
	mm_dialogue_free(r->dialogue);
	r->why = (struct mm_fault){ .class = MM_FAULT_NONE };
	r->dialogue = mm_dialogue_new(&r->trial->plan, r->transport);
	if (r->dialogue == NULL)
		return false;
	open_dialogue(r);
	return true;
}

/* An MTA does not go on with a filter that has failed: the next message gets a new session. */
static bool renew_session(struct mm_trial_run *r)
{
	struct mm_fault why;
	if (r->peer->reopen == NULL || !mm_dialogue_has_failed(r->dialogue))
		return true;
	if (!r->peer->reopen(r->peer->self, &why))
		return true;                    /* what failed is said with each message */
	return begin_session(r);
}

/* "3 messages: 2 accept, 1 reject" */
static void show_summary(const struct mm_trial_run *r, size_t all)
{
	const char *between = ": ";
	if (r->is_one || r->trial->is_quiet || r->is_stdout_taken || r->trial->shows_json)
		return;
	printf("%zu messages", all);
	for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
		if (r->counts[i] == 0)
			continue;
		printf("%s%u %s", between, r->counts[i], words[i]);
		between = ", ";
	}
	printf("\n");
}

static void set_times(struct mm_trial *t)
{
	bool as_sendmail = t->plan.kind == MM_MTA_SENDMAIL;
	t->plan.macros = t->macros;
	t->plan.macro_count = t->macro_count;
	if (t->plan.command_timeout_s > 0)
		return;
	t->plan.command_timeout_s = as_sendmail ? 10 : 30;      /* protocol 7: as long as the MTA would wait */
	t->plan.content_timeout_s = as_sendmail ? 10 : 300;
}

int mm_trial_run(struct mm_trial *t, const struct mm_trial_peer *peer, struct mm_mailbox *box)
{
	struct mm_trial_run r = { .trial = t, .peer = peer, .box = box, .transport = peer->transport,
		.is_one = (size_t)box->count * t->repeat == 1 };
	set_times(t);
	r.is_stdout_taken = t->output != NULL && strcmp(t->output, "-") == 0;
	if (t->shows_trace && !t->is_quiet && !r.is_stdout_taken) {
		r.transport.trace = print_packet;
		r.transport.trace_self = t;
	}
	t->run = &r;
	if (!begin_session(&r))
		return mm_trial_fail(t, EX_OSERR, "out of memory");
	size_t all = t->hangs_up ? 1 : (size_t)box->count * t->repeat;  /* a client that hung up sends no more */
	for (size_t i = 0; i < all; i++) {
		if (i > 0 && !renew_session(&r))
			worsen(&r, mm_trial_fail(t, EX_OSERR, "out of memory"));
		else
			worsen(&r, run_message(&r, (uint32_t)(i % box->count)));
	}
	if (r.why.class == MM_FAULT_NONE)
		quit(&r);
	show_summary(&r, all);
	t->run = NULL;
	mm_dialogue_result_free(&r.opening);
	mm_dialogue_free(r.dialogue);
	fflush(stdout);
	return r.code;
}
