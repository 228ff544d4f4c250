/* mail_gmime.c -- the figures of mail_bench.lua for GMime 3, on the same message.
 * Build: gcc -O2 spec/bench/mail_gmime.c -o build/mail_gmime $(pkg-config --cflags --libs gmime-3.0)
 * Run:   build/mail_gmime MESSAGE SECONDS   (mail_bench.lua does) */
#include <gmime/gmime.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static GMimeStream *message_bytes;

static void decode_part(GMimeObject *parent, GMimeObject *part, gpointer unused)
{
	(void)parent;
	(void)unused;
	if (!GMIME_IS_PART(part))
		return;
	GMimeDataWrapper *content = g_mime_part_get_content(GMIME_PART(part));
	if (!content)
		return;
	GMimeStream *null = g_mime_stream_null_new();
	g_mime_data_wrapper_write_to_stream(content, null);
	g_object_unref(null);
}

/* Parses once; with_content: also decodes every leaf. */
static void walk(int with_content)
{
	g_mime_stream_reset(message_bytes);
	GMimeParser *parser = g_mime_parser_new_with_stream(message_bytes);
	g_mime_parser_set_persist_stream(parser, TRUE);
	GMimeMessage *message = g_mime_parser_construct_message(parser, NULL);
	if (with_content)
		g_mime_message_foreach(message, decode_part, NULL);
	g_object_unref(message);
	g_object_unref(parser);
}

static double rate(int with_content, double seconds)
{
	clock_t begin = clock();
	double spent;
	int count = 0;
	do {
		walk(with_content);
		count++;
		spent = (double)(clock() - begin) / CLOCKS_PER_SEC;
	} while (spent < seconds);
	return count / spent;
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 64;
	g_mime_init();
	gchar *bytes;
	gsize size;
	if (!g_file_get_contents(argv[1], &bytes, &size, NULL))
		return 66;
	message_bytes = g_mime_stream_mem_new_with_buffer(bytes, size);
	double megabytes = (double)size / 1e6, seconds = atof(argv[2]);
	printf("%-58s %12.0f MB/s\n", "GMime: MIME parsed", rate(0, seconds) * megabytes);
	printf("%-58s %12.0f MB/s\n", "GMime: all content decoded", rate(1, seconds) * megabytes);
	return 0;
}
