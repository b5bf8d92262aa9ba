/*
 * probe.c
 *		A library for tests: the longest time that a backend took to look whether
 *		it is cancelled, and the most memory of its own that it had.
 *
 * After LOAD a timer runs on the CPU time of the process, in parallel workers
 * too, which load what their leader has loaded.  Each tick sets
 * InterruptPending, which CHECK_FOR_INTERRUPTS takes back where it would
 * act on a cancel, and not while it is held off by a lock.  The CPU time from a
 * tick to the first one that finds it taken back is a gap.  It does not grow
 * with what else the machine does, and whose check it was does not matter.
 *
 * The longest gap and the most memory are kept in a file of two numbers, which
 * the processes of a server share.  Where PROBE_TRACE is set, a gap that has
 * grown to so many milliseconds has its call stack written to stderr.
 */
#include "postgres.h"

#include <execinfo.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "fmgr.h"
#include "miscadmin.h"
#include "port/atomics.h"

PG_MODULE_MAGIC;

/* CPU time between two ticks; the kernel may make it its own tick's. */
#define TICK_MICROSECONDS 1000

typedef struct Probe
{
	pg_atomic_uint64 gap;		/* microseconds */
	pg_atomic_uint64 memory;	/* bytes that are neither shared nor a file's */
} Probe;

static Probe *probe;
static long trace = 0;			/* milliseconds */
static bool traced;
static uint64 asked_at;			/* when the tick set the flag; 0 at first */

extern void _PG_init(void);

PG_FUNCTION_INFO_V1(probe_reset);
PG_FUNCTION_INFO_V1(probe_gap);
PG_FUNCTION_INFO_V1(probe_memory);

static uint64
cpu_microseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (uint64) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Bytes of this process alone: resident, less what is shared or a file's. */
static uint64
own_memory(void)
{
	char		line[256];
	char	   *end;
	long		resident;
	long		shared;
	int			file = open("/proc/self/statm", O_RDONLY);
	ssize_t		n;

	if (file < 0)
		return 0;
	n = read(file, line, sizeof(line) - 1);
	close(file);
	if (n <= 0)
		return 0;
	line[n] = '\0';
	strtol(line, &end, 10);
	resident = strtol(end, &end, 10);
	shared = strtol(end, &end, 10);
	return (uint64) (resident - shared) * sysconf(_SC_PAGESIZE);
}

static void
raise_to(pg_atomic_uint64 *most, uint64 value)
{
	uint64		old = pg_atomic_read_u64(most);

	while (value > old &&
		   !pg_atomic_compare_exchange_u64(most, &old, value))
		;
}

static void
write_stack(void)
{
	void	   *stack[40];

	traced = true;
	backtrace_symbols_fd(stack, backtrace(stack, lengthof(stack)), 2);
	(void) !write(2, "--\n", 3);
}

static void
on_tick(int signal_number)
{
	int			saved = errno;
	uint64		now = cpu_microseconds();

	raise_to(&probe->memory, own_memory());
	if (asked_at != 0 && InterruptPending)
	{
		if (trace > 0 && !traced && now - asked_at > (uint64) trace * 1000)
			write_stack();
		raise_to(&probe->gap, now - asked_at);
	}
	else
	{
		asked_at = now;
		traced = false;
		InterruptPending = true;
	}
	errno = saved;
}

void
_PG_init(void)
{
	const char *file = getenv("PROBE_FILE");
	const char *limit = getenv("PROBE_TRACE");
	struct sigaction action = {.sa_handler = on_tick,.sa_flags = SA_RESTART};
	struct itimerval timer = {{0, TICK_MICROSECONDS}, {0, TICK_MICROSECONDS}};
	void	   *stack[1];
	int			fd = file == NULL ? -1 : open(file, O_RDWR);

	if (fd < 0)
		elog(ERROR, "PROBE_FILE does not name a file of %zu bytes",
			 sizeof(Probe));
	probe = mmap(NULL, sizeof(Probe), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (probe == MAP_FAILED)
		elog(ERROR, "could not map %s: %m", file);
	close(fd);
	if (limit != NULL)
		trace = strtol(limit, NULL, 10);
	backtrace(stack, 1);		/* loads what a handler must not */
	sigemptyset(&action.sa_mask);
	sigaction(SIGPROF, &action, NULL);
	setitimer(ITIMER_PROF, &timer, NULL);
}

Datum
probe_reset(PG_FUNCTION_ARGS)
{
	pg_atomic_write_u64(&probe->gap, 0);
	pg_atomic_write_u64(&probe->memory, own_memory());
	PG_RETURN_VOID();
}

/* Milliseconds of CPU since the reset, in any process that has loaded this. */
Datum
probe_gap(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(pg_atomic_read_u64(&probe->gap) / 1000.0);
}

/* Bytes since the reset, of the process that had the most. */
Datum
probe_memory(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64((int64) pg_atomic_read_u64(&probe->memory));
}
