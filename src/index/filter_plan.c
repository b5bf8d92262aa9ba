/*
 * filter_plan.c
 *		Conditions on filter columns that the planner leaves out by itself.
 *
 * Before 17 the planner takes "column = ANY (array)" into an ordered index scan
 * for the first column alone, since a B-tree would lose its order by it; ours
 * have none to lose.  Before 16 it knows only B-tree and hash classes of
 * booleans, so that "WHERE in_stock" is no condition of any other index.
 *
 * Nothing but amcostestimate is called for each path, and what it adds to the
 * path's clauses becomes part of the plan: a clause among them is checked by
 * the index, any other on the row.
 */
#include "postgres.h"

#include "base/compat.h"
#include "index/filter_plan.h"

#ifdef COMPAT_PLANNER_LEAVES_OUT_CLAUSES

#include "catalog/pg_operator_d.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/paths.h"
#include "optimizer/restrictinfo.h"
#include "utils/lsyscache.h"

/* Whether an expression is a column of the index; *column becomes which. */
static bool
matches_column(Node *node, IndexOptInfo *index, int *column)
{
	for (int i = 1; i < index->nkeycolumns; i++)
		if (match_index_to_operand(node, i, index))
		{
			*column = i;
			return true;
		}
	return false;
}

/* column operator ANY (array), where the array does not depend on the table */
static bool
is_array_clause(PlannerInfo *root, IndexOptInfo *index, Node *clause,
				int *column)
{
	ScalarArrayOpExpr *saop = (ScalarArrayOpExpr *) clause;
	Node	   *array;

	if (!IsA(clause, ScalarArrayOpExpr) || !saop->useOr ||
		!matches_column(linitial(saop->args), index, column))
		return false;
	array = lsecond(saop->args);
	return (index->indexcollations[*column] == InvalidOid ||
			index->indexcollations[*column] == saop->inputcollid) &&
		op_in_opfamily(saop->opno, index->opfamily[*column]) &&
		!bms_is_member(index->rel->relid, pull_varnos(root, array)) &&
		!contain_volatile_functions(array);
}

/* column, NOT column, column IS TRUE or FALSE, as a comparison; else NULL. */
static Expr *
boolean_clause(IndexOptInfo *index, Node *clause, int *column)
{
	Node	   *operand = clause;
	bool		value = true;

	if (is_notclause(clause))
	{
		operand = (Node *) get_notclausearg((Expr *) clause);
		value = false;
	}
	else if (IsA(clause, BooleanTest))
	{
		BooleanTest *test = (BooleanTest *) clause;

		if (test->booltesttype != IS_TRUE && test->booltesttype != IS_FALSE)
			return NULL;
		operand = (Node *) test->arg;
		value = test->booltesttype == IS_TRUE;
	}
	if (!matches_column(operand, index, column) ||
		!op_in_opfamily(BooleanEqualOperator, index->opfamily[*column]))
		return NULL;
	return make_opclause(BooleanEqualOperator, BOOLOID, false,
						 (Expr *) operand,
						 (Expr *) makeBoolConst(value, false),
						 InvalidOid, InvalidOid);
}

/* What the index would check for a clause of the WHERE clause, or NULL. */
static IndexClause *
make_clause(PlannerInfo *root, IndexOptInfo *index, RestrictInfo *rinfo)
{
	IndexClause *made = makeNode(IndexClause);
	Node	   *clause = (Node *) rinfo->clause;
	RestrictInfo *qual = rinfo;
	int			column;

	if (!is_array_clause(root, index, clause, &column))
	{
		Expr	   *comparison = boolean_clause(index, clause, &column);

		if (comparison == NULL)
			return NULL;
		qual = make_simple_restrictinfo(root, comparison);
	}
	made->rinfo = rinfo;
	made->indexquals = list_make1(qual);
	made->indexcol = column;
	return made;
}

static bool
path_has_clause(const IndexPath *path, const RestrictInfo *rinfo)
{
	ListCell   *cell;

	foreach(cell, path->indexclauses)
		if (lfirst_node(IndexClause, cell)->rinfo == rinfo)
		return true;
	return false;
}

/*
 * The path's clauses and one more, in the order of the index's columns.  The
 * list itself belongs to other paths too.
 */
static List *
add_clause(const IndexPath *path, IndexClause *clause)
{
	List	   *clauses = list_copy(path->indexclauses);
	int			i = list_length(clauses);

	while (i > 0 && list_nth_node(IndexClause, clauses, i - 1)->indexcol >
		   clause->indexcol)
		i--;
	return list_insert_nth(clauses, i, clause);
}

void
filter_plan_add_clauses(PlannerInfo *root, IndexPath *path)
{
	ListCell   *cell;

	if (path->indexorderbys == NIL)
		return;
	foreach(cell, path->indexinfo->indrestrictinfo)
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, cell);
		IndexClause *clause;

		if (rinfo->pseudoconstant || path_has_clause(path, rinfo) ||
			!restriction_is_securely_promotable(rinfo, path->indexinfo->rel))
			continue;
		clause = make_clause(root, path->indexinfo, rinfo);
		if (clause != NULL)
			path->indexclauses = add_clause(path, clause);
	}
}

#else							/* the planner does it */

void
filter_plan_add_clauses(PlannerInfo *root, IndexPath *path)
{
}

#endif

bool
filter_plan_is_useful(const IndexPath *path)
{
	ListCell   *cell;

	foreach(cell, path->indexclauses)
	{
		const IndexClause *clause = lfirst_node(IndexClause, cell);

		if (clause->indexcol == 0 && IsA(clause->rinfo->clause, NullTest) &&
			castNode(NullTest, clause->rinfo->clause)->nulltesttype == IS_NULL)
			return false;
	}
	return path->indexorderbys != NIL;
}
