/* fuzz/player.c -- answers of a filter to a played MTA, good or bad, cut anywhere.
 * Input: one byte of flags (Sendmail, bare; the rest: bytes per piece), then all bytes of the filter. Checked: there
 * are as many edits as counted, a message whenever one was accepted, and a stage with its reply waits for nothing. */
#include "mta/player.h"

#include <stdlib.h>

static const uint8_t *left;
static size_t left_size, piece;

static void check_edits(const struct mm_player *p)
{
	struct mm_player_edit edit;
	unsigned count = mm_player_reply(p)->edit_count;
	for (unsigned i = 0; i < count; i++)
		if (!mm_player_edit(p, i, &edit) || edit.name == NULL || edit.first == NULL)
			abort();
	if (mm_player_edit(p, count, &edit))
		abort();
}

static void check_message(struct mm_player *p)
{
	size_t size;
	if (!mm_player_reply(p)->ends_message || mm_player_error(p) != NULL)
		return;
	if (mm_player_message(p, &size) == NULL || mm_player_sender(p, &size) == NULL)
		abort();
	for (unsigned i = 0; mm_player_recipient(p, i, &size) != NULL; i++)
		if (size == 0)
			abort();
	mm_player_quarantine(p, &size);
}

/* Takes the stage's reply. False: there is none, or the player cannot go on. */
static bool settle(struct mm_player *p)
{
	size_t size;
	mm_player_output(p, &size);
	mm_player_consume(p, size);
	while (mm_player_is_waiting(p) && left_size > 0) {
		size_t n = piece < left_size ? piece : left_size;
		mm_player_hear(p, left, n);
		left += n;
		left_size -= n;
	}
	if (mm_player_is_waiting(p) || mm_player_error(p) != NULL)
		return false;
	check_edits(p);
	check_message(p);
	return true;
}

static void connect_client(struct mm_player *p)
{
	mm_player_connect(p, &(struct mm_player_client){
		.family = "inet6", .host = "client.example", .address = "2001:db8::1", .port = 25, .auth_user = "ann",
	});
}

static void say_helo(struct mm_player *p) { mm_player_helo(p, "client.example", 14); }
static void say_unknown(struct mm_player *p) { mm_player_unknown(p, "XYZZY", 5); }
static void say_mail(struct mm_player *p) { mm_player_mail(p, "<ann@a.example>", 15, "SIZE=1", 7); }
static void say_rcpt(struct mm_player *p) { mm_player_rcpt(p, "<bob@b.example>", 15, "", 0); }
static void say_header(struct mm_player *p) { mm_player_header(p, "Message-Id", 10, " <1@a.example>", 14); }
static void say_body(struct mm_player *p) { mm_player_body(p, "one\ntwo\r", 8); }

static void (*const greeting[])(struct mm_player *) = {
	mm_player_negotiate, connect_client, say_helo, say_unknown,
};
static void (*const stages[])(struct mm_player *) = {
	say_mail, say_rcpt, say_rcpt, mm_player_data, say_header, say_header, mm_player_eoh, say_body, say_body,
	mm_player_eom,
};

static bool play_message(struct mm_player *p)
{
	for (size_t i = 0; i < sizeof stages / sizeof *stages; i++) {
		stages[i](p);
		if (!settle(p))
			return false;
		if (mm_player_reply(p)->ends_message)
			return true;
	}
	mm_player_abort(p);
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	left = data + 1;
	left_size = size - 1;
	piece = 1 + (data[0] >> 2);
	struct mm_player *p = mm_player_open(&(struct mm_player_profile){
		.kind = data[0] & 1 ? "sendmail" : "postfix", .name = "mx.example", .version = 6, .actions = 0x1ff,
		.steps = 0x1fffff, .is_bare = data[0] & 2,
	}, NULL);
	if (p == NULL)
		return 0;
	bool goes_on = true;
	for (size_t i = 0; goes_on && i < sizeof greeting / sizeof *greeting; i++) {
		greeting[i](p);
		goes_on = settle(p);
	}
	for (int i = 0; i < 4 && goes_on; i++)
		goes_on = play_message(p);
	if (goes_on)
		mm_player_quit(p);
	if (goes_on && left_size > 0)
		mm_player_hear(p, left, left_size);
	mm_player_close(p);
	return 0;
}
