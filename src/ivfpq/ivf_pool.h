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
	int			max;			/* when it is reached, the worse half is
								 * dropped */
	int			room;			/* unless it may grow to this */
	int			nbest;			/* the first nbest items are the best ones of
								 * the first nsifted */
	int			nsifted;
	bool		whole;			/* none has been dropped since it was emptied */
	Candidate	limit;			/* all that comes before it is kept */
} CandidatePool;

/* Whether a comes before b. */
extern bool candidate_is_before(const Candidate *a, const Candidate *b);

extern CandidatePool *candidate_pool_create(void);

/*
 * Empty the pool, or forget its first items; it then keeps at least the best
 * wanted candidates.
 */
extern void candidate_pool_reset(CandidatePool *pool, int wanted);
extern void candidate_pool_drop_first(CandidatePool *pool, int n, int wanted);
extern void candidate_pool_add(CandidatePool *pool, const Candidate *candidate);

/* Forget the candidates of a list that is to be read again. */
extern void candidate_pool_drop_list(CandidatePool *pool, uint32 list);

/*
 * Bring the best count items to the front, in no order.  Again and again, while
 * candidates are added, it looks at the new ones alone.
 */
extern void candidate_pool_sift(CandidatePool *pool, int count);

/*
 * Bring the best count of the items from place first on to that place, in no
 * order but that the last of them is at first + count - 1.  The items before
 * that place are the best ones.
 */
extern void candidate_pool_select(CandidatePool *pool, int first, int count);

#endif							/* RECSYS_IVF_POOL_H */
