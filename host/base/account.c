#include "base/account.h"

void mm_account_redeclare(struct mm_account *a, size_t *declared, size_t bytes)
{
	struct mm_account_sum *sum = a->sum;
	if (sum == NULL)
		return;
	a->held += bytes - *declared;
	sum->held += bytes - *declared;
	*declared = bytes;
	if (sum->held > sum->peak)
		sum->peak = sum->held;
	if (a->held > sum->largest)
		sum->largest = a->held;
}

bool mm_account_allows(const struct mm_account *a, size_t more)
{
	if (a == NULL || a->sum == NULL || mm_account_fits(a, more))
		return true;
	a->sum->refusals++;
	return false;
}
