/*
 * hnsw_parallel.c
 *		A build's workers, through the server's parallel context.
 *
 * Shared memory holds BuildShared, ArenaShared, and the handle of an area from
 * which the arena's chunks come as rows arrive.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "base/compat.h"
#include "hnsw/hnsw_build.h"
#include "index/parallel_build.h"

#define KEY_BUILD UINT64CONST(0xB001)
#define KEY_ARENA UINT64CONST(0xB002)

/* ----- pieces of memory ----- */

/* Make a piece, in the current memory context where it is private. */
void
piece_create(BuildPiece *piece, bool parallel, Size size)
{
	if (parallel)
		piece->handle = dsm_segment_handle(dsm_create(size, 0));
	else
		piece->address = palloc_extended(size, MCXT_ALLOC_HUGE);
}

/* The address of a piece in this process; NULL where there is none. */
void *
piece_attach(const BuildPiece *piece)
{
	dsm_segment *segment;

	if (piece->handle == DSM_HANDLE_INVALID)
		return piece->address;
	segment = dsm_find_mapping(piece->handle);
	if (segment == NULL)
		segment = dsm_attach(piece->handle);
	if (segment == NULL)
		elog(ERROR, "could not attach to memory of an index build");
	return dsm_segment_address(segment);
}

/* Let go of a piece; the last process that does frees it. */
void
piece_detach(const BuildPiece *piece)
{
	dsm_segment *segment;

	if (piece->handle == DSM_HANDLE_INVALID)
	{
		if (piece->address != NULL)
			pfree(piece->address);
		return;
	}
	segment = dsm_find_mapping(piece->handle);
	if (segment != NULL)
		dsm_detach(segment);
}

/* ----- the workers ----- */

/* The leader's hold on what the workers use. */
typedef struct HnswParallel
{
	ParallelBuild common;
	BuildShared *shared;
	ArenaShared *arena;
	dsa_area   *area;
} HnswParallel;

/* Make the parallel context and fill its memory; false without a segment. */
static bool
parallel_begin(HnswParallel *build, Relation heap, Relation index,
			   IndexInfo *index_info, int nworkers)
{
	Size		memory = (Size) maintenance_work_mem * 1024;
	shm_toc_estimator *estimator;
	shm_toc    *toc;

	parallel_build_begin(&build->common, "recsys_hnsw_build_worker", heap,
						 index, index_info, nworkers);
	estimator = &build->common.context->estimator;
	shm_toc_estimate_chunk(estimator, sizeof(BuildShared));
	shm_toc_estimate_chunk(estimator, arena_shared_size(memory));
	shm_toc_estimate_keys(estimator, 2);
	if (!parallel_build_allocate(&build->common))
		return false;

	toc = build->common.context->toc;
	build->shared = shm_toc_allocate(toc, sizeof(BuildShared));
	build_shared_init(build->shared, index);
	build->shared->parallel = true;
	BarrierInit(&build->shared->barrier, 0);
	build->arena = shm_toc_allocate(toc, arena_shared_size(memory));
	arena_shared_init(build->arena, index, memory);
	build->area = dsa_create(build->arena->tranche_id);
	dsa_set_size_limit(build->area, build->arena->memory);
	build->shared->area = dsa_get_handle(build->area);
	shm_toc_insert(toc, KEY_BUILD, build->shared);
	shm_toc_insert(toc, KEY_ARENA, build->arena);
	return true;
}

static void
parallel_end(HnswParallel *build)
{
	if (build->area != NULL)
		dsa_detach(build->area);
	parallel_build_end(&build->common);
}

/*
 * Build with up to nworkers workers and the leader.  Returns false, having
 * done nothing, where not a single worker can be had.
 */
bool
build_in_parallel(Relation heap, Relation index, IndexInfo *index_info,
				  int nworkers, IndexBuildResult *result)
{
	HnswParallel build = {0};
	Builder    *builder;

	if (!parallel_begin(&build, heap, index, index_info, nworkers))
	{
		parallel_end(&build);
		return false;
	}
	/* attached from the start, lest workers pass the leader's phases */
	BarrierAttach(&build.shared->barrier);
	if (!parallel_build_launch(&build.common))
	{
		parallel_end(&build);
		return false;
	}
	builder = builder_create(build.shared, build.arena, build.area, heap,
							 index, index_info);
	builder_run(builder, table_beginscan_parallel(heap, build.common.scan));
	WaitForParallelWorkersToFinish(build.common.context);
	result->heap_tuples = build.shared->heap_tuples;
	result->index_tuples = build.shared->index_tuples;
	parallel_end(&build);
	return true;
}

/* Entry point of a worker. */
void
recsys_hnsw_build_worker(dsm_segment *segment, shm_toc *toc)
{
	BuildShared *shared = shm_toc_lookup(toc, KEY_BUILD, false);
	ArenaShared *arena = shm_toc_lookup(toc, KEY_ARENA, false);
	ParallelWorker worker;
	dsa_area   *area;

	parallel_worker_begin(&worker, toc);
	area = dsa_attach(shared->area);
	builder_run(builder_create(shared, arena, area, worker.heap, worker.index,
							   worker.index_info), worker.scan);
	dsa_detach(area);
	parallel_worker_end(&worker);
}
