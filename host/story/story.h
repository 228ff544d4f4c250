/* story/story.h -- what happened to one message, as a record of fixed size: who sent it to whom, the verdict and who
 * decided, and a time line of items: stages, handlers, waits with what they asked and what came back, edits, notes,
 * errors, verdicts. Nothing is allocated while it is written; what does not fit is counted (`lost`), and room is kept
 * for what explains a verdict. Sizes and order of the fields belong to this version of the program: a reader checks
 * them (history.h).
 *
 * A story lies in memory that its host's processes share, so another process can finish it when its worker is killed:
 * after each call it is whole, except for the item being written, which is not yet counted in `used`.
 * Knows no Lua, no loop and no sockets. Who takes and tells stories: history.h. */
#ifndef MM_STORY_STORY_H
#define MM_STORY_STORY_H

#include "base/clock.h"
#include "milter/session.h"
#include "milter/verdict.h"

/* ORDER STORY_KIND */
enum mm_story_kind {
	MM_STORY_FILE,          /* text: a file's name without ".lua"; files are numbered in this order, from 0 */
	MM_STORY_STAGE,         /* text: recipient, HELO name, sender. count: events in a row */
	MM_STORY_HANDLER,       /* count: times that it ran or went on; took: in which it ran */
	MM_STORY_WAIT,          /* text: what it asked, NUL, what came back; took: MM_STORY_STILL while it waits */
	MM_STORY_EDIT,          /* text: method and arguments */
	MM_STORY_NOTE,          /* text: of ctx:note() */
	MM_STORY_ERROR,         /* text: of the error, its first line */
	MM_STORY_VERDICT,       /* text: who decided, NUL, reply; one that does not decide the message */
	MM_STORY_KIND_COUNT
};

/* ORDER STORY_REDACT */
enum mm_story_redact {
	MM_STORY_REDACT_NOTHING,
	MM_STORY_REDACT_SUBJECT,        /* the subject is left out */
	MM_STORY_REDACT_ADDRESSES,      /* also local parts, values of fields, texts of replies */
};

#define MM_STORY_ITEMS_MAX 1248u        /* bytes of items in a story */
#define MM_STORY_FILES_MAX 12           /* files that a story names; further ones are shown as "?" */
#define MM_STORY_NO_FILE   255
#define MM_STORY_SCRIPTS   16           /* whose files are found at once, by their numbers */
#define MM_STORY_HANDLERS  8            /* of a stage, that are found at once */
#define MM_STORY_TASK      MM_STAGE_COUNT       /* as a stage: a task, not a handler */
#define MM_STORY_STILL     UINT32_MAX

/* Followed by its text, and bytes up to a multiple of four. */
struct mm_story_item {
	uint8_t  kind, stage, file, verdict;    /* enum mm_story_kind, mm_stage or MM_STORY_TASK, number of a
	                                         * file, mm_verdict_kind */
	uint32_t at, took;              /* microseconds; at: since the story began */
	uint16_t line;                  /* 0: none */
	uint16_t count;
	uint32_t size;                  /* bytes of the text */
};

struct mm_story {
	/* whose it is: history.c */
	uint32_t owner;                 /* number of its writer, from 1; 0: nobody's */
	uint32_t serial;                /* tells it from earlier ones in the same place */
	uint64_t ticket;                /* its number in the ring, from 1; 0: not told yet */
	uint64_t began_ticks;
	double   us_per_tick;
	uint8_t  redact;                /* enum mm_story_redact */

	/* what is found without the items */
	uint8_t  verdict;               /* enum mm_verdict_kind; of no use while is_unfinished or is_aborted */
	uint8_t  stage;                 /* where it ended, or is */
	uint8_t  is_aborted;            /* no final reply: the MTA aborted or went away */
	uint8_t  is_unfinished;         /* its worker was killed, or it is under way */
	uint8_t  has_message;           /* 0: a client that was refused before MAIL */
	uint8_t  has_error;             /* a script raised, or was stopped */
	double   began_at, ended_at;    /* seconds since 1970 */
	uint32_t seconds_us, waited_us, computed_us;    /* microseconds: in all, in which it waited, computed */
	uint32_t pid, generation;       /* of the worker */
	uint32_t number;                /* of the message in its session */
	uint32_t recipients, refused, edits;
	char     milter[24], session[MM_SESSION_ID_SIZE], queue_id[32];         /* NUL-terminated, "": not known */
	char     peer[56], client[48], host[64], helo[64];
	char     from[96], to[96];      /* to: the first recipient */
	char     subject[80], decided_by[48], reply[128];

	/* the time line */
	uint32_t lost;                  /* items that did not fit */
	uint32_t used;                  /* bytes of items */
	uint16_t stage_at;              /* offset of the item of this stage */
	uint16_t recipient_items;
	uint8_t  joined;                /* the stage whose further events join its item; MM_STORY_TASK: none */
	uint8_t  script_files[MM_STORY_SCRIPTS];        /* number of a script's file, plus 1; 0: not known yet */
	uint32_t handler_keys[MM_STORY_HANDLERS];       /* of this stage: whose items are at handlers; 0: none */
	uint16_t handlers[MM_STORY_HANDLERS];
	uint16_t file_count, files[MM_STORY_FILES_MAX];         /* offsets of their items */
	uint8_t  items[MM_STORY_ITEMS_MAX] __attribute__((aligned(8)));
};

/* Where in a script. */
struct mm_story_place {
	struct mm_text file;            /* without directory and ".lua"; size 0: none */
	uint8_t        stage;           /* or MM_STORY_TASK */
	int            line;            /* 0 or less: not known */
};

/* ---- writing ---- */

/* A further event of a stage whose events are one item: counts it. False: it is not; enter it. */
static inline bool mm_story_joins(struct mm_story *s, enum mm_stage stage)
{
	if (s->joined != stage)
		return false;
	struct mm_story_item *item = (struct mm_story_item *)(void *)(s->items + s->stage_at);
	item->count += item->count < UINT16_MAX;
	return true;
}
/* An event begins. text: its words, or empty. */
void mm_story_enter(struct mm_story *, const struct mm_session *, enum mm_stage, struct mm_text);
/* A task has run from one count of ticks to another. */
void mm_story_ran(struct mm_story *, const struct mm_story_place *, uint64_t began, uint64_t ended);
/* What is looked up of a handler: its script's number and the line where it begins. Never 0. */
static inline uint32_t mm_story_key(unsigned script, unsigned line)
{
	return script | line << 8 | 1u << 31;
}
/* A handler that has run before in this stage has run again. False: it has not, or its place was taken. */
static inline bool mm_story_handled_again(struct mm_story *s, unsigned script, unsigned line, uint64_t began,
	uint64_t ended)
{
	uint32_t key = mm_story_key(script, line);
	unsigned place = key % MM_STORY_HANDLERS;
	if (s->handler_keys[place] != key)
		return false;
	struct mm_story_item *item = (struct mm_story_item *)(void *)(s->items + s->handlers[place]);
	item->count += item->count < UINT16_MAX;
	item->took += ended > began ? (uint32_t)((double)(int64_t)(ended - began) * s->us_per_tick) : 0;
	return true;
}
/* A handler has run, for the first time in this stage. script: its number, below 64. */
void mm_story_handled(struct mm_story *, unsigned script, const char *name, enum mm_stage, unsigned line,
	uint64_t began, uint64_t ended);
/* A wait begins. Returns where its answer belongs; 0: there is no room. */
uint32_t mm_story_ask(struct mm_story *, const struct mm_session *, const struct mm_story_place *,
	struct mm_text asked);
/* The wait is over. at: of mm_story_ask(). */
void mm_story_answer(struct mm_story *, uint32_t at, struct mm_text answer);
/* What a script says in its own words, with MM_STORY_REDACT_ADDRESSES: "*" for each local part before an "@". Writes at
 * most size bytes to `to`, which the result BORROWS where something is left out; what does not fit is cut. */
struct mm_text mm_story_said(enum mm_story_redact, struct mm_text, char *to, size_t size);
/* An edit, a note, an error. */
void mm_story_say(struct mm_story *, enum mm_story_kind, const struct mm_story_place *, struct mm_text);
/* A verdict that does not decide the message. decided_by may be NULL. */
void mm_story_aside(struct mm_story *, enum mm_stage, enum mm_verdict_kind, const char *decided_by,
	struct mm_text reply);
/* Copies what the session says into the fields. */
void mm_story_take_facts(struct mm_story *, const struct mm_session *);
/* The end: subject and figures. is_aborted: without a verdict. */
void mm_story_end(struct mm_story *, const struct mm_session *, enum mm_stage, enum mm_verdict_kind, bool is_aborted,
	const char *decided_by, struct mm_text reply);

/* ---- reading ---- */

/* Makes a story of foreign bytes safe to read: ends all texts, and cuts the items at the first one that makes no
 * sense. */
void mm_story_mend(struct mm_story *);
/* The item at an offset, and its text; false: there is none. The story must have been mended, or be our own. */
bool mm_story_item(const struct mm_story *, uint32_t at, struct mm_story_item *, struct mm_text *);
/* The offset of the item after this one. */
uint32_t mm_story_after(uint32_t at, const struct mm_story_item *);
/* "10-auth"; "?": not known. BORROWED; not NUL-terminated. */
struct mm_text mm_story_file(const struct mm_story *, uint8_t file);
const char *mm_story_kind_name(enum mm_story_kind);             /* "handler". Static. */

#endif
