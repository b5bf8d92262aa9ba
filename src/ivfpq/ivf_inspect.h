/*
 * ivf_inspect.h
 *		What ivfpq_stats and check_index share: the opened index, its pages one
 *		by one.
 */
#ifndef RECSYS_IVF_INSPECT_H
#define RECSYS_IVF_INSPECT_H

#include "index/index_access.h"
#include "ivfpq/ivf_meta.h"
#include "ivfpq/ivf_space.h"

typedef struct IvfInspection
{
	IndexAccess access;			/* the caller's */
	IvfMeta		meta;
	IvfLayout	layout;			/* zeroed while the dimensions are unknown */
	BlockNumber nblocks;		/* when the inspection began */
	BlockSet	seen;			/* what that means is the caller's */
	BufferAccessStrategy strategy;
} IvfInspection;

/* Begin with an index of this access method that the caller has opened. */
extern void ivf_inspection_begin(IvfInspection *inspection,
								 const IndexAccess *access);
extern void ivf_inspection_end(IvfInspection *inspection);

/*
 * Copy a page and check its tag.  Returns its kind; 0 for a page of zeros,
 * which a crash can leave.
 */
extern int	ivf_inspection_read(IvfInspection *inspection, BlockNumber block,
								Page copy);

#endif							/* RECSYS_IVF_INSPECT_H */
