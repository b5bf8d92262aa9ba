/*
 * ivf_scan.c
 *		Scan: rows in the order of their distance, for as long as asked.
 *
 * LIMIT is not passed to an access method, so the scan grows in stages.  A
 * stage promises a number of rows.  It goes through the codes of lists in the
 * order in which they promise good rows (ivf_lists.c), keeps the candidates of
 * the best estimates (ivf_pool.c), and gives these their almost exact scores
 * from the tape, or exact ones from the table (ivf_refine.c).  The rows wait
 * in a heap ordered by a lower bound of their distance; the executor computes
 * the true one and makes the order exact.
 *
 * A later stage goes through the codes of the former lists again, which costs
 * less than keeping all that it may need, and takes what comes after the
 * former stage's last candidate in the total order of candidates.  When lists
 * and candidates are used up, every row has been returned.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "pgstat.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "base/guc.h"
#include "ivfpq/ivf.h"
#include "ivfpq/ivf_scan.h"

/*
 * Rows at the ends of stages: 12, 37, 112, 340, 1038 ...  The executor asks
 * for one row beyond LIMIT before it returns the last, so LIMIT 10, 100 and
 * 1000 each end within a stage.
 */
#define FIRST_STAGE_ROWS 12.0
#define STAGE_GROWTH 3.05

/*
 * Candidates that are refined for a row, and in any case.  Share of the true
 * best K among the best m by estimate, 16 bytes a code, on 41k item vectors
 * (implicit ALS) and on a made set of 300k:
 *
 *			K=10: m=20   m=30   m=40	K=100: m=200  m=300  m=400
 *		41k	  0.937  0.971  0.981		   0.980  0.991  0.995
 *		300k  0.974  0.988  0.997		   0.970  0.988  0.994
 */
#define CANDIDATES_PER_ROW 3.0
#define CANDIDATES_MIN 32.0

/* Rows beyond which only one more candidate a row is refined. */
#define CANDIDATES_ROWS 20000.0

/* ----- begin and end ----- */

IndexScanDesc
ivf_begin_scan(Relation index, int nkeys, int norderbys)
{
	IndexScanDesc scan = RelationGetIndexScan(index, nkeys, norderbys);
	IvfScan    *so = palloc0(sizeof(IvfScan));

	so->context = AllocSetContextCreate(CurrentMemoryContext,
										"recsys_ivfpq scan",
										ALLOCSET_DEFAULT_SIZES);
	scan->opaque = so;
	if (norderbys > 0)
	{
		scan->xs_orderbyvals = palloc0(sizeof(Datum) * norderbys);
		scan->xs_orderbynulls = palloc0(sizeof(bool) * norderbys);
	}
	return scan;
}

void
ivf_rescan(IndexScanDesc scan, ScanKey keys, int nkeys, ScanKey orderbys,
		   int norderbys)
{
	IvfScan    *so = scan->opaque;
	MemoryContext context = so->context;

	if (so->started)
		ivf_refine_end(so);
	MemoryContextReset(context);
	memset(so, 0, sizeof(IvfScan));
	so->context = context;
	if (orderbys && norderbys > 0)
		memmove(scan->orderByData, orderbys, norderbys * sizeof(ScanKeyData));
}

void
ivf_end_scan(IndexScanDesc scan)
{
	IvfScan    *so = scan->opaque;

	if (so->started)
		ivf_refine_end(so);
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
	so->model = ivf_model_read(index, &so->meta);
	scan_set_query(scan, so);
	so->pool = candidate_pool_create();
	ivf_lists_begin(so);
	ivf_refine_begin(scan, so);
}

/* ----- stages ----- */

/* Candidates that are refined up to the end of a stage of so many rows. */
static double
stage_candidates(double rows)
{
	return CANDIDATES_MIN + rows +
		(CANDIDATES_PER_ROW - 1.0) * Min(rows, CANDIDATES_ROWS);
}

/* Find the rows of the next stage. */
static void
scan_next_stage(IvfScan *so)
{
	double		wanted;

	so->stage_rows = Max(so->stage_rows * STAGE_GROWTH, FIRST_STAGE_ROWS);
	so->stage_rows = Min(so->stage_rows, so->nreturned + CANDIDATES_ROWS);
	wanted = stage_candidates(so->stage_rows) - so->nrefined;
	candidate_pool_reset(so->pool, (int) Max(wanted, 1.0));
	ivf_lists_scan(so, ivf_scan_rows(so->nrows, so->stage_rows));
	so->exhausted = so->pool->n < so->pool->wanted && so->nseen == so->nlists;
	candidate_pool_select(so->pool);
	if (so->pool->n == 0)
		return;
	so->last = so->pool->items[so->pool->n - 1];
	so->has_last = true;
	so->nrefined += so->pool->n;
	ivf_refine(so);
}

/*
 * The next row in order, or false when none is left.  Rows that come too late
 * are put aside, and returned at the end.
 */
static bool
scan_next(IvfScan *so, FoundRow *row)
{
	for (;;)
	{
		/* a late row has its rank, or the stages would fall behind */
		int64		rank = so->nreturned + found_rows_nlate(&so->found);

		if (rank < so->stage_rows || so->exhausted)
		{
			if (found_rows_next(&so->found, row))
				return true;
			if (so->exhausted)
				return found_rows_next_late(&so->found, row);
		}
		CHECK_FOR_INTERRUPTS();
		scan_next_stage(so);
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
	found = scan_next(so, &row);
	MemoryContextSwitchTo(old);
	if (!found)
		return false;
	so->nreturned++;
	scan->xs_heaptid = row.tid;
	scan->xs_recheck = false;
	scan->xs_recheckorderby = !so->null_query && !so->exact;
	scan->xs_orderbyvals[0] = Float8GetDatum(row.bound);
	scan->xs_orderbynulls[0] = so->null_query;
	return true;
}
