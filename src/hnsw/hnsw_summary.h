/*
 * hnsw_summary.h
 *		What the units of the key tape hold, in short: so that a scan reads those
 *		first whose rows may score best.
 *
 * A build puts rows on the tape so that those of a unit lie together
 * (hnsw_tapeorder.c), and keeps a summary of each unit that it has filled, of the
 * first nsummaries units.  Summaries lie close together on pages of their own,
 * which follow each other.
 *
 * Rows are never added to a unit that has a summary.  VACUUM takes rows out, and
 * makes the summary of a unit void that is left with half of its rows or fewer:
 * from then on the unit is as those that came after the build.  Units without a
 * summary may hold anything.
 */
#ifndef RECSYS_HNSW_SUMMARY_H
#define RECSYS_HNSW_SUMMARY_H

#include "hnsw/hnsw_keytape.h"

typedef enum SummaryState
{
	SUMMARY_VOID = 0,
	SUMMARY_VALID = 1
} SummaryState;

/* The rows of a unit, as rotated vectors. */
typedef struct UnitSummary
{
	uint32		state;			/* SummaryState */
	float		scale;			/* of the centroid's digits */
	float		norm2;			/* squared length of the centroid */
	float		mean_norm2;		/* mean squared length of the rows */
	float		spread;			/* root mean square difference of a coordinate
								 * of a row from the centroid's */
	float		radius;			/* no row lies farther from the centroid */
	int8		centroid[FLEXIBLE_ARRAY_MEMBER];	/* padded_dim digits */
} UnitSummary;

StaticAssertDecl(offsetof(UnitSummary, centroid) == 24,
				 "UnitSummary is part of the disk format");

static inline Size
summary_size(int padded_dim)
{
	return offsetof(UnitSummary, centroid) + padded_dim;
}

static inline int
summaries_per_page(int padded_dim)
{
	return PAGE_CONTENT_SIZE / summary_size(padded_dim);
}

/* Pages that so many summaries take. */
static inline uint32
summary_npages(int padded_dim, uint32 n)
{
	int			per_page = summaries_per_page(padded_dim);

	return n / per_page + (n % per_page != 0);
}

/* A summary on a page of them. */
static inline UnitSummary *
summary_on_page(Page page, int padded_dim, uint32 number)
{
	return (UnitSummary *) (page_content(page) + summary_size(padded_dim) *
							(number % summaries_per_page(padded_dim)));
}

/* Whether a summary may be used: a damaged one is as void. */
extern bool summary_is_valid(const UnitSummary *summary);

/* |x - centroid| for an own vector's coarse digits. */
extern float summary_distance(const UnitSummary *summary, int padded_dim,
							  float scale, const int8 *own);

/* ----- making them, in a build ----- */

/* Sums over the rows of a unit. */
typedef struct SummarySums
{
	int			padded_dim;
	int			n;
	double		norm2;
	float	   *sum;			/* padded_dim */
} SummarySums;

extern void summary_sums_init(SummarySums *sums, int padded_dim);
extern void summary_sums_reset(SummarySums *sums);
extern void summary_sums_add(SummarySums *sums, float scale, const int8 *own);

/* The summary of what has been added; its radius is 0, the caller knows more. */
extern void summary_make(const SummarySums *sums, UnitSummary *summary);

/* Add empty pages for n summaries, one behind the other; returns the first. */
extern BlockNumber summary_reserve(Relation index, PageWal wal, int padded_dim,
								   uint32 n);
extern void summary_write(Relation index, PageWal wal, BlockNumber first,
						  int padded_dim, uint32 number,
						  const UnitSummary *summary);

/* ----- using them ----- */

/* Pin and share lock the page of a summary. */
extern Buffer summary_lock(Relation index, const HnswMeta *meta, uint32 number);

/* Whether a unit has a summary that is not void: no row may be added to it. */
extern bool summary_covers(Relation index, const HnswMeta *meta, uint32 number);

/* Make the summary of a unit void. */
extern void summary_drop(Relation index, const HnswMeta *meta, uint32 number);

#endif							/* RECSYS_HNSW_SUMMARY_H */
