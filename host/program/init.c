#include "program/init.h"

#include "base/json.h"
#include "base/remedy.h"
#include "program/place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

/* The files of a project, in the order in which they are written. spec/program/init_spec.lua runs them. */
static const struct {
	const char *path, *text;
} files[] = {
	{ "moonmilter.conf",
		"-- Read by moonmilter run in this directory; moonmilter help config lists every key.\n"
		"-- Paths begin at the directory of this file.\n"
		"listen   = { \"inet:10025@127.0.0.1\" }\n"
		"scripts  = { \"scripts\" }\n"
		"watch    = true                        -- a script that you save serves at once\n"
		"workers  = 0                           -- one process, for development; \"auto\" to serve mail\n"
		"settings = { closed = { \"closed@example.com\" } }\n" },
	{ "scripts/10-first.lua",
		"-- A first filter: refuses mail to closed mailboxes, and marks all other mail.\n"
		"-- Each function is called at its point of the SMTP dialogue; docs/scripting.md lists them.\n"
		"local closed = {}\n"
		"\n"
		"function on_load(host)\n"
		"  local settings = host:require_settings { closed = \"table\" } -- of moonmilter.conf\n"
		"  for _, address in ipairs(settings.closed) do\n"
		"    closed[address:lower()] = true\n"
		"  end\n"
		"end\n"
		"\n"
		"function on_rcpt(ctx, recipient)\n"
		"  if closed[recipient:lower()] then\n"
		"    return ctx:reject(550, \"5.1.1\", \"This mailbox is closed\")\n"
		"  end\n"
		"end\n"
		"\n"
		"function on_eom(ctx)\n"
		"  print((\"mail from <%s> for %d\"):format(ctx.sender, #ctx.recipients)) -- a line of the log\n"
		"  ctx:add_header(\"X-Filtered\", \"yes\")\n"
		"end\n" },
	{ "spec/10-first_spec.lua",
		"-- moonmilter test runs this: no MTA, no network (docs/TESTING.md).\n"
		"local testing = require \"moonmilter.testing\"\n"
		"\n"
		"describe(\"the first filter\", function()\n"
		"  local mta\n"
		"  before_each(function()\n"
		"    mta = testing.start { scripts = \"scripts/10-first.lua\", settings = { closed = { "
		"\"Old@example.com\" } } }\n"
		"  end)\n"
		"  after_each(function() mta:close() end)\n"
		"\n"
		"  it(\"marks mail\", function()\n"
		"    local result = mta:message { from = \"ann@example.org\", to = \"bob@example.com\" }\n"
		"    assert.equal(\"accept\", result.verdict)\n"
		"    assert.equal(\"yes\", result.message:get \"X-Filtered\")\n"
		"  end)\n"
		"\n"
		"  it(\"refuses mail to a closed mailbox, and to no other\", function()\n"
		"    local result = mta:message { to = { \"old@example.com\", \"bob@example.com\" } }\n"
		"    assert.equal(\"accept\", result.verdict)\n"
		"    assert.same({ \"<bob@example.com>\" }, result.recipients)\n"
		"    assert.equal(\"5.1.1\", result.refused[\"<old@example.com>\"].status)\n"
		"  end)\n"
		"\n"
		"  it(\"does not load without its settings\", function()\n"
		"    assert.matches(\"closed is missing\", testing.load_error { scripts = \"scripts/10-first.lua\" })\n"
		"  end)\n"
		"end)\n" },
	{ "messages/hello.eml",
		"From: Ann <ann@example.org>\n"
		"To: bob@example.com, closed@example.com\n"
		"Subject: hello\n"
		"Date: Mon, 5 Jan 2026 10:00:00 +0000\n"
		"Message-ID: <1@example.org>\n"
		"\n"
		"Hello!\n" },
};

static const char luarc[] = "{\n"
	"  \"runtime.version\": \"LuaJIT\",\n"
	"  \"workspace.library\": [%.*s],\n"
	"  \"workspace.checkThirdParty\": false,\n"
	"  \"diagnostics.globals\": [\"describe\", \"it\", \"before_each\", \"after_each\", \"setup\", \"teardown\", "
	"\"finally\", \"pending\"],\n"
	"  \"diagnostics.disable\": [\"lowercase-global\", \"duplicate-set-field\"]\n"
	"}\n";

static const char *const directories[] = { "", "scripts", "spec", "messages" };

static int fail(int code, const char *path, const char *text)
{
	fprintf(stderr, "moonmilter init: %s%s%s\n", path, path[0] != '\0' ? ": " : "", text);
	return code;
}

static int fail_to_write(const char *path)
{
	fprintf(stderr, "moonmilter init: %s: %s%s\n", path, strerror(errno), mm_remedy_of_writing(errno));
	return EX_CANTCREAT;
}

static const char *join(const char *directory, const char *name, char *to)
{
	snprintf(to, MM_PLACE_SIZE, "%s%s%s", directory, name[0] != '\0' ? "/" : "", name);
	return to;
}

/* A project is not mixed with what is there. 0, or the exit code. */
static int check_free(const char *directory)
{
	char path[MM_PLACE_SIZE];
	if (strlen(directory) + 64 > sizeof path)
		return fail(EX_USAGE, "", "the name of the directory is too long");
	for (size_t i = 0; i <= sizeof files / sizeof *files; i++) {
		join(directory, i < sizeof files / sizeof *files ? files[i].path : ".luarc.json", path);
		if (access(path, F_OK) == 0)
			return fail(EX_CANTCREAT, path, "exists already; nothing was written. Name another directory");
	}
	return 0;
}

/* mkdir -p. */
static bool make_directory(const char *path)
{
	char part[MM_PLACE_SIZE];
	for (const char *slash = path; slash != NULL;) {
		slash = strchr(slash + 1, '/');
		snprintf(part, sizeof part, "%.*s", slash != NULL ? (int)(slash - path) : (int)strlen(path), path);
		if (mkdir(part, 0777) != 0 && errno != EEXIST)
			return false;
	}
	return true;
}

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
	if (f == NULL)
		return false;
	bool ok = fputs(text, f) >= 0;
	return fclose(f) == 0 && ok;
}

/* The stubs of moonmilter's modules for the Lua language server, wherever this moonmilter keeps them. */
static bool write_luarc(const char *path)
{
	char stubs[MM_PLACE_SIZE], text[sizeof luarc + 2 * MM_PLACE_SIZE];
	struct mm_buffer quoted = { .size = 0 };
	struct mm_json j = { .out = &quoted };
	if (mm_place_of_stubs(stubs, sizeof stubs))
		mm_json_string(&j, stubs);
	int size = snprintf(text, sizeof text, luarc, (int)quoted.size, quoted.size > 0 ? (char *)quoted.bytes : "");
	bool ok = !quoted.failed && size < (int)sizeof text && write_file(path, text);
	mm_buffer_free(&quoted);
	return ok;
}

static int write_project(const char *directory)
{
	char path[MM_PLACE_SIZE];
	for (size_t i = 0; i < sizeof directories / sizeof *directories; i++)
		if (!make_directory(join(directory, directories[i], path)))
			return fail_to_write(path);
	for (size_t i = 0; i < sizeof files / sizeof *files; i++)
		if (!write_file(join(directory, files[i].path, path), files[i].text))
			return fail_to_write(path);
	return write_luarc(join(directory, ".luarc.json", path)) ? 0 : fail_to_write(path);
}

static void say_what_follows(const char *directory)
{
	printf("A new project:\n\n");
	for (size_t i = 0; i < sizeof files / sizeof *files; i++)
		printf("  %s/%s\n", directory, files[i].path);
	printf("  %s/.luarc.json               completion in editors with the Lua language server\n\n"
		"Go on with:\n\n", directory);
	if (strcmp(directory, ".") != 0)
		printf("  cd %s\n", directory);
	printf("  moonmilter try -c moonmilter.conf messages/hello.eml   what it does with a message\n"
		"  moonmilter test   runs its spec; needs busted (apt install lua-busted)\n"
		"  moonmilter run    serves on inet:10025@127.0.0.1, and loads each script that you save\n\n"
		"Then let your MTA ask it: postfix.md, sendmail.md.\n");
}

static void help(FILE *to)
{
	fprintf(to, "Usage: moonmilter init DIR\n\n"
		"Writes a new project into a directory, which may exist (\".\"): moonmilter.conf, a first filter in "
		"scripts/, its spec in\nspec/, a message to try it with, and .luarc.json, with which editors complete "
		"and check scripts. Overwrites nothing.\n\n"
		"Exit status: 0, 64 for a usage error, 73 when a file is there already or cannot be written.\n");
}

int mm_command_init(int argc, char **argv)
{
	if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		help(stdout);
		return EX_OK;
	}
	if (argc != 2 || argv[1][0] == '-' || argv[1][0] == '\0') {
		help(stderr);
		return EX_USAGE;
	}
	size_t size = strlen(argv[1]);
	while (size > 1 && argv[1][size - 1] == '/')
		argv[1][--size] = '\0';
	int code = check_free(argv[1]);
	if (code == 0)
		code = write_project(argv[1]);
	if (code == 0)
		say_what_follows(argv[1]);
	return code;
}
