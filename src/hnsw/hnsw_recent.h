/*
 * hnsw_recent.h
 *		The nodes of a cell that a build has linked last: candidates for the
 *		next one of the cell, without a search.
 */
#ifndef RECSYS_HNSW_RECENT_H
#define RECSYS_HNSW_RECENT_H

#include "hnsw/hnsw_search.h"

/* Candidates that recent_choose gives, at the most. */
#define RECENT_MAX_CHOSEN 64

typedef struct RecentNodes RecentNodes;

/* What is known of a recent node; codes stay where they are until it is forgotten. */
typedef struct RecentNode
{
	NodeAddr	addr;
	OwnVector	own;
	float		norm2;			/* squared length, and */
	float		coordinate;		/* what the augmentation adds to it */
	float		ip;				/* with the vector of recent_score */
} RecentNode;

/* None at first, in the current memory context. */
extern RecentNodes *recent_create(const GraphStore *store);
extern void recent_clear(RecentNodes *recent);
extern int	recent_count(const RecentNodes *recent);

/* Add a node; where there is no room the oldest is forgotten. */
extern void recent_add(RecentNodes *recent, NodeAddr addr, const OwnVector *own);

/* Compare all with a vector. */
extern void recent_score(RecentNodes *recent, const OwnVector *own);

/*
 * The best max, one at least, by a measure for the vector that they have been
 * compared with, best first; returns their number.
 */
extern int	recent_choose(const RecentNodes *recent, Measure measure,
						  const RecentNode **chosen, int max);

#endif							/* RECSYS_HNSW_RECENT_H */
