/*
 * ivf_build.c
 *		CREATE INDEX: sample, train, assign, sort, write.
 *
 * A sample of the rows tells the lists and the codebook (ivf_sample.c,
 * ivf_train.c), which are put on pages.  Then the table is read once: each row
 * is encoded and goes to its list (ivf_assign.c), the server's sort brings the
 * rows of a list together, on disk where maintenance_work_mem is too small
 * (ivf_rowsort.c), and they are put on pages list by list (ivf_write.c).  The
 * index is logged at the end.
 */
#include "postgres.h"

#include "access/xloginsert.h"
#include "commands/progress.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "index/parallel_build.h"
#include "ivfpq/ivf_build.h"

/* Subphases in pg_stat_progress_create_index; 1 is the server's. */
#define PROGRESS_STEP(step) ((step) + 2)

char *
ivf_build_phase_name(int64 phase)
{
	switch (phase)
	{
		case PROGRESS_CREATEIDX_SUBPHASE_INITIALIZE:
			return "initializing";
		case PROGRESS_STEP(IVF_BUILD_SAMPLE):
			return "sampling rows";
		case PROGRESS_STEP(IVF_BUILD_CLUSTER):
			return "clustering";
		case PROGRESS_STEP(IVF_BUILD_CODES):
			return "training codes";
		case PROGRESS_STEP(IVF_BUILD_ASSIGN):
			return "assigning rows";
		case PROGRESS_STEP(IVF_BUILD_SORT):
			return "sorting rows";
		case PROGRESS_STEP(IVF_BUILD_WRITE):
			return "writing pages";
		default:
			return NULL;
	}
}

/* Tell of the next step, which will work on so many rows. */
void
ivf_build_begin_step(IvfBuildStep step, int64 ntuples)
{
	const int	params[] = {PROGRESS_CREATEIDX_SUBPHASE,
		PROGRESS_CREATEIDX_TUPLES_TOTAL, PROGRESS_CREATEIDX_TUPLES_DONE,
	PROGRESS_SCAN_BLOCKS_TOTAL, PROGRESS_SCAN_BLOCKS_DONE};
	const int64 values[] = {PROGRESS_STEP(step), ntuples, 0, 0, 0};

	pgstat_progress_update_multi_param(lengthof(params), params, values);
}

/* ----- an index that cannot be trained ----- */

typedef struct UntrainedBuild
{
	IvfInserter *inserter;
	double		ntuples;
	MemoryContext row_context;
} UntrainedBuild;

/* Callback of the table scan, for a row that the sample did not see. */
static void
untrained_row(Relation index, ItemPointer tid, Datum *values, bool *isnull,
			  bool alive, void *state)
{
	UntrainedBuild *untrained = state;
	MemoryContext old;

	if (isnull[0])
		return;
	old = MemoryContextSwitchTo(untrained->row_context);
	ivf_inserter_insert(untrained->inserter, values, isnull, tid);
	untrained->ntuples++;
	MemoryContextSwitchTo(old);
	MemoryContextReset(untrained->row_context);
}

/*
 * Without rows there is nothing to train on.  The table is read all the same:
 * its rows are to be counted, and a concurrent build may see new ones.
 */
static void
build_untrained(const IvfBuild *build, IndexBuildResult *result)
{
	UntrainedBuild untrained = {0};

	untrained.inserter = ivf_inserter_create(build->index, PAGE_WAL_AT_END);
	untrained.row_context = AllocSetContextCreate(CurrentMemoryContext,
												  "recsys_ivfpq build row",
												  ALLOCSET_DEFAULT_SIZES);
	result->heap_tuples =
		table_index_build_scan(build->heap, build->index, build->index_info,
							   true, true, untrained_row, &untrained, NULL);
	result->index_tuples = untrained.ntuples;
	ivf_inserter_close(untrained.inserter);
	ereport(NOTICE,
			(errmsg("index \"%s\" was built on an empty table and is not trained",
					RelationGetRelationName(build->index)),
			 errdetail("Rows inserted from now on share one list, which each search goes through."),
			 errhint("REINDEX the index when the table has its rows.")));
}

/* ----- lists ----- */

/* Assign, sort and write the rows, in this process alone. */
static void
build_alone(const IvfBuild *build, IndexBuildResult *result)
{
	IvfAssignTask task = {.kbytes = maintenance_work_mem};
	IvfAssigned assigned;
	IvfMeta		meta;
	RowSort    *sort;

	ivf_meta_read(build->index, &meta);
	task.counts = palloc(sizeof(pg_atomic_uint32) * meta.nlists);
	ivf_counts_init(task.counts, meta.nlists);
	ivf_build_begin_step(IVF_BUILD_ASSIGN, 0);
	sort = ivf_assign_rows(build, &task, &assigned);
	ivf_build_begin_step(IVF_BUILD_SORT, 0);
	row_sort_perform(sort);
	ivf_write_lists(build->index, sort, task.counts, assigned.index_tuples);
	row_sort_end(sort);
	result->heap_tuples = assigned.heap_tuples;
	result->index_tuples = assigned.index_tuples;
}

/* Refuse what can never be indexed, even in an empty table. */
static void
build_check(Relation index)
{
	int			dim = TupleDescAttr(RelationGetDescr(index), 0)->atttypmod;

	(void) filter_encoder_create(index);
	ivf_check_dim(index, dim);
	if (dim > 0)
		ivf_nsub(index, (dim + 63) / 64 * 64);
}

IndexBuildResult *
ivf_build(Relation heap, Relation index, IndexInfo *index_info)
{
	IndexBuildResult *result = palloc0(sizeof(IndexBuildResult));
	IvfBuild	build = {heap, index, index_info};
	MemoryContext context;
	MemoryContext old;
	int			nworkers = parallel_build_nworkers(heap, index, index_info);

	build_check(index);
	ivf_meta_create(index, MAIN_FORKNUM);
	context = AllocSetContextCreate(CurrentMemoryContext,
									"recsys_ivfpq build",
									ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	if (!ivf_train(&build))
		build_untrained(&build, result);
	else if (nworkers == 0 ||
			 !ivf_build_in_parallel(&build, nworkers, result))
		build_alone(&build, result);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	if (RelationNeedsWAL(index))
		log_newpage_range(index, MAIN_FORKNUM, 0,
						  RelationGetNumberOfBlocks(index), true);
	return result;
}

void
ivf_build_empty(Relation index)
{
	ivf_meta_create(index, INIT_FORKNUM);
}
