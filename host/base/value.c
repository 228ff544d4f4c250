#include "base/value.h"

#include <stdlib.h>

static char *text_copy(struct mm_text text)
{
	char *copy = malloc(text.size + 1);
	if (copy == NULL)
		return NULL;
	if (text.size > 0)
		memcpy(copy, text.bytes, text.size);
	copy[text.size] = '\0';
	return copy;
}

bool mm_value_set_string(struct mm_value *v, struct mm_text text)
{
	char *bytes = text_copy(text);
	if (bytes == NULL)
		return false;
	v->kind = MM_VALUE_STRING;
	v->string.bytes = bytes;
	v->string.size = text.size;
	return true;
}

static bool has_room(struct mm_value *table)
{
	if (table->table.count < table->table.capacity)
		return true;
	uint32_t capacity = table->table.capacity ? table->table.capacity * 2 : 4;
	if (capacity < table->table.capacity)
		return false;
	struct mm_value_entry *grown = realloc(table->table.entries, capacity * sizeof *grown);
	if (grown == NULL)
		return false;
	table->table.entries = grown;
	table->table.capacity = capacity;
	return true;
}

struct mm_value *mm_value_add(struct mm_value *table, struct mm_text name)
{
	struct mm_value_entry entry = { .name_size = name.size };
	if (!has_room(table))
		return NULL;
	if (name.bytes != NULL && (entry.name = text_copy(name)) == NULL)
		return NULL;
	table->table.entries[table->table.count] = entry;
	return &table->table.entries[table->table.count++].value;
}

const struct mm_value *mm_value_field(const struct mm_value *v, const char *name)
{
	if (v == NULL || v->kind != MM_VALUE_TABLE)
		return NULL;
	size_t size = strlen(name);
	for (uint32_t i = 0; i < v->table.count; i++) {
		const struct mm_value_entry *e = &v->table.entries[i];
		if (e->name != NULL && e->name_size == size && memcmp(e->name, name, size) == 0)
			return &e->value;
	}
	return NULL;
}

const struct mm_value *mm_value_item(const struct mm_value *v, uint32_t n)
{
	if (v == NULL || v->kind != MM_VALUE_TABLE)
		return NULL;
	for (uint32_t i = 0; i < v->table.count; i++)
		if (v->table.entries[i].name == NULL && --n == 0)
			return &v->table.entries[i].value;
	return NULL;
}

static int by_name_and_place(const void *a, const void *b)
{
	const struct mm_value_entry *x = *(const struct mm_value_entry *const *)a;
	const struct mm_value_entry *y = *(const struct mm_value_entry *const *)b;
	size_t shorter = x->name_size < y->name_size ? x->name_size : y->name_size;
	int order = memcmp(x->name, y->name, shorter);
	if (order != 0)
		return order;
	if (x->name_size != y->name_size)
		return x->name_size < y->name_size ? -1 : 1;
	return x < y ? -1 : x > y;
}

/* Sorted, not compared pair by pair: a file may hold a hundred thousand names. */
const struct mm_value_entry *mm_value_repeated(const struct mm_value *table,
	const struct mm_value_entry **first, bool *failed)
{
	*failed = false;
	const struct mm_value_entry **named = malloc((table->table.count + 1) * sizeof(struct mm_value_entry *));
	if (named == NULL) {
		*failed = true;
		return NULL;
	}
	size_t count = 0;
	for (uint32_t i = 0; i < table->table.count; i++)
		if (table->table.entries[i].name != NULL)
			named[count++] = &table->table.entries[i];
	qsort(named, count, sizeof(struct mm_value_entry *), by_name_and_place);
	const struct mm_value_entry *second = NULL;
	for (size_t i = 1; i < count; i++) {
		const struct mm_value_entry *x = named[i - 1], *y = named[i];
		bool same = x->name_size == y->name_size && memcmp(x->name, y->name, x->name_size) == 0;
		if (same && (second == NULL || y < second)) {
			*first = x;
			second = y;
		}
	}
	free(named);
	return second;
}

void mm_value_drop_nils(struct mm_value *table)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < table->table.count; i++) {
		struct mm_value_entry *e = &table->table.entries[i];
		if (e->value.kind == MM_VALUE_NIL)
			free(e->name);
		else
			table->table.entries[kept++] = *e;
	}
	table->table.count = kept;
}

bool mm_value_copy(struct mm_value *to, const struct mm_value *from)
{
	*to = (struct mm_value){ .line = from->line };
	if (from->kind == MM_VALUE_STRING)
		return mm_value_set_string(to, (struct mm_text){ from->string.bytes, from->string.size });
	if (from->kind != MM_VALUE_TABLE) {
		*to = *from;
		return true;
	}
	to->kind = MM_VALUE_TABLE;
	for (uint32_t i = 0; i < from->table.count; i++) {
		const struct mm_value_entry *e = &from->table.entries[i];
		struct mm_value *v = mm_value_add(to, (struct mm_text){ e->name, e->name_size });
		if (v == NULL || !mm_value_copy(v, &e->value)) {
			mm_value_free(to);
			return false;
		}
	}
	return true;
}

void mm_value_free(struct mm_value *v)
{
	if (v->kind == MM_VALUE_STRING)
		free(v->string.bytes);
	if (v->kind == MM_VALUE_TABLE) {
		for (uint32_t i = 0; i < v->table.count; i++) {
			free(v->table.entries[i].name);
			mm_value_free(&v->table.entries[i].value);
		}
		free(v->table.entries);
	}
	*v = (struct mm_value){ 0 };
}
