#include "base/poison.h"

#include <stddef.h>
#include <sys/mman.h>
#include <sys/random.h>

struct mm_poison *mm_poison_new(void)
{
	struct mm_poison *p = mmap(NULL, sizeof *p, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	if (getrandom(&p->seed, sizeof p->seed, GRND_NONBLOCK) != (ssize_t)sizeof p->seed)
		p->seed = (uint64_t)(uintptr_t)p;       /* early at boot; the address is random, too */
	return p;
}

void mm_poison_free(struct mm_poison *p)
{
	if (p != NULL)
		munmap(p, sizeof *p);
}

void mm_poison_protect(struct mm_poison *p)
{
	mprotect(p, sizeof *p, PROT_READ);
}

/* A worker that looks meanwhile may see an entry half written, and lets the event through or answers it once too
 * often: the next look is right. */
void mm_poison_publish(struct mm_poison *p, const struct mm_poison_entry *entries, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		__atomic_store_n(&p->entries[i].digest, entries[i].digest, __ATOMIC_RELAXED);
		__atomic_store_n(&p->entries[i].until_ms, entries[i].until_ms, __ATOMIC_RELAXED);
	}
	__atomic_store_n(&p->count, count, __ATOMIC_RELEASE);
}

bool mm_poison_has(const struct mm_poison *p, uint64_t digest, double now)
{
	uint32_t count = __atomic_load_n(&p->count, __ATOMIC_ACQUIRE);
	for (uint32_t i = 0; i < count && i < MM_POISON_MAX; i++)
		if (__atomic_load_n(&p->entries[i].digest, __ATOMIC_RELAXED) == digest)
			return now * 1000 < (double)__atomic_load_n(&p->entries[i].until_ms, __ATOMIC_RELAXED);
	return false;
}
