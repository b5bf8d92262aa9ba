/*
 * scan_cost.c
 *		For amcostestimate: how many rows an ordered scan has to return.
 *
 * The planner takes the share of a path's cost that LIMIT is of its rows, as if
 * the first rows cost as much as any.  But a search that has to go on for a row in
 * a thousand is no thousandth of the whole: it does for each row what a small
 * search does, and fetches rows from all over the table.
 */
#include "postgres.h"

#include "optimizer/cost.h"
#include "utils/spccache.h"

#include "index/scan_cost.h"

double
scan_cost_rows(const PlannerInfo *root, const IndexPath *path,
			   double nmatching)
{
	/* the rows that satisfy all conditions are known by now */
	double		rows = Max(path->path.rows, 1.0);

	if (root->limit_tuples <= 0.0)
		return 0.0;
	return Min(root->limit_tuples * Max(nmatching / rows, 1.0),
			   Max(nmatching, root->limit_tuples));
}

Cost
scan_cost_thrown(PlannerInfo *root, const IndexPath *path, double rows)
{
	const IndexOptInfo *index = path->indexinfo;
	double		thrown = rows - root->limit_tuples;
	double		random_page_cost;

	if (root->limit_tuples <= 0.0 || thrown <= 0.0)
		return 0.0;
	get_tablespace_page_costs(index->rel->reltablespace, &random_page_cost,
							  NULL);
	return random_page_cost *
		index_pages_fetched(thrown, index->rel->pages, index->pages, root);
}
