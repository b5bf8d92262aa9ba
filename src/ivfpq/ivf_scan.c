/*
 * ivf_scan.c
 *		Scan: rows in the order of their distance, for as long as asked.
 *
 * The scan grows in stages.  A stage promises a number of rows, the first what
 * a LIMIT wants, where one is known (index/scan_limit.h).  It goes through the
 * codes of lists in the order in which they promise good rows (ivf_lists.c),
 * keeps the candidates of the best estimates (ivf_pool.c), and gives these
 * their almost exact scores from the tape, or exact ones from the table
 * (ivf_refine.c).  The rows wait in a heap ordered by a lower bound of their
 * distance; the executor computes the true one and makes the order exact.
 *
 * A later stage that needs more candidates than were kept goes through the
 * codes of the former lists again, which costs less than keeping all that it
 * may need.  Each list knows the last of its candidates, in their total order,
 * that has been refined, and gives what comes after it.  When lists and
 * candidates are used up, every row has been returned.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "pgstat.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "base/guc.h"
#include "index/heap_ahead.h"
#include "index/scan_limit.h"
#include "ivfpq/ivf.h"
#include "ivfpq/ivf_scan.h"

/*
 * Candidates are refined in the order of their estimates, until the next one
 * would have to be better than its estimate by PATIENCE times the error that
 * the estimates have shown so far (root mean square) to be among the rows that
 * the stage promises.  So a scan refines what the data call for.  Recall, and
 * candidates refined for a row that is promised, all lists scanned:
 *
 *			  41k x 128, ALS		  made, 300k x 128		   SIFT, 10k
 *		K	  10	 100	1000	  10	 100	1000	  10	 100	1000
 *		0.5	 .983  .979	 .968	 .991  .977	 .968	 .981  .972	 .977
 *			 3.4   1.8	 2.1	 3.2   1.9	 1.8	 3.6   2.0	 1.6
 *		1.0	 .987  .986	 .981	 .992  .988	 .984	 .991  .991	 .989
 *			 3.7   2.1	 3.0	 3.3   2.5	 2.4	 4.7   2.5	 1.7
 *		1.5	 .991  .992	 .987	 .996  .994	 .991	 .997  .998	 .996
 *			 4.3   2.6	 4.4	 4.0   3.2	 3.1	 6.5   3.2	 2.0
 *		2.0	 .997  .994	 .990	 .998  .997	 .995	1.000 1.000	 .999
 *			 5.3   3.2	 6.2	 4.8   4.3	 4.1	 9.1   4.1	 2.3
 */
#define PATIENCE 1.5

/* Candidates refined at first; then, each time, a quarter of those so far. */
#define FIRST_CANDIDATES(rows) (1.5 * (rows) + 20.0)
#define MORE_CANDIDATES(nrefined) Max((nrefined) / 4, 16)

/*
 * A pass over codes keeps ivf_stage_candidates, which are mostly enough, or half
 * as many.
 */
#define MORE_POOL(nrefined) ((nrefined) / 2 + 32)

/* The most that is refined for the rows of a stage. */
#define MAX_CANDIDATES(rows) (12.0 * (rows) + 96.0)

/* Rows that a stage adds at most, which bounds the pool. */
#define MAX_STAGE_ROWS 10000.0

/*
 * An index of no more pages is answered exactly, with all its rows refined at
 * once: some 900 rows of 64 dimensions, 280 of 768.
 */
#define SMALL_INDEX_PAGES 24
#define SMALL_POOL 4096

/*
 * Candidates that a later pass keeps for the stages to come, of the rows that
 * the former one looked at: as long as the pool has enough, no other is needed.
 */
#define POOL_SHARE (1.0 / 64)
#define MAX_POOL 16384.0

/* ----- begin and end ----- */

IndexScanDesc
ivf_begin_scan(Relation index, int nkeys, int norderbys)
{
	IndexScanDesc scan = RelationGetIndexScan(index, nkeys, norderbys);
	IvfScan    *so = palloc0(sizeof(IvfScan));

	so->context = AllocSetContextCreate(CurrentMemoryContext,
										"recsys_ivfpq scan",
										ALLOCSET_DEFAULT_SIZES);
	scan_tally_init(&so->past);
	scan->opaque = so;
	if (norderbys > 0)
	{
		scan->xs_orderbyvals = palloc0(sizeof(Datum) * norderbys);
		scan->xs_orderbynulls = palloc0(sizeof(bool) * norderbys);
	}
	return scan;
}

/* See IndexMethod. */
bool
ivf_scan_report(IndexScanDesc scan, ScanReport *report)
{
	const IvfScan *so = scan->opaque;

	scan_report_init(report);
	if (so->nseen > 0)
		report->strategy = so->nseen == so->nlists ? SCAN_EXACT : SCAN_LISTS;
	report->counts[ROWS_RETURNED] = so->nreturned;
	report->counts[ENTRIES_VISITED] = so->nvisited;
	report->counts[ENTRIES_FILTERED] = so->nfiltered;
	report->counts[CANDIDATES_REFINED] = so->nrefined;
	report->counts[LISTS_PROBED] = so->nseen;
	return so->started;
}

/* What has been begun is over: report it, and let go of the table and of files. */
static void
scan_finish(IndexScanDesc scan)
{
	IvfScan    *so = scan->opaque;
	ScanReport	report;

	if (!ivf_scan_report(scan, &report))
		return;
	scan_report_finish(scan, &so->past, &report);
	ivf_refine_end(so);
	found_rows_close(&so->found);
}

void
ivf_rescan(IndexScanDesc scan, ScanKey keys, int nkeys, ScanKey orderbys,
		   int norderbys)
{
	IvfScan    *so = scan->opaque;
	MemoryContext context = so->context;
	ScanTally	past;

	scan_finish(scan);
	past = so->past;
	MemoryContextReset(context);
	memset(so, 0, sizeof(IvfScan));
	so->context = context;
	so->past = past;
	if (keys && nkeys > 0)
		memmove(scan->keyData, keys, nkeys * sizeof(ScanKeyData));
	if (orderbys && norderbys > 0)
		memmove(scan->orderByData, orderbys, norderbys * sizeof(ScanKeyData));
}

void
ivf_end_scan(IndexScanDesc scan)
{
	IvfScan    *so = scan->opaque;

	scan_finish(scan);
	MemoryContextDelete(so->context);
	pfree(so);
	scan->opaque = NULL;
}

/*
 * Rotate the query and make its table of look-ups.  A NULL query has no
 * distance to anything: the scan then returns all rows as a zero vector would
 * find them.
 */
static void
scan_set_query(IndexScanDesc scan, IvfScan *so)
{
	const IvfModel *model = so->model;
	ScanKey		key = &scan->orderByData[0];
	int			d = model->layout.padded_dim;
	Rotator    *rotator = rotator_create(model->layout.dim, d, model->metric);
	float	   *turned = palloc(sizeof(float) * d);
	CodebookScale scale;

	so->null_query = (key->sk_flags & SK_ISNULL) != 0;
	if (so->null_query)
		memset(rotator->rotated, 0, sizeof(float) * d);
	else
		so->query_norm = rotator_set_query(rotator,
										   DatumGetVector(key->sk_argument));
	so->query = rotator->rotated;
	so->norm2 = kernels->dot_f32(so->query, so->query, d);

	for (int i = 0; i < d; i++)
		turned[i] = so->query[i] - model->mean[i];
	if (model->learned != NULL)
		ivf_model_turn(model, memcpy(palloc(sizeof(float) * d), turned,
									 sizeof(float) * d), turned);
	so->lut = palloc(model->layout.nsub * CODEBOOK_WORDS);
	codebook_lut(model->codebook, turned, so->lut, &scale);
	so->delta = scale.delta;
	so->bias = scale.bias;
	/* else all estimates were none, and the scan found nothing */
	if (!isfinite(so->delta) || !isfinite(so->bias))
		ereport(ERROR,
				(errcode(ERRCODE_INDEX_CORRUPTED),
				 errmsg("index \"%s\" has a model that gives no numbers",
						RelationGetRelationName(so->index)),
				 errhint("REINDEX the index.")));
}

/* Begin a scan when its first row is asked for. */
static void
scan_start(IndexScanDesc scan, IvfScan *so)
{
	Relation	index = scan->indexRelation;

	if (scan->numberOfOrderBys == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("index \"%s\" can only be scanned in the order of a distance",
						RelationGetRelationName(index))));
	so->index = index;
	compat_count_index_scan(scan);
	found_rows_init(&so->found);
	ivf_meta_read(index, &so->meta);
	so->started = true;
	so->exhausted = so->meta.dim == 0;
	if (so->exhausted)
		return;
	if (scan->numberOfKeys > 0)
		so->filter = filter_set_create(filter_encoder_create(index),
									   scan->keyData, scan->numberOfKeys);
	so->exhausted = so->filter != NULL && so->filter->never;
	if (so->exhausted)
		return;
	so->model = ivf_model_recall(index, &so->meta);
	scan_set_query(scan, so);
	so->small = RelationGetNumberOfBlocks(index) <= SMALL_INDEX_PAGES;
	so->pool = candidate_pool_create();
	ivf_lists_begin(so);
	ivf_refine_begin(scan, so);
}

/* ----- stages ----- */

#define SELECT_NAME select_score
#define SELECT_TYPE float
#define SELECT_BEFORE(a, b) (*(a) > *(b))
#include "index/quickselect.h"

/* The rank-th best score of the candidates refined so far. */
static float
scan_score_of_rank(IvfScan *so, int rank)
{
	if (rank > so->nscores)
		return -INFINITY;
	select_score(so->scores, 0, so->nscores - 1, rank - 1);
	return so->scores[rank - 1];
}

/*
 * Whether the candidates refined so far, the last of which is given, do for
 * the rows of the stage.
 */
static bool
scan_has_refined_enough(IvfScan *so, const Candidate *last)
{
	double		error;

	if (so->nscores == 0 || so->small)
		return false;
	error = sqrt(so->error2 / so->nscores);
	return last->score + PATIENCE * error <
		scan_score_of_rank(so, (int) so->stage_rows);
}

/* Refine candidates of the pool, the best first, until they do. */
static bool
scan_refine(IvfScan *so)
{
	CandidatePool *pool = so->pool;
	int			wanted = (int) FIRST_CANDIDATES(so->stage_rows) - so->nrefined;
	int			first = so->nused;
	bool		enough = false;
	Candidate	last = {.score = INFINITY};

	wanted = Max(wanted, MORE_CANDIDATES(so->nrefined));
	while (so->nused < pool->n && !enough)
	{
		int			n = Min(wanted, pool->n - so->nused);

		CHECK_FOR_INTERRUPTS();
		candidate_pool_select(pool, so->nused, n);
		last = pool->items[so->nused + n - 1];
		ivf_refine(so, so->nused, n);
		so->nused += n;
		enough = scan_has_refined_enough(so, &last);
		wanted = MORE_CANDIDATES(so->nrefined);
	}
	ivf_lists_refined(so, first, so->nused - first, &last);
	return enough;
}

/*
 * Fill the pool with candidates that have not been refined.  While it has those
 * that are wanted, or all there are, it needs those of further lists alone.
 */
static void
scan_fill_pool(IvfScan *so, double wanted)
{
	CandidatePool *pool = so->pool;

	wanted = Max(wanted, FIRST_CANDIDATES(FIRST_STAGE_ROWS));
	so->nwanted = (int) wanted;
	if (pool->whole || pool->n - so->nused >= so->nwanted)
	{
		candidate_pool_drop_first(pool, so->nused, so->nwanted);
		ivf_lists_scan(so, so->nseen);
	}
	else
	{
		wanted = Max(wanted, Min(so->nscanned * POOL_SHARE, MAX_POOL));
		candidate_pool_reset(pool, (int) wanted);
		so->nscanned = so->nmatching = 0.0;
		ivf_lists_scan(so, 0);
	}
	so->nused = 0;
	so->has_all = pool->whole && so->nseen == so->nlists;
}

/* Find the rows of the next stage. */
static void
scan_next_stage(IndexScanDesc scan, IvfScan *so)
{
	double		rows = so->stage_rows == 0.0 ?
	ivf_first_stage(scan_limit(scan)) :
	so->stage_rows * scan_limit_growth(scan, STAGE_GROWTH);
	double		wanted;
	bool		enough;

	so->stage_rows = Min(rows, so->stage_rows + MAX_STAGE_ROWS);
	wanted = so->small ? SMALL_POOL :
		ivf_stage_candidates(so->stage_rows) - so->nrefined;
	do
	{
		if (!so->has_all)
			scan_fill_pool(so, Min(wanted, ivf_stage_candidates(MAX_STAGE_ROWS)));
		enough = scan_refine(so);
		so->exhausted = so->has_all && so->nused == so->pool->n;
		wanted = MORE_POOL(so->nrefined);
	} while (!enough && !so->exhausted &&
			 (so->small || so->nscores < MAX_CANDIDATES(so->stage_rows)));
}

/*
 * The next row in order, or false when none is left.  Rows that come too late
 * are put aside, and returned at the end.
 */
static bool
scan_next(IndexScanDesc scan, IvfScan *so, FoundRow *row)
{
	for (;;)
	{
		/* a late row has its rank, or the stages would fall behind */
		int64		rank = so->nreturned + so->found.nlate;

		if (rank < so->stage_rows || so->exhausted)
		{
			if (found_rows_next(&so->found, so->exhausted, row))
				return true;
			if (so->exhausted)
				return found_rows_next_late(&so->found, row);
		}
		CHECK_FOR_INTERRUPTS();
		scan_next_stage(scan, so);
	}
}

bool
ivf_get_tuple(IndexScanDesc scan, ScanDirection dir)
{
	IvfScan    *so = scan->opaque;
	MemoryContext old = MemoryContextSwitchTo(so->context);
	FoundRow	row;
	bool		found;

	Assert(ScanDirectionIsForward(dir));
	if (!so->started)
		scan_start(scan, so);
	found = scan_next(scan, so, &row);
	MemoryContextSwitchTo(old);
	compat_check_snapshot_age(scan);
	if (!found)
		return false;
	page_check_tid(so->index, scan->heapRelation, &row.tid, &so->heap_blocks);
	heap_ahead_fetch(scan, &so->found);
	so->nreturned++;
	scan->xs_heaptid = row.tid;
	scan->xs_recheck = so->filter != NULL && so->filter->recheck;
	scan->xs_recheckorderby = !so->null_query && !so->exact;
	scan->xs_orderbyvals[0] = Float8GetDatum(row.bound);
	scan->xs_orderbynulls[0] = so->null_query;
	return true;
}
