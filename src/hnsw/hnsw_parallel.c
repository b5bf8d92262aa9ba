/*
 * hnsw_parallel.c
 *		A build's workers, through the server's parallel context.
 *
 * Shared memory holds BuildShared, ArenaShared, the parallel table scan, and
 * the handle of an area from which the arena's chunks come as rows arrive.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "tcop/tcopprot.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "hnsw/hnsw_build.h"

#define KEY_BUILD UINT64CONST(0xB001)
#define KEY_ARENA UINT64CONST(0xB002)
#define KEY_SCAN UINT64CONST(0xB003)
#define KEY_QUERY UINT64CONST(0xB004)

/* The leader's hold on what the workers use. */
typedef struct ParallelBuild
{
	ParallelContext *context;
	Snapshot	snapshot;
	BuildShared *shared;
	ArenaShared *arena;
	ParallelTableScanDesc scan;
	dsa_area   *area;
} ParallelBuild;

/* Put the query text where workers show it as their own. */
static void
share_query(ParallelContext *context, Size size)
{
	char	   *query = shm_toc_allocate(context->toc, size);

	memcpy(query, debug_query_string ? debug_query_string : "", size);
	shm_toc_insert(context->toc, KEY_QUERY, query);
}

/* Make the parallel context and fill its memory; false without a segment. */
static bool
parallel_begin(ParallelBuild *build, Relation heap, Relation index,
			   IndexInfo *index_info, int nworkers)
{
	Size		memory = (Size) maintenance_work_mem * 1024;
	Size		query_size = (debug_query_string ?
							  strlen(debug_query_string) : 0) + 1;
	ParallelContext *context;
	Size		scan_size;

	EnterParallelMode();
	context = CreateParallelContext("recsys", "recsys_hnsw_build_worker",
									nworkers);
	build->context = context;
	build->snapshot = index_info->ii_Concurrent ?
		RegisterSnapshot(GetTransactionSnapshot()) : SnapshotAny;
	scan_size = table_parallelscan_estimate(heap, build->snapshot);
	shm_toc_estimate_chunk(&context->estimator, sizeof(BuildShared));
	shm_toc_estimate_chunk(&context->estimator, arena_shared_size(memory));
	shm_toc_estimate_chunk(&context->estimator, scan_size);
	shm_toc_estimate_chunk(&context->estimator, query_size);
	shm_toc_estimate_keys(&context->estimator, 4);
	InitializeParallelDSM(context);
	if (context->seg == NULL)
		return false;

	build->shared = shm_toc_allocate(context->toc, sizeof(BuildShared));
	build_shared_init(build->shared, heap, index, index_info);
	build->shared->parallel = true;
	BarrierInit(&build->shared->barrier, 0);
	build->arena = shm_toc_allocate(context->toc, arena_shared_size(memory));
	arena_shared_init(build->arena, metric_of_index(index), memory);
	build->area = dsa_create(build->arena->tranche_id);
	build->shared->area = dsa_get_handle(build->area);
	build->scan = shm_toc_allocate(context->toc, scan_size);
	table_parallelscan_initialize(heap, build->scan, build->snapshot);
	shm_toc_insert(context->toc, KEY_BUILD, build->shared);
	shm_toc_insert(context->toc, KEY_ARENA, build->arena);
	shm_toc_insert(context->toc, KEY_SCAN, build->scan);
	share_query(context, query_size);
	return true;
}

static void
parallel_end(ParallelBuild *build)
{
	if (build->area != NULL)
		dsa_detach(build->area);
	if (IsMVCCSnapshot(build->snapshot))
		UnregisterSnapshot(build->snapshot);
	DestroyParallelContext(build->context);
	ExitParallelMode();
}

/*
 * Build with up to nworkers workers and the leader.  Returns false, having
 * done nothing, where not a single worker can be had.
 */
bool
build_in_parallel(Relation heap, Relation index, IndexInfo *index_info,
				  int nworkers, IndexBuildResult *result)
{
	ParallelBuild build = {0};
	Builder    *builder;

	if (!parallel_begin(&build, heap, index, index_info, nworkers))
	{
		parallel_end(&build);
		return false;
	}
	/* attached from the start, lest workers pass the leader's phases */
	BarrierAttach(&build.shared->barrier);
	LaunchParallelWorkers(build.context);
	if (build.context->nworkers_launched == 0)
	{
		WaitForParallelWorkersToFinish(build.context);
		parallel_end(&build);
		ereport(NOTICE,
				(errmsg("index \"%s\" is built without parallel workers, none of %d could be started",
						RelationGetRelationName(index), nworkers),
				 errhint("Consider increasing max_worker_processes and max_parallel_workers.")));
		return false;
	}
	builder = builder_create(build.shared, build.arena, build.area, heap,
							 index, index_info);
	builder_run(builder, table_beginscan_parallel(heap, build.scan));
	WaitForParallelWorkersToFinish(build.context);
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
	ParallelTableScanDesc scan = shm_toc_lookup(toc, KEY_SCAN, false);
	LOCKMODE	heap_lock = shared->concurrent ? ShareUpdateExclusiveLock :
	ShareLock;
	LOCKMODE	index_lock = shared->concurrent ? RowExclusiveLock :
	AccessExclusiveLock;
	dsa_area   *area;
	Relation	heap;
	Relation	index;
	IndexInfo  *index_info;

	debug_query_string = shm_toc_lookup(toc, KEY_QUERY, false);
	pgstat_report_activity(STATE_RUNNING, debug_query_string);
	heap = table_open(shared->heap_oid, heap_lock);
	index = index_open(shared->index_oid, index_lock);
	index_info = BuildIndexInfo(index);
	index_info->ii_Concurrent = shared->concurrent;
	area = dsa_attach(shared->area);

	builder_run(builder_create(shared, arena, area, heap, index, index_info),
				table_beginscan_parallel(heap, scan));

	dsa_detach(area);
	index_close(index, index_lock);
	table_close(heap, heap_lock);
}
