/*
 * row_heap.c
 *		Rows by a bound of their distance: any may be added, the least is taken.
 *
 * In memory they are a binary heap.  When it is full, all are sorted, the better
 * quarter stays, and the others are written to the file as a *run*.  The first row
 * of each run that has not been taken is in the heap as well, marked with the run's
 * number; when it is taken, the next of its run comes into its place.  So the first
 * of the heap is the first of all.
 *
 * A run takes a block of memory besides, a quarter of a percent of the rows that it
 * has with 4 MB of memory.
 */
#include "postgres.h"

#include "commands/tablespace.h"
#include "miscadmin.h"
#include "storage/buffile.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "index/row_heap.h"

/* Rows that there is room for at first. */
#define FIRST_ROOM 256

/* Of a full heap, what stays in memory: one of so many. */
#define KEPT_PART 4

#define BLOCK_ROWS (BLCKSZ / sizeof(FoundRow))

StaticAssertDecl(sizeof(FoundRow) == 16, "a block of the file is full of rows");

/* The rows of a run, a block of which is in memory. */
typedef struct Run
{
	long		next_block;		/* of the file, to be read */
	Size		nleft;			/* rows from there on */
	FoundRow   *rows;			/* BLOCK_ROWS */
	Size		n;				/* in memory */
	Size		next;			/* of these */
} Run;

#define MAX_RUNS PG_UINT16_MAX

struct RowRuns
{
	ResourceOwner owner;
	BufFile    *file;
	long		nblocks;
	Run		   *runs;			/* number 1 is the first */
	int			nruns;
	int			max_runs;
};

void
row_heap_init(RowHeap *heap, Size memory)
{
	memset(heap, 0, sizeof(RowHeap));
	heap->context = CurrentMemoryContext;
	heap->limit = Max(memory / sizeof(FoundRow), FIRST_ROOM);
	heap->runs = palloc0(sizeof(RowRuns));
	heap->runs->owner = CurrentResourceOwner;
}

void
row_heap_close(RowHeap *heap)
{
	if (heap->runs != NULL && heap->runs->file != NULL)
		BufFileClose(heap->runs->file);
	heap->runs = NULL;
}

/* ----- the heap ----- */

/* Put a row into the last place, which is free, or nearer to the first. */
static void
heap_raise(RowHeap *heap, FoundRow row)
{
	FoundRow   *rows = heap->rows;
	Size		i;

	for (i = heap->n - 1; i > 0 && rows[(i - 1) / 2].bound > row.bound;
		 i = (i - 1) / 2)
		rows[i] = rows[(i - 1) / 2];
	rows[i] = row;
}

/* Put a row into the first place, which is free, or farther down. */
static void
heap_sink(RowHeap *heap, FoundRow row)
{
	FoundRow   *rows = heap->rows;
	Size		i = 0;

	for (;;)
	{
		Size		child = 2 * i + 1;

		if (child >= heap->n)
			break;
		if (child + 1 < heap->n && rows[child + 1].bound < rows[child].bound)
			child++;
		if (rows[child].bound >= row.bound)
			break;
		rows[i] = rows[child];
		i = child;
	}
	rows[i] = row;
}

/* ----- runs ----- */

/* rows_sort(rows, n): by bound */
#define ST_SORT rows_sort
#define ST_ELEMENT_TYPE FoundRow
#define ST_COMPARE(a, b) (((a)->bound > (b)->bound) - ((a)->bound < (b)->bound))
#define ST_CHECK_FOR_INTERRUPTS
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/* Make the file, for the owner that has been since the heap was begun. */
static void
runs_open(RowRuns *runs)
{
	ResourceOwner old = CurrentResourceOwner;

	PrepareTempTablespaces();
	CurrentResourceOwner = runs->owner;
	runs->file = BufFileCreateTemp(false);
	CurrentResourceOwner = old;
}

static void
runs_seek(RowRuns *runs, long block)
{
	if (BufFileSeekBlock(runs->file, block) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not seek to block %ld of a temporary file", block)));
}

/* Add an empty run at the end of the file, which is written next. */
static Run *
runs_add(RowHeap *heap)
{
	RowRuns    *runs = heap->runs;
	Run		   *run;

	if (runs->file == NULL)
		runs_open(runs);
	if (runs->nruns == runs->max_runs)
	{
		runs->max_runs = Max(2 * runs->max_runs, 8);
		runs->runs = runs->runs == NULL ?
			MemoryContextAlloc(heap->context, sizeof(Run) * runs->max_runs) :
			repalloc(runs->runs, sizeof(Run) * runs->max_runs);
	}
	run = &runs->runs[runs->nruns++];
	memset(run, 0, sizeof(Run));
	run->next_block = runs->nblocks;
	run->rows = MemoryContextAlloc(heap->context, BLCKSZ);
	runs_seek(runs, runs->nblocks);
	return run;
}

/* Fill the last block of a run, so that the next one begins with a block. */
static void
run_end(RowRuns *runs, const Run *run)
{
	Size		nblocks = (run->nleft + BLOCK_ROWS - 1) / BLOCK_ROWS;
	Size		nempty = nblocks * BLOCK_ROWS - run->nleft;

	memset(run->rows, 0, BLCKSZ);
	BufFileWrite(runs->file, run->rows, nempty * sizeof(FoundRow));
	runs->nblocks += (long) nblocks;
}

/* Read the next block of a run. */
static void
run_read(RowRuns *runs, Run *run)
{
	Size		n = Min(run->nleft, BLOCK_ROWS);
	Size		nread;

	runs_seek(runs, run->next_block++);
	nread = BufFileRead(runs->file, run->rows, n * sizeof(FoundRow));
	if (nread != n * sizeof(FoundRow))
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read from a temporary file: read only %zu of %zu bytes",
						nread, n * sizeof(FoundRow))));
	run->nleft -= n;
	run->n = n;
	run->next = 0;
}

/* Take the next row of a run; false where there is none. */
static bool
run_take(RowRuns *runs, uint16 number, FoundRow *row)
{
	Run		   *run = &runs->runs[number - 1];

	if (run->next == run->n)
	{
		if (run->nleft == 0)
			return false;
		run_read(runs, run);
	}
	*row = run->rows[run->next++];
	row->run = number;
	return true;
}

/*
 * Write what is sorted, but for the better part and what stands for a run.  The rows
 * that stay are sorted, and so still a heap.
 */
static void
heap_write(RowHeap *heap)
{
	RowRuns    *runs = heap->runs;
	Run		   *run = runs_add(heap);
	Size		nkept = heap->n / KEPT_PART;

	for (Size i = nkept; i < heap->n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (heap->rows[i].run != 0)
			heap->rows[nkept++] = heap->rows[i];
		else
		{
			BufFileWrite(runs->file, &heap->rows[i], sizeof(FoundRow));
			run->nleft++;
		}
	}
	heap->n = nkept;
	run_end(runs, run);
}

/*
 * Make room in a heap that may not grow.  Where little of it could be written,
 * since most rows stand for runs, it grows all the same.
 */
static void
heap_spill(RowHeap *heap)
{
	RowRuns    *runs = heap->runs;
	FoundRow	first;

	if (runs->nruns >= Min(heap->n / KEPT_PART, MAX_RUNS))
	{
		heap->limit *= 2;
		return;
	}
	rows_sort(heap->rows, heap->n);
	heap_write(heap);
	run_take(runs, (uint16) runs->nruns, &first);
	heap->n++;
	heap_raise(heap, first);
}

/* ----- adding and taking ----- */

/* Make room for one row more. */
static void
heap_make_room(RowHeap *heap)
{
	if (heap->n >= heap->limit)
		heap_spill(heap);
	if (heap->n < heap->max)
		return;
	heap->max = Min(Max(2 * heap->max, FIRST_ROOM), heap->limit);
	heap->rows = heap->rows == NULL ?
		MemoryContextAlloc(heap->context, sizeof(FoundRow) * heap->max) :
		repalloc_huge(heap->rows, sizeof(FoundRow) * heap->max);
}

void
row_heap_add(RowHeap *heap, FoundRow row)
{
	Assert(row.run == 0);
	if (heap->n == heap->max)
		heap_make_room(heap);
	heap->n++;
	heap_raise(heap, row);
}

FoundRow
row_heap_take(RowHeap *heap)
{
	FoundRow	first = heap->rows[0];
	FoundRow	other;

	Assert(heap->n > 0);
	if (first.run != 0 && run_take(heap->runs, first.run, &other))
		heap_sink(heap, other);
	else if (--heap->n > 0)
		heap_sink(heap, heap->rows[heap->n]);
	first.run = 0;
	return first;
}
