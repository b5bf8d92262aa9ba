/*
 * tap.h
 *		Test points in the Test Anything Protocol, for plain C programs.
 */
#ifndef RECSYS_TAP_H
#define RECSYS_TAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

static int	tap_points = 0;
static int	tap_failures = 0;

/* One point of the test; returns passed. */
static inline bool
tap_ok(bool passed, const char *format,...)
{
	va_list		args;

	printf("%sok %d - ", passed ? "" : "not ", ++tap_points);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
	if (!passed)
		tap_failures++;
	return passed;
}

/* The plan and a summary; returns the exit code of the program. */
static inline int
tap_done(const char *what)
{
	printf("1..%d\n# %s: %d of %d points passed\n",
		   tap_points, what, tap_points - tap_failures, tap_points);
	return tap_failures == 0 ? 0 : 1;
}

#endif							/* RECSYS_TAP_H */
