#include "task/sampler.h"

#include "task/budget.h"
#include "task/whose.h"

#include <lua.h>

#include <stdlib.h>

#define STACKS_MAX  4096u               /* different ones; a power of two */
#define TEXT_MAX    (1u << 20)          /* bytes of all of them */
#define STACK_MAX   3072                /* bytes of the frames of one stack; outer frames beyond that are left out */
#define NAME_SIZE   64                  /* of a function or a milter */
#define PATH_SIZE   256
#define FRAME_SIZE   (NAME_SIZE + PATH_SIZE + 32)
#define DEPTH_MAX   64                  /* frames of one */

static const char state_letters[] = "NICGJ";

struct stack {
	uint32_t hash;
	uint32_t count;                 /* 0: free */
	uint32_t at;                    /* in text */
};

static struct samples {
	unsigned long count, lost;
	unsigned long states[sizeof state_letters - 1];
	unsigned      stack_count;
	uint32_t      text_size;
	struct stack  stacks[STACKS_MAX];       /* a hash table, never full */
	char          text[TEXT_MAX];           /* NUL-terminated pieces */
} *samples;                             /* owned */

/* ---- one stack as text ---- */

struct writer {
	char   bytes[STACK_MAX + 2 * FRAME_SIZE];
	size_t size;
};

/* Names of scripts and functions may contain anything; these characters are our separators. */
static const char *plain(const char *text, char *to, size_t size)
{
	snprintf(to, size, "%s", text);
	for (char *c = to; *c != '\0'; c++)
		if (*c == ';' || *c == '|' || (unsigned char)*c < ' ')
			*c = '?';
	return to;
}

static void add_frame(struct writer *w, const lua_Debug *frame)
{
	char name[NAME_SIZE], file[PATH_SIZE];
	const char *source = frame->source[0] == '@' || frame->source[0] == '=' ? frame->source + 1 : frame->short_src;
	plain(frame->name != NULL ? frame->name : frame->what[0] == 'm' ? "main chunk" : "", name, sizeof name);
	plain(frame->what[0] == 'C' ? "[C]" : source, file, sizeof file);
	w->size += (size_t)snprintf(w->bytes + w->size, FRAME_SIZE, "%s|%s|%d|%d;", name, file, frame->linedefined,
		frame->currentline);
}

static void add_owner(struct writer *w, const struct mm_task *t)
{
	char milter[NAME_SIZE], path[PATH_SIZE];
	struct mm_whose whose = mm_whose_of(t);
	plain(t->generation->settings.milter_name, milter, sizeof milter);
	plain(whose.script != NULL ? whose.script->path : "", path, sizeof path);
	w->size += (size_t)snprintf(w->bytes + w->size, FRAME_SIZE, "%s|%s|%s", milter, path,
		mm_whose_handler(&whose));
}

/* ---- counting ---- */

static uint32_t hash_of(const char *bytes, size_t size)
{
	uint32_t hash = 2166136261u;            /* FNV-1a */
	for (size_t i = 0; i < size; i++)
		hash = (hash ^ (unsigned char)bytes[i]) * 16777619u;
	return hash;
}

static void count_stack(const struct writer *w, unsigned count)
{
	uint32_t hash = hash_of(w->bytes, w->size), i = hash % STACKS_MAX;
	for (; samples->stacks[i].count > 0; i = (i + 1) % STACKS_MAX) {
		struct stack *s = &samples->stacks[i];
		if (s->hash == hash && strcmp(samples->text + s->at, w->bytes) == 0) {
			s->count += count;
			return;
		}
	}
	if (samples->stack_count >= STACKS_MAX - STACKS_MAX / 8 || w->size + 1 > TEXT_MAX - samples->text_size) {
		samples->lost += count;
		return;
	}
	samples->stacks[i] = (struct stack){ hash, count, samples->text_size };
	memcpy(samples->text + samples->text_size, w->bytes, w->size + 1);
	samples->text_size += (uint32_t)w->size + 1;
	samples->stack_count++;
}

/* Called from inside Lua: it neither raises nor allocates Lua memory. */
static void take(struct lua_State *L, const struct mm_task *t, unsigned count, char state)
{
	struct writer w;
	lua_Debug frame;
	const char *letter = strchr(state_letters, state);
	w.size = 0;
	for (int level = 0; level < DEPTH_MAX && w.size < STACK_MAX && lua_getstack(L, level, &frame); level++)
		if (lua_getinfo(L, "Sln", &frame))
			add_frame(&w, &frame);
	add_owner(&w, t);
	samples->count += count;
	if (letter != NULL && *letter != '\0')
		samples->states[letter - state_letters] += count;
	count_stack(&w, count);
}

/* ---- life ---- */

bool mm_sampler_begin(struct mm_fault *why)
{
	mm_sampler_end();
	mm_sampler_free();
	samples = calloc(1, sizeof *samples);
	if (samples == NULL)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for samples");
	if (mm_budget_sample(take, why))
		return true;
	mm_sampler_free();
	return false;
}

void mm_sampler_end(void)
{
	mm_budget_sample_no_more();
}

void mm_sampler_free(void)
{
	free(samples);
	samples = NULL;
}

void mm_sampler_write(FILE *to)
{
	struct mm_budget_looks looks = mm_budget_looks();
	if (samples == NULL)
		return;
	fprintf(to, "looks\t%lu\t%lu\n", looks.all, looks.in_lua);
	for (size_t i = 0; i < sizeof state_letters - 1; i++)
		fprintf(to, "state\t%c\t%lu\n", state_letters[i], samples->states[i]);
	fprintf(to, "lost\t%lu\n", samples->lost);
	for (unsigned i = 0; i < STACKS_MAX; i++)
		if (samples->stacks[i].count > 0)
			fprintf(to, "stack\t%u\t%s\n", samples->stacks[i].count, samples->text + samples->stacks[i].at);
}
