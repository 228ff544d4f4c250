#include "program/line_editor.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIBRARY "libedit.so.2"
#define PACKAGE "libedit2"

static struct {
	char *(*readline)(const char *prompt);
	int   (*add_history)(const char *line);
	char   *last;                           /* owned: of the history */
} editor;

static void (*on_idle)(void);

static int idle(void)
{
	on_idle();
	return 0;
}

const char *mm_line_editor_begin(void (*meanwhile)(void))
{
	void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (library == NULL)
		return PACKAGE;
	char *(*readline)(const char *) = (char *(*)(const char *))dlsym(library, "readline");
	int (*add_history)(const char *) = (int (*)(const char *))dlsym(library, "add_history");
	int (**event_hook)(void) = (int (**)(void))dlsym(library, "rl_event_hook");
	const char **name = dlsym(library, "rl_readline_name");
	FILE **output = dlsym(library, "rl_outstream");
	/* our standard output escapes what it gets (base/terminal.h), and has no descriptor */
	FILE *terminal = output != NULL ? fdopen(dup(STDOUT_FILENO), "w") : NULL;
	if (readline == NULL || add_history == NULL || terminal == NULL)
		return PACKAGE;
	*output = terminal;
	editor.readline = readline;
	editor.add_history = add_history;
	on_idle = meanwhile;
	if (event_hook != NULL && meanwhile != NULL)
		*event_hook = idle;
	if (name != NULL)
		*name = "moonmilter";           /* of sections in ~/.editrc */
	return NULL;
}

static char *read_plainly(const char *prompt)
{
	char *line = NULL;
	size_t room = 0;
	fputs(prompt, stdout);
	fflush(stdout);
	if (getline(&line, &room, stdin) < 0) {
		free(line);
		return NULL;
	}
	line[strcspn(line, "\n")] = '\0';
	return line;
}

static void remember(const char *line)
{
	if (line[0] == '\0' || (editor.last != NULL && strcmp(editor.last, line) == 0))
		return;
	editor.add_history(line);
	free(editor.last);
	editor.last = strdup(line);
}

char *mm_line_editor_read(const char *prompt)
{
	if (editor.readline == NULL)
		return read_plainly(prompt);
	char *line = editor.readline(prompt);
	if (line != NULL)
		remember(line);
	return line;
}
