/* Any bytes as moonmilter.conf: refused with a sentence, or a config with absolute paths that survives
 * copies and overrides. */
#include "config/config.h"

#include <stdlib.h>

#define HOLDS(claim) do { if (!(claim)) abort(); } while (0)

static void check_milter(const struct mm_config_milter *m)
{
	HOLDS(m->name != NULL && m->name[0] != '\0');
	for (size_t i = 0; i < m->scripts.count; i++)
		HOLDS(m->scripts.items[i][0] == '/');
	HOLDS(m->settings.kind == MM_VALUE_NIL || m->settings.kind == MM_VALUE_TABLE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mm_config c, copy;
	struct mm_fault why = { 0 };
	if (!mm_config_read(&c, (struct mm_text){ (const char *)data, size }, "moonmilter.conf",
	    "/etc/moonmilter", &why)) {
		HOLDS(why.class == MM_FAULT_CONFIG && why.text[0] != '\0');
		return 0;
	}
	HOLDS(c.milter_count > 0 && c.log != NULL);
	for (size_t i = 0; i < c.milter_count; i++)
		check_milter(&c.milters[i]);
	mm_config_check(&c, &why);
	HOLDS(mm_config_copy(&copy, &c, &why));
	mm_config_free(&c);
	HOLDS(mm_config_set(&copy, "listen", "inet:10025", &why));
	HOLDS(copy.milters[0].listen.count == 1);

	/* The same bytes as a value given on the command line. */
	char *text = malloc(size + 1);
	memcpy(text, data, size);
	text[size] = '\0';
	mm_config_set(&copy, "settings", text, &why);
	mm_config_set(&copy, "scripts", text, &why);
	mm_config_set(&copy, "allow", text, &why);
	mm_config_set(&copy, text, "1", &why);
	free(text);
	mm_config_free(&copy);
	return 0;
}
