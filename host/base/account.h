/* base/account.h -- how many bytes a worker holds because others sent or caused them, and who may hold more.
 * Everything that holds such bytes has an account: a session, a generation with its tasks, a cache. All accounts of a
 * worker add up in one sum, which has the limit (`memory_held`).
 *
 * A holder does not book each allocation. When its memory may have changed, it declares how much it holds now, and that
 * replaces what it declared before: nothing is counted twice, and whoever declares 0 owes nothing.
 *
 * The rule: an account may hold as much as is still free. So the largest holder is stopped first, one that holds little
 * goes on, n that take what they can get 1/(n+1) of the limit each, and something is always left. (Switches share
 * packet memory in this way: Choudhury and Hahne, "Dynamic queue length thresholds", 1998.)
 *
 * Counting never fails: whoever wants more memory asks first. Knows nothing about the holders; allocates nothing. */
#ifndef MM_BASE_ACCOUNT_H
#define MM_BASE_ACCOUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The sum of a worker's accounts. */
struct mm_account_sum {
	size_t   limit;         /* bytes; 0: none */
	size_t   held;          /* bytes now */
	size_t   peak;          /* the most that was held at once */
	size_t   largest;       /* the most that one account has held */
	uint64_t refusals;      /* how often something was not done for lack of room */
};

struct mm_account {
	struct mm_account_sum *sum;     /* borrowed; NULL: nothing is counted, and all is allowed */
	size_t                 held;    /* bytes */
};

/* A holder has so many bytes now. It keeps *declared, 0 at first, for this function. */
void mm_account_redeclare(struct mm_account *, size_t *declared, size_t bytes);
static inline void mm_account_declare(struct mm_account *a, size_t *declared, size_t bytes)
{
	if (bytes != *declared)
		mm_account_redeclare(a, declared, bytes);
}

/* May the account, which has a sum, hold so many bytes more? Then it would hold at most what would still be free. */
static inline bool mm_account_fits(const struct mm_account *a, size_t more)
{
	return a->held + a->sum->held + 2 * more <= a->sum->limit - 1;  /* a limit of 0 becomes the largest number */
}
/* The same, for something that is not done otherwise: counts the refusal. account may be NULL, or have no sum. */
bool mm_account_allows(const struct mm_account *, size_t more);

#endif
