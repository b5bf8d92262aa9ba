/*
 * hnsw_exact.c
 *		The exact way of a scan to its rows.
 *
 * With a filter, the key tape tells which rows satisfy it, the units with the
 * best rows first (hnsw_tapescan.c), and the best of these are read
 * (hnsw_shortlist.c).  Without one all pages of nodes are read.  Nodes that
 * the graph has led to before are left out.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/rel.h"

#include "hnsw/hnsw_scan.h"

/*
 * What it costs, in visits: to begin, a summary, a page of keys or of codes, a
 * block of codes that has a row, such a row, and a node read.  With a million
 * rows in shared buffers a page took 1.0 to 1.1 microseconds, most of it for
 * memory, a visit 1.8.
 */
#define EXACT_BEGIN_VISITS 80.0
#define SUMMARY_VISITS 0.03
#define TAPE_PAGE_VISITS 0.6
#define CODE_BLOCK_VISITS 0.2
#define MATCH_VISITS 0.01
#define EXACT_NODE_VISITS 0.8

/* Nodes that are read for a row. */
#define NODES_PER_ROW 3.0

/*
 * The share of the tape that is read for a share of the rows that satisfy the
 * filter, as a power of it.  Made rows, filters that take rows at random:
 *
 *		rows wanted			1M of 10%	1M of 1%	300,000 of 1%	100,000 of 1%
 *		10	read, power		.016  .067	.095  .134	.163  .192		.184  .267
 *		100 read, power		.097  .128	.189  .255	.363  .366		.471  .509
 */
#define READ_EXPONENT 0.3

/* For such a share, or where it has no more units, it is the whole tape. */
#define WHOLE_SHARE 0.3
#define WHOLE_UNITS 128

/* What is read may be so much less. */
#define LEAST_READ 0.4

double
hnsw_exact_visits(double nrows, double share, int rows_per_page)
{
	double		npages = nrows / rows_per_page;
	double		nblocks = nrows / FASTSCAN_LANES;

	/* shares of those that have a row, where rows match at random */
	return TAPE_PAGE_VISITS * npages * (2.0 - exp(-rows_per_page * share)) +
		CODE_BLOCK_VISITS * nblocks * (1.0 - exp(-FASTSCAN_LANES * share)) +
		MATCH_VISITS * nrows * share;
}

double
hnsw_exact_rows(double rows, double nrows, double nmatching)
{
	return nrows * pow(Min(rows / Max(nmatching, 1.0), 1.0), READ_EXPONENT);
}

double
hnsw_exact_nodes(double rows, double nmatching)
{
	return EXACT_NODE_VISITS * Min(NODES_PER_ROW * rows, nmatching);
}

/* The cost of the exact way where it reads the keys of so many rows. */
static double
exact_cost(const HnswScan *so, double nread)
{
	KeyLayout	layout;

	key_layout_of(&layout, &so->meta);
	return EXACT_BEGIN_VISITS + SUMMARY_VISITS * so->meta.nsummaries +
		hnsw_exact_visits(nread, so->pass_rate, layout.rows_per_page) +
		hnsw_exact_nodes(so->promised, so->nsatisfying);
}

void
exact_estimate(IndexScanDesc scan, HnswScan *so)
{
	Relation	index = scan->indexRelation;

	if (so->filter == NULL)
	{
		so->pass_rate = 1.0;
		so->exact_visits = RelationGetNumberOfBlocks(index);
		so->exact_is_known = true;
		return;
	}
	tape_sample(index, &so->meta, so->filter, &so->nrows, &so->nsatisfying);
	so->pass_rate = so->nsatisfying / Max(so->nrows, 1.0);
}

void
exact_promise(HnswScan *so)
{
	if (so->filter == NULL)
		return;
	so->exact_is_known = false;
	so->exact_visits = LEAST_READ *
		exact_cost(so, hnsw_exact_rows(so->promised, so->nrows, so->nsatisfying));
}

/* Rank the units of the key tape, unless they are. */
static void
exact_rank(IndexScanDesc scan, HnswScan *so)
{
	TapeTarget	target = {.filter = so->filter,.x = so->query->x,
		.norm2 = so->query->norm2,.unit = so->store.base.unit,
	.pass_rate = so->pass_rate};

	if (so->tape != NULL)
		return;
	target.whole = so->promised >= WHOLE_SHARE * so->nsatisfying ||
		key_tape_nunits(&so->meta) <= WHOLE_UNITS;
	target.measure = metric_query_measure((Metric) so->meta.metric);
	so->tape = tape_scan_create(scan->indexRelation, &so->meta, &target);
}

bool
exact_is_cheaper(IndexScanDesc scan, HnswScan *so, double nvisits)
{
	if (nvisits >= so->exact_visits && !so->exact_is_known)
	{
		exact_rank(scan, so);
		so->exact_visits = exact_cost(so, so->nrows *
									  tape_scan_forecast(so->tape, so->promised) /
									  Max(tape_scan_nunits(so->tape), 1));
		so->exact_is_known = true;
	}
	return nvisits >= so->exact_visits;
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
scan_node_row(const HnswScan *so, const GraphNode *node, double *bound)
{
	ScoredVector scored = {node_score(so, node), node->norm, node->err,
	so->query_norm};

	*bound = metric_lower_bound((Metric) so->meta.metric, &scored);
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
	{
		exact_rank(scan, so);
		so->shortlist = shortlist_create(so->tape);
	}
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
