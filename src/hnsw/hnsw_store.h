/*
 * hnsw_store.h
 *		Where nodes live: one interface for pages and for a build's memory.
 *
 * Search and linking know nothing of buffers: they read and edit nodes through
 * a store.  A store holds at most one node open.  While it collects edits it holds
 * the locks of several pages, but it never waits for one then, so no order of locks
 * is needed.
 */
#ifndef RECSYS_HNSW_STORE_H
#define RECSYS_HNSW_STORE_H

#include "hnsw/hnsw_node.h"

typedef struct GraphStore GraphStore;

typedef struct GraphStoreOps
{
	/*
	 * Open a slot for reading.  On pages it is share locked until read_end;
	 * in memory lanes may change under the reader, but every address is valid
	 * at any time.  A slot of a kind other than SLOT_NODE is returned as
	 * well.
	 */
	const GraphNode *(*read) (GraphStore *store, NodeAddr addr);
	void		(*read_end) (GraphStore *store);

	/* Open a slot for writing, alone; changes show after edit_end. */
	GraphNode  *(*edit) (GraphStore *store, NodeAddr addr);
	void		(*edit_end) (GraphStore *store, bool changed);

	/*
	 * Collect the edits that follow, so that they are written together: their
	 * changes may show only after collect_end, and nothing may be read or
	 * allocated before.
	 */
	void		(*collect) (GraphStore *store);
	void		(*collect_end) (GraphStore *store);

	/* Take a free slot and open it for writing; its contents mean nothing. */
	GraphNode  *(*alloc) (GraphStore *store, NodeAddr *addr);

	/* Hint that a slot will be read soon. */
	void		(*prefetch) (GraphStore *store, NodeAddr addr);

	/* The same of its header and the coarse digits of its own vector. */
	void		(*prefetch_own) (GraphStore *store, NodeAddr addr);
} GraphStoreOps;

struct GraphStore
{
	const GraphStoreOps *ops;
	NodeLayout	layout;
	Metric		metric;
	float		unit;			/* see EdgeCode */
	float		radius2;		/* M^2 of the augmentation, 0 without one */
};

/* The store of an index's pages. */
typedef struct PageStore
{
	GraphStore	base;
	Relation	index;
	PageWal		wal;
	Buffer		buffer;			/* pinned, or InvalidBuffer */
	BlockNumber last_block;		/* highest block known to exist */
	PageEdit	edit;
	bool		collecting;
	int			ncollected;
	Buffer		collected[PAGE_EDIT_PAGES]; /* pinned and locked */
	bool		changed;		/* any of these */
} PageStore;

/* A slot of a page of nodes. */
static inline GraphNode *
page_slot(const NodeLayout *layout, Page page, int slot)
{
	return (GraphNode *) (page_content(page) + slot * layout->node_size);
}

/*
 * A walk along a chain of postings, which a damaged one could lead in a circle
 * (Brent 1980: the next address is compared with one that is moved on after 1,
 * 2, 4 ... steps).  Zeroed at first.
 */
typedef struct ChainWalk
{
	NodeAddr	mark;
	uint32		nsteps;
	uint32		next_mark;
} ChainWalk;

/* Take a step to an address; whether the walk goes round.  Then the error of it. */
extern bool chain_step(ChainWalk *walk, NodeAddr addr);
pg_noreturn extern void chain_fault(Relation index, NodeAddr addr);

/*
 * Whether a locked page is one of nodes.  False for a page of another kind of ours,
 * and for one that an unfinished extension has left empty; error for others.
 */
extern bool page_has_nodes(Relation index, Buffer buffer);

struct HnswMeta;

extern void page_store_init(PageStore *store, Relation index,
							const struct HnswMeta *meta, PageWal wal);
extern void page_store_close(PageStore *store);

#endif							/* RECSYS_HNSW_STORE_H */
