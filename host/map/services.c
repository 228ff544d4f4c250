#include "map/services.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>

#define SHARE_OF_LAST 0.125     /* of the last answer in what is shown as the time of an answer */

struct mm_service {
	struct mm_services *all;                /* borrowed */
	struct mm_service  *next;
	unsigned            users;
	char                kind[32];
	char                name[MM_SERVICE_NAME_MAX + 1];
	uint64_t            found, none, failed;
	double              seconds;            /* of answers, the last ones weigh most; failures are not in it */
	double              longest;            /* of answers and failures */
	double              asked_at;           /* seconds since 1970; 0: not yet */
	bool                has_failed;         /* the last time */
	char                error[MM_SERVICE_ERROR_MAX + 1];    /* of the last failure */
};

struct mm_service *mm_services_open(struct mm_services *all, const char *kind, const char *name)
{
	struct mm_service **at = &all->first, *s;
	for (; *at != NULL; at = &(*at)->next)
		if (strcmp((*at)->kind, kind) == 0 && strncmp((*at)->name, name, MM_SERVICE_NAME_MAX) == 0) {
			(*at)->users++;
			return *at;
		}
	s = calloc(1, sizeof *s);
	if (s == NULL)
		return NULL;
	s->all = all;
	s->users = 1;
	snprintf(s->kind, sizeof s->kind, "%s", kind);
	snprintf(s->name, sizeof s->name, "%s", name);
	*at = s;
	return s;
}

void mm_service_close(struct mm_service *s)
{
	struct mm_service **at = &s->all->first;
	if (--s->users > 0)
		return;
	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	free(s);
}

void mm_service_note(struct mm_service *s, enum mm_service_outcome outcome, double seconds, struct mm_text error)
{
	uint64_t answers = s->found + s->none;
	s->asked_at = mm_clock_wall();
	s->has_failed = outcome == MM_SERVICE_FAILED;
	if (seconds > s->longest)
		s->longest = seconds;
	if (s->has_failed) {
		s->failed++;
		snprintf(s->error, sizeof s->error, "%.*s", (int)(error.size < sizeof s->error ? error.size
			: sizeof s->error - 1), error.bytes != NULL ? error.bytes : "");
		return;
	}
	s->found += outcome == MM_SERVICE_FOUND;
	s->none += outcome == MM_SERVICE_NONE;
	s->seconds = answers == 0 ? seconds : s->seconds + SHARE_OF_LAST * (seconds - s->seconds);
}

static const char *state_of(const struct mm_service *s)
{
	if (s->asked_at == 0)
		return "unasked";
	return s->has_failed ? "fails" : "answers";
}

static void list_service(const struct mm_service *s, struct mm_say say)
{
	char kind[sizeof s->kind], name[sizeof s->name], line[sizeof kind + sizeof name + 256];
	snprintf(kind, sizeof kind, "%s", s->kind);
	snprintf(name, sizeof name, "%s", s->name);
	mm_text_make_plain(kind, '!');
	mm_text_make_plain(name, '!');
	int at = snprintf(line, sizeof line, "kind=%s service=%s state=%s answers=%llu found=%llu failures=%llu", kind,
		name, state_of(s), (unsigned long long)(s->found + s->none), (unsigned long long)s->found,
		(unsigned long long)s->failed);
	if (s->found + s->none > 0)
		at += snprintf(line + at, sizeof line - (size_t)at, " latency_us=%.0f", s->seconds * 1e6);
	if (s->asked_at > 0)
		snprintf(line + at, sizeof line - (size_t)at, " longest_us=%.0f asked=%.0f", s->longest * 1e6,
			mm_clock_wall() - s->asked_at);
	say.line(say.self, line);
	if (s->error[0] == '\0')
		return;
	snprintf(line, sizeof line, "    %s: %s", s->has_failed ? "error" : "last_error", s->error);
	mm_text_make_plain(line, ' ');
	say.line(say.self, line);
}

void mm_services_list(const struct mm_services *all, struct mm_say say)
{
	for (const struct mm_service *s = all->first; s != NULL; s = s->next)
		list_service(s, say);
}
