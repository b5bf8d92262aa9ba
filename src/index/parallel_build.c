/*
 * parallel_build.c
 *		Workers of an index build, through the server's parallel context.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "optimizer/optimizer.h"
#include "pgstat.h"
#include "tcop/tcopprot.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "index/parallel_build.h"

#define KEY_RELATIONS (PARALLEL_BUILD_KEYS + 1)
#define KEY_SCAN (PARALLEL_BUILD_KEYS + 2)
#define KEY_QUERY (PARALLEL_BUILD_KEYS + 3)

/* What a worker opens, and what it says of the table. */
typedef struct SharedRelations
{
	Oid			heap_oid;
	Oid			index_oid;
	bool		concurrent;
	bool		broken_hot_chain;	/* set by any, read when all have ended */
} SharedRelations;

int
parallel_build_nworkers(Relation heap, Relation index, IndexInfo *index_info)
{
	if (compat_build_workers_are_planned())
		return index_info->ii_ParallelWorkers;
	return plan_create_index_workers(RelationGetRelid(heap),
									 RelationGetRelid(index));
}

/* ----- the leader ----- */

static const char *
query_text(void)
{
	return debug_query_string ? debug_query_string : "";
}

void
parallel_build_begin(ParallelBuild *build, const char *function, Relation heap,
					 Relation index, IndexInfo *index_info, int nworkers)
{
	shm_toc_estimator *estimator;

	EnterParallelMode();
	build->context = CreateParallelContext("recsys", function, nworkers);
	build->heap = heap;
	build->index = index;
	build->index_info = index_info;
	build->snapshot = index_info->ii_Concurrent ?
		RegisterSnapshot(GetTransactionSnapshot()) : SnapshotAny;
	build->scan = NULL;
	build->relations = NULL;
	estimator = &build->context->estimator;
	shm_toc_estimate_chunk(estimator, sizeof(SharedRelations));
	shm_toc_estimate_chunk(estimator,
						   table_parallelscan_estimate(heap, build->snapshot));
	shm_toc_estimate_chunk(estimator, strlen(query_text()) + 1);
	shm_toc_estimate_keys(estimator, 3);
}

bool
parallel_build_allocate(ParallelBuild *build)
{
	SharedRelations *relations;
	shm_toc    *toc;
	char	   *query;

	InitializeParallelDSM(build->context);
	if (build->context->seg == NULL)
		return false;
	toc = build->context->toc;

	relations = shm_toc_allocate(toc, sizeof(SharedRelations));
	relations->heap_oid = RelationGetRelid(build->heap);
	relations->index_oid = RelationGetRelid(build->index);
	relations->concurrent = build->index_info->ii_Concurrent;
	relations->broken_hot_chain = false;
	shm_toc_insert(toc, KEY_RELATIONS, relations);
	build->relations = relations;

	build->scan = shm_toc_allocate(toc,
								   table_parallelscan_estimate(build->heap,
															   build->snapshot));
	table_parallelscan_initialize(build->heap, build->scan, build->snapshot);
	shm_toc_insert(toc, KEY_SCAN, build->scan);

	/* workers show the query as their own */
	query = shm_toc_allocate(toc, strlen(query_text()) + 1);
	strcpy(query, query_text());
	shm_toc_insert(toc, KEY_QUERY, query);
	return true;
}

bool
parallel_build_launch(ParallelBuild *build)
{
	LaunchParallelWorkers(build->context);
	if (build->context->nworkers_launched > 0)
		return true;
	WaitForParallelWorkersToFinish(build->context);
	ereport(NOTICE,
			(errmsg("index \"%s\" is built without parallel workers, none of %d could be started",
					RelationGetRelationName(build->index),
					build->context->nworkers),
			 errhint("Consider increasing max_worker_processes and max_parallel_workers.")));
	return false;
}

void
parallel_build_end(ParallelBuild *build)
{
	if (build->relations != NULL && build->relations->broken_hot_chain)
		build->index_info->ii_BrokenHotChain = true;
	if (IsMVCCSnapshot(build->snapshot))
		UnregisterSnapshot(build->snapshot);
	DestroyParallelContext(build->context);
	ExitParallelMode();
}

/* ----- a worker ----- */

void
parallel_worker_begin(ParallelWorker *worker, shm_toc *toc)
{
	SharedRelations *relations = shm_toc_lookup(toc, KEY_RELATIONS, false);

	debug_query_string = shm_toc_lookup(toc, KEY_QUERY, false);
	pgstat_report_activity(STATE_RUNNING, debug_query_string);
	worker->heap_lock = relations->concurrent ? ShareUpdateExclusiveLock :
		ShareLock;
	worker->index_lock = relations->concurrent ? RowExclusiveLock :
		AccessExclusiveLock;
	worker->heap = table_open(relations->heap_oid, worker->heap_lock);
	worker->index = index_open(relations->index_oid, worker->index_lock);
	worker->index_info = BuildIndexInfo(worker->index);
	worker->index_info->ii_Concurrent = relations->concurrent;
	worker->relations = relations;
	worker->scan = table_beginscan_parallel(worker->heap,
											shm_toc_lookup(toc, KEY_SCAN,
														   false));
}

void
parallel_worker_end(ParallelWorker *worker)
{
	if (worker->index_info->ii_BrokenHotChain)
		worker->relations->broken_hot_chain = true;
	index_close(worker->index, worker->index_lock);
	table_close(worker->heap, worker->heap_lock);
}
