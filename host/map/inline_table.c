#include "map/inline_table.h"

#include "base/quote.h"
#include "map/image.h"
#include "map/logical_lines.h"

/* How many bytes from a "{" to its "}"; 0: there is no such pair. */
static size_t braces_size(struct mm_text t)
{
	size_t depth = 0;
	for (size_t at = 0; at < t.size; at++) {
		depth += t.bytes[at] == '{';
		depth -= t.bytes[at] == '}' && depth > 0;
		if (depth == 0)
			return at > 0 ? at + 1 : 0;
	}
	return 0;
}

static bool is_separator(char c)
{
	return c == ',' || c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The next item: up to a separator outside of braces. */
static bool next_item(struct mm_text *rest, struct mm_text *item)
{
	size_t depth = 0, at = 0;
	while (rest->size > 0 && is_separator(rest->bytes[0]))
		mm_text_take(rest, 1);
	for (; at < rest->size && (depth > 0 || !is_separator(rest->bytes[at])); at++) {
		depth += rest->bytes[at] == '{';
		depth -= rest->bytes[at] == '}' && depth > 0;
	}
	*item = mm_text_take(rest, at);
	return at > 0;
}

/* The size of a key: up to a blank or "=" outside of double quotes. False: a quote is not closed. */
static bool key_size_of(struct mm_text item, size_t *size)
{
	bool is_quoted = false;
	size_t at = 0;
	for (; at < item.size; at++) {
		char c = item.bytes[at];
		if (c == '\\' && at + 1 < item.size)
			at++;
		else if (c == '"')
			is_quoted = !is_quoted;
		else if (!is_quoted && (mm_is_blank(c) || c == '='))
			break;
	}
	*size = at;
	return !is_quoted;
}

static bool complain(struct mm_fault *why, struct mm_text item, const char *what)
{
	return mm_fault_set(why, MM_FAULT_CONFIG, "%s: %s; write { key=value, { key = some words } }",
		mm_quote(item.bytes, item.size).text, what);
}

static bool add_item(struct mm_image_writer *w, struct mm_text item, struct mm_fault *why)
{
	struct mm_text whole = item;
	size_t size;
	if (item.bytes[0] == '{') {
		size = braces_size(item);
		if (size == 0)
			return complain(why, whole, "a \"}\" is missing");
		if (size != item.size)
			return complain(why, whole, "there is something after the \"}\"");
		item = mm_trimmed((struct mm_text){ item.bytes + 1, size - 2 });
	}
	if (!key_size_of(item, &size))
		return complain(why, whole, "a double quote is not closed");
	struct mm_text key = mm_text_take(&item, size);
	if (key.size == 0)
		return complain(why, whole, "there is no key");
	item = mm_trimmed(item);
	if (item.size == 0 || item.bytes[0] != '=')
		return complain(why, whole, "there is no \"=\" after the key");
	mm_text_take(&item, 1);
	item = mm_trimmed(item);
	if (item.size > 0)
		return mm_image_replace(w, key, item, why);
	mm_image_remove(w, key);
	return true;
}

static bool compile(struct mm_text source, const struct mm_table_options *o, struct mm_image_writer *w,
	struct mm_fault *why)
{
	struct mm_text item, rest = source;
	bool has_any = false;
	if (!o->keeps_case)
		mm_image_fold(w);
	if (source.size < 2 || memchr(source.bytes, '\0', source.size) != NULL || source.bytes[0] != '{'
	    || braces_size(source) != source.size)
		return complain(why, source, "there is no pair of braces around the table");
	rest = (struct mm_text){ source.bytes + 1, source.size - 2 };
	while (next_item(&rest, &item)) {
		if (!add_item(w, item, why))
			return false;
		has_any = true;
	}
	return has_any || complain(why, source, "the table is empty");
}

const struct mm_table_format mm_inline_format = { .name = "inline", .compile = compile };
