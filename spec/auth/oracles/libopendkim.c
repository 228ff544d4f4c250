/* libopendkim as an oracle: see spec/auth/oracles.lua for the jobs that it reads and the answers that it writes. Keys come
 * from the zone of the directory through the library's callback.
 * Usage: libopendkim DIRECTORY <jobs >answers */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include <opendkim/dkim.h>

static const char *directory;
static DKIM_LIB *lib;

static char *read_file(const char *name, const char *extension)
{
	static char text[16384];
	char path[512];
	snprintf(path, sizeof path, "%s/%s%s", directory, name, extension);
	FILE *file = fopen(path, "rb");
	if (file == NULL)
		exit(2);
	text[fread(text, 1, sizeof text - 1, file)] = '\0';
	fclose(file);
	return text;
}

static DKIM_CBSTAT look_up(DKIM *dkim, DKIM_SIGINFO *signature, unsigned char *out, size_t room)
{
	char name[512];
	(void)dkim;
	int n = snprintf(name, sizeof name, "%s._domainkey.%s\t", dkim_sig_getselector(signature),
		dkim_sig_getdomain(signature));
	char *found = strstr(read_file("zone", ""), name);
	if (found == NULL)
		return DKIM_CBSTAT_NOTFOUND;
	snprintf((char *)out, room, "%.*s", (int)strcspn(found + n, "\n"), found + n);
	return DKIM_CBSTAT_CONTINUE;
}

/* Feeds the message. Its bytes are changed. */
static DKIM_STAT feed(DKIM *dkim, unsigned char *bytes, size_t n)
{
	size_t at = 0;
	while (at < n && bytes[at] != '\r') {
		size_t end = at;                /* of a field, its folds included */
		do {
			unsigned char *line = memmem(bytes + end, n - end, "\r\n", 2);
			end = line == NULL ? n : (size_t)(line - bytes) + 2;
		} while (end < n && (bytes[end] == ' ' || bytes[end] == '\t'));
		DKIM_STAT status = dkim_header(dkim, bytes + at, end - at - 2);
		if (status != DKIM_STAT_OK)
			return status;
		at = end;
	}
	DKIM_STAT status = dkim_eoh(dkim);
	if (status != DKIM_STAT_OK)
		return status;
	at += 2;
	if (at < n)
		status = dkim_body(dkim, bytes + at, n - at);
	return status != DKIM_STAT_OK ? status : dkim_eom(dkim, NULL);
}

static void answer_verify(unsigned char *bytes, size_t n)
{
	DKIM_STAT status;
	DKIM *dkim = dkim_verify(lib, (unsigned char *)"spec", NULL, &status);
	if (dkim == NULL)
		exit(2);
	status = feed(dkim, bytes, n);
	if (status == DKIM_STAT_OK)
		puts("pass");
	else
		printf("fail %s\n", dkim_getresultstr(status));
	dkim_free(dkim);
}

static dkim_canon_t canon_of(const char *name)
{
	return strcmp(name, "simple") == 0 ? DKIM_CANON_SIMPLE : DKIM_CANON_RELAXED;
}

static void answer_sign(const char *header, const char *body, const char *key, unsigned char *bytes, size_t n)
{
	DKIM_STAT status;
	unsigned char *field;
	size_t size;
	dkim_alg_t algorithm = strncmp(key, "ed25519", 7) == 0 ? DKIM_SIGN_ED25519SHA256 : DKIM_SIGN_RSASHA256;
	DKIM *dkim = dkim_sign(lib, (unsigned char *)"spec", NULL, (dkim_sigkey_t)read_file(key, ".pem"),
		(unsigned char *)key, (unsigned char *)"example.org", canon_of(header), canon_of(body), algorithm, -1,
		&status);
	if (dkim == NULL)
		exit(2);
	status = feed(dkim, bytes, n);
	if (status == DKIM_STAT_OK)
		status = dkim_getsighdr_d(dkim, strlen("DKIM-Signature: "), &field, &size);
	if (status == DKIM_STAT_OK)
		printf("%zu\nDKIM-Signature: %.*s\r\n", size + strlen("DKIM-Signature: \r\n"), (int)size, field);
	else
		printf("fail %s\n", dkim_getresultstr(status));
	dkim_free(dkim);
}

int main(int argc, char **argv)
{
	char line[256], header[16], body[16], key[64];
	size_t n;
	if (argc != 2 || (lib = dkim_init(NULL, NULL)) == NULL)
		return 2;
	directory = argv[1];
	dkim_set_key_lookup(lib, look_up);
	while (fgets(line, sizeof line, stdin) != NULL) {
		bool is_sign = sscanf(line, "sign %15s %15s %63s %zu", header, body, key, &n) == 4;
		if (!is_sign && sscanf(line, "verify %zu", &n) != 1)
			return 2;
		unsigned char *bytes = malloc(n + 1);
		if (bytes == NULL || fread(bytes, 1, n, stdin) != n)
			return 2;
		bytes[n] = '\0';
		if (is_sign)
			answer_sign(header, body, key, bytes, n);
		else
			answer_verify(bytes, n);
		free(bytes);
	}
	dkim_close(lib);
	return 0;
}
