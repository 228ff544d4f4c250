/* dkim_peers.c -- what spec/bench/dkim_bench.lua compares with: libopendkim verifying and signing one message again and
 * again, and OpenSSL's EVP_DigestSign and SHA-256 alone.
 * Usage: dkim_peers verify|sign RECORD KEY.pem MESSAGE COUNT; dkim_peers evp KEY.pem COUNT; dkim_peers sha256 COUNT.
 * Prints the CPU time of one in microseconds; sha256: of 16 KiB. The message has CRLF; a wrong answer is an error. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>

#include <openssl/evp.h>
#include <openssl/pem.h>

#include <opendkim/dkim.h>

static const char *record;

static double cpu(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static size_t read_file(const char *path, char *out, size_t room)
{
	FILE *file = fopen(path, "rb");
	if (file == NULL)
		exit(2);
	size_t n = fread(out, 1, room - 1, file);
	fclose(file);
	out[n] = '\0';
	return n;
}

static DKIM_CBSTAT look_up(DKIM *dkim, DKIM_SIGINFO *signature, unsigned char *out, size_t room)
{
	(void)dkim, (void)signature;
	snprintf((char *)out, room, "%s", record);
	return DKIM_CBSTAT_CONTINUE;
}

static void feed(DKIM *dkim, char *bytes, size_t n)
{
	size_t at = 0;
	while (bytes[at] != '\r') {
		size_t end = at;
		do
			end = (size_t)((char *)memmem(bytes + end, n - end, "\r\n", 2) - bytes) + 2;
		while (bytes[end] == ' ' || bytes[end] == '\t');
		dkim_header(dkim, (unsigned char *)bytes + at, end - at - 2);
		at = end;
	}
	dkim_eoh(dkim);
	dkim_body(dkim, (unsigned char *)bytes + at + 2, n - at - 2);
	if (dkim_eom(dkim, NULL) != DKIM_STAT_OK)
		exit(3);
}

static void peer(bool is_sign, const char *key, const char *message, long count)
{
	static char pem[16384], text[8 << 20];
	DKIM_STAT status;
	DKIM_LIB *lib = dkim_init(NULL, NULL);
	read_file(key, pem, sizeof pem);
	size_t n = read_file(message, text, sizeof text);
	dkim_set_key_lookup(lib, look_up);
	double start = cpu();
	for (long i = 0; i < count; i++) {
		DKIM *dkim = is_sign ? dkim_sign(lib, (unsigned char *)"id", NULL, (dkim_sigkey_t)pem,
			(unsigned char *)"s", (unsigned char *)"example.org", DKIM_CANON_RELAXED, DKIM_CANON_RELAXED,
			DKIM_SIGN_RSASHA256, -1, &status) : dkim_verify(lib, (unsigned char *)"id", NULL, &status);
		feed(dkim, text, n);
		dkim_free(dkim);
	}
	printf("%.2f\n", (cpu() - start) / (double)count);
}

static void evp(const char *path, long count)
{
	static char text[2048];
	unsigned char signature[512];
	FILE *file = fopen(path, "rb");
	EVP_PKEY *key = file != NULL ? PEM_read_PrivateKey(file, NULL, NULL, NULL) : NULL;
	if (key == NULL)
		exit(2);
	double start = 0;
	for (long i = -1; i < count; i++) {
		if (i == 0)             /* the first one sets up blinding */
			start = cpu();
		size_t size = sizeof signature;
		EVP_MD_CTX *context = EVP_MD_CTX_new();
		if (EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key) != 1
			|| EVP_DigestSign(context, signature, &size, (unsigned char *)text, sizeof text) != 1)
			exit(3);
		EVP_MD_CTX_free(context);
	}
	printf("%.2f\n", (cpu() - start) / (double)count);
}

static void sha256(long count)
{
	static char text[16384];
	unsigned char hash[32];
	EVP_MD *md = EVP_MD_fetch(NULL, "SHA256", NULL);
	double start = cpu();
	for (long i = 0; i < count; i++)
		EVP_Digest(text, sizeof text, hash, NULL, md, NULL);
	printf("%.2f\n", (cpu() - start) / (double)count);
}

int main(int argc, char **argv)
{
	if (argc == 6) {
		record = argv[2];
		peer(strcmp(argv[1], "sign") == 0, argv[3], argv[4], atol(argv[5]));
	} else if (argc == 4) {
		evp(argv[2], atol(argv[3]));
	} else if (argc == 3) {
		sha256(atol(argv[2]));
	} else {
		return 2;
	}
	return 0;
}
