#include "embed/service.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifdef MM_HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#else
/* The same calls without systemd. */
#define SD_LISTEN_FDS_START 3
static int sd_notify(int unset, const char *state)
{
	(void)unset;
	(void)state;
	return 0;
}
static int sd_watchdog_enabled(int unset, uint64_t *usec)
{
	(void)unset;
	(void)usec;
	return 0;
}
static int sd_listen_fds_with_names(int unset, char ***names)
{
	(void)unset;
	*names = NULL;
	return 0;
}
#endif

void mm_service_ready(void)
{
	sd_notify(0, "READY=1");
}

void mm_service_reloading(void)
{
	/* systemd 253 needs the time with Type=notify-reload; older versions ignore it */
	struct timespec now;
	char text[80];
	clock_gettime(CLOCK_MONOTONIC, &now);
	snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%lld",
		(long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
	sd_notify(0, text);
}

void mm_service_stopping(void)
{
	sd_notify(0, "STOPPING=1");
}

void mm_service_status(const char *format, ...)
{
	char line[512], text[sizeof line + 8];
	va_list args;
	va_start(args, format);
	vsnprintf(line, sizeof line, format, args);
	va_end(args);
	line[strcspn(line, "\n")] = '\0';       /* a second line would be a second variable */
	snprintf(text, sizeof text, "STATUS=%s", line);
	sd_notify(0, text);
}

void mm_service_alive(void)
{
	sd_notify(0, "WATCHDOG=1");
}

double mm_service_alive_every(void)
{
	uint64_t usec = 0;
	return sd_watchdog_enabled(0, &usec) > 0 ? (double)usec / 2e6 : 0;
}

int mm_service_sockets(const char *name, int *fds, int max, struct mm_fault *why)
{
	static char **names;            /* asked once: asking unsets the variables */
	static int count = -1;
	static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;       /* hosts of one process, on several threads */
	pthread_mutex_lock(&mutex);
	if (count < 0)
		count = sd_listen_fds_with_names(1, &names);
	pthread_mutex_unlock(&mutex);
	if (count <= 0) {
		mm_fault_set(why, MM_FAULT_CONFIG, "systemd: no sockets were passed; start moonmilter.socket "
			"(systemctl enable --now moonmilter.socket) or listen on unix:PATH or inet:PORT");
		return -1;
	}
	int found = 0;
	for (int i = 0; i < count; i++) {
		if (name[0] != '\0' && (names == NULL || strcmp(names[i], name) != 0))
			continue;
		if (found < max)
			fds[found] = SD_LISTEN_FDS_START + i;
		found++;
	}
	if (found == 0) {
		mm_fault_set(why, MM_FAULT_CONFIG, "systemd:%s: none of the %d sockets passed has that name; set "
			"FileDescriptorName=%s in the socket unit", name, count, name);
		return -1;
	}
	return found;
}
