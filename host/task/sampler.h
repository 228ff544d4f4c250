/* task/sampler.h -- where Lua's time goes: stacks of running code, by line, each with the number of samples (budget.h).
 * One per process, like the budget. It uses a fixed piece of memory; stacks that find no room are only counted.
 *
 * Written as lines of tab-separated fields, which samples_report.c reads: "looks" all, in Lua; "state" letter, count;
 * "lost" count; "stack" count, frames. Frames are joined by ';', innermost first: name|file|line of its definition|line
 * now. The last one is milter|script|handler, for which all of this ran. */
#ifndef MM_TASK_SAMPLER_H
#define MM_TASK_SAMPLER_H

#include "base/fault.h"

#include <stdio.h>

/* Begins sampling, from zero. False: out of memory, or the budget is not open. */
bool mm_sampler_begin(struct mm_fault *why);
/* Ends sampling; the samples can be written until mm_sampler_free(). */
void mm_sampler_end(void);
void mm_sampler_write(FILE *to);
void mm_sampler_free(void);

#endif
