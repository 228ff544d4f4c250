/* Any text as a listener: refused with a sentence, or its canonical form means the same. */
#include "config/endpoint.h"

#include <stdlib.h>
#include <string.h>

#define HOLDS(claim) do { if (!(claim)) abort(); } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	memcpy(text, data, size);
	text[size] = '\0';
	struct mm_listen_spec spec, again;
	struct mm_fault why = { 0 };
	if (mm_listen_spec_parse(text, &spec, &why)) {
		char once[MM_LISTEN_TEXT_SIZE], twice[MM_LISTEN_TEXT_SIZE], line[MM_LISTEN_LINE_SIZE];
		mm_listen_spec_text(&spec, once, sizeof once);
		HOLDS(mm_listen_spec_parse(once, &again, &why));
		HOLDS(strcmp(once, mm_listen_spec_text(&again, twice, sizeof twice)) == 0);
		HOLDS(memcmp(&spec, &again, sizeof spec) == 0);
		mm_listen_spec_postfix(&spec, line, sizeof line);
		HOLDS(strlen(line) < MM_LISTEN_TEXT_SIZE - 1);
		if (line[0] != '\0' && spec.kind != MM_LISTEN_UNIX) {   /* Postfix' order is read back too */
			HOLDS(mm_listen_spec_parse(line, &again, &why));
			HOLDS(spec.kind == again.kind && spec.port == again.port);
		}
		mm_listen_spec_sendmail(&spec, "a-name", 8, 240, line, sizeof line);
		HOLDS((line[0] == '\0' || strcmp(line + strlen(line) - 3, "dnl") == 0));
	} else {
		HOLDS(why.class == MM_FAULT_CONFIG && why.text[0] != '\0');
	}
	free(text);
	return 0;
}
