/* map/table.h -- one opened version of a table, and what a format of tables has to do.
 *
 * Formats are of two kinds. Texts (texthash, list, csv, json, cidr, inline) are compiled: once for each version and
 * host into an image, which all workers map. They give `compile` and leave everything else out, because
 * the image answers. All others (databases, regular expressions) give `open` and the functions below it, and each
 * worker opens its own.
 *
 * Threads: compile and open run on a thread of their own, where a disk may be waited for; get, each and
 * count run on the loop, where it may not; close runs on either. Only one of them runs at a time for one table.
 * Ownership: an opened table is closed by who opened it. Knows no Lua and no files that change; a table never sees that
 * its file has changed: that is another version, and is opened beside it. */
#ifndef MM_MAP_TABLE_H
#define MM_MAP_TABLE_H

#include "base/buffer.h"
#include "base/fault.h"
#include "base/text.h"

#define MM_TABLE_TEXT_MAX (256u << 20)  /* bytes of a text that is compiled, unless an option says otherwise */

enum mm_table_result {
	MM_TABLE_NONE,          /* the table has no such key */
	MM_TABLE_FOUND,
	MM_TABLE_ERROR,         /* nothing is known about the key */
};

/* What a script may say about a table. All zero is the default of each. Strings are BORROWED for the call. A format
 * ignores what is not for it. */
struct mm_table_options {
	double      text_max;           /* bytes of a text; 0: MM_TABLE_TEXT_MAX */
	bool        keeps_case;         /* keys differ by case. Else both are folded, as Postfix does, in formats that
	                                 * have no rule of their own about case */
	/* csv, and databases of SQL */
	const char *key, *value;        /* name or number (from 1) of a column; NULL: the first, and the next one */
	const char *separator;          /* of columns, one byte; NULL: a comma */
	bool        has_header;         /* the first line has names; a name in key or value says that it has */
	const char *query;              /* sqlite: one SELECT with %s for the key */
	/* regexp, pcre */
	double      steps;              /* of an attempt; 0: the default of map/pattern.h */
};

struct mm_image_writer;
struct mm_table_format;

/* The first field of each opened table. */
struct mm_table {
	const struct mm_table_format *format;   /* static */
};

/* Called by each for an entry; false: enough. key and value are BORROWED for the call. */
typedef bool mm_table_visit(void *self, struct mm_text key, struct mm_text value);

/* Static. Functions that fail fill *why with a sentence that begins with the line where there is one ("line 12: …") and
 * does not name the file: the caller does. */
struct mm_table_format {
	const char *name;               /* as in the spec of a map: "texthash" */
	const char *suffix;             /* what Postfix adds to the path (".db"); NULL: nothing */
	/* Texts only: adds all entries of the source to the image. */
	bool             (*compile)(struct mm_text source, const struct mm_table_options *, struct mm_image_writer *,
		struct mm_fault *why);
	/* All others. path has the suffix. GIVES a table, NULL: the fault says why. */
	struct mm_table *(*open)(const char *path, const struct mm_table_options *, struct mm_fault *why);
	void             (*close)(struct mm_table *);
	/* Appends what the key leads to; appends nothing unless it is FOUND. ERROR: why->class is MM_FAULT_RESOURCE
	 * when a limit of time, steps or memory ended the search, else MM_FAULT_CONFIG. */
	enum mm_table_result (*get)(struct mm_table *, struct mm_text key, struct mm_buffer *value,
		struct mm_fault *why);
	/* Visits all entries in the order of the file or of the database; NULL: a table of patterns, which has none.
	 * False: the fault says why it could not go on. */
	bool             (*each)(struct mm_table *, mm_table_visit *, void *self, struct mm_fault *why);
	/* Entries, or rules; UINT64_MAX: to count them would take too long. */
	uint64_t         (*count)(const struct mm_table *);
};

#endif
