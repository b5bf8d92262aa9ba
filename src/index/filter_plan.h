/*
 * filter_plan.h
 *		Conditions on filter columns that the planner leaves out by itself.
 */
#ifndef RECSYS_FILTER_PLAN_H
#define RECSYS_FILTER_PLAN_H

#include "nodes/pathnodes.h"

/*
 * For amcostestimate: add to an ordered path the conditions that its index can
 * check and that the planner would check on the table's rows.
 */
extern void filter_plan_add_clauses(PlannerInfo *root, IndexPath *path);

/*
 * Whether a path can be scanned: in the order of a distance, and not for rows
 * whose vector is NULL, which the index lacks.
 */
extern bool filter_plan_is_useful(const IndexPath *path);

#endif							/* RECSYS_FILTER_PLAN_H */
