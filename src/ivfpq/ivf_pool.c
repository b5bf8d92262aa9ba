/*
 * ivf_pool.c
 *		The best candidates of a pass over codes.
 *
 * The pool takes in twice as many as are wanted and then drops the worse half
 * by quickselect (Hoare 1961), which costs a few steps a candidate whatever
 * the number wanted; the threshold rises each time, and soon most blocks of
 * codes hold nothing above it.
 */
#include "postgres.h"

#include <math.h>

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

void
candidate_pool_reset(CandidatePool *pool, int wanted)
{
	int			max = 2 * wanted;

	if (max > pool->max)
	{
		if (pool->items != NULL)
			pfree(pool->items);
		pool->items = palloc(sizeof(Candidate) * max);
		pool->max = max;
	}
	pool->n = 0;
	pool->wanted = wanted;
	pool->threshold = -INFINITY;
}

static inline void
candidate_swap(Candidate *a, Candidate *b)
{
	Candidate	c = *a;

	*a = *b;
	*b = c;
}

/* The middle one of three candidates comes to place lo. */
static void
choose_pivot(Candidate *items, int lo, int hi)
{
	int			middle = lo + (hi - lo) / 2;

	/* the best of three at middle, the worst at hi, what is left at lo */
	if (candidate_is_before(&items[lo], &items[middle]))
		candidate_swap(&items[lo], &items[middle]);
	if (candidate_is_before(&items[hi], &items[middle]))
		candidate_swap(&items[hi], &items[middle]);
	if (candidate_is_before(&items[hi], &items[lo]))
		candidate_swap(&items[hi], &items[lo]);
}

void
candidate_pool_select(CandidatePool *pool, int first, int count)
{
	Candidate  *items = pool->items;
	int			lo = first;
	int			hi = pool->n - 1;
	int			k = first + count - 1;

	Assert(count > 0 && k <= hi);
	while (lo < hi)
	{
		Candidate	pivot;
		int			i = lo - 1;
		int			j = hi + 1;

		choose_pivot(items, lo, hi);
		pivot = items[lo];
		for (;;)
		{
			do
				i++;
			while (candidate_is_before(&items[i], &pivot));
			do
				j--;
			while (candidate_is_before(&pivot, &items[j]));
			if (i >= j)
				break;
			candidate_swap(&items[i], &items[j]);
		}
		if (k <= j)
			hi = j;
		else
			lo = j + 1;
	}
}

void
candidate_pool_cut(CandidatePool *pool)
{
	if (pool->n <= pool->wanted)
		return;
	candidate_pool_select(pool, 0, pool->wanted);
	pool->n = pool->wanted;
}

void
candidate_pool_add(CandidatePool *pool, const Candidate *candidate)
{
	pool->items[pool->n++] = *candidate;
	if (pool->n < pool->max)
		return;
	candidate_pool_cut(pool);
	pool->threshold = pool->items[pool->n - 1].score;
}

void
candidate_pool_drop_first(CandidatePool *pool, int n)
{
	pool->n -= n;
	memmove(pool->items, pool->items + n, sizeof(Candidate) * pool->n);
}

/* Forget the candidates of a list that is to be read again. */
void
candidate_pool_drop_list(CandidatePool *pool, uint32 list)
{
	int			n = 0;

	for (int i = 0; i < pool->n; i++)
		if (pool->items[i].list != list)
			pool->items[n++] = pool->items[i];
	pool->n = n;
}
