#include "program/environment.h"

#include "base/suggest.h"
#include "config/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX    "MOONMILTER_"
#define BLANKS    " \t\n"
#define NAME_SIZE 64            /* bytes of a variable's name */
#define KEYS_MAX  80

extern char **environ;

static const char *name_of(const char *key, char *to)
{
	size_t at = (size_t)snprintf(to, NAME_SIZE, PREFIX);
	for (; *key != '\0' && at + 1 < NAME_SIZE; key++)
		to[at++] = *key >= 'a' && *key <= 'z' ? (char)(*key - 'a' + 'A') : *key;
	to[at] = '\0';
	return to;
}

static const char *value_of(const char *key)
{
	char name[NAME_SIZE];
	const char *value = getenv(name_of(key, name));
	return value != NULL && value[0] != '\0' ? value : NULL;
}

const char *mm_environment_config(void)
{
	return value_of("config");
}

static void take_words(const struct mm_config_key *key, char *words,
	void (*take)(void *self, const struct mm_config_key *, const char *value), void *self)
{
	char *rest;
	for (char *word = strtok_r(words, BLANKS, &rest); word != NULL; word = strtok_r(NULL, BLANKS, &rest))
		take(self, key, word);
}

void mm_environment_read(const struct mm_config_key *key, void (*take)(void *self, const struct mm_config_key *,
	const char *value), void *self)
{
	const char *value = value_of(key->name);
	if (value == NULL)
		return;
	char *words = mm_config_key_is_list(key) ? strdup(value) : NULL;
	if (words != NULL)
		take_words(key, words, take, self);
	else
		take(self, key, value);
	free(words);
}

/* ---- check ---- */

struct trial {
	struct mm_config config;
	struct mm_fault *why;
	bool             fits;
};

static void try(void *self, const struct mm_config_key *key, const char *value)
{
	struct trial *t = self;
	struct mm_fault problem;
	char name[NAME_SIZE];
	if (t->fits && !mm_config_set(&t->config, key->name, value, &problem))
		t->fits = mm_fault_set(t->why, problem.class, "%s: %s", name_of(key->name, name), problem.text);
}

/* Scripts and tests may have variables of such names for themselves, so this is no error. */
static void look_for_slips(const struct mm_config_key *keys, size_t count)
{
	const char *names[KEYS_MAX + 2];
	size_t name_count = 0;
	for (size_t i = 0; i < count && i < KEYS_MAX; i++)
		names[name_count++] = keys[i].name;
	names[name_count++] = "config";
	names[name_count] = NULL;
	for (char **e = environ; *e != NULL; e++) {
		char key[NAME_SIZE], right[NAME_SIZE];
		size_t size = strcspn(*e, "=");
		if (strncmp(*e, PREFIX, sizeof PREFIX - 1) != 0 || size >= NAME_SIZE)
			continue;
		snprintf(key, sizeof key, "%.*s", (int)(size - (sizeof PREFIX - 1)), *e + sizeof PREFIX - 1);
		for (char *c = key; *c != '\0'; c++)
			*c = *c >= 'A' && *c <= 'Z' ? (char)(*c - 'A' + 'a') : *c;
		const char *meant = mm_suggest(key, names);
		if (meant != NULL && strcmp(meant, key) != 0)
			fprintf(stderr, "moonmilter: warning: %.*s is no option; did you mean %s?\n", (int)size, *e,
				name_of(meant, right));
	}
}

bool mm_environment_check(struct mm_fault *why)
{
	size_t count;
	const struct mm_config_key *keys = mm_config_keys(&count);
	struct trial t = { .why = why, .fits = true };
	if (!mm_config_init(&t.config, why))
		return false;
	for (size_t i = 0; i < count; i++)
		mm_environment_read(&keys[i], try, &t);
	mm_config_free(&t.config);
	look_for_slips(keys, count);
	return t.fits;
}
