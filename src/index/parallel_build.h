/*
 * parallel_build.h
 *		Workers of an index build: what those of all access methods have alike.
 *
 * The leader begins, estimates what it will share besides (shm_toc_estimate_*
 * on context->estimator), allocates, puts that into context->toc, launches, and
 * ends in any case.  Keys of the table of contents from PARALLEL_BUILD_KEYS on
 * are taken.
 */
#ifndef RECSYS_PARALLEL_BUILD_H
#define RECSYS_PARALLEL_BUILD_H

#include "access/parallel.h"
#include "access/relscan.h"
#include "nodes/execnodes.h"
#include "utils/relcache.h"

#define PARALLEL_BUILD_KEYS UINT64CONST(0xB100)

/* The leader's hold on what the workers use. */
typedef struct ParallelBuild
{
	ParallelContext *context;
	Relation	heap;
	Relation	index;
	IndexInfo  *index_info;
	Snapshot	snapshot;
	ParallelTableScanDesc scan; /* of the table, for all participants */
	struct SharedRelations *relations;	/* NULL without shared memory */
} ParallelBuild;

/* Workers that the server would plan for a build. */
extern int	parallel_build_nworkers(Relation heap, Relation index,
									IndexInfo *index_info);

/*
 * Enter parallel mode for a build; function is the workers' entry point, an
 * exported function of this library.
 */
extern void parallel_build_begin(ParallelBuild *build, const char *function,
								 Relation heap, Relation index,
								 IndexInfo *index_info, int nworkers);

/* Make the shared memory; false where there is none to be had. */
extern bool parallel_build_allocate(ParallelBuild *build);

/* Start workers; false, having told the user, where none could be. */
extern bool parallel_build_launch(ParallelBuild *build);

/*
 * Leave parallel mode; workers have ended by then.  What their scans of the table
 * have found out about it is in the leader's IndexInfo then, as after its own.
 */
extern void parallel_build_end(ParallelBuild *build);

/* What a worker works on. */
typedef struct ParallelWorker
{
	Relation	heap;
	Relation	index;
	IndexInfo  *index_info;
	TableScanDesc scan;			/* its share of the table */
	struct SharedRelations *relations;
	LOCKMODE	heap_lock;
	LOCKMODE	index_lock;
} ParallelWorker;

extern void parallel_worker_begin(ParallelWorker *worker, shm_toc *toc);

/* The scan has been ended by then. */
extern void parallel_worker_end(ParallelWorker *worker);

#endif							/* RECSYS_PARALLEL_BUILD_H */
