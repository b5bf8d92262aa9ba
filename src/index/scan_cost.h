/*
 * scan_cost.h
 *		For amcostestimate: how many rows an ordered scan has to return.
 */
#ifndef RECSYS_SCAN_COST_H
#define RECSYS_SCAN_COST_H

#include "nodes/pathnodes.h"

/*
 * The rows that a scan has to return for the LIMIT of the query, of nmatching that
 * satisfy the conditions checked in the index.  They are more than LIMIT where
 * other conditions are checked on the row, and 0 where no LIMIT is known.
 */
extern double scan_cost_rows(const PlannerInfo *root, const IndexPath *path,
							 double nmatching);

/* What it costs to fetch those of so many rows that are more than LIMIT. */
extern Cost scan_cost_thrown(PlannerInfo *root, const IndexPath *path,
							 double rows);

#endif							/* RECSYS_SCAN_COST_H */
