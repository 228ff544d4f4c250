#include "program/runner.h"

#include "base/buffer.h"
#include "base/remedy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

/* ---- options ---- */

void mm_runner_init(struct mm_runner *r)
{
	struct mm_fault why;
	r->inside.shows_scripts = true;
	/* that of a handler without a wait does hold */
	mm_inside_take(&r->inside, 's', "stage_deadline=7200", &why);
	mm_inside_take(&r->inside, 's', "cpu_session=3600", &why);
}

bool mm_runner_take(struct mm_runner *r, int letter, void (*print_help)(FILE *to), int *status)
{
	struct mm_fault why;
	*status = EX_USAGE;
	if (letter == 'h') {
		print_help(stdout);
		*status = EX_OK;
		return false;
	}
	if (letter == '?') {
		fprintf(stderr, "see moonmilter %s --help\n", r->name);
		return false;
	}
	if (mm_inside_take(&r->inside, letter, optarg, &why))
		return true;
	fprintf(stderr, "moonmilter %s: %s\n", r->name, why.text);
	return false;
}

/* ---- the script ---- */

/* A file that can be loaded, in a directory of its own: a host loads files. */
struct script {
	char directory[64], path[96];
};

static void remove_script(const struct script *s)
{
	if (s->path[0] != '\0')
		unlink(s->path);
	if (s->directory[0] != '\0')
		rmdir(s->directory);
}

static bool write_script(const struct mm_runner *r, struct script *s, struct mm_fault *why)
{
	*s = (struct script){ .path = "" };
	snprintf(s->directory, sizeof s->directory, "/tmp/moonmilter-%s-XXXXXX", r->name);
	if (mkdtemp(s->directory) == NULL) {
		s->directory[0] = '\0';
		return mm_fault_set(why, MM_FAULT_RESOURCE, "no directory in /tmp: %s%s", strerror(errno),
			mm_remedy_of_writing(errno));
	}
	snprintf(s->path, sizeof s->path, "%s/%s.lua", s->directory, r->name);
	FILE *f = fopen(s->path, "wxe");
	bool ok = f != NULL && fprintf(f, "local module = require \"%s\"\n"
		"function on_unknown(ctx, command) return module.run(ctx, command) end\n"
		"options = { facts = { \"client\" } }\n", r->module) >= 0;
	ok = f != NULL && fclose(f) == 0 && ok;
	return ok || mm_fault_set(why, MM_FAULT_RESOURCE, "%s: %s%s", s->path,
		strerror(errno), mm_remedy_of_writing(errno));
}

/* ---- the session ---- */

static void add_packet(struct mm_buffer *b, char letter, const void *data, size_t size)
{
	mm_buffer_append_u32(b, (uint32_t)size + 1);
	mm_buffer_append_u8(b, (uint8_t)letter);
	mm_buffer_append(b, data, size);
}

void mm_runner_turn(struct mm_runner *r)
{
	mm_host_turn(r->inside.host, MM_INSIDE_TURN_S);
}

static bool turn_until_done(struct mm_runner *r)
{
	while (mm_feed_is_waiting(r->session) && !r->is_interrupted)
		mm_runner_turn(r);
	return !r->is_interrupted;
}

static void drop_output(struct mm_runner *r)
{
	size_t size;
	mm_feed_output(r->session, &size);
	mm_feed_consume(r->session, size);
}

static bool open_session(struct mm_runner *r, struct mm_error *error)
{
	struct mm_buffer b = { 0 }, offer = { 0 };
	static const char client[] = "localhost\0" "4\0\0" "127.0.0.1";
	r->session = mm_feed_open(r->inside.host, NULL, error);
	if (r->session == NULL)
		return false;
	mm_buffer_append_u32(&offer, MM_PROTOCOL_MAX);
	mm_buffer_append_u32(&offer, 0x1ff);            /* every action of version 6 */
	mm_buffer_append_u32(&offer, 0x1fffff);         /* every step */
	add_packet(&b, 'O', offer.bytes, offer.size);
	add_packet(&b, 'C', client, sizeof client);
	bool ok = !b.failed && !offer.failed && mm_feed_bytes(r->session, b.bytes, b.size, error);
	mm_buffer_free(&b);
	mm_buffer_free(&offer);
	turn_until_done(r);
	drop_output(r);
	return ok;
}

static void close_session(struct mm_runner *r)
{
	if (r->session != NULL)
		mm_inside_end_session(&r->inside, r->session);
	r->session = NULL;
}

static enum mm_runner_end read_answer(struct mm_runner *r)
{
	size_t size;
	const uint8_t *bytes = mm_feed_output(r->session, &size);
	enum mm_runner_end end = MM_RUNNER_WELL;
	if (size > 8 && bytes[4] == 'y') {
		snprintf(r->reply, sizeof r->reply, "%.*s", (int)(size - 5), (const char *)bytes + 5);
		end = strncmp(r->reply, "451 4.3.0", 9) == 0 ? MM_RUNNER_ENDED : MM_RUNNER_REPLIED;
	} else if (size > 4 && bytes[4] == 't') {
		end = MM_RUNNER_ENDED;
	}
	mm_feed_consume(r->session, size);
	return end;
}

enum mm_runner_end mm_runner_run(struct mm_runner *r, struct mm_text command)
{
	struct mm_buffer packet = { 0 };
	struct mm_error error;
	enum mm_runner_end end = MM_RUNNER_IMPOSSIBLE;
	r->is_interrupted = 0;
	mm_buffer_append_u32(&packet, (uint32_t)command.size + 2);
	mm_buffer_append_u8(&packet, 'U');
	mm_buffer_append(&packet, command.bytes, command.size);
	mm_buffer_append_u8(&packet, '\0');
	fflush(stdout);
	if (packet.failed || (r->session == NULL && !open_session(r, &error)))
		fprintf(stderr, "moonmilter %s: no session can be opened\n", r->name);
	else if (!mm_feed_bytes(r->session, packet.bytes, packet.size, &error))
		fprintf(stderr, "moonmilter %s: %s\n", r->name, error.text);
	else
		end = turn_until_done(r) ? read_answer(r) : MM_RUNNER_INTERRUPTED;
	if (end == MM_RUNNER_INTERRUPTED)
		close_session(r);               /* what waits is told, and ends */
	mm_buffer_free(&packet);
	fflush(stdout);
	return end;
}

/* ---- life ---- */

int mm_runner_start(struct mm_runner *r)
{
	struct script script;
	struct mm_fault why;
	struct mm_error error;
	if (!write_script(r, &script, &why)) {
		remove_script(&script);
		fprintf(stderr, "moonmilter %s: %s\n", r->name, why.text);
		return EX_CANTCREAT;
	}
	char *scripts[] = { script.path, NULL };
	bool is_started = mm_inside_start(&r->inside, scripts, true, &error);
	remove_script(&script);
	if (is_started)
		return EX_OK;
	fprintf(stderr, "moonmilter %s: %s\n", r->name, error.text);
	mm_inside_stop(&r->inside);
	return EX_CONFIG;
}

void mm_runner_stop(struct mm_runner *r)
{
	close_session(r);
	mm_inside_stop(&r->inside);
}
