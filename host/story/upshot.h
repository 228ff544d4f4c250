/* story/upshot.h -- what became of one message in the hands of one set of scripts: the verdict, the refused recipients,
 * and the edits as the packets that the MTA gets. Two of them are compared: that of the scripts that decide, and that
 * of a shadow. A fixed size; what is long is kept as a hash and the beginning of its text. */
#ifndef MM_STORY_UPSHOT_H
#define MM_STORY_UPSHOT_H

#include "milter/engine.h"

/* How two upshots differ, the gravest first. ORDER DIFFERENCE */
#define MM_DIFFERENCES(X) \
	X(slow,       "the shadow was too slow, or held too much") \
	X(error,      "a script of one of them failed") \
	X(verdict,    "one lets the message go on, the other does not, or not in the same way") \
	X(reply,      "the same verdict with another text or code") \
	X(refused,    "other recipients are refused") \
	X(recipients, "other recipients are added or deleted") \
	X(sender,     "another sender") \
	X(headers,    "other fields are added, changed or deleted") \
	X(body,       "another body") \
	X(quarantine, "one holds the message, or for another reason")

enum mm_difference {
#define X(name, about) MM_DIFFERENCE_##name,
	MM_DIFFERENCES(X)
#undef X
	MM_DIFFERENCE_COUNT
};
#define MM_DIFFERENCE_BIT(name) (1u << MM_DIFFERENCE_##name)
/* The live scripts accepted before the shadow had seen enough: nothing can be said. */
#define MM_DIFFERENCE_UNSEEN (1u << 31)

const char *mm_difference_name(enum mm_difference);             /* "headers". Static. */

#define MM_UPSHOT_LINES 480             /* bytes of edits as text */

struct mm_upshot {
	char     session[MM_SESSION_ID_SIZE], queue_id[32], from[96];
	uint64_t number;                /* of the message in its session */
	bool     has_ended;
	bool     is_aborted;            /* no final verdict */
	bool     is_dropped;            /* the shadow was given up */
	enum mm_verdict_kind verdict;
	enum mm_stage stage;
	char     reply[128], by[48];
	uint64_t reply_hash;
	uint64_t refused;               /* hash of which recipients got which verdict; 0: all are let in */
	uint64_t edits[MM_DIFFERENCE_COUNT];    /* a hash of each kind; 0: none */
	double   seconds, waited;       /* from MAIL to the verdict; of these, waiting */
	uint32_t line_bytes;
	char     lines[MM_UPSHOT_LINES];        /* edits as text, a line each; NUL-terminated */
};

/* The edits of a message, as they are about to be sent. scratch is for the call. */
void mm_upshot_edits(struct mm_upshot *, struct mm_session *, struct mm_buffer *scratch);
/* Only the verdict of a report: of a client, not of a message. */
void mm_upshot_decide(struct mm_upshot *, const struct mm_outcome_report *);
/* The message has ended. */
void mm_upshot_end(struct mm_upshot *, const struct mm_outcome_report *);
/* MM_DIFFERENCE_BIT()s, or MM_DIFFERENCE_UNSEEN; 0: they agree. */
uint32_t mm_upshot_compare(const struct mm_upshot *live, const struct mm_upshot *shadow);
/* Neither has come to a verdict or refused anything: there is nothing to compare. */
bool mm_upshot_are_void(const struct mm_upshot *live, const struct mm_upshot *shadow);
/* The lines of a's edits that b has not, with "; " in between, cut at size; "": none. Values are left out of it when
 * redacts is set. Returns to. */
char *mm_upshot_odd_lines(const struct mm_upshot *a, const struct mm_upshot *b, bool redacts, char *to, size_t size);

#endif
