/*
 * ivf_handler.c
 *		The access method recsys_ivfpq: its table of callbacks, options, cost
 *		and validation.
 */
#include "postgres.h"

#include <math.h>

#include "access/genam.h"
#include "access/reloptions.h"
#include "commands/vacuum.h"
#include "nodes/pathnodes.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "utils/guc.h"
#include "utils/rel.h"
#include "utils/selfuncs.h"
#include "utils/spccache.h"

#include "base/compat.h"
#include "base/guc.h"
#include "index/class_validate.h"
#include "index/filter_plan.h"
#include "index/index_method.h"
#include "index/scan_cost.h"
#include "ivfpq/ivf.h"
#include "ivfpq/ivf_scan.h"

PG_FUNCTION_INFO_V1(recsys_ivfpq_handler);

static relopt_kind ivf_relopt_kind;

static relopt_enum_elt_def refine_values[] =
{
	{"sq8", REFINE_SQ8},
	{"float16", REFINE_FLOAT16},
	{"none", REFINE_NONE},
	{NULL, 0}
};

static relopt_enum_elt_def rotation_values[] =
{
	{"random", IVF_ROTATION_RANDOM},
	{"learned", IVF_ROTATION_LEARNED},
	{NULL, 0}
};

/* Register options and method; called once, when the library is loaded. */
void
ivf_init(void)
{
	static const IndexMethod method = {
		.name = "recsys_ivfpq",
		.build = ivf_build,
		.stats_function = "recsys.ivfpq_stats",
		.check = ivf_check,
		.report = ivf_scan_report,
	};

	index_method_register(&method);
	ivf_relopt_kind = add_reloption_kind();
	add_int_reloption(ivf_relopt_kind, "lists",
					  "Number of lists; 0 follows the number of rows",
					  0, 0, IVF_MAX_LISTS, AccessExclusiveLock);
	add_int_reloption(ivf_relopt_kind, "subquantizers",
					  "Number of 4-bit codes a row; 0 follows the dimensions",
					  0, 0, CODEBOOK_MAX_SUB, AccessExclusiveLock);
	add_int_reloption(ivf_relopt_kind, "sample",
					  "Number of rows to train on; 0 follows the number of lists",
					  0, 0, IVF_MAX_SAMPLE, AccessExclusiveLock);
	add_enum_reloption(ivf_relopt_kind, "refine",
					   "Form of the vectors that put candidates into order",
					   refine_values, REFINE_SQ8,
					   "Valid values are \"sq8\", \"float16\" and \"none\".",
					   AccessExclusiveLock);
	add_enum_reloption(ivf_relopt_kind, "rotation",
					   "Rotation before the codes: random, or learned from the rows",
					   rotation_values, IVF_ROTATION_RANDOM,
					   "Valid values are \"random\" and \"learned\".",
					   AccessExclusiveLock);
}

static bytea *
ivf_parse_options(Datum reloptions, bool validate)
{
	static const relopt_parse_elt table[] = {
		{.optname = "lists",.opttype = RELOPT_TYPE_INT,
		.offset = offsetof(IvfOptions, lists)},
		{.optname = "subquantizers",.opttype = RELOPT_TYPE_INT,
		.offset = offsetof(IvfOptions, subquantizers)},
		{.optname = "sample",.opttype = RELOPT_TYPE_INT,
		.offset = offsetof(IvfOptions, sample)},
		{.optname = "refine",.opttype = RELOPT_TYPE_ENUM,
		.offset = offsetof(IvfOptions, refine)},
		{.optname = "rotation",.opttype = RELOPT_TYPE_ENUM,
		.offset = offsetof(IvfOptions, rotation)}
	};

	return (bytea *) build_reloptions(reloptions, validate, ivf_relopt_kind,
									  sizeof(IvfOptions), table,
									  lengthof(table));
}

/* The options of an index, or their defaults. */
IvfOptions
ivf_options(Relation index)
{
	IvfOptions	defaults = {.refine = REFINE_SQ8,
	.rotation = IVF_ROTATION_RANDOM};

	return index->rd_options ? *(IvfOptions *) index->rd_options : defaults;
}

/* Codes a row of an index for vectors of padded_dim elements. */
int
ivf_nsub(Relation index, int padded_dim)
{
	int			nsub = ivf_options(index).subquantizers;
	int			nfilters = filter_columns(index);
	int			max_nsub = ivf_layout_max_nsub(nfilters);
	int			fitting = codebook_default_nsub(padded_dim);

	while (fitting > max_nsub || !codebook_nsub_fits(padded_dim, fitting))
		fitting--;
	if (nsub == 0)
		return fitting;
	if (nsub > max_nsub)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%d subquantizers and %d filter columns do not fit a page",
						nsub, nfilters),
				 errhint("Leave the option out, or set it to %d.", fitting)));
	if (!codebook_nsub_fits(padded_dim, nsub))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%d subquantizers do not fit vectors that are padded to %d dimensions",
						nsub, padded_dim),
				 errdetail("The number must divide the dimensions, into parts of at most %d.",
						   CODEBOOK_MAX_SUBDIM),
				 errhint("Leave the option out, or set it to %d.",
						 fitting)));
	return nsub;
}

/* ----- cost ----- */

/*
 * Rows whose codes a scan looks at for the best wanted of nrows, at least: then
 * it goes on for as long as lists yield candidates (ivf_lists.c).  1.6 times as
 * many were fitted to what covers 0.97 of the best of rows without a filter (see
 * README.md): 0.1, 0.05 and 0.03 of 41k, 300k and 1M rows for ten, 0.2, 0.1 and
 * 0.05 for a hundred, 0.8, 0.2 and 0.1 for a thousand.
 *
 * Fewer lists than the rows should have are coarser, as where many rows came
 * after the build, and more of them have to be looked at.  With half of 41k
 * rows inserted later the recall for ten, a hundred and a thousand was 0.958,
 * 0.937 and 0.948 without this, and 0.983, 0.966 and 0.971 with it; that of a
 * fresh build 0.982, 0.967 and 0.973.
 *
 * The rows that satisfy a filter lie in finer lists than they would have alone,
 * and the least number is smaller.
 */
#define SCAN_MIN_ROWS 6000.0
#define SCAN_FACTOR 0.8
#define SCAN_PER_ROW 12.0

double
ivf_scan_rows(double nrows, double nlists, double wanted)
{
	double		scanned = SCAN_FACTOR * cbrt(nrows * nrows * wanted) +
	SCAN_PER_ROW * wanted;
	double		coarseness = ivf_default_lists(nrows) / Max(nlists, 1.0);

	return Max(scanned, SCAN_MIN_ROWS * Min(sqrt(coarseness), 1.0)) *
		Max(coarseness, 1.0);
}

/*
 * Lists of an index of nrows.  More lists are ranked better, but cost more to
 * score and to train, and take more space, since on average half a list page
 * and half a tape page of each are empty: 8 bytes a row at 1M rows.
 */
int
ivf_default_lists(double nrows)
{
	double		nlists = pow(Max(nrows, 1.0), 0.7) / 16.0;

	return (int) Max(Min(rint(nlists), IVF_MAX_LISTS), 1.0);
}

/* The score of a code and a condition on a row's key, in operators. */
#define CODE_CPU_OPERATORS 0.1
#define FILTER_CPU_OPERATORS 0.05

/*
 * What it costs to begin a scan and to score a centroid; then a list page, a
 * row's key and its code, and a candidate with its record: in pages at random.
 * The server charges such pages as if most were read from disk, those of a
 * bitmap scan too, which took 0.4 to 1.0 microseconds a unit of cost where all
 * was in shared buffers (100k to 1M rows of 128 dimensions).  At 0.65 a unit and
 * the default settings, a beginning is charged 78 microseconds, a centroid 0.08,
 * a page 0.26, a thousand keys 3.4 and a thousand codes 0.8, a candidate 0.5;
 * and all falls with random_page_cost as a bitmap scan's cost does.
 */
#define START_SHARE 30.0
#define CENTROID_SHARE 0.03
#define PAGE_SHARE 0.1
#define KEY_SHARE 0.0013
#define CODE_SHARE 0.0003
#define REFINE_SHARE 0.2

/*
 * Rows that a scan looks at, over those of ivf_scan_rows: 1.8 to 2.5 were seen
 * with filters that take rows at random.
 */
#define SCAN_BEYOND 2.0

/* Codes, TIDs and factors in a list page over the dimensions, and besides. */
#define LIST_BYTES_PER_DIM 0.125
#define LIST_BYTES 10.0

/* What the estimate of a path needs to know. */
typedef struct IvfCost
{
	double		nrows;
	double		nlists;
	double		nmatching;		/* rows that satisfy the conditions */
	int			nconditions;
	double		list_pages;
	double		random_page_cost;
} IvfCost;

/*
 * Pages of lists, by what is left of a row's bytes in the index when the record
 * of the tape is taken off: it has a byte or two for each dimension.
 */
static double
cost_list_pages(const IndexOptInfo *index, Refine refine)
{
	double		bytes = index->pages * (double) BLCKSZ / Max(index->tuples, 1.0);
	double		keys = FILTER_COLUMN_BYTES / FASTSCAN_LANES *
	(index->nkeycolumns - 1) + LIST_BYTES;
	double		per_dim = LIST_BYTES_PER_DIM;

	if (refine == REFINE_NONE)
		return index->pages;
	per_dim /= per_dim + (refine == REFINE_SQ8 ? 1.0 : 2.0);
	return Min(index->pages, index->tuples / BLCKSZ *
			   (keys + Max(bytes - keys, 0.0) * per_dim));
}

static void
cost_init(IvfCost *cost, const IndexPath *path, Selectivity selectivity)
{
	const IndexOptInfo *index = path->indexinfo;
	IvfOptions	options = {.refine = REFINE_SQ8};

	if (!index->hypothetical)
	{
		Relation	rel = index_open(index->indexoid, NoLock);

		options = ivf_options(rel);
		index_close(rel, NoLock);
	}
	cost->nrows = Max(index->tuples, 1.0);
	cost->nlists = options.lists > 0 ? options.lists :
		ivf_default_lists(cost->nrows);
	cost->nmatching = Max(cost->nrows * selectivity, 1.0);
	cost->nconditions = list_length(path->indexclauses);
	cost->list_pages = cost_list_pages(index, options.refine);
	get_tablespace_page_costs(index->reltablespace, &cost->random_page_cost,
							  NULL);
}

/* Looking at so many rows of lists, and refining so many candidates. */
static Cost
cost_of_scan(const IvfCost *cost, double nscanned, double ncandidates)
{
	double		nscored = nscanned * cost->nmatching / cost->nrows;
	double		pages = PAGE_SHARE * cost->list_pages * nscanned / cost->nrows +
	KEY_SHARE * cost->nconditions * nscanned + CODE_SHARE * nscored +
	REFINE_SHARE * ncandidates;
	double		operators = CODE_CPU_OPERATORS * nscored +
	FILTER_CPU_OPERATORS * cost->nconditions * nscanned;

	return pages * cost->random_page_cost + operators * cpu_operator_cost;
}

/*
 * A scan pays for all lists' centroids and for the stage that holds LIMIT before
 * the first row, or for its first stage where LIMIT is not known, and then for
 * its rows evenly.  With a filter it looks at more codes for a row that satisfies
 * it, at most at all.  Without ORDER BY the index is of no use.
 */
static void
ivf_costestimate(PlannerInfo *root, IndexPath *path, double loop_count,
				 Cost *startup_cost, Cost *total_cost,
				 Selectivity *selectivity, double *correlation, double *pages)
{
	GenericCosts costs;
	IvfCost		cost;
	double		returned;
	double		wanted;
	double		nscanned;

	filter_plan_add_clauses(root, path);
	MemSet(&costs, 0, sizeof(costs));
	genericcostestimate(root, path, loop_count, &costs);
	cost_init(&cost, path, costs.indexSelectivity);
	returned = scan_cost_rows(root, path, cost.nmatching);
	wanted = ivf_first_stage(returned);
	nscanned = guc_ivfpq_probes > 0 ?
		cost.nrows * guc_ivfpq_probes / cost.nlists :
		SCAN_BEYOND * ivf_scan_rows(cost.nmatching, cost.nlists, wanted) *
		cost.nrows / cost.nmatching;
	nscanned = Min(nscanned, cost.nrows);

	*startup_cost = cost.random_page_cost *
		(START_SHARE + CENTROID_SHARE * cost.nlists) +
		cost_of_scan(&cost, nscanned, Min(ivf_stage_candidates(wanted),
										  cost.nmatching)) +
		scan_cost_thrown(root, path, returned);
	*total_cost = *startup_cost + cost.nmatching * cpu_index_tuple_cost +
		cost_of_scan(&cost, cost.nrows - nscanned, cost.nmatching);
	*selectivity = costs.indexSelectivity;
	*correlation = 0.0;
	*pages = path->indexinfo->pages;
	if (!filter_plan_is_useful(path))
		compat_path_forbid(path, startup_cost, total_cost);
}

static bool
ivf_validate(Oid opclass)
{
	return class_validate(opclass, "recsys_ivfpq");
}

Datum
recsys_ivfpq_handler(PG_FUNCTION_ARGS)
{
	IndexAmRoutine *am = makeNode(IndexAmRoutine);

	am->amstrategies = 0;
	am->amsupport = METRIC_PROC;
	am->amcanorderbyop = true;
	am->amoptionalkey = true;
	am->amcanmulticol = true;
	am->amsearcharray = true;
	am->amsearchnulls = true;
	am->amparallelvacuumoptions = VACUUM_OPTION_PARALLEL_BULKDEL;
	am->amkeytype = InvalidOid;
	compat_am_can_build_parallel(am);

	am->ambuild = ivf_build;
	am->ambuildempty = ivf_build_empty;
	am->aminsert = ivf_insert;
	am->ambulkdelete = ivf_bulk_delete;
	am->amvacuumcleanup = ivf_vacuum_cleanup;
	am->amcostestimate = ivf_costestimate;
	am->amoptions = ivf_parse_options;
	am->ambuildphasename = ivf_build_phase_name;
	am->amvalidate = ivf_validate;
	am->ambeginscan = ivf_begin_scan;
	am->amrescan = ivf_rescan;
	am->amgettuple = ivf_get_tuple;
	am->amendscan = ivf_end_scan;
	PG_RETURN_POINTER(am);
}
