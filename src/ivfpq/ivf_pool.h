/*
 * ivf_pool.h
 *		The best candidates of a pass over codes.
 *
 * Candidates have a total order, by estimated score and then by TID, so that
 * equal vectors, however many, are cut off at a definite place, and a later
 * pass can go on from there.
 */
#ifndef RECSYS_IVF_POOL_H
#define RECSYS_IVF_POOL_H

#include <math.h>

#include "storage/block.h"
#include "storage/itemptr.h"

typedef struct Candidate
{
	float		score;			/* estimate, larger is better */
	uint32		list;
	BlockNumber tape;			/* page of the finer code */
	uint16		slot;			/* of the list page */
	ItemPointerData tid;
} Candidate;

typedef struct CandidatePool
{
	Candidate  *items;
	int			n;
	int			max;
	int			wanted;
	float		threshold;		/* a candidate below it is of no use;
								 * -infinity until one has been dropped */
} CandidatePool;

/* Whether a comes before b. */
extern bool candidate_is_before(const Candidate *a, const Candidate *b);

extern CandidatePool *candidate_pool_create(void);

/* Empty the pool, which then keeps the best wanted candidates. */
extern void candidate_pool_reset(CandidatePool *pool, int wanted);
extern void candidate_pool_add(CandidatePool *pool, const Candidate *candidate);
extern void candidate_pool_drop_list(CandidatePool *pool, uint32 list);

/* Whether no candidate has been dropped since the pool was emptied. */
static inline bool
candidate_pool_is_whole(const CandidatePool *pool)
{
	return pool->max > 0 && pool->threshold == -INFINITY;
}

/* Forget the first n items. */
extern void candidate_pool_drop_first(CandidatePool *pool, int n);

/* Drop all but the best wanted. */
extern void candidate_pool_cut(CandidatePool *pool);

/*
 * Bring the best count of the items from place first on to that place, in no
 * order but that the last of them is at first + count - 1.
 */
extern void candidate_pool_select(CandidatePool *pool, int first, int count);

#endif							/* RECSYS_IVF_POOL_H */
