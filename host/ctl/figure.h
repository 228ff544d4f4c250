/* ctl/figure.h -- figures as people read them: sizes, times, rates. All texts are ASCII and end with NUL. */
#ifndef MM_CTL_FIGURE_H
#define MM_CTL_FIGURE_H

#define MM_FIGURE_MAX 32

const char *mm_figure_bytes(double bytes, char to[MM_FIGURE_MAX]);              /* "3.1 MiB" */
const char *mm_figure_seconds(double seconds, char to[MM_FIGURE_MAX]);          /* "4.0 ms", "12.0 s", "3 h 12 min" */
const char *mm_figure_rate(double each_second, char to[MM_FIGURE_MAX]);         /* "0.25", "12.3", "1230" */

#endif
