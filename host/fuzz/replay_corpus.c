/* fuzz/replay_corpus.c -- runs a fuzz target over files, without a fuzzer: a corpus as a unit test. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run(const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t *bytes = malloc(1 << 20);
	if (f == NULL || bytes == NULL)
		exit(2);
	size_t size = fread(bytes, 1, 1 << 20, f);
	fclose(f);
	fprintf(stderr, "%s\n", path);          /* the last name printed is the input that failed */
	/* exactly as large as the input, so that a tool sees an access one byte too far */
	uint8_t *exact = malloc(size > 0 ? size : 1);
	for (size_t i = 0; i < size; i++)
		exact[i] = bytes[i];
	free(bytes);
	LLVMFuzzerTestOneInput(exact, size);
	free(exact);
}

int main(int argc, char **argv)
{
	unsigned count = 0;
	for (int i = 1; i < argc; i++) {
		DIR *d = opendir(argv[i]);
		for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
			char path[4096];
			if (e->d_name[0] == '.')
				continue;
			snprintf(path, sizeof path, "%s/%s", argv[i], e->d_name);
			run(path);
			count++;
		}
		if (d != NULL)
			closedir(d);
	}
	printf("%u inputs\n", count);
	return 0;
}
