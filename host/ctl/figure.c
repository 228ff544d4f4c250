#include "ctl/figure.h"

#include <stdio.h>

const char *mm_figure_bytes(double bytes, char to[MM_FIGURE_MAX])
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	unsigned unit = 0;
	while (bytes >= 1024 && unit + 1 < sizeof units / sizeof *units) {
		bytes /= 1024;
		unit++;
	}
	snprintf(to, MM_FIGURE_MAX, "%.*f %s", unit > 0 && bytes < 99.95 ? 1 : 0, bytes, units[unit]);
	return to;
}

const char *mm_figure_seconds(double seconds, char to[MM_FIGURE_MAX])
{
	unsigned long whole = seconds > 0 ? (unsigned long)seconds : 0;
	if (seconds <= 0)
		snprintf(to, MM_FIGURE_MAX, "0 s");
	else if (seconds < 0.000995)
		snprintf(to, MM_FIGURE_MAX, "%.0f us", seconds * 1e6);
	else if (seconds < 0.0995)
		snprintf(to, MM_FIGURE_MAX, "%.1f ms", seconds * 1e3);
	else if (seconds < 100)
		snprintf(to, MM_FIGURE_MAX, "%.1f s", seconds);
	else if (whole < 3600)
		snprintf(to, MM_FIGURE_MAX, "%lu min %lu s", whole / 60, whole % 60);
	else if (whole < 2 * 86400)
		snprintf(to, MM_FIGURE_MAX, "%lu h %lu min", whole / 3600, whole / 60 % 60);
	else
		snprintf(to, MM_FIGURE_MAX, "%lu d %lu h", whole / 86400, whole / 3600 % 24);
	return to;
}

const char *mm_figure_rate(double each_second, char to[MM_FIGURE_MAX])
{
	if (each_second < 0)
		each_second = 0;                /* a count that was reset meanwhile */
	snprintf(to, MM_FIGURE_MAX, "%.*f", each_second == 0 || each_second >= 99.95 ? 0 : each_second < 9.995 ? 2 : 1,
		each_second);
	return to;
}
