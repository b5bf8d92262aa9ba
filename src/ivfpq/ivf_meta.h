/*
 * ivf_meta.h
 *		The metapage: what holds for the whole index.
 */
#ifndef RECSYS_IVF_META_H
#define RECSYS_IVF_META_H

#include "ivfpq/ivf_page.h"

#define IVF_META_BLOCK 0
#define IVF_MAX_LISTS 65536

/*
 * The metapage's content.  dim is 0 until the first vector is known: an index
 * of an empty table takes its dimensions from the first row.  All else is
 * fixed then; options that are changed later count at REINDEX.
 */
typedef struct IvfMeta
{
	int32		dim;
	int32		metric;			/* Metric; must agree with the class */
	int32		nsub;
	int32		refine;			/* Refine */
	int32		nlists;
	int32		trained;		/* whether from a sample of the rows */
	int32		learned;		/* whether the model has a learned rotation */
	float		radius2;		/* M^2, 0 without augmentation */
	BlockNumber model_first;
	BlockNumber directory_first;
	int32		nfilters;		/* filter columns */
	int32		padding;
	int64		sample;			/* rows that it was trained on */
} IvfMeta;

StaticAssertDecl(sizeof(IvfMeta) == 56, "IvfMeta is part of the disk format");

extern void ivf_meta_create(Relation index, ForkNumber fork);
extern void ivf_meta_read(Relation index, IvfMeta *meta);

/*
 * Fill in the metapage of an index that has no dimensions yet: start(index,
 * wal, meta, arg) runs under its exclusive lock, writes model and directory,
 * and fills meta.  Nothing happens where someone else was first.  Either way
 * *meta is what holds.
 */
typedef void (*IvfMetaStart) (Relation index, PageWal wal, IvfMeta *meta,
							  void *arg);
extern void ivf_meta_start(Relation index, PageWal wal, IvfMeta *meta,
						   IvfMetaStart start, void *arg);

static inline void
ivf_meta_layout(const IvfMeta *meta, IvfLayout *layout)
{
	ivf_layout_init(layout, meta->dim, meta->nsub, (Refine) meta->refine,
					meta->nfilters);
}

#endif							/* RECSYS_IVF_META_H */
