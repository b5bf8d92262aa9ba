/*
 * hnsw_exact.c
 *		The exact way of a scan to its rows.
 *
 * With a filter, the key tape tells which rows satisfy it, and their nodes are
 * read in the order of their pages.  Without one all pages of nodes are read.
 * Nodes that the graph has led to before are left out.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/rel.h"

#include "hnsw/hnsw_keytape.h"
#include "hnsw/hnsw_scan.h"
#include "index/buffer_hint.h"
#include "index/page_stream.h"

/* What a page of the key tape costs and a node read, in visits. */
#define KEY_PAGE_VISITS 0.3
#define EXACT_NODE_VISITS 0.3

/* Matches whose nodes are prefetched. */
#define PREFETCH_MATCHES 16

double
hnsw_exact_visits(double key_pages, double nmatching)
{
	return KEY_PAGE_VISITS * key_pages + EXACT_NODE_VISITS * nmatching;
}

void
exact_estimate(IndexScanDesc scan, HnswScan *so)
{
	Relation	index = scan->indexRelation;
	double		nrows;
	double		nmatching;

	if (so->filter == NULL)
	{
		so->pass_rate = 1.0;
		so->exact_visits = RelationGetNumberOfBlocks(index);
		return;
	}
	key_tape_sample(index, &so->meta, so->filter, &nrows, &nmatching);
	so->pass_rate = nmatching / Max(nrows, 1.0);
	so->exact_visits = hnsw_exact_visits(key_tape_npages(&so->meta), nmatching);
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

static FoundRow
node_found_row(const HnswScan *so, const GraphNode *node)
{
	ScoredVector scored = {node_score(so, node), node->norm, node->err,
	so->query_norm};
	FoundRow	row = {.key = 0.0f};

	row.bound = metric_lower_bound((Metric) so->meta.metric, &scored);
	return row;
}

/* ----- with a filter ----- */

/* The pages of matches, each once. */
typedef struct MatchCursor
{
	const KeyMatches *matches;
	BlockNumber nblocks;
	Size		next;
} MatchCursor;

static BlockNumber
match_next_block(void *arg)
{
	MatchCursor *cursor = arg;
	const KeyMatches *matches = cursor->matches;
	BlockNumber block;

	if (cursor->next == matches->n)
		return InvalidBlockNumber;
	block = node_addr_block(matches->rows[cursor->next].addr);
	while (cursor->next < matches->n &&
		   node_addr_block(matches->rows[cursor->next].addr) == block)
		cursor->next++;
	return block;
}

/* Error where a match leads out of the index; they are sorted. */
static void
matches_check(Relation index, const KeyMatches *matches, BlockNumber nblocks)
{
	BlockNumber first;
	BlockNumber last;

	if (matches->n == 0)
		return;
	first = node_addr_block(matches->rows[0].addr);
	last = node_addr_block(matches->rows[matches->n - 1].addr);
	if (first == HNSW_META_BLOCK || last >= nblocks)
		ereport(ERROR,
				(errcode(ERRCODE_INDEX_CORRUPTED),
				 errmsg("index \"%s\" has filter keys of a node in block %u, which does not exist",
						RelationGetRelationName(index),
						first == HNSW_META_BLOCK ? first : last),
				 errhint("REINDEX the index.")));
}

/*
 * Find the rows of matches from *i on that lie on an open page of nodes, and
 * set *i behind them.
 */
static void
exact_find_on_page(HnswScan *so, Page page, BlockNumber block,
				   const KeyMatches *matches, Size *i)
{
	const NodeLayout *layout = &so->store.base.layout;
	NodeAddr	addr = INVALID_NODE_ADDR;
	bool		wanted = false;
	FoundRow	row;

	for (; *i < matches->n; (*i)++)
	{
		const KeyMatch *match = &matches->rows[*i];
		const GraphNode *node;

		if (node_addr_block(match->addr) != block)
			break;
		if (match->addr != addr)
		{
			addr = match->addr;
			node = page_slot(layout, page, node_addr_slot(addr));
			wanted = node_addr_slot(addr) < layout->slots_per_page &&
				node->kind == SLOT_NODE &&
				(so->search == NULL ||
				 !graph_search_has_visited(so->search, addr));
			if (!wanted)
				continue;
			row = node_found_row(so, node);
			so->nread++;
		}
		row.tid = match->tid;
		if (wanted)
			found_rows_add(&so->found, row);
	}
}

/*
 * Bring what is read of the nodes of matches to the processor's caches, up to
 * so many matches ahead of the one that is next.
 */
static void
exact_prefetch(Relation index, const NodeLayout *layout,
			   const KeyMatches *matches, Size next, Size *prefetched)
{
	Size		end = Min(next + PREFETCH_MATCHES, matches->n);

	for (; *prefetched < end; (*prefetched)++)
	{
		NodeAddr	addr = matches->rows[*prefetched].addr;
		const char *page = buffer_hint_address(index, node_addr_block(addr));
		const char *node;

		if (page == NULL)
			continue;
		node = page + PAGE_CONTENT_OFFSET +
			node_addr_slot(addr) * layout->node_size;
		__builtin_prefetch(page);
		__builtin_prefetch(node);
		for (Size off = layout->own_off; off < layout->node_size; off += 64)
			__builtin_prefetch(node + off);
	}
}

static void
exact_find_matching(IndexScanDesc scan, HnswScan *so)
{
	Relation	index = scan->indexRelation;
	KeyMatches	matches;
	MatchCursor cursor = {&matches, 0, 0};
	PageStream *stream;
	Buffer		buffer;
	Size		i = 0;
	Size		prefetched = 0;

	key_tape_match(index, &so->meta, so->filter, &matches);
	matches_check(index, &matches, RelationGetNumberOfBlocks(index));
	so->nfiltered = matches.nrejected;	/* the visits' among them */
	stream = page_stream_begin(index, match_next_block, &cursor);
	while ((buffer = page_stream_next(stream)) != InvalidBuffer)
	{
		CHECK_FOR_INTERRUPTS();
		exact_prefetch(index, &so->store.base.layout, &matches, i, &prefetched);
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		page_check(index, buffer, hnsw_tag(HNSW_PAGE_NODES));
		exact_find_on_page(so, BufferGetPage(buffer),
						   BufferGetBlockNumber(buffer), &matches, &i);
		UnlockReleaseBuffer(buffer);
	}
	page_stream_end(stream);
	if (matches.rows != NULL)
		pfree(matches.rows);
}

/* ----- without one ----- */

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
exact_find(IndexScanDesc scan, HnswScan *so)
{
	if (so->filter != NULL)
		exact_find_matching(scan, so);
	else
		exact_sweep(scan, so);
	so->swept = true;
	so->exact = true;
}
