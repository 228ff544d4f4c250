#include "trial/trial.h"

#include "base/safe_path.h"
#include "trial/diff.h"
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

/* ---- files ---- */

static bool read_all(const char *path, struct mm_buffer *out, struct mm_fault *why)
{
	FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
	if (f == NULL)
		return mm_fault_set(why, MM_FAULT_CONFIG, "%s: %s", path, strerror(errno));
	for (;;) {
		uint8_t *to = mm_buffer_reserve(out, 65536);
		size_t n = to != NULL ? fread(to, 1, 65536, f) : 0;
		out->size += n;
		if (n == 0)
			break;
	}
	bool ok = !ferror(f) && !out->failed;
	if (!ok)
		mm_fault_set(why, MM_FAULT_CONFIG, "%s: %s", path, out->failed ? "out of memory" : strerror(errno));
	if (f != stdin)
		fclose(f);
	return ok;
}

static bool fill_envelope(const struct mm_trial *t, struct mm_mail_file *m)
{
	if (t->from != NULL && !mm_mail_file_set_sender(m, (struct mm_text){ t->from, strlen(t->from) }))
		return false;
	for (uint32_t i = 0; i < t->rcpt_count; i++)
		if (!mm_mail_file_add_recipient(m, (struct mm_text){ t->rcpts[i], strlen(t->rcpts[i]) }))
			return false;
	return mm_mail_file_guess_envelope(m);
}

/* 0, EX_NOINPUT or EX_DATAERR. */
static int load(const struct mm_trial *t, const char *path, struct mm_mail_file *m, struct mm_fault *why)
{
	struct mm_buffer bytes = { .size = 0 };
	struct mm_fault text;
	int code = 0;
	if (!read_all(path, &bytes, why)) {
		code = EX_NOINPUT;
	} else if (!mm_mail_file_parse(m, bytes.bytes, bytes.size, &text)) {
		mm_fault_set(why, text.class, "%.200s: %.700s", path, text.text);
		code = EX_DATAERR;
	} else if (!fill_envelope(t, m)) {
		mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory");
		code = EX_OSERR;
	}
	mm_buffer_free(&bytes);
	return code;
}

/* ---- one outcome ---- */

struct outcome {
	struct mm_dialogue_result result;
	struct mm_mail_file       sent, edited;
	struct mm_fault           why;          /* class NONE: the dialogue had no fault */
};

static void print(const struct mm_buffer *b)
{
	fwrite(b->bytes, 1, b->size, stdout);
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

static void append_summary(const struct mm_trial *t, const char *file, const struct outcome *o, bool is_one,
	struct mm_buffer *out)
{
	if (!is_one) {
		mm_buffer_append(out, file, strlen(file));
		mm_buffer_append(out, ": ", 2);
	}
	if (o->why.class != MM_FAULT_NONE) {
		mm_buffer_append(out, "failed: ", 8);
		mm_buffer_append(out, o->why.text, strlen(o->why.text));
		mm_buffer_append_u8(out, '\n');
	} else {
		mm_transcript_verdict(out, &o->result);
	}
	if (t->shows_replies || o->result.complaint_count > 0)
		mm_transcript_replies(out, &o->sent, &o->result);
	else
		mm_transcript_edits(out, &o->result);
}

static void show(const struct mm_trial *t, const char *file, const struct outcome *o, bool is_one)
{
	struct mm_buffer out = { .size = 0 };
	bool passes = o->why.class == MM_FAULT_NONE && o->result.is_decided && o->result.verdict == MM_VERDICT_accept;
	if (t->shows_json) {
		struct mm_json j = { .out = &out };
		mm_transcript_json(&j, file, t->plan.kind, &o->result, &o->edited, &o->why);
		mm_buffer_append_u8(&out, '\n');
	} else {
		append_summary(t, file, o, is_one, &out);
		if (passes && t->shows_diff) {
			append_changes(file, o, &out);
		} else if (passes && t->output == NULL) {
			mm_buffer_append_u8(&out, '\n');
			mm_mail_file_write(&o->edited, &out);
		}
	}
	if (out.failed)
		mm_trial_fail(t, 0, "out of memory");
	else
		print(&out);
	mm_buffer_free(&out);
}

/* NULL: a sentence has been printed. */
static FILE *open_output(const struct mm_trial *t)
{
	struct mm_safe_path at;
	struct mm_fault why;
	if (!mm_safe_path_open(&at, t->output, &why)) {
		mm_trial_fail(t, 0, why.text);
		return NULL;
	}
	int fd = openat(at.directory, at.name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | mm_safe_path_flags(&at),
		0666);
	FILE *f = fd >= 0 ? fdopen(fd, "wb") : NULL;
	if (f == NULL)
		fprintf(stderr, "moonmilter %s: %s: %s\n", t->command, t->output, strerror(errno));
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
	bool ok = !out.failed && fwrite(out.bytes, 1, out.size, f) == out.size;
	ok = (is_stdout ? fflush(f) : fclose(f)) == 0 && ok;
	mm_buffer_free(&out);
	if (!ok)
		fprintf(stderr, "moonmilter %s: %s: %s\n", t->command, t->output, strerror(errno));
	return ok;
}

static bool is_expected(const struct mm_trial *t, const char *file, const struct outcome *o, bool is_one)
{
	const char *word = o->why.class != MM_FAULT_NONE ? "failed" : mm_transcript_word(&o->result);
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

static int code_of(const struct mm_trial *t, const char *file, const struct outcome *o, bool is_one)
{
	if (t->expect != NULL)
		return is_expected(t, file, o, is_one) ? 0 : 1;
	if (o->why.class == MM_FAULT_NONE)
		return 0;
	return mm_trial_fail(t, EX_PROTOCOL, o->why.text);
}

static void free_outcome(struct outcome *o)
{
	mm_dialogue_result_free(&o->result);
	mm_mail_file_free(&o->sent);
	mm_mail_file_free(&o->edited);
}

/* ---- the run ---- */

struct run {
	struct mm_trial    *trial;
	struct mm_dialogue *dialogue;
	struct mm_dialogue_result opening;      /* of offer, connect and helo */
	struct mm_fault     why;                /* of the opening */
	bool                is_one;             /* there is only one message */
	bool                is_stdout_taken;
};

static int run_message(struct run *r, const char *file)
{
	struct mm_trial *t = r->trial;
	struct outcome o = { .why = r->why };
	struct mm_fault why = { .class = MM_FAULT_NONE };
	int code = load(t, file, &o.sent, &why);
	if (code != 0) {
		free_outcome(&o);
		return mm_trial_fail(t, code, why.text);
	}
	if (o.why.class == MM_FAULT_NONE)
		mm_dialogue_message(r->dialogue, &o.sent, t->stop_after, t->hangs_up, &o.result, &o.why);
	if (!mm_mail_file_copy(&o.edited, &o.sent, &why)
	    || (o.why.class == MM_FAULT_NONE && !mm_dialogue_apply(r->dialogue, &o.result, &o.edited, &why))) {
		free_outcome(&o);
		return mm_trial_fail(t, EX_OSERR, why.text);
	}
	if (!t->is_quiet && !r->is_stdout_taken)
		show(t, file, &o, r->is_one);
	code = code_of(t, file, &o, r->is_one);
	bool passes = o.result.is_decided && o.result.verdict == MM_VERDICT_accept;
	if (t->output != NULL && passes && o.why.class == MM_FAULT_NONE && !write_output(t, &o))
		code = EX_CANTCREAT;
	free_outcome(&o);
	return code;
}

static void print_packet(void *self, bool is_command, const struct mm_packet *p)
{
	struct mm_buffer line = { .size = 0 };
	(void)self;
	mm_transcript_packet(&line, is_command, p);
	mm_buffer_append_u8(&line, '\n');
	print(&line);
	mm_buffer_free(&line);
}

/* Shows the dialogue before any message. A fault there is reported with each message. */
static void open_dialogue(struct run *r, const char *peer)
{
	const struct mm_trial *t = r->trial;
	bool ok = mm_dialogue_open(r->dialogue, &r->opening, &r->why);
	if (t->is_quiet || r->is_stdout_taken || t->shows_json
	    || (!t->shows_replies && r->opening.complaint_count == 0))
		return;
	struct mm_buffer out = { .size = 0 };
	if (ok) {
		mm_buffer_append(&out, peer, strlen(peer));
		mm_buffer_append(&out, ": ", 2);
		mm_transcript_offer(&out, &mm_dialogue_mta(r->dialogue)->agreed);
		mm_buffer_append_u8(&out, '\n');
	}
	mm_transcript_replies(&out, NULL, &r->opening);
	if (!out.failed)
		print(&out);
	mm_buffer_free(&out);
}

static void quit(struct run *r)
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

int mm_trial_run(struct mm_trial *t, struct mm_dialogue_transport transport, const char *peer,
	char **files, size_t count)
{
	bool as_sendmail = t->plan.kind == MM_MTA_SENDMAIL;
	for (size_t i = 0; i < count; i++)              /* before anything is sent to the filter */
		if (strcmp(files[i], "-") != 0 && access(files[i], R_OK) != 0) {
			fprintf(stderr, "moonmilter %s: %s: %s\n", t->command, files[i], strerror(errno));
			return EX_NOINPUT;
		}
	t->plan.macros = t->macros;
	t->plan.macro_count = t->macro_count;
	if (t->plan.command_timeout_s == 0) {           /* protocol 7: as long as the MTA would wait */
		t->plan.command_timeout_s = as_sendmail ? 10 : 30;
		t->plan.content_timeout_s = as_sendmail ? 10 : 300;
	}
	struct run r = { .trial = t, .is_one = count * t->repeat == 1 };
	r.is_stdout_taken = t->output != NULL && strcmp(t->output, "-") == 0;
	if (t->shows_trace && !t->is_quiet && !r.is_stdout_taken)
		transport.trace = print_packet;
	r.dialogue = mm_dialogue_new(&t->plan, transport);
	if (r.dialogue == NULL)
		return mm_trial_fail(t, EX_OSERR, "out of memory");
	open_dialogue(&r, peer);
	int code = 0;
	size_t all = t->hangs_up ? 1 : count * t->repeat;       /* a client that hung up sends no more */
	for (size_t i = 0; i < all; i++) {
		int one = run_message(&r, files[i % count]);
		code = code > one ? code : one;
	}
	if (r.why.class == MM_FAULT_NONE)
		quit(&r);
	mm_dialogue_result_free(&r.opening);
	mm_dialogue_free(r.dialogue);
	fflush(stdout);
	return code;
}
