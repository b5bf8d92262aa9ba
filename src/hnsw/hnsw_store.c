/*
 * hnsw_store.c
 *		Nodes on pages: read, edit and allocate through shared buffers.
 *
 * One buffer stays pinned from one read to the next, since neighbours often
 * share a page.  A content lock is held only between read and read_end, or
 * edit and edit_end.  Edits that are collected are one WAL record for as many pages
 * as it takes; their locks are held until then, and where one is not free the
 * record is written first.
 */
#include "postgres.h"

#include "storage/indexfsm.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "hnsw/hnsw_meta.h"
#include "hnsw/hnsw_store.h"
#include "index/buffer_hint.h"

static const GraphNode *page_store_read(GraphStore *base, NodeAddr addr);
static void page_store_read_end(GraphStore *base);
static GraphNode *page_store_edit(GraphStore *base, NodeAddr addr);
static void page_store_edit_end(GraphStore *base, bool changed);
static void page_store_collect(GraphStore *base);
static void page_store_collect_end(GraphStore *base);
static GraphNode *page_store_alloc(GraphStore *base, NodeAddr *addr);
static void page_store_prefetch(GraphStore *base, NodeAddr addr);
static void page_store_prefetch_own(GraphStore *base, NodeAddr addr);

static const GraphStoreOps page_store_ops =
{
	.read = page_store_read,
	.read_end = page_store_read_end,
	.edit = page_store_edit,
	.edit_end = page_store_edit_end,
	.collect = page_store_collect,
	.collect_end = page_store_collect_end,
	.alloc = page_store_alloc,
	.prefetch = page_store_prefetch,
	.prefetch_own = page_store_prefetch_own,
};

/* A store over the pages of an index whose dimensions are known. */
void
page_store_init(PageStore *store, Relation index, const HnswMeta *meta,
				PageWal wal)
{
	memset(store, 0, sizeof(PageStore));
	store->base.ops = &page_store_ops;
	store->base.metric = (Metric) meta->metric;
	store->base.unit = meta->unit;
	store->base.radius2 = meta->radius2;
	node_layout_init(&store->base.layout, meta->dim, meta->nfilters);
	store->index = index;
	store->wal = wal;
	store->buffer = InvalidBuffer;
}

/* Give up the pin. */
void
page_store_close(PageStore *store)
{
	if (BufferIsValid(store->buffer))
		ReleaseBuffer(store->buffer);
	store->buffer = InvalidBuffer;
}

bool
chain_step(ChainWalk *walk, NodeAddr addr)
{
	if (walk->nsteps > 0 && addr == walk->mark)
		return true;
	if (walk->nsteps++ == walk->next_mark)
	{
		walk->mark = addr;
		walk->next_mark = 2 * walk->next_mark + 1;
	}
	return false;
}

void
chain_fault(Relation index, NodeAddr addr)
{
	ereport(ERROR,
			(errcode(ERRCODE_INDEX_CORRUPTED),
			 errmsg("index \"%s\" has postings that lead round, at block %u slot %d",
					RelationGetRelationName(index), node_addr_block(addr),
					node_addr_slot(addr)),
			 errhint("REINDEX the index.")));
}

bool
page_has_nodes(Relation index, Buffer buffer)
{
	Page		page = BufferGetPage(buffer);

	if (PageIsNew(page) || page_tag(page)->kind == HNSW_PAGE_ENTRY ||
		page_tag(page)->kind == HNSW_PAGE_KEYS ||
		page_tag(page)->kind == HNSW_PAGE_CODES ||
		page_tag(page)->kind == HNSW_PAGE_SUMMARIES ||
		page_tag(page)->kind == HNSW_PAGE_LONG)
		return false;
	page_check(index, buffer, hnsw_tag(HNSW_PAGE_NODES));
	return true;
}

/* Error unless the address can be one of this index. */
static void
page_store_check_addr(PageStore *store, NodeAddr addr)
{
	BlockNumber block = node_addr_block(addr);

	if (block > store->last_block)
		store->last_block = RelationGetNumberOfBlocks(store->index) - 1;
	if (block == HNSW_META_BLOCK || block > store->last_block ||
		node_addr_slot(addr) >= store->base.layout.slots_per_page)
		ereport(ERROR,
				(errcode(ERRCODE_INDEX_CORRUPTED),
				 errmsg("index \"%s\" has an edge to block %u slot %d, which does not exist",
						RelationGetRelationName(store->index), block,
						node_addr_slot(addr)),
				 errhint("REINDEX the index.")));
}

/* Pin the page of a block, in place of the one that is pinned, and lock it. */
static Page
page_store_lock(PageStore *store, BlockNumber block, int mode)
{
	if (!BufferIsValid(store->buffer) ||
		BufferGetBlockNumber(store->buffer) != block)
	{
		page_store_close(store);
		store->buffer = buffer_hint_read(store->index, block);
	}
	LockBuffer(store->buffer, mode);
	page_check(store->index, store->buffer, hnsw_tag(HNSW_PAGE_NODES));
	return BufferGetPage(store->buffer);
}

static const GraphNode *
page_store_read(GraphStore *base, NodeAddr addr)
{
	PageStore  *store = (PageStore *) base;
	Page		page;

	page_store_check_addr(store, addr);
	page = page_store_lock(store, node_addr_block(addr), BUFFER_LOCK_SHARE);
	return page_slot(&store->base.layout, page, node_addr_slot(addr));
}

static void
page_store_read_end(GraphStore *base)
{
	LockBuffer(((PageStore *) base)->buffer, BUFFER_LOCK_UNLOCK);
}

/* Write the edits collected so far. */
static void
page_store_write_collected(PageStore *store)
{
	if (store->ncollected == 0)
		return;
	page_edit_end(&store->edit, store->changed);
	for (int i = 0; i < store->ncollected; i++)
		UnlockReleaseBuffer(store->collected[i]);
	store->ncollected = 0;
	store->changed = false;
}

/* Open the page of a block for an edit that is collected. */
static Page
page_store_collect_page(PageStore *store, BlockNumber block)
{
	Buffer		buffer;

	for (int i = 0; i < store->ncollected; i++)
		if (BufferGetBlockNumber(store->collected[i]) == block)
			return page_edit_add(&store->edit, store->collected[i]);
	if (store->ncollected == PAGE_EDIT_PAGES)
		page_store_write_collected(store);
	buffer = buffer_hint_read(store->index, block);
	if (store->ncollected == 0 || !ConditionalLockBuffer(buffer))
	{
		page_store_write_collected(store);
		LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	}
	page_check(store->index, buffer, hnsw_tag(HNSW_PAGE_NODES));
	store->collected[store->ncollected++] = buffer;
	if (store->ncollected > 1)
		return page_edit_add(&store->edit, buffer);
	return page_edit_begin(&store->edit, store->index, buffer, store->wal);
}

static GraphNode *
page_store_edit(GraphStore *base, NodeAddr addr)
{
	PageStore  *store = (PageStore *) base;
	BlockNumber block = node_addr_block(addr);
	Page		page;

	page_store_check_addr(store, addr);
	if (store->collecting)
		page = page_store_collect_page(store, block);
	else
	{
		page_store_lock(store, block, BUFFER_LOCK_EXCLUSIVE);
		page = page_edit_begin(&store->edit, store->index, store->buffer,
							   store->wal);
	}
	return page_slot(&store->base.layout, page, node_addr_slot(addr));
}

static void
page_store_edit_end(GraphStore *base, bool changed)
{
	PageStore  *store = (PageStore *) base;

	if (store->collecting)
	{
		store->changed |= changed;
		return;
	}
	page_edit_end(&store->edit, changed);
	LockBuffer(store->buffer, BUFFER_LOCK_UNLOCK);
}

static void
page_store_collect(GraphStore *base)
{
	((PageStore *) base)->collecting = true;
}

static void
page_store_collect_end(GraphStore *base)
{
	PageStore  *store = (PageStore *) base;

	page_store_write_collected(store);
	store->collecting = false;
}

/* Where a slot is if its page is where it last was, or NULL: to prefetch. */
static const char *
page_store_hint(const PageStore *store, NodeAddr addr)
{
	const char *page = buffer_hint_address(store->index, node_addr_block(addr));

	if (page == NULL)
		return NULL;
	__builtin_prefetch(page);
	return page + PAGE_CONTENT_OFFSET +
		node_addr_slot(addr) * store->base.layout.node_size;
}

static void
page_store_prefetch(GraphStore *base, NodeAddr addr)
{
	const char *node = page_store_hint((PageStore *) base, addr);

	if (node != NULL)
		node_prefetch(&base->layout, node);
}

static void
page_store_prefetch_own(GraphStore *base, NodeAddr addr)
{
	const char *node = page_store_hint((PageStore *) base, addr);

	if (node != NULL)
		node_prefetch_own(&base->layout, node);
}

/*
 * Open a free slot on a locked page of nodes for writing, or return NULL.
 * *nfree is the number of free slots found.
 */
static GraphNode *
page_store_take_slot(PageStore *store, NodeAddr *addr, int *nfree)
{
	Page		page = BufferGetPage(store->buffer);
	GraphNode  *node;
	int			first = -1;

	*nfree = 0;
	for (int slot = 0; slot < store->base.layout.slots_per_page; slot++)
	{
		if (page_slot(&store->base.layout, page, slot)->kind != SLOT_FREE)
			continue;
		if ((*nfree)++ == 0)
			first = slot;
	}
	if (first < 0)
		return NULL;
	*addr = node_addr(BufferGetBlockNumber(store->buffer), first);
	page = page_edit_begin(&store->edit, store->index, store->buffer, store->wal);
	node = page_slot(&store->base.layout, page, first);
	page_edit_use(&store->edit,
				  (char *) node + store->base.layout.node_size - (char *) page);
	return node;
}

/*
 * Try to take a slot on a block that a hint names.  Hints may be wrong: the
 * block may be past the end, full, or of another kind.
 */
static GraphNode *
page_store_try_block(PageStore *store, BlockNumber block, NodeAddr *addr)
{
	GraphNode  *node;
	int			nfree;

	if (block == InvalidBlockNumber || block == HNSW_META_BLOCK ||
		block >= RelationGetNumberOfBlocks(store->index))
		return NULL;
	store->buffer = ReleaseAndReadBuffer(store->buffer, store->index, block);
	LockBuffer(store->buffer, BUFFER_LOCK_EXCLUSIVE);
	if (page_has_nodes(store->index, store->buffer))
	{
		node = page_store_take_slot(store, addr, &nfree);
		if (node != NULL)
		{
			RelationSetTargetBlock(store->index, block);
			return node;
		}
	}
	LockBuffer(store->buffer, BUFFER_LOCK_UNLOCK);
	return NULL;
}

static bool
meta_set_insert_block(HnswMeta *meta, void *arg)
{
	meta->insert_block = *(BlockNumber *) arg;
	return true;
}

/* Add a page of free slots and make it the one that inserts go to. */
static BlockNumber
page_store_extend(PageStore *store)
{
	Buffer		buffer = compat_extend_relation(store->index, MAIN_FORKNUM);
	BlockNumber block = BufferGetBlockNumber(buffer);
	PageEdit	edit;
	Page		page;
	HnswMeta	meta;

	if (block > NODE_MAX_BLOCK)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("index \"%s\" has reached its largest size of %u blocks",
						RelationGetRelationName(store->index), NODE_MAX_BLOCK),
				 errhint("Partition the table.")));
	page = page_edit_begin(&edit, store->index, buffer, store->wal);
	page_format(page, hnsw_tag(HNSW_PAGE_NODES));
	page_use_none(page);
	page_edit_end(&edit, true);
	UnlockReleaseBuffer(buffer);
	hnsw_meta_update(store->index, store->wal, &meta, meta_set_insert_block,
					 &block);
	return block;
}

/*
 * Free slots are looked for where this backend found the last one, where the
 * metapage says that the last page is, and where the free space map knows of
 * slots that VACUUM freed; then the index is extended.
 */
static GraphNode *
page_store_alloc(GraphStore *base, NodeAddr *addr)
{
	PageStore  *store = (PageStore *) base;
	BlockNumber block = RelationGetTargetBlock(store->index);
	HnswMeta	meta;
	GraphNode  *node;

	node = page_store_try_block(store, block, addr);
	if (node != NULL)
		return node;
	while ((block = GetFreeIndexPage(store->index)) != InvalidBlockNumber)
	{
		node = page_store_try_block(store, block, addr);
		if (node != NULL)
			return node;
	}
	hnsw_meta_read(store->index, &meta);
	node = page_store_try_block(store, meta.insert_block, addr);
	while (node == NULL)
		node = page_store_try_block(store, page_store_extend(store), addr);
	return node;
}
