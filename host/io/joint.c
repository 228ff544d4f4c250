#include "io/joint.h"

#include <arpa/inet.h>
#include <stdlib.h>

#define LIST_MAX 8192           /* bytes of a list of macros */

struct joined {
	struct mm_runtime_ops const *ops[2];    /* 0: as a rule, 1: of the canary */
	void                 *sessions[2];      /* owned through ops; [1] NULL: there is no canary */
	unsigned              chosen;
	enum mm_stage         stage;            /* of the event that runs */
	uint32_t              share;
	struct mm_session    *facts;            /* borrowed */
	struct mm_generation *also;             /* holds a reference; NULL */
	struct mm_wanted      wanted;           /* its lists are owned */
};

/* ---- what is asked for ---- */

static bool has_word(const char *list, const char *word, size_t size)
{
	for (const char *at = list; *at != '\0'; at += strcspn(at, " "), at += *at == ' ')
		if (strncmp(at, word, size) == 0 && (at[size] == ' ' || at[size] == '\0'))
			return true;
	return false;
}

/* GIVES the words of both; b may be NULL. NULL: out of memory. */
static char *join_lists(const char *a, const char *b)
{
	struct mm_buffer all = { 0 };
	mm_buffer_append(&all, a, strlen(a));
	for (const char *at = b != NULL ? b : ""; *at != '\0'; at += strcspn(at, " "), at += *at == ' ') {
		size_t size = strcspn(at, " ");
		if (size == 0 || has_word(a, at, size) || all.size + size > LIST_MAX)
			continue;
		mm_buffer_append(&all, " ", 1);
		mm_buffer_append(&all, at, size);
	}
	char *copy = all.failed ? NULL : strndup((const char *)all.bytes, all.size);
	mm_buffer_free(&all);
	return copy;
}

/* Adds what w wants to what the live scripts want. */
static bool add_wanted(struct mm_wanted *to, const struct mm_wanted *w)
{
	uint32_t handled = (to->stages & ~to->quiet) | (w->stages & ~w->quiet);
	to->stages |= w->stages;
	to->quiet = to->stages & ~handled;
	to->actions |= w->actions;
	for (int set = 0; set < MM_MACRO_SET_COUNT; set++) {
		char *owned = (char *)(uintptr_t)to->macro_lists[set];
		if (owned == NULL || w->macro_lists[set] == NULL)
			continue;
		to->macro_lists[set] = join_lists(owned, w->macro_lists[set]);
		free(owned);
		if (to->macro_lists[set] == NULL)
			return false;
	}
	return true;
}

static bool copy_wanted(struct mm_wanted *to, const struct mm_wanted *from)
{
	bool good = true;
	*to = *from;
	for (int set = 0; set < MM_MACRO_SET_COUNT; set++) {
		if (from->macro_lists[set] != NULL)
			to->macro_lists[set] = strdup(from->macro_lists[set]);
		good = good && (from->macro_lists[set] == NULL) == (to->macro_lists[set] == NULL);
	}
	return good;
}

static bool join_wanted(struct joined *j, const struct mm_joint *joint)
{
	if (joint->wanted != NULL)
		return copy_wanted(&j->wanted, joint->wanted);
	bool good = copy_wanted(&j->wanted, j->ops[0]->wanted(j->sessions[0]));
	if (good && joint->also != NULL)
		good = add_wanted(&j->wanted, &joint->also->wanted);
	if (good && j->sessions[1] != NULL)
		good = add_wanted(&j->wanted, j->ops[1]->wanted(j->sessions[1]));
	if (!(j->wanted.stages & MM_STAGE_BIT(connect)))        /* it says who the client is */
		j->wanted.quiet |= MM_STAGE_BIT(connect);
	j->wanted.stages |= MM_STAGE_BIT(connect);
	return good;
}

const struct mm_wanted *mm_joint_wanted(void *session)
{
	return &((struct joined *)session)->wanted;
}

/* ---- whose scripts decide ---- */

/* The client of this address, as text, is in the share. address may be NULL. */
static bool is_in_share(const char *address, uint32_t share)
{
	unsigned char bytes[16];
	struct mm_text key = { (const char *)bytes, 0 };
	if (address == NULL || share == 0)
		return false;
	if (inet_pton(AF_INET, address, bytes) == 1)
		key.size = 4;
	else if (inet_pton(AF_INET6, address, bytes) == 1)
		key.size = 8;
	return key.size > 0 && mm_text_hash_mixed(key) % 10000 < share;
}

static void choose(struct joined *j)
{
	bool is = j->sessions[1] != NULL && j->facts->client_family != MM_FAMILY_UNIX
		&& is_in_share(j->facts->client_address, j->share);
	j->chosen = is;
	j->facts->is_canary = is;
}

/* ---- the runtime ---- */

static void joined_close(void *self);

static void *joined_open(void *runtime, struct mm_session *facts, void *engine)
{
	const struct mm_joint *joint = runtime;
	struct joined *j = calloc(1, sizeof *j);
	if (j == NULL)
		return NULL;
	j->facts = facts;
	j->share = joint->share;
	j->ops[0] = joint->first.ops;
	j->sessions[0] = joint->first.ops->open(joint->first.self, facts, engine);
	if (joint->canary != NULL) {
		struct mm_runtime canary = mm_generation_runtime(joint->canary);
		j->ops[1] = canary.ops;
		j->sessions[1] = canary.ops->open(canary.self, facts, engine);
	}
	j->also = joint->also;
	if (j->also != NULL)
		mm_generation_retain(j->also);
	bool good = j->sessions[0] != NULL && (joint->canary == NULL || j->sessions[1] != NULL);
	if (good && join_wanted(j, joint))
		return j;
	joined_close(j);
	return NULL;
}

static const struct mm_wanted *joined_wanted(void *self)
{
	return mm_joint_wanted(self);
}

/* The rest of body or fields may be needed by the shadow; whoever has skipped gets it, and skips again. */
static void unskip(const struct joined *j, struct mm_verdict *v)
{
	if (v->kind == MM_VERDICT_skip && (j->stage == MM_STAGE_body || j->stage == MM_STAGE_header))
		mm_verdict_reset(v);
}

static enum mm_outcome joined_event(void *self, const struct mm_event *event, struct mm_verdict *out)
{
	struct joined *j = self;
	if (event->stage == MM_STAGE_connect)
		choose(j);
	j->stage = event->stage;
	enum mm_outcome outcome = j->ops[j->chosen]->event(j->sessions[j->chosen], event, out);
	if (outcome == MM_DECIDED)
		unskip(j, out);
	return outcome;
}

static void joined_settle(void *self, struct mm_verdict *v)
{
	struct joined *j = self;
	if (j->ops[j->chosen]->settle != NULL)
		j->ops[j->chosen]->settle(j->sessions[j->chosen], v);
	unskip(j, v);
}

static void joined_cancel(void *self, enum mm_cancel why)
{
	struct joined *j = self;
	j->ops[j->chosen]->cancel(j->sessions[j->chosen], why);
}

static void joined_end_message(void *self)
{
	struct joined *j = self;
	j->ops[j->chosen]->end_message(j->sessions[j->chosen]);
}

/* The next client begins with the scripts of the milter. */
static void joined_end_client(void *self)
{
	struct joined *j = self;
	for (int i = 0; i < 2; i++)
		if (j->sessions[i] != NULL)
			j->ops[i]->end_client(j->sessions[i]);
	j->chosen = 0;
	j->facts->is_canary = false;
}

static void joined_close(void *self)
{
	struct joined *j = self;
	for (int i = 0; i < 2; i++)
		if (j->sessions[i] != NULL)
			j->ops[i]->close(j->sessions[i]);
	for (int set = 0; set < MM_MACRO_SET_COUNT; set++)
		free((void *)(uintptr_t)j->wanted.macro_lists[set]);
	mm_generation_release(j->also);
	free(j);
}

struct mm_runtime mm_joint_runtime(struct mm_joint *joint)
{
	static const struct mm_runtime_ops ops = {
		.open = joined_open, .wanted = joined_wanted, .event = joined_event, .cancel = joined_cancel,
		.end_message = joined_end_message, .end_client = joined_end_client, .close = joined_close,
		.settle = joined_settle,
	};
	return (struct mm_runtime){ &ops, joint };
}
