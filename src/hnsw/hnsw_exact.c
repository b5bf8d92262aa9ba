/*
 * hnsw_exact.c
 *		The exact way of a scan to its rows.
 *
 * With a filter, the key tape tells which rows satisfy it, and the best of them
 * are read first (hnsw_shortlist.c).  Without one all pages of nodes are read.
 * Nodes that the graph has led to before are left out.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/rel.h"

#include "hnsw/hnsw_keytape.h"
#include "hnsw/hnsw_scan.h"

/*
 * What it costs, in visits: a page of keys or of codes, a block of codes that has
 * a row, such a row, and a node read.  With a million rows in shared buffers a
 * page took 1.0 to 1.1 microseconds, most of it for memory, a visit 1.8.
 */
#define TAPE_PAGE_VISITS 0.6
#define CODE_BLOCK_VISITS 0.2
#define MATCH_VISITS 0.01
#define EXACT_NODE_VISITS 0.8

/* Nodes that are read for a row. */
#define NODES_PER_ROW 3.0

double
hnsw_exact_visits(double nrows, double nmatching, int rows_per_page)
{
	double		share = nmatching / Max(nrows, 1.0);
	double		npages = nrows / rows_per_page;
	double		nblocks = nrows / FASTSCAN_LANES;

	/* shares of those that have a row, where rows match at random */
	return TAPE_PAGE_VISITS * npages * (2.0 - exp(-rows_per_page * share)) +
		CODE_BLOCK_VISITS * nblocks * (1.0 - exp(-FASTSCAN_LANES * share)) +
		MATCH_VISITS * nmatching;
}

double
hnsw_exact_nodes(double rows, double nmatching)
{
	return EXACT_NODE_VISITS * Min(NODES_PER_ROW * rows, nmatching);
}

void
exact_estimate(IndexScanDesc scan, HnswScan *so)
{
	Relation	index = scan->indexRelation;
	KeyLayout	layout;
	double		nrows;

	if (so->filter == NULL)
	{
		so->pass_rate = 1.0;
		so->exact_visits = RelationGetNumberOfBlocks(index);
		return;
	}
	key_tape_sample(index, &so->meta, so->filter, &nrows, &so->nsatisfying);
	key_layout_init(&layout, so->meta.nfilters,
					so->store.base.layout.padded_dim);
	so->pass_rate = so->nsatisfying / Max(nrows, 1.0);
	so->exact_visits = hnsw_exact_visits(nrows, so->nsatisfying,
										 layout.rows_per_page);
}

/* <q, own vector> of an open node, as a visit has it. */
static float
node_score(const HnswScan *so, const GraphNode *node)
{
	const NodeLayout *layout = &so->store.base.layout;

	return node->scale * kernels->dot_f32_i8(so->query->x,
											 node_own(layout, node),
											 layout->padded_dim) +
		node_fine_ip(layout, node, so->query->x);
}

float
scan_node_row(const HnswScan *so, const GraphNode *node, FoundRow *row)
{
	ScoredVector scored = {node_score(so, node), node->norm, node->err,
	so->query_norm};

	row->bound = metric_lower_bound((Metric) so->meta.metric, &scored);
	return (float) scored.ip;
}

/* Copy the nodes of a page that have not been visited; returns their number. */
static int
exact_read_page(IndexScanDesc scan, HnswScan *so, BlockNumber block,
				Visit *visits)
{
	const NodeLayout *layout = &so->store.base.layout;
	Buffer		buffer = ReadBuffer(scan->indexRelation, block);
	Page		page = BufferGetPage(buffer);
	int			n = 0;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	if (page_has_nodes(scan->indexRelation, buffer))
		for (int slot = 0; slot < layout->slots_per_page; slot++)
		{
			const GraphNode *node = page_slot(layout, page, slot);
			NodeAddr	addr = node_addr(block, slot);
			Visit	   *visit = &visits[n];

			if (node->kind != SLOT_NODE ||
				(so->search != NULL &&
				 graph_search_has_visited(so->search, addr)))
				continue;
			visit->addr = addr;
			visit->header = *node;
			visit->matching = PG_UINT32_MAX;
			visit->ip = node_score(so, node);
			visit->key = 0.0f;
			n++;
		}
	UnlockReleaseBuffer(buffer);
	return n;
}

/* Read all pages in turn. */
static void
exact_sweep(IndexScanDesc scan, HnswScan *so)
{
	BlockNumber nblocks = RelationGetNumberOfBlocks(scan->indexRelation);
	Visit		visits[1 << NODE_SLOT_BITS];

	for (BlockNumber block = HNSW_META_BLOCK + 1; block < nblocks; block++)
	{
		int			n = exact_read_page(scan, so, block, visits);

		CHECK_FOR_INTERRUPTS();
		so->nread += n;
		for (int i = 0; i < n; i++)
			scan_add_rows(so, &visits[i]);
	}
}

void
exact_begin(IndexScanDesc scan, HnswScan *so)
{
	so->exact = true;
	if (so->filter != NULL)
		so->shortlist = shortlist_create(scan, so);
	else
	{
		exact_sweep(scan, so);
		so->swept = true;
	}
}

void
exact_find(IndexScanDesc scan, HnswScan *so)
{
	so->swept = !shortlist_read(scan, so, so->promised);
}
