/*
 * hnsw_check_rows.c
 *		check_index: each row of the table lies in a node that holds its vector.
 */
#include "postgres.h"

#include <math.h>

#include "hnsw/hnsw_check.h"

/*
 * Steps by which two computations of the same stored form may differ: the
 * rotation is not rounded alike on all machines.
 */
#define STORED_TOLERANCE 1e-4

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
stored_agrees(const HnswCheck *check, const GraphNode *node)
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

/* Compare a row of the table with its node; see IndexCheckRow. */
static void
check_row(const CheckedRow *row, void *arg)
{
	HnswCheck  *check = arg;
	NodeAddr	addr = node_addr(row->holder.block, row->holder.slot);
	GraphStore *store = &check->store.base;
	const GraphNode *node;
	uint64		code;
	bool		agrees;

	if (row->vector->dim != check->inspection.meta.dim)
		check_fault(check, addr,
					"heap row (%u,%u) has %d dimensions, the index has %d",
					ItemPointerGetBlockNumber(row->tid),
					ItemPointerGetOffsetNumber(row->tid),
					row->vector->dim, check->inspection.meta.dim);
	coder_encode(check->coder, row->vector);
	node = store->ops->read(store, addr);
	agrees = stored_agrees(check, node);
	code = check_code_of_node(check, node);
	check->own_scale = node->scale;
	memcpy(check->own, node_own(&store->layout, node), store->layout.padded_dim);
	store->ops->read_end(store);
	if (agrees)
	{
		check_keys_of_row(check, row, code);
		return;
	}
	index_check_standby(&check->base);
	check_fault(check, addr, "it holds another vector than heap row (%u,%u)",
				ItemPointerGetBlockNumber(row->tid),
				ItemPointerGetOffsetNumber(row->tid));
}

/* Look for the rows of the table in the index. */
void
hnsw_check_rows(HnswCheck *check)
{
	if (check->inspection.meta.dim > 0)
	{
		check->coder = coder_create(check->inspection.meta.dim,
									check->inspection.meta.nfilters,
									(Metric) check->inspection.meta.metric);
		check->decoded = palloc(sizeof(float) *
								check->coder->layout.padded_dim);
		check->own = palloc(check->coder->layout.padded_dim);
	}
	index_check_rows(&check->base, check_row, check);
}
