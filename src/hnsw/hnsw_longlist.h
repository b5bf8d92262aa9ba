/*
 * hnsw_longlist.h
 *		The long list: short codes of the longest items, which a scan by inner
 *		product reads before it enters the graph.
 *
 * The best rows by inner product are mostly long.  Of a million made rows
 * whose norms follow popularity the longest hundredth holds 98% of the best
 * ten and 79% of the best hundred of a query, of 41k (ALS) the longest tenth
 * 99% and 72%.  So codes of the longest few are scored, a nanosecond each, and
 * the best of them are candidates from the start.
 *
 * The list has pages of blocks of 32 codes:
 *
 *		| LongPage | block | block | ...
 *		block: | codes, see hnsw_tapecode.h | 32 addresses of nodes |
 *
 * A block is 1,280 bytes at 128 dimensions, 192 nodes a page.  The metapage
 * lists the pages as runs.  Those that a build has filled, the first, are in the
 * order of length, the longest first, so that a scan need not read them all.
 *
 * The metapage also has the length above which an insert adds its node, to the
 * pages that are in no order.  Where there is no room, pages are added, and if the
 * list has twice the length that is its due, its shorter half is taken out, the
 * length raised, and no page is in order any more.  VACUUM takes out nodes before
 * it frees them, and where few are left sets the length to 0, so that the list is
 * filled again.  So another length says which nodes a scan can take to be there:
 * it never falls.
 */
#ifndef RECSYS_HNSW_LONGLIST_H
#define RECSYS_HNSW_LONGLIST_H

#include "hnsw/hnsw_meta.h"
#include "hnsw/hnsw_store.h"
#include "hnsw/hnsw_tapecode.h"

#define LONG_PAGE_MAX_BLOCKS 8

typedef struct LongPage
{
	uint32		live[LONG_PAGE_MAX_BLOCKS]; /* a bit a node */
} LongPage;

StaticAssertDecl(sizeof(LongPage) == 32, "LongPage is part of the disk format");

/* Sizes and offsets, which follow from the number of dimensions. */
typedef struct LongLayout
{
	TapeCodeLayout code;
	Size		addrs_off;		/* in a block */
	Size		block_size;
	int			blocks_per_page;
	int			nodes_per_page;
} LongLayout;

extern void long_layout_init(LongLayout *layout, int padded_dim);

static inline LongPage *
long_page(Page page)
{
	return (LongPage *) page_content(page);
}

static inline uint8 *
long_page_block(const LongLayout *layout, Page page, int i)
{
	return (uint8 *) page_content(page) + sizeof(LongPage) +
		i * layout->block_size;
}

static inline NodeAddr *
long_block_addrs(const LongLayout *layout, const uint8 *block)
{
	return (NodeAddr *) (block + layout->addrs_off);
}

/* Nodes that the list of an index with so many should have; 0 for none. */
extern uint32 long_list_due(Metric metric, double nnodes);

/* Pages of the list, and the block of one. */
extern uint32 long_list_npages(const HnswMeta *meta);
extern BlockNumber long_list_block(const HnswMeta *meta, uint32 number);

/* Pin and lock a page of the list. */
extern Buffer long_list_lock(Relation index, BlockNumber block, int mode);

/* A node as it goes to the list. */
typedef struct LongNode
{
	NodeAddr	addr;
	TapeCode	code;
} LongNode;

extern void long_node_init(const LongLayout *layout, float unit, NodeAddr addr,
						   const OwnVector *own, LongNode *node);

/* The nodes of a build's list, which next(arg, node) gives, the longest first. */
typedef struct LongSource
{
	uint32		n;
	float		norm;			/* of the last */
	void		(*next) (void *arg, LongNode *node);
	void	   *arg;
} LongSource;

/* Write the first list of an index, in a build. */
extern void long_list_write(Relation index, PageWal wal, HnswMeta *meta,
							const LongSource *source);

/*
 * Add a new node, if it is long enough.  *meta may be old, and is brought up to
 * date where that matters.
 */
extern void long_list_offer(Relation index, PageWal wal, HnswMeta *meta,
							NodeAddr addr, const OwnVector *own);

/* Take out the nodes of which is_gone(arg, addr) is true. */
typedef bool (*LongNodeIsGone) (void *arg, NodeAddr addr);
extern void long_list_vacuum(Relation index, HnswMeta *meta,
							 LongNodeIsGone is_gone, void *arg);

#endif							/* RECSYS_HNSW_LONGLIST_H */
