#include "program/dkim_key.h"

#include "base/quote.h"
#include "base/remedy.h"
#include "program/key_record.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum { DIFFERENT = 1 };         /* exit status: DNS says something else */

struct request {
	const char      *domain, *selector, *server;
	const char      *file;                  /* of the private key */
	char             default_file[2048];
	char             name[MM_KEY_NAME_SIZE];
	enum mm_key_kind kind;
	size_t           bits;
};

static int fail(int status, const char *what, const char *why)
{
	fprintf(stderr, "moonmilter dkim-key: %s: %s\n", what, why);
	return status;
}

/* ---- the private key ---- */

static int fail_to(const char *path, const char *remedy)
{
	fprintf(stderr, "moonmilter dkim-key: %s: %s%s\n", path, strerror(errno), remedy);
	return EX_CANTCREAT;
}

/* NULL: reported. */
static struct mm_keypair *read_key(const char *path)
{
	static char text[MM_KEY_TEXT_BYTES + 1];
	FILE *file = fopen(path, "rb");
	if (file == NULL) {
		fail_to(path, mm_remedy_of_reading(errno));
		return NULL;
	}
	size_t n = fread(text, 1, sizeof text, file);
	fclose(file);
	struct mm_key_fault why;
	struct mm_keypair *key = mm_keypair_private(text, n, &why);
	if (key == NULL)
		fail(0, path, why.text);
	return key;
}

/* A new file that only its owner can read. */
static int write_key(const char *path, const char *pem)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)     /* nobody is told to remove a key that mail may be signed with */
		return fail_to(path, errno == EEXIST ? "; choose another selector" : mm_remedy_of_writing(errno));
	size_t n = strlen(pem);
	bool is_written = write(fd, pem, n) == (ssize_t)n && fsync(fd) == 0;
	int code = errno;
	if (close(fd) == 0 && is_written)
		return EX_OK;
	unlink(path);
	return fail(EX_CANTCREAT, path, strerror(code));
}

/* ---- the three requests ---- */

static int print_record(const struct request *r, const struct mm_keypair *key)
{
	char record[MM_KEY_RECORD_SIZE];
	char *line = mm_key_record(key, record) ? mm_key_zone_line(r->name, record) : NULL;
	if (line == NULL)
		return fail(EX_OSERR, r->file, "the crypto library failed");
	fputs(line, stdout);
	free(line);
	return EX_OK;
}

static int show(const struct request *r)
{
	struct mm_keypair *key = read_key(r->file);
	int status = key != NULL ? print_record(r, key) : EX_DATAERR;
	mm_keypair_free(key);
	return status;
}

static int new(const struct request *r)
{
	char *pem = mm_keypair_generate(r->kind, r->bits);
	if (pem == NULL)
		return fail(EX_OSERR, r->file, "the crypto library failed");
	int status = write_key(r->file, pem);
	free(pem);
	if (status != EX_OK)
		return status;
	printf("; the private key is in %s; publish this line:\n", mm_quote(r->file, strlen(r->file)).text);
	return show(r);
}

static int judge(const struct request *r, const struct mm_keypair *key, const struct mm_dns_answer *answer)
{
	unsigned records = 0;
	for (unsigned i = 0; i < answer->count; i++) {
		if (answer->records[i].type != answer->type)
			continue;
		struct mm_text text = mm_dns_text(answer, answer->records[i].text[0]);
		records++;
		if (mm_key_is_published(text.bytes, text.size, key)) {
			printf("%s: DNS has this key\n", r->name);
			return EX_OK;
		}
	}
	printf("%s: DNS has %s; it should be:\n", r->name, records == 0 ? "no key" : "another key");
	int status = print_record(r, key);
	return status == EX_OK ? DIFFERENT : status;
}

static int test(const struct request *r)
{
	struct mm_fault why;
	struct mm_dns_answer answer;
	struct mm_keypair *key = read_key(r->file);
	if (key == NULL)
		return EX_DATAERR;
	int status = EX_USAGE;
	if (!mm_key_look_up(r->name, r->server, &answer, &why))
		fail(0, "--server", why.text);
	else if (answer.code == MM_DNS_ok || answer.code == MM_DNS_nxdomain || answer.code == MM_DNS_nodata)
		status = judge(r, key, &answer);
	else
		status = fail(EX_TEMPFAIL, r->name, mm_dns_code_name(answer.code));
	mm_dns_answer_free(&answer);
	mm_keypair_free(key);
	return status;
}

/* ---- arguments ---- */

static void help(FILE *to)
{
	fprintf(to, "Usage: moonmilter dkim-key new|show|test [OPTIONS] DOMAIN SELECTOR [FILE]\n\n"
		"  new   makes a private key in FILE, readable by its owner only, and prints the line that "
		"publishes it\n"
		"  show  prints the line for the key in FILE\n"
		"  test  asks whether DNS has the key in FILE\n\n"
		"FILE is SELECTOR.DOMAIN.pem if it is not given. Nothing is overwritten.\n\n"
		"  -t, --type TYPE      rsa (the default) or ed25519; publish both, under two selectors\n"
		"  -b, --bits BITS      of an RSA key: 1024 to 4096, default 2048\n"
		"      --server ADDRESS ask this name server, 192.0.2.53 or 192.0.2.53:5353\n"
		"  -h, --help           this text\n\n"
		"Exit status: 0; 1 DNS has no key or another one; 64 usage; 65 the key cannot be read; 73 FILE "
		"exists or cannot\nbe written; 75 DNS could not say.\n");
}

static bool read_option(struct request *r, int option)
{
	char *end;
	switch (option) {
	case 't':
		r->kind = strcmp(optarg, "ed25519") == 0 ? MM_KEY_ED25519 : MM_KEY_RSA;
		if (r->kind == MM_KEY_RSA && strcmp(optarg, "rsa") != 0)
			fail(0, optarg, "the type is rsa or ed25519");
		return r->kind == MM_KEY_ED25519 || strcmp(optarg, "rsa") == 0;
	case 'b':
		r->bits = strtoul(optarg, &end, 10);
		if (*end == '\0' && r->bits >= MM_RSA_BITS_MIN && r->bits <= MM_RSA_BITS_MAX)
			return true;
		fail(0, optarg, "bits are 1024 to 4096");
		return false;
	case 'S':
		r->server = optarg;
		return true;
	default:
		return false;
	}
}

static bool read_operands(struct request *r, int count, char **operands)
{
	struct mm_fault why;
	if (count < 2 || count > 3) {
		help(stderr);
		return false;
	}
	r->domain = operands[0];
	r->selector = operands[1];
	if (!mm_key_name(r->domain, r->selector, r->name, &why)) {
		fail(0, "DOMAIN SELECTOR", why.text);
		return false;
	}
	snprintf(r->default_file, sizeof r->default_file, "%s.%s.pem", r->selector, r->domain);
	r->file = count == 3 ? operands[2] : r->default_file;
	if (count == 3 || strchr(r->default_file, '/') == NULL)
		return true;
	fail(0, r->domain, "it has a \"/\"; give FILE");
	return false;
}

int mm_command_dkim_key(int argc, char **argv)
{
	static const struct option options[] = {
		{ "type", required_argument, NULL, 't' }, { "bits", required_argument, NULL, 'b' },
		{ "server", required_argument, NULL, 'S' }, { "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 },
	};
	static const struct {
		const char *name;
		int       (*run)(const struct request *);
	} requests[] = { { "new", new }, { "show", show }, { "test", test } };
	struct request r = { .kind = MM_KEY_RSA, .bits = 2048 };
	for (int option; (option = getopt_long(argc, argv, "t:b:h", options, NULL)) != -1;) {
		if (option == 'h') {
			help(stdout);
			return EX_OK;
		}
		if (!read_option(&r, option))
			return EX_USAGE;
	}
	for (size_t i = 0; optind < argc && i < sizeof requests / sizeof *requests; i++) {
		if (strcmp(argv[optind], requests[i].name) == 0)
			return read_operands(&r, argc - optind - 1, argv + optind + 1) ? requests[i].run(&r) : EX_USAGE;
	}
	if (optind < argc)
		fail(0, argv[optind], "there is no such request");
	help(stderr);
	return EX_USAGE;
}
