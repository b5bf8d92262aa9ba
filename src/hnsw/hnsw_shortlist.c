/*
 * hnsw_shortlist.c
 *		The rows that satisfy a filter, best first by their codes.
 *
 * The units of the key tape that may have the best rows are read, which
 * estimates their scores (hnsw_tapescan.h).  Nodes are then read for the
 * almost exact scores, in the order of the estimates, until by the errors that
 * these have shown few of the rows left are expected to be among those wanted.
 * Nodes that the graph has led to before are left out.
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "hnsw/hnsw_scan.h"
#include "index/buffer_hint.h"
#include "index/page_stream.h"

/*
 * Share of the rows wanted that may be expected to be missing.  Recall and visits
 * of 300,000 made rows, 40 queries, with filters that take rows at the end that
 * the queries point away from, and near one of the rows; the rule before: until
 * the estimate is 1.5 deviations below the last row wanted:
 *
 *					far, 1%					near, 1%				near, 0.1%
 *		K			10			 100		10			 100		10			100
 *		before	.985  52	.987 361	.990  59	.984 354	.990  49	.989 200
 *		0.05	.993  74	.990 364	.990  91	.987 414	.993  53	.987 188
 *		0.02	.995  91	.993 433	.993 111	.991 501	.993  63	.990 191
 *		0.01	.998 106	.996 490	.993 126	.993 561	.995  70	.993 204
 */
#define MISSING_SHARE 0.02

/* Errors of so many standard deviations do not happen. */
#define MOST_ERRORS 4.0

/* Rows read at first; then, each time, a quarter of those so far. */
#define FIRST_ROWS(wanted) (1.5 * (wanted) + 20.0)
#define MORE_ROWS(nread) Max((nread) / 4, 16)

/* Rows whose nodes are prefetched. */
#define PREFETCH_ROWS 16

struct Shortlist
{
	TapeScan   *tape;			/* the scan's */
	KeyMatches *matches;		/* that it has found so far */
	Size		nread;			/* of them, the first */
	Size		nsorted;		/* the first are in order, but for those read */
	float	   *scores;			/* that nodes gave */
	Size		nscores;
	Size		max_scores;
	double		error2;			/* of the estimates, sum of squares */
};

static inline bool
match_is_before(const KeyMatch *a, const KeyMatch *b)
{
	return a->score != b->score ? a->score > b->score : a->addr < b->addr;
}

#define SELECT_NAME select_match
#define SELECT_TYPE KeyMatch
#define SELECT_BEFORE(a, b) match_is_before(a, b)
#include "index/quickselect.h"

#define SELECT_NAME select_score
#define SELECT_TYPE float
#define SELECT_BEFORE(a, b) (*(a) > *(b))
#include "index/quickselect.h"

#define ST_SORT sort_matches
#define ST_ELEMENT_TYPE KeyMatch
#define ST_COMPARE(a, b) (match_is_before(a, b) ? -1 : match_is_before(b, a))
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

#define ST_SORT sort_places
#define ST_ELEMENT_TYPE KeyMatch
#define ST_COMPARE(a, b) ((a)->addr < (b)->addr ? -1 : (a)->addr > (b)->addr)
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/* ----- the list ----- */

Shortlist *
shortlist_create(TapeScan *tape)
{
	Shortlist  *list = palloc0(sizeof(Shortlist));

	list->tape = tape;
	list->matches = tape_scan_matches(tape);
	return list;
}

/*
 * Let the tape be read until it does for so many rows, and one unit more where
 * all that it has found has been used.  Returns whether there is anything that
 * has not been.
 */
static bool
shortlist_fill(HnswScan *so, double nrows)
{
	Shortlist  *list = so->shortlist;
	Size		nmatches = list->matches->n;
	int64		nrejected = list->matches->nrejected;

	tape_scan_read(list->tape, nrows);
	while (list->matches->n == list->nread &&
		   tape_scan_read_more(list->tape, nrows))
		;
	if (list->matches->n > nmatches)
		list->nsorted = list->nread;
	so->nfiltered += list->matches->nrejected - nrejected;
	return list->matches->n > list->nread;
}

/* Bring so many of the list into order. */
static void
shortlist_sort(Shortlist *list, Size wanted)
{
	KeyMatches *matches = list->matches;
	Size		end = Min(2 * wanted, matches->n);

	if (wanted <= list->nsorted)
		return;
	if (end < matches->n)
		select_match(matches->rows, list->nsorted, matches->n - 1, end - 1);
	sort_matches(matches->rows + list->nsorted, end - list->nsorted);
	list->nsorted = end;
}

/* ----- nodes ----- */

/* The part of the list that is read at a time, in the order of places. */
typedef struct Batch
{
	const KeyMatch *rows;
	Size		n;
	Size		asked;			/* that the stream has been asked for */
	Size		prefetched;
	Size		next;
} Batch;

/* Callback of the stream: the pages of a batch, each once. */
static BlockNumber
batch_next_block(void *arg)
{
	Batch	   *batch = arg;
	BlockNumber block;

	if (batch->asked == batch->n)
		return InvalidBlockNumber;
	block = node_addr_block(batch->rows[batch->asked].addr);
	while (batch->asked < batch->n &&
		   node_addr_block(batch->rows[batch->asked].addr) == block)
		batch->asked++;
	return block;
}

/* Error where a row of a batch leads out of the index. */
static void
batch_check(Relation index, const Batch *batch)
{
	BlockNumber first = node_addr_block(batch->rows[0].addr);
	BlockNumber last = node_addr_block(batch->rows[batch->n - 1].addr);

	if (first == HNSW_META_BLOCK || last >= RelationGetNumberOfBlocks(index))
		ereport(ERROR,
				(errcode(ERRCODE_INDEX_CORRUPTED),
				 errmsg("index \"%s\" has filter keys of a node in block %u, which does not exist",
						RelationGetRelationName(index),
						first == HNSW_META_BLOCK ? first : last),
				 errhint("REINDEX the index.")));
}

/*
 * Bring what is read of the nodes of a batch to the processor's caches, some
 * rows ahead of the one that is next.
 */
static void
batch_prefetch(Relation index, const NodeLayout *layout, Batch *batch)
{
	Size		end = Min(batch->next + PREFETCH_ROWS, batch->n);

	for (; batch->prefetched < end; batch->prefetched++)
	{
		NodeAddr	addr = batch->rows[batch->prefetched].addr;
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
shortlist_add_score(Shortlist *list, float score, float estimate)
{
	if (list->nscores == list->max_scores)
	{
		list->max_scores = Max(list->max_scores * 2, 256);
		list->scores = list->scores == NULL ?
			palloc(sizeof(float) * list->max_scores) :
			repalloc_huge(list->scores, sizeof(float) * list->max_scores);
	}
	list->scores[list->nscores++] = score;
	if (isfinite(estimate))
		list->error2 += (score - estimate) * (score - estimate);
}

/* Find the rows of a batch that lie on a locked page of nodes. */
static void
batch_find_on_page(HnswScan *so, Page page, BlockNumber block, Batch *batch)
{
	const NodeLayout *layout = &so->store.base.layout;
	Measure		measure = metric_query_measure((Metric) so->meta.metric);
	NodeAddr	addr = INVALID_NODE_ADDR;
	bool		wanted = false;
	float		score = 0.0f;
	double		bound = 0.0;

	for (; batch->next < batch->n; batch->next++)
	{
		const KeyMatch *match = &batch->rows[batch->next];

		if (node_addr_block(match->addr) != block)
			break;
		if (match->addr != addr)
		{
			const GraphNode *node = page_slot(layout, page,
											  node_addr_slot(match->addr));

			addr = match->addr;
			wanted = node_addr_slot(addr) < layout->slots_per_page &&
				node->kind == SLOT_NODE &&
				(so->search == NULL ||
				 !graph_search_has_visited(so->search, addr));
			if (!wanted)
				continue;
			score = tape_query_score(measure, scan_node_row(so, node, &bound),
									 node->norm);
			so->nread++;
		}
		if (!wanted)
			continue;
		found_rows_add(&so->found, bound, &match->tid);
		if (!found_bound_is_last(bound))
			shortlist_add_score(so->shortlist, score, match->score);
	}
}

/* Read the nodes of the next n rows of the list. */
static void
shortlist_read_batch(IndexScanDesc scan, HnswScan *so, Size n)
{
	Relation	index = scan->indexRelation;
	Shortlist  *list = so->shortlist;
	Batch		batch = {.rows = list->matches->rows + list->nread,.n = n};
	PageStream *stream;
	Buffer		buffer;

	sort_places(list->matches->rows + list->nread, n);
	batch_check(index, &batch);
	stream = page_stream_begin(index, batch_next_block, &batch);
	while ((buffer = page_stream_next(stream)) != InvalidBuffer)
	{
		CHECK_FOR_INTERRUPTS();
		batch_prefetch(index, &so->store.base.layout, &batch);
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		page_check(index, buffer, hnsw_tag(HNSW_PAGE_NODES));
		batch_find_on_page(so, BufferGetPage(buffer),
						   BufferGetBlockNumber(buffer), &batch);
		UnlockReleaseBuffer(buffer);
	}
	page_stream_end(stream);
	list->nread += n;
}

/*
 * Whether the rows read do for so many: whether few of the others are expected
 * to be among the best, with errors of their estimates that are as those seen so
 * far and normally distributed.
 */
static bool
shortlist_does(Shortlist *list, double nrows)
{
	Size		rank = (Size) nrows;
	double		missing = 0.0;
	double		error;
	float		worst;

	if (rank > list->nscores)
		return false;
	error = Max(sqrt(list->error2 / list->nscores), FLT_MIN);
	select_score(list->scores, 0, list->nscores - 1, rank - 1);
	worst = list->scores[rank - 1];
	for (Size i = list->nread; i < list->matches->n; i++)
	{
		double		gap;

		shortlist_sort(list, i + 1);
		gap = worst - list->matches->rows[i].score;
		if (gap > MOST_ERRORS * error)
			break;
		missing += erfc(gap / (error * M_SQRT2)) / 2.0;
		if (missing > MISSING_SHARE * nrows)
			return false;
	}
	return true;
}

bool
shortlist_read(IndexScanDesc scan, HnswScan *so, double nrows)
{
	Shortlist  *list = so->shortlist;
	Size		first = (Size) FIRST_ROWS(nrows);
	Size		wanted = MORE_ROWS(list->nread);

	if (first > list->nread + wanted)
		wanted = first - list->nread;
	do
	{
		Size		n;

		if (!shortlist_fill(so, nrows))
			return false;
		n = Min(wanted, list->matches->n - list->nread);
		shortlist_sort(list, list->nread + n);
		shortlist_read_batch(scan, so, n);
		wanted = MORE_ROWS(list->nread);
	} while (!shortlist_does(list, nrows));
	return true;
}
