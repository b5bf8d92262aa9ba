/*
 * hnsw_handler.c
 *		The access method recsys_hnsw: its table of callbacks, options, cost
 *		and validation.
 */
#include "postgres.h"

#include <math.h>

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
#include "hnsw/hnsw.h"
#include "hnsw/hnsw_keytape.h"
#include "hnsw/hnsw_scan.h"
#include "index/class_validate.h"
#include "index/filter_plan.h"
#include "index/index_method.h"
#include "index/scan_cost.h"

PG_FUNCTION_INFO_V1(recsys_hnsw_handler);

static relopt_kind hnsw_relopt_kind;

/* Register options and method; called once, when the library is loaded. */
void
hnsw_init(void)
{
	static const IndexMethod method = {
		.name = "recsys_hnsw",
		.build = hnsw_build,
		.stats_function = "recsys.index_stats",
		.check = hnsw_check,
		.report = hnsw_scan_report,
	};

	index_method_register(&method);
	hnsw_relopt_kind = add_reloption_kind();
	add_int_reloption(hnsw_relopt_kind, "ef_construction",
					  "Nodes that an insert visits to find neighbours",
					  HNSW_DEFAULT_EF_CONSTRUCTION, HNSW_MIN_EF_CONSTRUCTION,
					  HNSW_MAX_EF_CONSTRUCTION, AccessExclusiveLock);
}

static bytea *
hnsw_options(Datum reloptions, bool validate)
{
	static const relopt_parse_elt table[] = {
		{.optname = "ef_construction",.opttype = RELOPT_TYPE_INT,
		.offset = offsetof(HnswOptions, ef_construction)}
	};

	return (bytea *) build_reloptions(reloptions, validate, hnsw_relopt_kind,
									  sizeof(HnswOptions), table,
									  lengthof(table));
}

int
hnsw_ef_construction(Relation index)
{
	HnswOptions *options = (HnswOptions *) index->rd_options;

	return options ? options->ef_construction : HNSW_DEFAULT_EF_CONSTRUCTION;
}

/* ----- cost ----- */

/*
 * Cost of one visit, which is a page at random.  The server charges such pages
 * as if most were read from disk, those of a bitmap scan too, which took 0.7 to
 * 0.8 microseconds a unit of cost where all was in shared buffers.  A visit of an
 * index of 300,000 rows took 1 to 1.2 microseconds there, so it is charged 1.5
 * units at the default settings, and falls with random_page_cost as a bitmap
 * scan's cost does.
 */
#define VISIT_CPU_OPERATORS 120.0
#define VISIT_PAGE_SHARE 0.3

/*
 * What the exact way costs is counted in visits of an index of a million rows,
 * which take half as long again.  That is for want of cache: a page of keys took
 * 1.05 microseconds where there were 6,300, and 0.3 where there were 1,900.
 */
#define EXACT_VISIT_LEAST 0.5
#define EXACT_UNCACHED_PAGES 6300.0

/* Scoring the entry set, in operators. */
#define ENTRY_CPU_OPERATORS 1000.0

/*
 * Visits for the first of so many rows that are wanted, of nmatching that
 * satisfy the filter among nrows; at most what the exact way costs beside a
 * walk that was given up.  Whether the index has a long list is not asked.
 */
static double
scan_visits(const IndexPath *path, double wanted, double nmatching)
{
	double		nrows = Max(path->indexinfo->tuples, 1.0);
	double		exact = path->indexinfo->pages;
	int			nfilters = path->indexinfo->nkeycolumns - 1;

	if (nfilters > 0 && path->indexclauses != NIL)
	{
		KeyLayout	layout;

		key_layout_init(&layout, nfilters, NODE_MIN_CODE_DIM);
		exact = hnsw_exact_visits(hnsw_exact_rows(hnsw_first_stage(wanted), nrows,
												  nmatching),
								  nmatching / nrows, layout.rows_per_page) +
			hnsw_exact_nodes(hnsw_first_stage(wanted), nmatching);
		exact *= EXACT_VISIT_LEAST +
			Min(nrows / layout.rows_per_page / EXACT_UNCACHED_PAGES, 1.0);
	}
	return Min(hnsw_graph_cost(hnsw_graph_visits(hnsw_first_stage(wanted),
												 nmatching / nrows, false)),
			   exact);
}

/*
 * A scan pays for the stage that holds LIMIT before the first row, or for its
 * first stage where LIMIT is not known, and then for its rows evenly.  At most
 * it goes the exact way.  Without ORDER BY the index is of no use.
 */
static void
hnsw_costestimate(PlannerInfo *root, IndexPath *path, double loop_count,
				  Cost *startup_cost, Cost *total_cost,
				  Selectivity *selectivity, double *correlation,
				  double *pages)
{
	GenericCosts costs;
	double		random_page_cost;
	double		visit_cost;
	double		nmatching;
	double		wanted;

	filter_plan_add_clauses(root, path);
	MemSet(&costs, 0, sizeof(costs));
	genericcostestimate(root, path, loop_count, &costs);
	get_tablespace_page_costs(path->indexinfo->reltablespace,
							  &random_page_cost, NULL);
	visit_cost = VISIT_CPU_OPERATORS * cpu_operator_cost +
		VISIT_PAGE_SHARE * random_page_cost;
	nmatching = Max(path->indexinfo->tuples * costs.indexSelectivity, 1.0);

	wanted = scan_cost_rows(root, path, nmatching);
	*startup_cost = ENTRY_CPU_OPERATORS * cpu_operator_cost + visit_cost *
		scan_visits(path, Max(wanted, 1.0), nmatching) +
		scan_cost_thrown(root, path, wanted);
	*total_cost = ENTRY_CPU_OPERATORS * cpu_operator_cost +
		nmatching * cpu_index_tuple_cost + visit_cost *
		scan_visits(path, path->indexinfo->tuples, nmatching);
	*total_cost = Max(*total_cost, *startup_cost);
	*selectivity = costs.indexSelectivity;
	*correlation = 0.0;
	*pages = path->indexinfo->pages;
	if (!filter_plan_is_useful(path))
		compat_path_forbid(path, startup_cost, total_cost);
}

static bool
hnsw_validate(Oid opclass)
{
	return class_validate(opclass, "recsys_hnsw");
}

Datum
recsys_hnsw_handler(PG_FUNCTION_ARGS)
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

	am->ambuild = hnsw_build;
	am->ambuildempty = hnsw_build_empty;
	am->aminsert = hnsw_insert;
	am->ambulkdelete = hnsw_bulk_delete;
	am->amvacuumcleanup = hnsw_vacuum_cleanup;
	am->amcostestimate = hnsw_costestimate;
	am->amoptions = hnsw_options;
	am->ambuildphasename = hnsw_build_phase_name;
	am->amvalidate = hnsw_validate;
	am->ambeginscan = hnsw_begin_scan;
	am->amrescan = hnsw_rescan;
	am->amgettuple = hnsw_get_tuple;
	am->amendscan = hnsw_end_scan;
	PG_RETURN_POINTER(am);
}
