/* A clock that is SKEW seconds fast, for one process: LD_PRELOAD of a host of three_hosts.lua. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static time_t skew(void)
{
	const char *seconds = getenv("SKEW");
	return seconds != NULL ? (time_t)atol(seconds) : 0;
}

int clock_gettime(clockid_t id, struct timespec *to)
{
	static int (*real)(clockid_t, struct timespec *);
	if (real == NULL)
		real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	int status = real(id, to);
	if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)
		to->tv_sec += skew();
	return status;
}

int gettimeofday(struct timeval *restrict to, void *restrict zone)
{
	struct timespec now;
	(void)zone;
	int status = clock_gettime(CLOCK_REALTIME, &now);
	to->tv_sec = now.tv_sec;
	to->tv_usec = now.tv_nsec / 1000;
	return status;
}

time_t time(time_t *to)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	if (to != NULL)
		*to = now.tv_sec;
	return now.tv_sec;
}
