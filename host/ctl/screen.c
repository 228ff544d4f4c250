#include "ctl/screen.h"

#include "base/terminal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

/* The other page of the terminal, so that the user's own text is back afterwards; no cursor; no wrapping. */
#define ENTER "\033[?1049h\033[?25l\033[?7l"
#define LEAVE "\033[?7h\033[?25h\033[0m\033[?1049l"

static const int ending[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };

static struct {
	bool                  is_taken, has_keys;
	struct termios        before;
	sigset_t              mask;             /* before */
	volatile sig_atomic_t has_ended, is_stopping, has_changed;
} screen;

/* Signals come only while we wait (mm_screen_wait). */
static void on_signal(int number)
{
	if (number == SIGTSTP)
		screen.is_stopping = 1;
	else if (number == SIGWINCH)
		screen.has_changed = 1;
	else
		screen.has_ended = 1;
}

static void put(const void *bytes, size_t size)
{
	const char *at = bytes;
	while (size > 0) {
		ssize_t n = write(STDOUT_FILENO, at, size);
		if (n < 0 && errno != EINTR) {
			screen.has_ended = 1;
			return;
		}
		at += n > 0 ? n : 0;
		size -= n > 0 ? (size_t)n : 0;
	}
}

static void take_terminal(void)
{
	struct termios raw = screen.before;
	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	if (screen.has_keys)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
	put(ENTER, sizeof ENTER - 1);
	screen.is_taken = true;
}

static void give_terminal(void)
{
	if (!screen.is_taken)
		return;
	screen.is_taken = false;
	put(LEAVE, sizeof LEAVE - 1);
	if (screen.has_keys)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &screen.before);
}

static void handle(int number)
{
	struct sigaction action = { .sa_handler = on_signal };
	sigemptyset(&action.sa_mask);
	sigaction(number, &action, NULL);
}

bool mm_screen_begin(void)
{
	sigset_t blocked;
	if (!isatty(STDOUT_FILENO))
		return false;
	screen.has_keys = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &screen.before) == 0;
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTSTP);
	sigaddset(&blocked, SIGWINCH);
	handle(SIGTSTP);
	handle(SIGWINCH);
	for (size_t i = 0; i < sizeof ending / sizeof *ending; i++) {
		handle(ending[i]);
		sigaddset(&blocked, ending[i]);
	}
	sigprocmask(SIG_BLOCK, &blocked, &screen.mask);
	atexit(give_terminal);
	take_terminal();
	return true;
}

void mm_screen_end(void)
{
	give_terminal();
}

/* ---- drawing ---- */

/* Bytes of the text that so many columns show; a character is taken for one column. */
static size_t cut(const struct mm_buffer *text, unsigned columns)
{
	size_t at = 0;
	for (; at < text->size; at++) {
		bool begins = (text->bytes[at] & 0xc0) != 0x80;
		if (begins && columns-- == 0)
			break;
	}
	return at;
}

static void add_line(struct mm_buffer *out, const struct mm_screen_line *line, unsigned columns)
{
	struct mm_terminal terminal = { .pending_size = 0 };
	struct mm_buffer text = { 0 };
	bool has_style = line->is_head && mm_terminal_has_colour(STDOUT_FILENO);
	mm_terminal_escape(&terminal, (struct mm_text){ line->text, strlen(line->text) }, &text);
	mm_terminal_end(&terminal, &text);
	size_t size = text.failed ? 0 : cut(&text, columns);
	if (has_style)
		mm_buffer_append(out, "\033[7m", 4);
	mm_buffer_append(out, text.bytes, size);
	for (size_t i = size; has_style && i < columns; i++)
		mm_buffer_append_u8(out, ' ');
	if (has_style)
		mm_buffer_append(out, "\033[0m", 4);
	mm_buffer_append(out, "\033[K", 3);
	mm_buffer_free(&text);
}

void mm_screen_draw(const struct mm_screen_line *lines, unsigned count)
{
	struct mm_buffer out = { 0 };
	unsigned columns, rows;
	mm_terminal_size(STDOUT_FILENO, &columns, &rows);
	mm_buffer_append(&out, "\033[H", 3);
	for (unsigned i = 0; i < count && i < rows; i++) {
		if (i > 0)
			mm_buffer_append(&out, "\r\n", 2);
		add_line(&out, &lines[i], columns);
	}
	mm_buffer_append(&out, "\033[J", 3);
	if (!out.failed)
		put(out.bytes, out.size);
	mm_buffer_free(&out);
}

/* ---- waiting ---- */

/* Ctrl-Z: the shell gets its terminal back, until fg. */
static void stop(void)
{
	screen.is_stopping = 0;
	give_terminal();
	raise(SIGSTOP);
	take_terminal();
}

static enum mm_screen_input key(void)
{
	char pressed;
	ssize_t n = read(STDIN_FILENO, &pressed, 1);
	bool ends = n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)
		|| (n == 1 && strchr("qQ\003\004", pressed) != NULL && pressed != '\0');
	return ends ? MM_SCREEN_END : MM_SCREEN_REDRAW;
}

enum mm_screen_input mm_screen_wait(double seconds)
{
	struct pollfd keys = { .fd = screen.has_keys ? STDIN_FILENO : -1, .events = POLLIN };
	struct timespec time = { .tv_sec = (time_t)seconds,
		.tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9) };
	int count = screen.has_ended ? 0 : ppoll(&keys, 1, &time, &screen.mask);
	if (screen.is_stopping)
		stop();
	if (screen.has_ended || (count > 0 && keys.revents & (POLLHUP | POLLERR | POLLNVAL)))
		return MM_SCREEN_END;
	if (count > 0)
		return key();
	bool is_over = count == 0 && !screen.has_changed;
	screen.has_changed = 0;
	return is_over ? MM_SCREEN_TIME : MM_SCREEN_REDRAW;
}
