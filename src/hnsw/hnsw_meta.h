/*
 * hnsw_meta.h
 *		The metapage: what holds for the whole index.
 */
#ifndef RECSYS_HNSW_META_H
#define RECSYS_HNSW_META_H

#include "base/compat.h"
#include "hnsw/hnsw_node.h"

#define HNSW_MAGIC 0x4E51
#define HNSW_FORMAT 6
#define HNSW_META_BLOCK 0

typedef enum HnswPageKind
{
	HNSW_PAGE_META = 1,
	HNSW_PAGE_ENTRY = 2,
	HNSW_PAGE_NODES = 3,
	HNSW_PAGE_KEYS = 4,			/* see hnsw_keytape.h */
	HNSW_PAGE_CODES = 5,		/* the same */
	HNSW_PAGE_SUMMARIES = 6,	/* see hnsw_summary.h */
	HNSW_PAGE_LONG = 7			/* see hnsw_longlist.h */
} HnswPageKind;

/* Pages that the entry set may take, and entries; see hnsw_entry.h. */
#define ENTRY_MAX_BLOCKS 128
#define ENTRY_MAX 1024

/* Consecutive units of pages, all of one size. */
typedef struct PageRun
{
	BlockNumber first;
	uint32		n;				/* units */
} PageRun;

#define KEY_MAX_RUNS 256
#define LONG_MAX_RUNS 64

/*
 * The metapage's content.  dim is 0 until the first vector is known: the
 * index of an empty table takes its dimensions from the first row.
 */
typedef struct HnswMeta
{
	int32		dim;
	int32		metric;			/* Metric; must agree with the class */
	float		unit;			/* see EdgeCode */
	float		radius2;		/* M^2, 0 without augmentation */
	uint32		entry_version;	/* changes with the entry set */
	int32		nentries;
	int32		nentry_blocks;
	BlockNumber insert_block;	/* last page of nodes, or InvalidBlockNumber */
	BlockNumber entry_blocks[ENTRY_MAX_BLOCKS];
	int32		nfilters;		/* filter columns; must agree with the index */
	int32		nkey_runs;		/* in use, see hnsw_keytape.h */
	uint32		key_fill;		/* unit of the key tape that inserts go to */
	uint32		nsummaries;		/* units with summaries, see hnsw_summary.h */
	BlockNumber first_summary;	/* first page of these, if there are any */
	PageRun		key_runs[KEY_MAX_RUNS];
	int32		nlong_runs;		/* in use, see hnsw_longlist.h */
	uint32		long_sorted;	/* pages of it that are in order */
	uint32		long_fill;		/* page of it that inserts go to */
	float		long_norm;		/* what goes there is longer */
	float		long_whole;		/* what is longer than this is there; 0 where
								 * that is not known of any */
	PageRun		long_runs[LONG_MAX_RUNS];
} HnswMeta;

StaticAssertDecl(sizeof(HnswMeta) <= PAGE_CONTENT_SIZE,
				 "the metapage must hold HnswMeta");

/*
 * Units of an array of runs, and the first block of one, by its place in that
 * order, or InvalidBlockNumber.  A unit has so many pages.
 */
extern uint32 page_runs_count(const PageRun *runs, int nruns);
extern BlockNumber page_runs_block(const PageRun *runs, int nruns,
								   int unit_pages, uint32 number);

/* Add a unit behind the others; false where that would be one run too many. */
extern bool page_runs_add(PageRun *runs, int *nruns, int max, int unit_pages,
						  BlockNumber first);

static inline PageTag
hnsw_tag(HnswPageKind kind)
{
	PageTag		tag = {HNSW_MAGIC, HNSW_FORMAT, (uint8) kind, 0};

	return tag;
}

/* Add an empty page to an index; returns its block. */
extern BlockNumber hnsw_page_add(Relation index, PageWal wal,
								 HnswPageKind kind);

extern void hnsw_meta_create(Relation index, ForkNumber fork);
extern void hnsw_meta_read(Relation index, HnswMeta *meta);

/*
 * Change the metapage: update(meta, arg) runs under its exclusive lock and
 * returns whether it changed anything.  The new state is left in *meta.
 */
typedef bool (*HnswMetaUpdate) (HnswMeta *meta, void *arg);
extern void hnsw_meta_update(Relation index, PageWal wal, HnswMeta *meta,
							 HnswMetaUpdate update, void *arg);

#endif							/* RECSYS_HNSW_META_H */
