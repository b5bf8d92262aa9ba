/*
 * ivf_lists.c
 *		The lists of a scan: their rank, and the candidates on their pages.
 *
 * All centroids are scored right on the pages of the directory.  A list is
 * ranked by the score of its centroid and by its width: by what a row looks
 * like that lies RANK_WIDTH standard deviations from the centroid in the
 * direction of the query.
 *
 * A list page is share locked while its codes are scanned, one at a time.
 * Between two pages of a chain the next may be freed and be used for another
 * list, or for the same one anew; then it has another list number, or its seq
 * does not decrease, and the list is read again from its head.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/rel.h"

#include "base/guc.h"
#include "index/buffer_hint.h"
#include "index/page_stream.h"
#include "ivfpq/ivf.h"
#include "ivfpq/ivf_coder.h"
#include "ivfpq/ivf_directory.h"
#include "ivfpq/ivf_scan.h"

/*
 * Share of the best 100 in the lists that hold 1%, 2% and 5% of the rows, by
 * the number of standard deviations:
 *
 *						   0 (raw)			1			   2			  3
 *		41k, 400 lists	 0.934 at 1%   0.879 .954 .985  .871 .952 .984  .845 .939 .981
 *		1M, 1,000 lists				   0.897 .938 .971  .903 .942 .976  .904 .940 .977
 */
#define RANK_WIDTH 1.5f

/*
 * A threshold for the kernel is lowered by this much relative to its terms,
 * since it is compared before the list's base is added.
 */
#define THRESHOLD_ROUNDING 1e-6f

/*
 * A scan stops when no more than this share of its best candidates came from
 * the last half of the rows scanned; this is asked each time the rows are a
 * tenth more.  What further lists would have had of the true best 125 of 1M
 * rows, by that share, with filters that take rows at random, near one of the
 * rows, and at the end that the queries point away from:
 *
 *					0.01 - 0.02		0.04 - 0.06		0.08 - 0.10		0.15 - 0.20
 *		random		   0.006		   0.025		   0.047		   0.098
 *		near		   0.015		   0.040		   0.065		   0.139
 *		away		   0.011		   0.054		   0.117		   0.206
 *
 * Where a filter goes against the query, rows satisfy it the more often the
 * further a list is from the query; lists_late_yield takes this into account.
 *
 * Recall, and thousands of rows looked at, by MAX_LATE_YIELD; one row in ten at
 * random and at the far end, one in a hundred near one of the rows; 100, 100, 30
 * and 50 queries, and 500 of 41k rows (ALS):
 *
 *				 1M, all		1M, random		1M, away		1M, near		41k
 *		K		 10	   100		 10	   100		 10	   100		 10	   100		 10	   100
 *		0.05	.987  .984		.993  .984		.990  .981		.968  .986		.982  .983
 *				 39	   104		 91	   251		208	   490		576	   808		 7.6   9.3
 *		0.07	.982  .981		.993  .979		.987  .978		.968  .986		.980  .980
 *				 30		76		 71	   186		194	   391		565	   786		 7.4   8.2
 *		0.1		.977  .974		.984  .971		.980  .972		.966  .986		.973  .978
 *				 23		58		 55	   139		135	   321		535	   766		 7.2   7.4
 *
 * On other columns and queries of such a set (test/bench/filter) 0.1 had recalls
 * of 0.945 at the least for K=10, and of 0.960 for K=100.  So it is for scans for
 * many rows alone.
 */
#define MAX_LATE_YIELD(rows) ((rows) < 40.0 ? 0.05 : 0.1)
#define CHECK_GROWTH 1.1

/*
 * Where fewer than one row in so many satisfies the filter, the pool may grow:
 * it costs less to keep candidates for later stages, 30 ns each, than to look
 * at the keys of all rows again.
 */
#define RARE_MATCH 16
#define RARE_ROOM 32768

/*
 * Times that the chain of a list may break at the same page.  More than once it
 * takes that the page has come back to the list and left it again meanwhile.
 */
#define MAX_FAILED 3

struct ListRank
{
	float		rank;			/* larger is better */
	float		ip;				/* <q,c> */
	float		base;			/* is added to the scores of its rows */
	uint32		list;
	BlockNumber head;
	BlockNumber run_first;
	uint32		run_count;
	int			place;			/* in rank order, once it is known */
	int			nscanned;		/* rows that the pool has been offered */
	double		nmatching;		/* those that satisfy the filter, about */
	int			nrefined;		/* candidates, in all passes */
	Candidate	last;			/* all up to here have been refined */
};

/* ----- rank ----- */

static void
list_rank_visit(uint32 list, const IvfList *entry, void *arg)
{
	IvfScan    *so = arg;
	ListRank   *rank = &so->lists[list];
	int			d = so->model->layout.padded_dim;
	float		width = sqrtf(Max(entry->width2, 0.0f) / d);

	rank->list = list;
	rank->nrefined = 0;
	rank->last.score = INFINITY;
	rank->head = entry->head;
	rank->run_first = entry->run_first;
	rank->run_count = entry->run_count;
	rank->ip = entry->scale *
		kernels->dot_f32_f16(so->query, entry->centroid, d);
	if (ivf_metric_is_centred(so->model->metric))
	{
		float		distance2 = so->norm2 - 2.0f * rank->ip + entry->norm2;

		distance2 = Max(distance2, 0.0f);
		rank->base = -distance2 / 2.0f;
		rank->rank = rank->base - entry->width2 / 2.0f +
			RANK_WIDTH * sqrtf(distance2) * width;
	}
	else
	{
		rank->base = 0.0f;
		rank->rank = rank->ip + RANK_WIDTH * sqrtf(so->norm2) * width;
	}
	if (rank->run_count > 0)
	{
		uint64		end = (uint64) rank->run_first + rank->run_count - 1;

		page_check_block(so->index, rank->run_first, &so->nblocks);
		page_check_block(so->index, Min(end, InvalidBlockNumber), &so->nblocks);
	}
	if (!isfinite(rank->rank))
		ereport(ERROR,
				(errcode(ERRCODE_INDEX_CORRUPTED),
				 errmsg("index \"%s\" has a list %u whose centroid or width is no number",
						RelationGetRelationName(so->index), list),
				 errhint("REINDEX the index.")));
	so->nrows += entry->nrows;
	if (rank->head != InvalidBlockNumber)
		so->order[so->nlists++] = list;
}

static int
compare_ranks(Datum a, Datum b, void *arg)
{
	const ListRank *lists = arg;
	float		x = lists[DatumGetUInt32(a)].rank;
	float		y = lists[DatumGetUInt32(b)].rank;

	if (x != y)
		return x > y ? 1 : -1;
	return DatumGetUInt32(a) < DatumGetUInt32(b) ? 1 : -1;
}

/*
 * A scan looks at the best few of the lists, so they are taken from a heap and
 * not sorted.  Empty lists are left out.
 */
void
ivf_lists_begin(IvfScan *so)
{
	Size		n = so->meta.nlists;

	so->lists = palloc(mul_size(sizeof(ListRank), n));
	so->order = palloc(mul_size(sizeof(uint32), n));
	directory_visit(so->index, &so->meta, &so->model->layout, list_rank_visit,
					so);
	so->unranked = binaryheap_allocate(Max(so->nlists, 1), compare_ranks,
									   so->lists);
	for (int i = 0; i < so->nlists; i++)
		binaryheap_add_unordered(so->unranked, UInt32GetDatum(so->order[i]));
	binaryheap_build(so->unranked);
}

/* The list of a rank below nlists. */
static ListRank *
list_at(IvfScan *so, int rank)
{
	while (so->nranked <= rank)
	{
		uint32		list = DatumGetUInt32(binaryheap_remove_first(so->unranked));

		so->lists[list].place = so->nranked;
		so->order[so->nranked++] = list;
	}
	return &so->lists[so->order[rank]];
}

/* ----- reading ahead ----- */

/* A place among the pages of the runs of all lists, in rank order. */
typedef struct RunPlace
{
	int			rank;
	uint32		page;			/* of the run */
} RunPlace;

/* A pass over lists: where it is, and where it reads ahead. */
typedef struct ListPass
{
	IvfScan    *so;
	PageStream *stream;
	RunPlace	ahead;			/* what the stream asks for next */
	BlockNumber current;		/* block that the stream gives next */
	uint32		nleft;			/* pages of this list still in the stream */
	RunPlace	near;			/* what is prefetched next */
	int			nnear;			/* pages prefetched that the stream has to
								 * give */
	BlockNumber failed;			/* page that was not in its place last, and */
	int			nfailed;		/* how often, one time after the other */
} ListPass;

/* Pages that the processor fetches ahead. */
#define PREFETCH_PAGES 1

/* The block at a place, which moves on; InvalidBlockNumber at the end. */
static BlockNumber
run_place_next(IvfScan *so, RunPlace *place)
{
	for (; place->rank < so->nlists; place->rank++, place->page = 0)
	{
		const ListRank *list = list_at(so, place->rank);

		if (place->page < list->run_count)
			return list->run_first + place->page++;
	}
	return InvalidBlockNumber;
}

/* Callback of the stream. */
static BlockNumber
pass_next_block(void *arg)
{
	ListPass   *pass = arg;

	return run_place_next(pass->so, &pass->ahead);
}

/*
 * Whether the codes are looked at before the filter.  A row has 24 bytes of keys with
 * three conditions, 8 to 16 of codes, and once the pool is full few rows have codes
 * that bring them in.  Where a row in RARE_MATCH satisfies the filter or fewer, most
 * blocks have none, and their codes are better left.  CPU time over that of filter
 * first, 120 queries of a million made rows of 64 dimensions in turn:
 *
 *		share		90%		50%		20%		9%, three conditions
 *		K=10		.87		.91		.87		.83
 *		K=100		1.03	.94		.86		.89
 */
static inline bool
codes_come_first(const IvfScan *so)
{
	return so->filter != NULL && so->pool->room == 0 &&
		so->pool->limit.score > -INFINITY;
}

/* The codes of the lanes of masks, or of all, will be read. */
static void
page_prefetch_codes(const IvfScan *so, Page page, const uint32 *masks)
{
	const IvfLayout *layout = &so->model->layout;

	for (int i = 0; i < layout->blocks_per_page; i++)
	{
		if (masks != NULL && masks[i] == 0)
			continue;
		for (Size off = 0; off < layout->tids_off; off += 64)
			__builtin_prefetch(list_page_block(layout, page, i) + off);
	}
}

/* What a scan reads of pages in buffers comes to the processor's caches. */
static void
pass_prefetch(ListPass *pass)
{
	IvfScan    *so = pass->so;
	const IvfLayout *layout = &so->model->layout;

	for (; pass->nnear <= PREFETCH_PAGES; pass->nnear++)
	{
		const char *page = buffer_hint_address(so->index,
											   run_place_next(so, &pass->near));
		int			nkeys = so->filter != NULL ? layout->blocks_per_page : 0;

		if (page == NULL)
			continue;
		for (Size off = 0; off < LIST_BLOCKS_OFFSET; off += 64)
			__builtin_prefetch(page + off);
		if (codes_come_first(so))
		{
			page_prefetch_codes(so, (Page) page, NULL);
			nkeys = 1;
		}
		for (int i = 0; i < nkeys; i++)
			filter_set_prefetch(so->filter,
								list_page_keys(layout, (Page) page, i),
								PG_UINT32_MAX);
	}
}

/* The page at a block, pinned: from the stream where that has it next. */
static Buffer
pass_read(ListPass *pass, BlockNumber block)
{
	if (pass->nleft == 0 || block != pass->current)
	{
		page_check_block(pass->so->index, block, &pass->so->nblocks);
		return ReadBuffer(pass->so->index, block);
	}
	pass->nleft--;
	pass->current++;
	pass_prefetch(pass);
	pass->nnear--;
	return page_stream_next(pass->stream);
}

/* The stream begins with the run of a list. */
static void
pass_begin_list(ListPass *pass, const ListRank *list)
{
	pass->current = list->run_first;
	pass->nleft = list->run_count;
}

/* What is left of the run has not been asked for: the chain was changed. */
static void
pass_end_list(ListPass *pass)
{
	for (; pass->nleft > 0; pass->nleft--, pass->nnear--)
	{
		CHECK_FOR_INTERRUPTS();
		ReleaseBuffer(page_stream_next(pass->stream));
	}
}

/* ----- a page ----- */

/* The rows of a share locked list page. */
typedef struct PageRows
{
	uint32		masks[LIST_MAX_BLOCKS]; /* lanes that may be candidates */
	float		scores[LIST_MAX_BLOCKS][FASTSCAN_LANES];	/* by their codes */
	double		nmatching;		/* rows that satisfy the filter, about */
} PageRows;

/* Leave the rows of a block that satisfy the filter; returns their number. */
static int
block_match(IvfScan *so, Page page, int block, PageRows *rows)
{
	uint32		tested = rows->masks[block];
	uint32		passed = 0;

	if (tested != 0)
		passed = filter_set_block(so->filter,
								  list_page_keys(&so->model->layout, page, block),
								  tested);
	so->nfiltered += pg_popcount32(tested & ~passed);
	rows->masks[block] = passed;
	return pg_popcount32(passed);
}

/* The same with all blocks. */
static int
page_match(IvfScan *so, Page page, PageRows *rows)
{
	int			nmatching = 0;

	for (int i = 0; i < so->model->layout.blocks_per_page; i++)
		nmatching += block_match(so, page, i, rows);
	return nmatching;
}

/*
 * The same with the first block that has rows.  Returns how many there are likely
 * to be on the page.
 */
static double
page_sample(IvfScan *so, Page page, PageRows *rows)
{
	int			block = 0;
	int			last = so->model->layout.blocks_per_page - 1;
	int			ntested;

	while (block < last && rows->masks[block] == 0)
		block++;
	ntested = pg_popcount32(rows->masks[block]);
	return (double) list_page(page)->nlive *
		block_match(so, page, block, rows) / Max(ntested, 1);
}

/*
 * Leave the rows whose codes bring them into the pool.  For inner product and
 * cosine t is a multiple of <q,c>; for L2 it is a score by itself, in squared units.
 */
static void
page_score(IvfScan *so, const ListRank *list, Page page, PageRows *rows)
{
	const IvfLayout *layout = &so->model->layout;
	bool		centred = ivf_metric_is_centred(so->model->metric);
	float		unit = list_page(page)->unit;
	float		threshold = so->pool->limit.score;
	CodeScan	scan = {so->lut, layout->nsub,
		{centred ? unit * unit : list->ip, so->delta * unit, so->bias * unit},
	0.0f};

	scan.threshold = threshold - list->base -
		THRESHOLD_ROUNDING * (fabsf(threshold) + fabsf(list->base));
	for (int i = 0; i < layout->blocks_per_page; i++)
		if (rows->masks[i] != 0)
			rows->masks[i] &=
				kernels->code_scan_block(list_page_block(layout, page, i),
										 &scan, rows->scores[i]);
}

/* The keys of the rows left will be read. */
static void
page_prefetch_keys(const IvfScan *so, Page page, const uint32 *masks)
{
	const IvfLayout *layout = &so->model->layout;

	for (int i = 0; i < layout->blocks_per_page; i++)
		if (masks[i] != 0)
			filter_set_prefetch(so->filter, list_page_keys(layout, page, i),
								masks[i]);
}

/* Leave the candidates of a page: those that satisfy the filter and score well. */
static void
page_find(IvfScan *so, const ListRank *list, Page page, PageRows *rows)
{
	const IvfLayout *layout = &so->model->layout;
	const ListPage *head = list_page(page);

	memcpy(rows->masks, head->live, sizeof(uint32) * layout->blocks_per_page);
	rows->nmatching = head->nlive;
	if (codes_come_first(so))
	{
		rows->nmatching = page_sample(so, page, rows);
		page_score(so, list, page, rows);
		page_prefetch_keys(so, page, rows->masks);
		page_match(so, page, rows);
		return;
	}
	if (so->filter != NULL)
	{
		rows->nmatching = page_match(so, page, rows);
		page_prefetch_codes(so, page, rows->masks);
	}
	page_score(so, list, page, rows);
}

/* Add the lanes of a mask of one block to the pool. */
static void
block_add_candidates(IvfScan *so, const ListRank *list, Page page, int block,
					 uint32 mask, const float *scores)
{
	const IvfLayout *layout = &so->model->layout;
	const ListPage *head = list_page(page);
	Candidate	candidate;

	candidate.list = list->list;
	while (mask != 0)
	{
		int			lane = pg_rightmost_one_pos32(mask);
		int			slot = block * FASTSCAN_LANES + lane;

		mask &= mask - 1;
		candidate.score = list->base + scores[lane];
		if (candidate.score < so->pool->limit.score)
			continue;
		candidate.slot = slot;
		candidate.tape = layout->tape_record > 0 ?
			head->tapes[slot / layout->tape_slots] : InvalidBlockNumber;
		candidate.tid = *list_page_tid(layout, page, slot);
		if (candidate_is_before(&list->last, &candidate))
			candidate_pool_add(so->pool, &candidate);
	}
}

/* Add what is left of a page to the pool. */
static void
page_add(IvfScan *so, const ListRank *list, Page page, const PageRows *rows)
{
	for (int i = 0; i < so->model->layout.blocks_per_page; i++)
		if (rows->masks[i] != 0)
			block_add_candidates(so, list, page, i, rows->masks[i],
								 rows->scores[i]);
}

/* ----- a list ----- */

/*
 * Scan the pages of a list.  False where the chain was changed under us; the
 * candidates found so far are then to be forgotten.
 */
static bool
list_scan_chain(ListPass *pass, ListRank *list)
{
	IvfScan    *so = pass->so;
	BlockNumber block = list->head;
	uint64		last_seq = PG_UINT64_MAX;
	int			nscanned = 0;
	double		nmatching = 0.0;
	PageRows	rows;

	while (block != InvalidBlockNumber)
	{
		Buffer		buffer = pass_read(pass, block);
		Page		page = BufferGetPage(buffer);
		const ListPage *head = list_page(page);

		CHECK_FOR_INTERRUPTS();
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		if (PageIsNew(page) || page_tag(page)->kind != IVF_PAGE_LIST ||
			head->list != list->list || head->seq >= last_seq)
		{
			UnlockReleaseBuffer(buffer);
			pass->nfailed = block == pass->failed ? pass->nfailed + 1 : 1;
			pass->failed = block;
			return false;
		}
		page_check(so->index, buffer, ivf_tag(IVF_PAGE_LIST));
		page_find(so, list, page, &rows);
		nscanned += head->nlive;
		nmatching += rows.nmatching;
		so->nvisited += head->nlive;
		so->nsatisfying += rows.nmatching;
		so->pool->room = RARE_MATCH * so->nsatisfying < so->nvisited ?
			RARE_ROOM : 0;
		page_add(so, list, page, &rows);
		last_seq = head->seq;
		block = head->next;
		UnlockReleaseBuffer(buffer);
	}
	list->nscanned = nscanned;
	list->nmatching = nmatching;
	so->nscanned += nscanned;
	so->nmatching += nmatching;
	return true;
}

/* Read the head of a list anew. */
static void
list_refresh(IvfScan *so, ListRank *list)
{
	const IvfLayout *layout = &so->model->layout;
	Buffer		buffer = directory_lock(so->index, &so->meta, layout,
										list->list, BUFFER_LOCK_SHARE);
	const IvfList *entry = directory_page_list(layout, BufferGetPage(buffer),
											   list->list);

	list->head = entry->head;
	list->run_count = 0;
	UnlockReleaseBuffer(buffer);
}

static void
list_scan(ListPass *pass, ListRank *list)
{
	pass_begin_list(pass, list);
	pass->nfailed = 0;
	while (!list_scan_chain(pass, list))
	{
		CHECK_FOR_INTERRUPTS();
		if (pass->nfailed > MAX_FAILED)
			ereport(ERROR,
					(errcode(ERRCODE_INDEX_CORRUPTED),
					 errmsg("index \"%s\" leads from list %u to block %u, which does not belong there",
							RelationGetRelationName(pass->so->index),
							list->list, pass->failed),
					 errhint("REINDEX the index.")));
		candidate_pool_drop_list(pass->so->pool, list->list);
		pass_end_list(pass);
		list_refresh(pass->so, list);
	}
	pass_end_list(pass);
}

/* ----- whether to go on ----- */

/*
 * What the last half of the rows scanned, the first nlists in rank order, has
 * to do with the best: the share of the best candidates that are its own, times
 * how much more often its rows satisfy the filter than those of the first half.
 */
static double
lists_late_yield(IvfScan *so, int nlists)
{
	CandidatePool *pool = so->pool;
	int			nbest = Min(pool->n, so->nwanted);
	double		scanned = 0.0;
	double		matching = 0.0;
	double		late = 0.0;
	int			first = 0;

	while (scanned < so->nscanned / 2.0 && first < nlists)
	{
		const ListRank *list = list_at(so, first++);

		scanned += list->nscanned;
		matching += list->nmatching;
	}
	for (int i = first; i < nlists; i++)
		late += list_at(so, i)->nrefined;
	if (nbest > 0)
		candidate_pool_sift(pool, nbest);
	for (int i = 0; i < nbest; i++)
		late += so->lists[pool->items[i].list].place >= first;
	return late / Max(so->nrefined + nbest, 1) *
		Max((so->nmatching - matching + 1.0) / (matching + 1.0), 1.0);
}

/*
 * Whether the first nlists do for the stage.  Of all rows as many satisfy the
 * filter as of those looked at, as far as we know.  This is asked each time the
 * rows are a tenth more.
 */
static bool
lists_do(IvfScan *so, int nlists)
{
	double		share;

	if (so->nscanned < so->next_check)
		return false;
	so->next_check = CHECK_GROWTH * so->nscanned;
	share = so->nscanned > 0.0 ? so->nmatching / so->nscanned : 1.0;
	return so->nmatching >= ivf_scan_rows(share * so->nrows, so->nlists,
										  so->stage_rows) &&
		lists_late_yield(so, nlists) <= MAX_LATE_YIELD(so->stage_rows);
}

void
ivf_lists_scan(IvfScan *so, int first)
{
	ListPass	pass = {.so = so,.ahead.rank = first,.near.rank = first};
	int			nprobes = guc_ivfpq_probes;
	int			i;

	so->next_check = 0.0;
	pass.stream = page_stream_begin(so->index, pass_next_block, &pass);
	for (i = first; i < so->nlists; i++)
	{
		if (i >= so->nseen && so->pool->n >= so->nwanted &&
			(nprobes > 0 ? i >= nprobes : lists_do(so, i)))
			break;
		list_scan(&pass, list_at(so, i));
	}
	so->nseen = Max(so->nseen, i);
	page_stream_end(pass.stream);
}

/*
 * What has been refined is all up to the last, in the pool and so in each list
 * that has been scanned.  There may be none.
 */
void
ivf_lists_refined(IvfScan *so, int first, int n, const Candidate *last)
{
	for (int i = first; i < first + n; i++)
		so->lists[so->pool->items[i].list].nrefined++;
	for (int i = 0; n > 0 && i < so->nseen; i++)
	{
		ListRank   *list = list_at(so, i);

		if (candidate_is_before(&list->last, last))
			list->last = *last;
	}
}
