/*
 * ivf_parallel.c
 *		A build's workers, which take their share of assigning and sorting.
 *
 * Model and directory are on pages by then, so a worker reads what it needs
 * from the index.  Each process sorts its rows by itself, and the leader merges
 * what they have sorted, as in a build of a B-tree.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/spin.h"

#include "base/compat.h"
#include "index/parallel_build.h"
#include "ivfpq/ivf_build.h"

#define KEY_BUILD UINT64CONST(0xB001)
#define KEY_SORT UINT64CONST(0xB002)

typedef struct IvfShared
{
	int			nparticipants;	/* the leader included; at most */
	slock_t		mutex;			/* protects the two counts */
	double		heap_tuples;
	double		index_tuples;
	pg_atomic_uint32 counts[FLEXIBLE_ARRAY_MEMBER]; /* rows in each list */
} IvfShared;

typedef struct IvfParallel
{
	ParallelBuild common;
	IvfShared  *shared;
	Sharedsort *sort;
} IvfParallel;

/* Make the parallel context and fill its memory; false without a segment. */
static bool
parallel_begin(IvfParallel *parallel, const IvfBuild *build, int nworkers)
{
	ParallelBuild *common = &parallel->common;
	IvfMeta		meta;
	Size		size;

	ivf_meta_read(build->index, &meta);
	size = add_size(offsetof(IvfShared, counts),
					mul_size(sizeof(pg_atomic_uint32), meta.nlists));
	parallel_build_begin(common, "recsys_ivfpq_build_worker", build->heap,
						 build->index, build->index_info, nworkers);
	shm_toc_estimate_chunk(&common->context->estimator, size);
	shm_toc_estimate_chunk(&common->context->estimator,
						   tuplesort_estimate_shared(nworkers + 1));
	shm_toc_estimate_keys(&common->context->estimator, 2);
	if (!parallel_build_allocate(common))
		return false;

	parallel->shared = shm_toc_allocate(common->context->toc, size);
	memset(parallel->shared, 0, size);
	parallel->shared->nparticipants = nworkers + 1;
	SpinLockInit(&parallel->shared->mutex);
	ivf_counts_init(parallel->shared->counts, meta.nlists);
	shm_toc_insert(common->context->toc, KEY_BUILD, parallel->shared);
	parallel->sort = shm_toc_allocate(common->context->toc,
									  tuplesort_estimate_shared(nworkers + 1));
	tuplesort_initialize_shared(parallel->sort, nworkers + 1,
								common->context->seg);
	shm_toc_insert(common->context->toc, KEY_SORT, parallel->sort);
	return true;
}

/* Assign and sort this process's share of the rows. */
static void
participate(const IvfBuild *build, IvfShared *shared, Sharedsort *shared_sort,
			TableScanDesc scan)
{
	SortCoordinateData coordinate = {.isWorker = true,.nParticipants = -1,
	.sharedsort = shared_sort};
	IvfAssignTask task = {.scan = scan,.coordinate = &coordinate,
		.kbytes = maintenance_work_mem / shared->nparticipants,
	.counts = shared->counts};
	IvfAssigned assigned;
	RowSort    *sort = ivf_assign_rows(build, &task, &assigned);

	row_sort_perform(sort);
	row_sort_end(sort);
	SpinLockAcquire(&shared->mutex);
	shared->heap_tuples += assigned.heap_tuples;
	shared->index_tuples += assigned.index_tuples;
	SpinLockRelease(&shared->mutex);
}

/* Merge what nparticipants have sorted, and write it. */
static void
parallel_write(IvfParallel *parallel, const IvfBuild *build, int nparticipants)
{
	SortCoordinateData coordinate = {.isWorker = false,
	.nParticipants = nparticipants,.sharedsort = parallel->sort};
	IvfMeta		meta;
	IvfLayout	layout;
	RowSort    *sort;

	ivf_meta_read(build->index, &meta);
	ivf_meta_layout(&meta, &layout);
	sort = row_sort_begin(&layout, maintenance_work_mem, &coordinate);
	ivf_build_begin_step(IVF_BUILD_SORT, 0);
	row_sort_perform(sort);
	ivf_write_lists(build->index, sort, parallel->shared->counts,
					parallel->shared->index_tuples);
	row_sort_end(sort);
}

/*
 * Assign, sort and write the rows with up to nworkers workers and the leader.
 * Returns false, having done nothing, where not a single worker can be had.
 */
bool
ivf_build_in_parallel(const IvfBuild *build, int nworkers,
					  IndexBuildResult *result)
{
	IvfParallel parallel = {0};
	ParallelContext *context;
	bool		started;

	started = parallel_begin(&parallel, build, nworkers) &&
		parallel_build_launch(&parallel.common);
	if (started)
	{
		context = parallel.common.context;
		ivf_build_begin_step(IVF_BUILD_ASSIGN, 0);
		participate(build, parallel.shared, parallel.sort,
					table_beginscan_parallel(build->heap,
											 parallel.common.scan));
		WaitForParallelWorkersToFinish(context);
		parallel_write(&parallel, build, context->nworkers_launched + 1);
		result->heap_tuples = parallel.shared->heap_tuples;
		result->index_tuples = parallel.shared->index_tuples;
	}
	parallel_build_end(&parallel.common);
	return started;
}

/* Entry point of a worker. */
void
recsys_ivfpq_build_worker(dsm_segment *segment, shm_toc *toc)
{
	IvfShared  *shared = shm_toc_lookup(toc, KEY_BUILD, false);
	Sharedsort *sort = shm_toc_lookup(toc, KEY_SORT, false);
	ParallelWorker worker;
	IvfBuild	build;

	parallel_worker_begin(&worker, toc);
	build.heap = worker.heap;
	build.index = worker.index;
	build.index_info = worker.index_info;
	tuplesort_attach_shared(sort, segment);
	participate(&build, shared, sort, worker.scan);
	parallel_worker_end(&worker);
}
