/*
 * hnsw_check_rows.c
 *		check_index: the rows of the heap against those of the index.
 *
 * The rows that the index holds are sorted by their address in the heap; then
 * the heap is read as for a build, and each row that the snapshot sees must
 * be found, in a node that holds its vector.
 */
#include "postgres.h"

#include <math.h>

#include "access/tableam.h"
#include "catalog/index.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "hnsw/hnsw_check.h"

/*
 * Steps by which two computations of the same stored form may differ: the
 * rotation is not rounded alike on all machines.
 */
#define STORED_TOLERANCE 1e-4

/*
 * Note n heap rows of a node, which lie in the slot at addr.  The rows' page
 * may be locked.
 */
void
check_rows_add(IndexCheck *check, NodeAddr addr, NodeAddr node,
			   const ItemPointerData *tids, int n)
{
	for (int i = 0; i < n; i++)
	{
		BlockNumber block = ItemPointerGetBlockNumberNoCheck(&tids[i]);
		OffsetNumber offset = ItemPointerGetOffsetNumberNoCheck(&tids[i]);

		if (!OffsetNumberIsValid(offset) || block >= check->heap_blocks)
		{
			check_standby(check);
			check_fault(check, addr,
						"heap row (%u,%u) does not exist in a table of %u blocks",
						block, offset, check->heap_blocks);
		}
		if (check->nrows == check->max_rows)
		{
			check->max_rows = check->max_rows == 0 ? 1024 : check->max_rows * 2;
			check->rows = check->rows == NULL ?
				palloc(sizeof(IndexedRow) * check->max_rows) :
				repalloc_huge(check->rows, mul_size(sizeof(IndexedRow),
													check->max_rows));
		}
		check->rows[check->nrows].tid = tids[i];
		check->rows[check->nrows++].node = node;
	}
}

static int
compare_indexed_rows(const void *a, const void *b, void *arg)
{
	return ItemPointerCompare((ItemPointer) &((const IndexedRow *) a)->tid,
							  (ItemPointer) &((const IndexedRow *) b)->tid);
}

/* Sort the rows that the index holds; none may be there twice. */
static void
check_rows_sort(IndexCheck *check)
{
	IndexedRow *rows = check->rows;

	if (check->nrows == 0)
		return;
	qsort_interruptible(rows, check->nrows, sizeof(IndexedRow),
						compare_indexed_rows, NULL);
	for (Size i = 1; i < check->nrows; i++)
	{
		if (!ItemPointerEquals(&rows[i].tid, &rows[i - 1].tid))
			continue;
		check_standby(check);
		check_fault(check, rows[i].node,
					"it holds heap row (%u,%u), as does block %u slot %d",
					ItemPointerGetBlockNumber(&rows[i].tid),
					ItemPointerGetOffsetNumber(&rows[i].tid),
					node_addr_block(rows[i - 1].node),
					node_addr_slot(rows[i - 1].node));
	}
}

/* The node that holds a heap row, or INVALID_NODE_ADDR. */
static NodeAddr
check_rows_find(const IndexCheck *check, ItemPointer tid)
{
	Size		lo = 0;
	Size		hi = check->nrows;

	while (lo < hi)
	{
		Size		middle = lo + (hi - lo) / 2;
		int			order = ItemPointerCompare(tid, &check->rows[middle].tid);

		if (order == 0)
			return check->rows[middle].node;
		if (order < 0)
			hi = middle;
		else
			lo = middle + 1;
	}
	return INVALID_NODE_ADDR;
}

/* Whether two numbers of a stored vector agree. */
static bool
nearly(float a, float b)
{
	return fabsf(a - b) <= STORED_TOLERANCE * Max(fabsf(a), fabsf(b));
}

/*
 * Whether a node holds the vector that the coder has just encoded: by its
 * length and the bound of its error, and decoded it is no farther from the
 * vector than both forms allow.
 */
static bool
stored_agrees(const IndexCheck *check, const GraphNode *node)
{
	const VectorCoder *coder = check->coder;
	double		distance2 = 0.0;

	if (!nearly(node->norm, coder->own.norm) ||
		!nearly(node->scale, coder->own.scale) ||
		node->err > 2.0f * coder->own.err)
		return false;
	node_own_decode(&coder->layout, node, check->decoded);
	for (int i = 0; i < coder->layout.padded_dim; i++)
	{
		double		difference = coder->rotator->rotated[i] - check->decoded[i];

		distance2 += difference * difference;
	}
	return sqrt(distance2) <= (double) node->err + coder->own.err;
}

static void
check_row_vector(IndexCheck *check, ItemPointer tid, NodeAddr addr,
				 const Vector *vector)
{
	GraphStore *store = &check->store.base;
	const GraphNode *node;
	bool		agrees;

	if (vector->dim != check->inspection.meta.dim)
		check_fault(check, addr,
					"heap row (%u,%u) has %d dimensions, the index has %d",
					ItemPointerGetBlockNumber(tid),
					ItemPointerGetOffsetNumber(tid),
					vector->dim, check->inspection.meta.dim);
	coder_encode(check->coder, vector);
	node = store->ops->read(store, addr);
	agrees = stored_agrees(check, node);
	store->ops->read_end(store);
	if (agrees)
		return;
	check_standby(check);
	check_fault(check, addr, "it holds another vector than heap row (%u,%u)",
				ItemPointerGetBlockNumber(tid),
				ItemPointerGetOffsetNumber(tid));
}

/* Called for each row that the snapshot sees and the index must hold. */
static void
check_row(Relation index, ItemPointer tid, Datum *values, bool *isnull,
		  bool alive, void *arg)
{
	IndexCheck *check = arg;
	NodeAddr	addr;
	MemoryContext old;

	CHECK_FOR_INTERRUPTS();
	if (isnull[0])
		return;
	addr = check_rows_find(check, tid);
	if (addr == INVALID_NODE_ADDR)
	{
		check_standby(check);
		ereport(ERROR,
				(errcode(ERRCODE_INDEX_CORRUPTED),
				 errmsg("index \"%s\" lacks the row at (%u,%u) of table \"%s\"",
						RelationGetRelationName(index),
						ItemPointerGetBlockNumber(tid),
						ItemPointerGetOffsetNumber(tid),
						RelationGetRelationName(check->inspection.access.heap)),
				 errhint("REINDEX the index.")));
	}
	old = MemoryContextSwitchTo(check->row_context);
	check_row_vector(check, tid, addr, DatumGetVector(values[0]));
	MemoryContextSwitchTo(old);
	MemoryContextReset(check->row_context);
}

/*
 * Read the heap and look for its rows in the index.  The scan is as the first
 * of a concurrent build: it takes the rows that the snapshot sees and waits
 * for nobody.
 */
void
check_rows_heap(IndexCheck *check)
{
	Relation	heap = check->inspection.access.heap;
	Relation	index = check->inspection.access.index;
	IndexInfo  *info = BuildIndexInfo(index);
	TableScanDesc scan;

	check_rows_sort(check);
	if (check->inspection.meta.dim > 0)
	{
		check->coder = coder_create(check->inspection.meta.dim,
									(Metric) check->inspection.meta.metric);
		check->decoded = palloc(sizeof(float) *
								check->coder->layout.padded_dim);
	}
	check->row_context = AllocSetContextCreate(CurrentMemoryContext,
											   "recsys check_index row",
											   ALLOCSET_DEFAULT_SIZES);
	info->ii_Concurrent = true;
	scan = table_beginscan_strat(heap, check->snapshot, 0, NULL, true, true);
	/* this ends the scan as well */
	table_index_build_scan(heap, index, info, true, false, check_row, check,
						   scan);
	MemoryContextDelete(check->row_context);
}
