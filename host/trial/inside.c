#include "trial/inside.h"

#include "base/clock.h"
#include "embed/host.h"
#include "story/reader.h"
#include "story/show.h"
#include "trial/log_lines.h"

#include <stdio.h>

#define OWN_SETS 2u             /* of the log, before those of the command line, which override them */
#define STORIES  64             /* that are kept until they are shown */
#define CLOSE_S 5.0             /* seconds that on_done and on_close may take at the end */

bool mm_inside_take(struct mm_inside *in, int letter, const char *argument, struct mm_fault *why)
{
	switch (letter) {
	case 'c':
		in->config_file = argument;
		return true;
	case 'm':
		in->milter = argument;
		return true;
	case 'v':
		in->is_verbose = true;
		return true;
	default:
		if (in->set_count == MM_INSIDE_SETS_MAX)
			return mm_fault_set(why, MM_FAULT_CONFIG, "--set is given more than %d times",
				MM_INSIDE_SETS_MAX);
		in->sets[OWN_SETS + in->set_count++] = argument;
		return true;
	}
}

bool mm_inside_has_scripts(const struct mm_inside *in, int operand_count)
{
	return operand_count > 1 || in->config_file != NULL || in->set_count > 0;
}

static void show_log(void *self, enum mm_level level, const char *line, size_t size)
{
	const struct mm_inside *in = self;
	if (in->shows_scripts && !in->is_verbose && !in->is_quiet) {
		fflush(stdout);
		mm_log_line_show(level, (struct mm_text){ line, size });
		return;
	}
	if (!in->is_verbose && level < MM_LEVEL_ERROR && (level < MM_LEVEL_WARN || in->is_quiet))
		return;
	fflush(stdout);
	fprintf(stderr, "%.*s\n", (int)size, line);
}

bool mm_inside_start(struct mm_inside *in, char **scripts, bool guard, struct mm_error *error)
{
	in->sets[0] = "log_format=text";
	in->sets[1] = in->is_verbose ? "log_level=debug" : "log_level=info";
	struct mm_host_options options = {
		.size = sizeof options, .config_file = in->config_file, .no_sockets = true, .guard_scripts = guard,
		.log = show_log, .log_self = in,
		.scripts = scripts[0] != NULL ? (const char *const *)scripts : NULL,
		.set = in->sets,
	};
	in->host = in->tells ? mm_host_new_telling(&options, STORIES, error) : mm_host_new(&options, error);
	return in->host != NULL && mm_host_start(in->host, error);
}

void mm_inside_end_session(struct mm_inside *in, struct mm_feed *session)
{
	double deadline = mm_clock_real() + CLOSE_S;
	mm_feed_hang_up(session);
	while (mm_feed_is_waiting(session) && mm_clock_real() < deadline)
		mm_host_turn(in->host, MM_INSIDE_TURN_S);
	mm_feed_close(session);
}

void mm_inside_explain(struct mm_inside *in, bool is_json, struct mm_buffer *out)
{
	struct mm_story_reader reader;
	struct mm_story s;
	struct mm_fault ignored;
	const struct mm_history *history = mm_host_history(in->host);
	if (history == NULL || !mm_story_reader_open(&reader, history->fd, &ignored))
		return;
	uint64_t last = mm_story_reader_last(&reader), first = mm_story_reader_first(&reader, last);
	if (in->explained + 1 < first)
		in->explained = first - 1;
	while (in->explained < last) {
		if (!mm_story_reader_get(&reader, ++in->explained, mm_clock_wall(), &s))
			continue;
		if (is_json)
			mm_story_json(&s, true, out);
		else
			mm_story_show(&s, out);
		if (is_json)
			mm_buffer_append_u8(out, '\n');
	}
}

void mm_inside_stop(struct mm_inside *in)
{
	mm_host_free(in->host);
	in->host = NULL;
}
