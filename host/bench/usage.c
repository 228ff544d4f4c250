#include "bench/usage.h"

#include "base/array.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct process {
	pid_t         pid;
	pid_t         parent;
	bool          is_ours;          /* root, or below it */
	unsigned long user_ticks;
	unsigned long system_ticks;
	long          threads;
	long          rss_pages;
};

/* proc(5): "pid (comm) state ppid …", and comm may hold anything, even ")", so count fields from the last ")". */
static bool read_stat(pid_t pid, struct process *out)
{
	char path[64], text[1024];
	snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
	FILE *file = fopen(path, "re");
	if (file == NULL)
		return false;
	size_t size = fread(text, 1, sizeof text - 1, file);
	fclose(file);
	text[size] = '\0';

	const char *rest = strrchr(text, ')');
	long parent;
	*out = (struct process){ .pid = pid };
	if (rest == NULL || sscanf(rest,
		") %*c %ld %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %ld %*d %*u %*u %ld",
		&parent, &out->user_ticks, &out->system_ticks, &out->threads, &out->rss_pages) != 5)
		return false;
	out->parent = (pid_t)parent;
	return true;
}

/* GIVES the list of *count processes, or NULL. */
static struct process *read_all(uint32_t *count)
{
	DIR *proc = opendir("/proc");
	if (proc == NULL)
		return NULL;
	struct process *list = NULL;
	uint32_t capacity = 0;
	*count = 0;
	for (struct dirent *entry; (entry = readdir(proc)) != NULL;) {
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
		if (pid <= 0)
			continue;
		if (!mm_array_grow(&list, *count, &capacity, sizeof *list))
			break;
		if (read_stat(pid, &list[*count]))
			++*count;
	}
	closedir(proc);
	return list;
}

/* Marks root and its descendants. A child's number may be smaller than its parent's, so repeats
 * until nothing changes. */
static void mark_tree(struct process *list, size_t count, pid_t root)
{
	for (bool has_changed = true; has_changed;) {
		has_changed = false;
		for (size_t i = 0; i < count; i++) {
			if (list[i].is_ours)
				continue;
			bool is_ours = list[i].pid == root;
			for (size_t k = 0; k < count && !is_ours; k++)
				is_ours = list[k].is_ours && list[k].pid == list[i].parent;
			list[i].is_ours = is_ours;
			has_changed |= is_ours;
		}
	}
}

/* The RSS in stat is up to some hundred KiB off, since the kernel sums it lazily; the one in smaps_rollup is exact.
 * A zombie has neither. */
static void add_memory(const struct process *p, struct mm_bench_usage *out)
{
	char path[64], line[256];
	snprintf(path, sizeof path, "/proc/%ld/smaps_rollup", (long)p->pid);
	FILE *file = fopen(path, "re");
	unsigned long kib;
	bool has_rss = false;
	while (file != NULL && fgets(line, sizeof line, file) != NULL) {
		if (sscanf(line, "Rss: %lu kB", &kib) == 1) {
			out->rss_bytes += (uint64_t)kib << 10;
			has_rss = true;
		} else if (sscanf(line, "Pss: %lu kB", &kib) == 1) {
			out->pss_bytes += (uint64_t)kib << 10;
		}
	}
	if (file != NULL)
		fclose(file);
	if (!has_rss)
		out->rss_bytes += (uint64_t)p->rss_pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void add_process(const struct process *p, struct mm_bench_usage *out)
{
	uint64_t us_a_tick = 1000000u / (uint64_t)sysconf(_SC_CLK_TCK);
	uint64_t ticks_ns = (p->user_ticks + p->system_ticks) * us_a_tick * 1000u;
	clockid_t clock;
	struct timespec spent;
	out->processes++;
	out->threads += (unsigned)p->threads;
	out->user_us += p->user_ticks * us_a_tick;
	out->system_us += p->system_ticks * us_a_tick;
	if (clock_getcpuclockid(p->pid, &clock) == 0 && clock_gettime(clock, &spent) == 0)
		out->cpu_ns += (uint64_t)spent.tv_sec * 1000000000u + (uint64_t)spent.tv_nsec;
	else
		out->cpu_ns += ticks_ns;
	add_memory(p, out);
}

bool mm_bench_usage(pid_t root, struct mm_bench_usage *out, struct mm_fault *why)
{
	*out = (struct mm_bench_usage){ 0 };
	uint32_t count;
	struct process *list = read_all(&count);
	if (list == NULL)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "/proc: %s", strerror(errno));
	mark_tree(list, count, root);
	for (size_t i = 0; i < count; i++)
		if (list[i].is_ours)
			add_process(&list[i], out);
	free(list);
	if (out->processes == 0)
		return mm_fault_set(why, MM_FAULT_CONFIG, "there is no process %ld", (long)root);
	return true;
}
