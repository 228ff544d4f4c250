#include "config/syntax.h"

#include "base/bounds.h"
#include "base/quote.h"
#include "config/token.h"

/* What people write out of habit, and what to write here. */
static const struct mm_token_hint words_for_values[] = {
	{ "yes", "true" }, { "on", "true" }, { "True", "true" }, { "TRUE", "true" },
	{ "no", "false" }, { "off", "false" }, { "False", "false" }, { "FALSE", "false" },
	{ "none", "nil" }, { "null", "nil" }, { "NULL", "nil" },
	{ NULL, NULL },
};

static bool read_table(struct mm_token_reader *r, struct mm_value *out);

/* Refuses a name in place of a value. The name has been read; the token after it shows what was meant. */
static bool refuse_name_as_value(struct mm_token_reader *r, struct mm_text name, uint32_t line, uint32_t column)
{
	struct mm_quoted shown = mm_quote(name.bytes, name.size);
	if (mm_token_is_symbol(r, '(') || mm_token_is_symbol(r, '.') || mm_token_is_symbol(r, ':')
		|| r->token == MM_TOKEN_STRING)
		return mm_token_refuse_at(r, line, column, "%s: nothing is called or looked up here; write out the "
			"value, and give what differs between machines on the command line", shown.text);
	return mm_token_refuse_at(r, line, column, "%s is a name, and names have no values here; put it in quotes: "
		"\"%.*s\"", shown.text, (int)(name.size < 60 ? name.size : 60), name.bytes);
}

static bool read_word_value(struct mm_token_reader *r, struct mm_value *out)
{
	if (mm_token_is_word(r, "true") || mm_token_is_word(r, "false")) {
		out->kind = MM_VALUE_BOOLEAN;
		out->boolean = mm_token_is_word(r, "true");
		return mm_token_next(r);
	}
	if (mm_token_is_word(r, "nil"))
		return mm_token_next(r);
	if (mm_token_is_code(r))
		return mm_token_refuse_unexpected(r, "here");
	const char *meant = mm_token_hint(r, words_for_values);
	if (meant != NULL)
		return mm_token_refuse(r, "%s is a name, and names have no values here; write %s, or put it in quotes",
			mm_token_shown(r).text, meant);
	struct mm_text name = { r->token_at, r->token_size };
	uint32_t line = r->token_line, column = r->token_column;
	return mm_token_next(r) && refuse_name_as_value(r, name, line, column);
}

static bool read_negative(struct mm_token_reader *r, struct mm_value *out)
{
	if (!mm_token_next(r))
		return false;
	if (r->token != MM_TOKEN_NUMBER)
		return mm_token_refuse_unexpected(r, "after \"-\", where a number belongs");
	out->kind = MM_VALUE_NUMBER;
	out->number = -r->number;
	return mm_token_next(r);
}

/* Reads the value that begins at the token. */
static bool read_value(struct mm_token_reader *r, struct mm_value *out)
{
	out->line = r->token_line;
	if (r->token == MM_TOKEN_NAME)
		return read_word_value(r, out);
	if (r->token == MM_TOKEN_NUMBER) {
		out->kind = MM_VALUE_NUMBER;
		out->number = r->number;
		return mm_token_next(r);
	}
	if (r->token == MM_TOKEN_STRING) {
		if (!mm_value_set_string(out, mm_token_string(r)))
			return mm_token_out_of_memory(r);
		return mm_token_next(r);
	}
	if (mm_token_is_symbol(r, '-'))
		return read_negative(r, out);
	if (mm_token_is_symbol(r, '{'))
		return read_table(r, out);
	return mm_token_refuse_unexpected(r, "where a value belongs");
}

/* Reads the "=" after a name. */
static bool read_equals(struct mm_token_reader *r, struct mm_text name)
{
	if (mm_token_is_symbol(r, '='))
		return mm_token_next(r);
	return mm_token_refuse(r, "%s after the name %s, where \"=\" belongs; write %.*s = value",
		mm_token_shown(r).text, mm_quote(name.bytes, name.size).text,
		(int)(name.size < 60 ? name.size : 60), name.bytes);
}

/* Reads `= value` into a new field of the table. nil leaves the field out, but its name still counts as given. */
static bool read_field(struct mm_token_reader *r, struct mm_value *table, struct mm_text name, uint32_t line)
{
	if (!read_equals(r, name))
		return false;
	struct mm_value *v = mm_value_add(table, name);
	if (v == NULL)
		return mm_token_out_of_memory(r);
	if (!read_value(r, v))
		return false;
	v->line = line;
	return true;
}

/* Reads `["name"] = value`, from the bracket on. */
static bool read_bracket_field(struct mm_token_reader *r, struct mm_value *table)
{
	uint32_t line = r->token_line;
	if (!mm_token_next(r))
		return false;
	if (r->token != MM_TOKEN_STRING)
		return mm_token_refuse(r, "%s cannot be in brackets; a name is a string, [\"name\"] = value, and "
			"list items are written without numbers", mm_token_shown(r).text);
	struct mm_value name = { 0 };
	if (!mm_value_set_string(&name, mm_token_string(r)))
		return mm_token_out_of_memory(r);
	bool good = mm_token_next(r);
	if (good && !mm_token_is_symbol(r, ']'))
		good = mm_token_refuse(r, "%s where \"]\" belongs; write [\"name\"] = value", mm_token_shown(r).text);
	good = good && mm_token_next(r)
		&& read_field(r, table, (struct mm_text){ name.string.bytes, name.string.size }, line);
	mm_value_free(&name);
	return good;
}

/* Reads a field or an item that begins with a name. */
static bool read_named(struct mm_token_reader *r, struct mm_value *table)
{
	struct mm_text name = { r->token_at, r->token_size };
	uint32_t line = r->token_line, column = r->token_column;
	if (mm_token_is_word(r, "true") || mm_token_is_word(r, "false")) {
		struct mm_value *v = mm_value_add(table, (struct mm_text){ NULL, 0 });
		return v != NULL ? read_value(r, v) : mm_token_out_of_memory(r);
	}
	if (mm_token_is_word(r, "nil"))
		return mm_token_refuse(r, "nil in a list would leave a hole; leave it out");
	if (mm_token_is_code(r))
		return mm_token_refuse_unexpected(r, "here");
	if (!mm_token_next(r))
		return false;
	if (mm_token_is_separator(r) || mm_token_is_symbol(r, '}') || mm_token_is_symbol(r, '(')
		|| mm_token_is_symbol(r, '.') || r->token == MM_TOKEN_STRING)
		return refuse_name_as_value(r, name, line, column);
	return read_field(r, table, name, line);
}

static bool read_item(struct mm_token_reader *r, struct mm_value *table)
{
	if (r->token == MM_TOKEN_NAME)
		return read_named(r, table);
	if (mm_token_is_symbol(r, '['))
		return read_bracket_field(r, table);
	struct mm_value *v = mm_value_add(table, (struct mm_text){ NULL, 0 });
	return v != NULL ? read_value(r, v) : mm_token_out_of_memory(r);
}

/* Completes a table: refuses a name given twice, drops nil. */
static bool settle(struct mm_token_reader *r, struct mm_value *table, const char *what)
{
	bool failed;
	const struct mm_value_entry *first = NULL, *second = mm_value_repeated(table, &first, &failed);
	if (failed)
		return mm_token_out_of_memory(r);
	if (second != NULL)
		return mm_fault_set(r->why, MM_FAULT_CONFIG, "%.300s:%u: %s%s is set a second time; the first is in "
			"line %u; keep one", r->name, second->value.line, what,
			mm_quote(second->name, second->name_size).text, first->value.line);
	mm_value_drop_nils(table);
	return true;
}

/* At the opening brace. */
static bool read_table(struct mm_token_reader *r, struct mm_value *out)
{
	uint32_t line = r->token_line;
	if (r->depth >= MM_CONFIG_DEPTH_MAX)
		return mm_token_refuse(r, "tables are %u deep here; at most %u", r->depth + 1, MM_CONFIG_DEPTH_MAX);
	out->kind = MM_VALUE_TABLE;
	r->depth++;
	if (!mm_token_next(r))
		return false;
	while (!mm_token_is_symbol(r, '}')) {
		if (r->token == MM_TOKEN_END)
			return mm_token_refuse(r, "the file ends inside the table that line %u begins; close it "
				"with \"}\"", line);
		if (!read_item(r, out))
			return false;
		if (mm_token_is_separator(r)) {
			if (!mm_token_next(r))
				return false;
		} else if (!mm_token_is_symbol(r, '}') && r->token != MM_TOKEN_END) {
			if (r->token == MM_TOKEN_SYMBOL)
				return mm_token_refuse_unexpected(r, "after an item of a table");
			return mm_token_refuse(r, "%s follows an item directly; put a comma between them, or close the "
				"table of line %u with \"}\"", mm_token_shown(r).text, line);
		}
	}
	r->depth--;
	return settle(r, out, "") && mm_token_next(r);
}

/* After "milter": `.NAME = {` or `["NAME"] = {`. */
static bool read_milter(struct mm_token_reader *r, struct mm_value *milters, uint32_t line)
{
	if (mm_token_is_symbol(r, '['))
		return read_bracket_field(r, milters);
	if (!mm_token_is_symbol(r, '.'))
		return mm_token_refuse(r, "%s after \"milter\"; each milter has a name: milter.NAME = { ... }",
			mm_token_shown(r).text);
	if (!mm_token_next(r))
		return false;
	bool is_keyword = r->token == MM_TOKEN_NAME
		&& (mm_token_is_code(r) || mm_token_is_word(r, "true") || mm_token_is_word(r, "false")
		|| mm_token_is_word(r, "nil"));
	if (r->token != MM_TOKEN_NAME || is_keyword)
		return mm_token_refuse(r, "%s cannot be a milter's name; write milter.NAME = { ... } with letters, "
			"digits and \"_\", or milter[\"NAME\"] = { ... }", mm_token_shown(r).text);
	struct mm_text name = { r->token_at, r->token_size };
	return mm_token_next(r) && read_field(r, milters, name, line);
}

static bool read_statement(struct mm_token_reader *r, struct mm_value *top, struct mm_value *milters)
{
	if (r->token != MM_TOKEN_NAME || mm_token_is_code(r))
		return mm_token_refuse_unexpected(r, "at the beginning of a setting");
	struct mm_text name = { r->token_at, r->token_size };
	uint32_t line = r->token_line;
	bool is_milter = mm_token_is_word(r, "milter");
	if (!mm_token_next(r))
		return false;
	if (is_milter)
		return read_milter(r, milters, line);
	if (mm_token_is_symbol(r, '(') || mm_token_is_symbol(r, '.') || mm_token_is_symbol(r, '['))
		return mm_token_refuse_unexpected(r, "after a name");
	return read_field(r, top, name, line);
}

static bool read_all(struct mm_token_reader *r, struct mm_value *top, struct mm_value *milters)
{
	if (!mm_token_next(r))
		return false;
	while (r->token != MM_TOKEN_END) {
		if (!read_statement(r, top, milters))
			return false;
		if (mm_token_is_separator(r) && !mm_token_next(r))
			return false;
	}
	return settle(r, top, "") && settle(r, milters, "milter ");
}

bool mm_config_syntax_read(struct mm_text text, const char *name, struct mm_value *top, struct mm_value *milters,
	struct mm_fault *why)
{
	struct mm_token_reader r;
	if (!mm_token_begin(&r, text, name, why))
		return false;
	top->kind = milters->kind = MM_VALUE_TABLE;
	bool good = read_all(&r, top, milters);
	mm_token_end(&r);
	if (!good) {
		mm_value_free(top);
		mm_value_free(milters);
	}
	return good;
}

bool mm_config_syntax_read_value(struct mm_text text, const char *name, struct mm_value *out, struct mm_fault *why)
{
	struct mm_token_reader r;
	if (!mm_token_begin(&r, text, name, why))
		return false;
	bool good = mm_token_next(&r) && read_value(&r, out);
	if (good && r.token != MM_TOKEN_END)
		good = mm_token_refuse_unexpected(&r, "after the value");
	mm_token_end(&r);
	if (!good)
		mm_value_free(out);
	return good;
}
