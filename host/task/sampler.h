/* task/sampler.h -- where Lua's time goes: stacks of what runs, by line, each with how often it was found (budget.h).
 * One a process, as the budget. It takes a fixed piece of memory; stacks that find no room there are counted, not kept.
 *
 * Written as lines of fields between tabs, which samples_report.c reads: "looks" all, in Lua; "state" letter, count;
 * "lost" count; "stack" count, frames. Frames are joined by ';', innermost first: name|file|line of its definition|line
 * now. The last is milter|script|handler, who all this is done for. */
#ifndef MM_TASK_SAMPLER_H
#define MM_TASK_SAMPLER_H

#include "base/fault.h"

#include <stdio.h>

/* From now on, from nought. False: memory, or nobody watches what scripts compute. */
bool mm_sampler_begin(struct mm_fault *why);
/* No more; what was found may be written until mm_sampler_free(). */
void mm_sampler_end(void);
void mm_sampler_write(FILE *to);
void mm_sampler_free(void);

#endif
