/*
 * filter_set.h
 *		The conditions of a scan on its filter columns.
 */
#ifndef RECSYS_FILTER_SET_H
#define RECSYS_FILTER_SET_H

#include "access/skey.h"

#include "index/filter_key.h"

typedef enum FilterTest
{
	FILTER_IN_RANGES,			/* within one of some ranges */
	FILTER_IS_NULL,
	FILTER_IS_NOT_NULL,
	FILTER_HAS_TAGS				/* has all bits of one of some signatures */
} FilterTest;

typedef struct FilterRange
{
	uint64		low;			/* or a signature */
	uint64		high;
} FilterRange;

typedef struct FilterCondition
{
	FilterTest	test;
	int			column;
	int			n;				/* ranges: ascending and apart */
	FilterRange *ranges;
} FilterCondition;

typedef struct FilterSet
{
	int			ncolumns;		/* of the index */
	bool		never;			/* no row can satisfy it */
	bool		recheck;		/* rows that satisfy it are to be rechecked */
	int			n;
	FilterCondition *conditions;	/* all must hold; on ranges, one a column */
} FilterSet;

/*
 * The conditions of scan keys, in the current memory context.  Keys of the
 * vector's own column can only ask whether it is NULL, which it never is.
 */
extern FilterSet *filter_set_create(FilterEncoder *encoder,
									const ScanKeyData *keys, int nkeys);

/* Bring what filter_set_block reads to the processor's caches. */
extern void filter_set_prefetch(const FilterSet *set, const uint8 *block,
								uint32 mask);

/* Whether the keys of one row satisfy the conditions; nulls as in FilterKeys. */
extern bool filter_set_row(const FilterSet *set, const uint64 *keys,
						   uint32 nulls);

/* Those of the lanes of a mask whose keys in a block satisfy the conditions. */
extern uint32 filter_set_block(const FilterSet *set, uint8 *block,
							   uint32 mask);

#endif							/* RECSYS_FILTER_SET_H */
