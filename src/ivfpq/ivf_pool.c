/*
 * ivf_pool.c
 *		The best candidates of a pass over codes.
 *
 * The pool takes in twice as many as are wanted and then drops the worse half
 * by quickselect (Hoare 1961), which costs a few steps a candidate whatever
 * the number wanted; the limit rises each time, and soon most blocks of codes
 * hold nothing above it.
 */
#include "postgres.h"

#include <math.h>

#include "storage/shmem.h"

#include "ivfpq/ivf_pool.h"

bool
candidate_is_before(const Candidate *a, const Candidate *b)
{
	if (a->score != b->score)
		return a->score > b->score;
	return ItemPointerCompare((ItemPointer) &a->tid, (ItemPointer) &b->tid) < 0;
}

CandidatePool *
candidate_pool_create(void)
{
	return palloc0(sizeof(CandidatePool));
}

static void
pool_reserve(CandidatePool *pool, int max)
{
	Size		size = mul_size(sizeof(Candidate), max);

	if (max <= pool->max)
		return;
	pool->items = pool->items == NULL ? palloc(size) :
		repalloc(pool->items, size);
	pool->max = max;
}

void
candidate_pool_reset(CandidatePool *pool, int wanted)
{
	pool->n = 0;
	pool->nbest = pool->nsifted = 0;
	pool->whole = true;
	pool->limit.score = -INFINITY;
	ItemPointerSet(&pool->limit.tid, InvalidBlockNumber, PG_UINT16_MAX);
	pool_reserve(pool, 2 * wanted);
}

void
candidate_pool_drop_first(CandidatePool *pool, int n, int wanted)
{
	pool->n -= n;
	memmove(pool->items, pool->items + n, sizeof(Candidate) * pool->n);
	pool->nbest = pool->nsifted = 0;
	pool_reserve(pool, 2 * wanted);
}

static inline void
candidate_swap(Candidate *a, Candidate *b)
{
	Candidate	c = *a;

	*a = *b;
	*b = c;
}

#define SELECT_NAME select_place
#define SELECT_TYPE Candidate
#define SELECT_BEFORE(a, b) candidate_is_before(a, b)
#include "index/quickselect.h"

void
candidate_pool_sift(CandidatePool *pool, int count)
{
	Candidate  *items = pool->items;
	int			n = pool->n;

	Assert(count > 0 && count <= n);
	if (pool->nbest == count)
	{
		Candidate	worst = items[count - 1];

		n = count;
		for (int i = pool->nsifted; i < pool->n; i++)
			if (candidate_is_before(&items[i], &worst))
				candidate_swap(&items[i], &items[n++]);
	}
	select_place(items, 0, n - 1, count - 1);
	pool->nbest = count;
	pool->nsifted = pool->n;
}

void
candidate_pool_select(CandidatePool *pool, int first, int count)
{
	int			end = first + count;

	Assert(count > 0 && end <= pool->n);
	if (end > pool->nbest || pool->nsifted < pool->n)
	{
		pool->nbest = Min(2 * end, pool->n);
		pool->nsifted = pool->n;
		select_place(pool->items, first, pool->n - 1, pool->nbest - 1);
	}
	select_place(pool->items, first, pool->nbest - 1, end - 1);
}

void
candidate_pool_add(CandidatePool *pool, const Candidate *candidate)
{
	if (!candidate_is_before(candidate, &pool->limit))
		return;
	pool->items[pool->n++] = *candidate;
	if (pool->n < pool->max)
		return;
	if (pool->max <= pool->room / 2)
	{
		pool_reserve(pool, 2 * pool->max);
		return;
	}
	candidate_pool_sift(pool, pool->max / 2);
	pool->n = pool->nsifted = pool->nbest;
	pool->limit = pool->items[pool->n - 1];
	pool->whole = false;
}

void
candidate_pool_drop_list(CandidatePool *pool, uint32 list)
{
	int			n = 0;

	for (int i = 0; i < pool->n; i++)
		if (pool->items[i].list != list)
			pool->items[n++] = pool->items[i];
	pool->n = n;
	pool->nbest = pool->nsifted = 0;
}
