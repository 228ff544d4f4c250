/* milter/verdict.h -- a handler's decision and the SMTP text that goes with it.
 * The text belongs to its verdict and is stored nowhere else, so a reply cannot leak into a later message. One table,
 * mm_verdict_stages(), says which verdict may be given at which stage. */
#ifndef MM_MILTER_VERDICT_H
#define MM_MILTER_VERDICT_H

#include "base/buffer.h"
#include "base/cursor.h"
#include "base/fault.h"
#include "milter/reply.h"
#include "milter/stage.h"

/* Protocol 3.3. At negotiate a refusal closes the connection, which is how the protocol refuses. At connect and helo a
 * verdict applies to the whole SMTP session; at rcpt, reject and tempfail apply only to the recipient. skip: no more
 * events of this kind for the message. ORDER VERDICT
 *        name      letter          may be given at */
#define MM_VERDICTS(X) \
	X(continue, SMFIR_CONTINUE, ~0u) \
	X(accept,   SMFIR_ACCEPT,   MM_STAGES_OF_CLIENT | MM_STAGES_OF_MESSAGE) \
	X(reject,   SMFIR_REJECT,   MM_STAGE_BIT(negotiate) | MM_STAGES_OF_CLIENT | MM_STAGES_OF_MESSAGE \
		| MM_STAGE_BIT(unknown)) \
	X(tempfail, SMFIR_TEMPFAIL, MM_STAGE_BIT(negotiate) | MM_STAGES_OF_CLIENT | MM_STAGES_OF_MESSAGE \
		| MM_STAGE_BIT(unknown)) \
	X(discard,  SMFIR_DISCARD,  MM_STAGES_OF_MESSAGE) \
	X(skip,     SMFIR_SKIP,     MM_STAGE_BIT(header) | MM_STAGE_BIT(body))

enum mm_verdict_kind {
#define X(name, letter, stages) MM_VERDICT_##name,
	MM_VERDICTS(X)
#undef X
	MM_VERDICT_COUNT
};

struct mm_verdict {
	enum mm_verdict_kind kind;
	bool                 hangs_up;  /* reply code 421: the MTA ends the SMTP session */
	char                 decided_by[43];    /* script and line, for the log: "10-auth.lua:12"; may be empty */
	struct mm_buffer     reply;     /* owned: text as SMFIR_REPLYCODE carries it, empty for the MTA's own text */
};

const char *mm_verdict_name(enum mm_verdict_kind);      /* "reject". Static. */
enum mm_reply_letter mm_verdict_letter(enum mm_verdict_kind);
/* The kind of a name, MM_VERDICT_COUNT when there is none. */
enum mm_verdict_kind mm_verdict_of_name(struct mm_text name);
/* MM_STAGE_BIT()s at which it may be given. */
uint32_t mm_verdict_stages(enum mm_verdict_kind);

/* Without text: the MTA words it. */
static inline void mm_verdict_plain(struct mm_verdict *v, enum mm_verdict_kind kind)
{
	if (v->reply.capacity > 0)
		mm_buffer_free(&v->reply);
	v->kind = kind;
	v->hangs_up = false;
	v->decided_by[0] = '\0';
}
/* Back to "continue" without text; frees the memory of the text. */
static inline void mm_verdict_reset(struct mm_verdict *v) { mm_verdict_plain(v, MM_VERDICT_continue); }
/* With text (RFC 5321 4.2, RFC 3463, protocol 3.4): code 400..499 for tempfail, 500..599 for reject; enhanced is
 * "5.7.1"-like with the code's first digit, empty for the default of the code's class; 1..32 lines of at most 980
 * bytes, no CR, LF, NUL. "%" is doubled here, because both MTAs read it as an escape. False: the fault
 * names the broken rule. */
bool mm_verdict_worded(struct mm_verdict *, enum mm_verdict_kind, unsigned code, struct mm_text enhanced,
	const struct mm_text *lines, size_t line_count, struct mm_fault *why);
/* Moves `from` into `to`; afterwards `from` is "continue". */
void mm_verdict_move(struct mm_verdict *to, struct mm_verdict *from);
/* True when the string is "4.x.y"-like: [245].d{1,3}.d{1,3}. */
bool mm_enhanced_is_good(struct mm_text);

#endif
