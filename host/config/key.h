/* config/key.h -- one key of the configuration: its row in the schema, and the type of its value.
 * A type knows how a value is read, checked, copied and freed, and how its rule is worded; a refusal repeats the rule
 * that --help shows. Knows no rows (config.c has the schema) and no levels.
 * A field is the member of struct mm_config or struct mm_config_milter that a row points to; it
 * owns what it points to. */
#ifndef MM_CONFIG_KEY_H
#define MM_CONFIG_KEY_H

#include "base/fault.h"
#include "base/network.h"
#include "base/quote.h"
#include "base/value.h"

#define MM_WORKERS_AUTO (-1)

struct mm_config_strings {
	char   **items;         /* owned, each owned and NUL-terminated; not empty, no control bytes */
	size_t   count;
};

struct mm_config_networks {
	struct mm_network *items;       /* owned */
	size_t             count;
};

/* ORDER CONFIG_TYPE */
enum mm_config_type {
	MM_CONFIG_LISTENERS, MM_CONFIG_PATHS, MM_CONFIG_NETWORKS, MM_CONFIG_SERVERS, MM_CONFIG_SETTINGS,
	MM_CONFIG_WORD, MM_CONFIG_STRING, MM_CONFIG_PATH, MM_CONFIG_SOCKET_PATH, MM_CONFIG_LOG_TARGET, MM_CONFIG_TAG,
	MM_CONFIG_INTEGER, MM_CONFIG_WORKERS,
	MM_CONFIG_SECONDS, MM_CONFIG_BYTES, MM_CONFIG_MODE, MM_CONFIG_BOOLEAN, MM_CONFIG_USERS,
	MM_CONFIG_SHARE, MM_CONFIG_TYPE_COUNT
};

struct mm_config_word {
	const char *word;
	unsigned    value;
};

/* A row of the schema. Static. */
struct mm_config_key {
	const char              *name;
	enum mm_config_type      type;
	bool                     per_milter;    /* may be set in milter.NAME, too */
	size_t                   field;         /* offset in mm_config_milter if per_milter, else in mm_config */
	double                   min, max;      /* numbers: both allowed; SECONDS: min 0.001 reads "more than 0" */
	const struct mm_config_word *words;     /* WORD: ends with a NULL */
	const char              *preset;        /* the default as written in the file; NULL: `number` */
	double                   number;        /* the default of numbers and booleans */
	const char              *about;         /* a sentence without its full stop */
};

/* The source of a value, for faults and relative paths. */
struct mm_config_source {
	const char      *file;          /* NULL: the command line */
	uint32_t         line;
	const char      *directory;     /* absolute */
	struct mm_fault *why;
};

/* Reads the value into the field; `appends` adds it to the end of a list. False: the field is unchanged. */
bool mm_config_key_set(const struct mm_config_key *, const struct mm_value *,
	const struct mm_config_source *, void *field, bool appends);
/* *to must be zeroed before. False: out of memory, and *to is zeroed again. */
bool mm_config_key_copy(const struct mm_config_key *, void *to, const void *from);
void mm_config_key_clear(const struct mm_config_key *, void *field);            /* to zero */
bool mm_config_key_is_list(const struct mm_config_key *);
/* The value of bare text from a command line. *out must be nil before. False: out of memory, or settings
 * that are not a table. */
bool mm_config_key_value_of_text(const struct mm_config_key *, const char *text, struct mm_value *out,
	struct mm_fault *why);
/* The default; nil when there is none. *out must be nil before. False: out of memory. */
bool mm_config_key_value_of_preset(const struct mm_config_key *, struct mm_value *out, struct mm_fault *why);
/* The rule for a value, in words: "seconds, more than 0 and at most 7200". Returns to. */
char *mm_config_key_rule(const struct mm_config_key *, char *to, size_t size);
/* The default as written in the file: `8`, `"tempfail"`, `nil`. Returns to. */
char *mm_config_key_preset(const struct mm_config_key *, char *to, size_t size);

/* Fills the fault: `FILE:LINE: ` and the text; for the command line only the text. Returns false. */
bool mm_config_refuse(const struct mm_config_source *, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool mm_config_out_of_memory(struct mm_fault *why);                             /* false */
/* The value as a refusal shows it. */
struct mm_quoted mm_config_shown(const struct mm_value *);

#endif
