/*
 * ivf_directory.h
 *		The lists: their centroids, where their pages are, how wide they are.
 *
 * Entries have a fixed size and lie in consecutive blocks, so list i is entry
 * i % lists_per_page of block directory_first + i / lists_per_page.  Centroids
 * never change.  A search scores all of them right on the pages.
 */
#ifndef RECSYS_IVF_DIRECTORY_H
#define RECSYS_IVF_DIRECTORY_H

#include "ivfpq/ivf_meta.h"

typedef struct IvfList
{
	BlockNumber head;			/* newest page, or InvalidBlockNumber */
	BlockNumber insert;			/* where inserts begin to look for room */
	BlockNumber run_first;		/* pages that a build put side by side: */
	uint32		run_count;		/* a hint for reading ahead */
	uint32		seq;			/* of the newest page */
	uint32		nrows;			/* about */
	float		width2;			/* mean of |x - c|^2, about */
	float		scale;			/* of the centroid */
	float		norm2;			/* |c|^2 */
	float		coordinate;		/* of the centroid in the augmented space */
	uint16		centroid[FLEXIBLE_ARRAY_MEMBER];	/* float16, padded_dim */
} IvfList;

StaticAssertDecl(offsetof(IvfList, centroid) == 40,
				 "IvfList is part of the disk format");

/* A copy of an entry, with its centroid decoded. */
typedef struct ListCopy
{
	uint32		list;
	float	   *centroid;		/* padded_dim, of the caller */
	IvfList		entry;			/* without its centroid */
} ListCopy;

/*
 * Make an entry of a centroid: scale, norm2 and the stored numbers.  The
 * centroid is replaced by what is stored.
 */
extern void list_set_centroid(const IvfLayout *layout, IvfList *entry,
							  float *centroid, float coordinate);
extern void list_get_centroid(const IvfLayout *layout, const IvfList *entry,
							  float *centroid);

/* An entry of a page of the directory. */
static inline IvfList *
directory_page_list(const IvfLayout *layout, Page page, uint32 list)
{
	return (IvfList *) (page_content(page) +
						(list % layout->lists_per_page) * layout->list_size);
}

static inline BlockNumber
directory_block(const IvfMeta *meta, const IvfLayout *layout, uint32 list)
{
	return meta->directory_first + list / layout->lists_per_page;
}

static inline BlockNumber
directory_pages(const IvfMeta *meta, const IvfLayout *layout)
{
	return (meta->nlists + layout->lists_per_page - 1) / layout->lists_per_page;
}

/* Pin and lock the page of a list. */
extern Buffer directory_lock(Relation index, const IvfMeta *meta,
							 const IvfLayout *layout, uint32 list, int mode);

/* Call visit for every list in turn, its page being share locked. */
typedef void (*DirectoryVisit) (uint32 list, const IvfList *entry, void *arg);
extern void directory_visit(Relation index, const IvfMeta *meta,
							const IvfLayout *layout, DirectoryVisit visit,
							void *arg);

/* Append directory pages to the index, empty; returns the first block. */
extern BlockNumber directory_extend(Relation index, PageWal wal,
									const IvfMeta *meta,
									const IvfLayout *layout);

/* The list that a row belongs to: of the nearest centroid. */
extern void directory_nearest(Relation index, const IvfMeta *meta,
							  const IvfLayout *layout, const float *x,
							  ListCopy *nearest);

#endif							/* RECSYS_IVF_DIRECTORY_H */
