#include "base/holding.h"

void mm_holder_add(struct mm_holder *holder, struct mm_holding *h, void (*drop)(struct mm_holding *))
{
	h->drop = drop;
	h->next = holder->first;
	h->link = &holder->first;
	if (h->next != NULL)
		h->next->link = &h->next;
	holder->first = h;
}

void mm_holding_leave(struct mm_holding *h)
{
	if (h->link == NULL)
		return;
	*h->link = h->next;
	if (h->next != NULL)
		h->next->link = h->link;
	h->next = NULL;
	h->link = NULL;
}

void mm_holder_end(struct mm_holder *holder)
{
	while (holder->first != NULL) {
		struct mm_holding *h = holder->first;
		mm_holding_leave(h);
		h->drop(h);
	}
}
