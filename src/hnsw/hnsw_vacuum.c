/*
 * hnsw_vacuum.c
 *		VACUUM: take out dead heap rows, and give their nodes' slots back.
 *
 * Pass 1 reads all pages in order and removes dead rows from nodes and
 * postings, and then from the key tape.  A node that is left without rows
 * becomes a tombstone: searches walk through it, but it is never returned and
 * gets no new edges.  Where there is none, VACUUM is done.  Else pass 2
 * (hnsw_repair.c) gives the tombstones' neighbours other edges; then the long
 * list loses them (hnsw_longlist.c), and pass 3 makes them free.
 *
 * What inserts may do meanwhile is ruled by the insert lock, which each holds
 * in share mode while it is under way:
 *
 * - After pass 1 we take it exclusively for a moment.  Inserts that began
 *	 before and might add an edge to a tombstone, which they saw alive, have
 *	 then ended; later ones see tombstones.
 * - An insert adds a row to a posting without looking at the node again.  So
 *	 a posting leaves its chain, and a node that has postings becomes a
 *	 tombstone, under the exclusive lock alone.
 * - The entry set is rewritten under the exclusive lock.  An insert never
 *	 enters the graph by a copy of the set all of whose nodes are gone.
 *
 * A scan may hold the address of a slot while the slot is freed and used
 * again.  It then sees that slot's own vector and row, which is right; a
 * row newer than its snapshot is invisible to it.
 *
 * A VACUUM that is interrupted leaves tombstones, empty postings in a chain,
 * or empty postings out of any chain; the next one takes them up.
 */
#include "postgres.h"

#include "commands/vacuum.h"
#include "miscadmin.h"
#include "storage/indexfsm.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "hnsw/hnsw_keytape.h"
#include "hnsw/hnsw_longlist.h"
#include "hnsw/hnsw_vacuum.h"

/* Zeroed memory for n things, which may be more than 1 GB. */
void *
vacuum_alloc(Size size, Size n)
{
	return palloc_extended(mul_size(size, add_size(n, 1)),
						   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
}

/* An empty set for slots of an index of nblocks blocks. */
void
slot_set_create(SlotSet *set, BlockNumber nblocks)
{
	set->nblocks = nblocks;
	set->bits = vacuum_alloc(sizeof(uint8), nblocks);
}

/* Wait until every insert that is under way has ended, and keep out others. */
static void
inserts_stop(HnswVacuum *vac)
{
	LockPage(vac->index, HNSW_INSERT_LOCK_PAGE, ExclusiveLock);
}

static void
inserts_go_on(HnswVacuum *vac)
{
	UnlockPage(vac->index, HNSW_INSERT_LOCK_PAGE, ExclusiveLock);
}

/* ----- reading in order ----- */

/*
 * Pin and lock a page of nodes.  Returns InvalidBuffer for a page of another kind,
 * and for one that an unfinished extension has left empty.
 */
static Buffer
vacuum_read_page(HnswVacuum *vac, BlockNumber block, int mode)
{
	Buffer		buffer = ReadBufferExtended(vac->index, MAIN_FORKNUM, block,
											RBM_NORMAL, vac->info->strategy);

	LockBuffer(buffer, mode);
	if (page_has_nodes(vac->index, buffer))
		return buffer;
	UnlockReleaseBuffer(buffer);
	return InvalidBuffer;
}

/* Copy a page of nodes; false where the block is none. */
bool
vacuum_copy_page(HnswVacuum *vac, BlockNumber block, Page copy)
{
	Buffer		buffer = vacuum_read_page(vac, block, BUFFER_LOCK_SHARE);

	if (!BufferIsValid(buffer))
		return false;
	memcpy(copy, BufferGetPage(buffer), BLCKSZ);
	UnlockReleaseBuffer(buffer);
	return true;
}

/* ----- pass 1: dead rows ----- */

/*
 * Take dead rows out of a slot that is open and counts n of them; returns
 * whether there were any.
 */
static bool
rows_remove_dead(HnswVacuum *vac, NodeAddr addr, GraphNode *slot, int n)
{
	SlotRows	rows = slot_rows(&vac->store.base.layout, slot);
	int			nleft = 0;

	if (n > rows.max)
		ereport(ERROR,
				(errcode(ERRCODE_INDEX_CORRUPTED),
				 errmsg("index \"%s\" has %d heap rows at block %u slot %d, the limit is %d",
						RelationGetRelationName(vac->index), n,
						node_addr_block(addr), node_addr_slot(addr), rows.max),
				 errhint("REINDEX the index.")));
	for (int i = 0; i < n; i++)
		if (!vac->callback(&rows.tids[i], vac->callback_state))
			slot_rows_move(&rows, nleft++, i);
	slot_rows_set_count(slot, nleft);
	vac->stats->tuples_removed += n - nleft;
	vac->stats->num_index_tuples += nleft;
	return nleft < n;
}

/* Take dead rows out of a slot that is open; returns whether it changed. */
static bool
slot_remove_dead(HnswVacuum *vac, NodeAddr addr, GraphNode *node)
{
	Posting    *posting = (Posting *) node;
	bool		changed = false;

	switch (node->kind)
	{
		case SLOT_NODE:
			changed = rows_remove_dead(vac, addr, node, node->ntids);
			if (node->ntids == 0 && node->posting == INVALID_NODE_ADDR)
			{
				node->kind = SLOT_TOMBSTONE;
				changed = true;
			}
			break;
		case SLOT_POSTING:
			changed = rows_remove_dead(vac, addr, node, posting->ntids);
			if (posting->ntids == 0)
			{
				slot_set_add(&vac->empty, addr);
				vac->nempty++;
			}
			break;
		default:
			break;
	}
	if (node->kind == SLOT_TOMBSTONE)
	{
		slot_set_add(&vac->gone, addr);
		vac->ngone++;
	}
	else if (node->kind == SLOT_NODE)
		vac->nnodes++;
	return changed;
}

/* Take dead rows out of a page, in one edit. */
static void
page_remove_dead(HnswVacuum *vac, BlockNumber block)
{
	const NodeLayout *layout = &vac->store.base.layout;
	Buffer		buffer = vacuum_read_page(vac, block, BUFFER_LOCK_EXCLUSIVE);
	PageEdit	edit;
	Page		page;
	bool		changed = false;
	int			nfree = 0;

	if (!BufferIsValid(buffer))
		return;
	page = page_edit_begin(&edit, vac->index, buffer, PAGE_WAL_GENERIC);
	for (int slot = 0; slot < layout->slots_per_page; slot++)
	{
		GraphNode  *node = page_slot(layout, page, slot);

		changed |= slot_remove_dead(vac, node_addr(block, slot), node);
		nfree += node->kind == SLOT_FREE;
	}
	page_edit_end(&edit, changed);
	UnlockReleaseBuffer(buffer);

	/* the free space map forgets: it is not logged, and hands out pages */
	if (nfree > 0)
		RecordFreeIndexPage(vac->index, block);
	if (nfree == layout->slots_per_page)
		vac->stats->pages_free++;
}

static void
vacuum_remove_dead(HnswVacuum *vac)
{
	for (BlockNumber block = HNSW_META_BLOCK + 1; block < vac->gone.nblocks;
		 block++)
	{
		compat_vacuum_delay_point();
		page_remove_dead(vac, block);
	}
}

/* ----- postings ----- */

/* The posting that follows a node or a posting. */
static NodeAddr
chain_next(GraphStore *store, NodeAddr addr)
{
	const GraphNode *slot = store->ops->read(store, addr);
	NodeAddr	next = slot->kind == SLOT_NODE ? slot->posting :
	slot->kind == SLOT_POSTING ? ((const Posting *) slot)->next :
	INVALID_NODE_ADDR;

	store->ops->read_end(store);
	return next;
}

/* Whether a slot is a posting without rows; *next is the one that follows. */
static bool
posting_is_empty(GraphStore *store, NodeAddr addr, NodeAddr *next)
{
	const Posting *posting = (const Posting *) store->ops->read(store, addr);
	bool		empty = posting->kind == SLOT_POSTING && posting->ntids == 0;

	*next = posting->kind == SLOT_POSTING ? posting->next : INVALID_NODE_ADDR;
	store->ops->read_end(store);
	return empty;
}

/*
 * Let next follow a node or posting.  A node that is left without any row
 * becomes a tombstone.
 */
static void
chain_set_next(HnswVacuum *vac, NodeAddr addr, NodeAddr next)
{
	GraphStore *store = &vac->store.base;
	GraphNode  *slot = store->ops->edit(store, addr);

	if (slot->kind == SLOT_POSTING)
		((Posting *) slot)->next = next;
	else
	{
		slot->posting = next;
		if (slot->ntids == 0 && next == INVALID_NODE_ADDR)
		{
			slot->kind = SLOT_TOMBSTONE;
			slot_set_add(&vac->gone, addr);
			vac->ngone++;
			vac->nnodes--;
		}
	}
	store->ops->edit_end(store, true);
}

/*
 * Take all empty postings out of the chain of a node.  They keep their own
 * next posting, for scans that are on their way through.  The caller keeps
 * inserts out.
 */
static void
chain_remove_empty(HnswVacuum *vac, NodeAddr owner)
{
	GraphStore *store = &vac->store.base;
	NodeAddr	prev = owner;
	NodeAddr	addr = chain_next(store, owner);
	ChainWalk	walk = {0};

	while (addr != INVALID_NODE_ADDR)
	{
		NodeAddr	next;

		CHECK_FOR_INTERRUPTS();
		if (chain_step(&walk, addr))
			chain_fault(vac->index, addr);
		if (node_addr_block(addr) < vac->gone.nblocks &&
			posting_is_empty(store, addr, &next))
		{
			chain_set_next(vac, prev, next);
			slot_set_add(&vac->gone, addr);
			vac->ngone++;
		}
		else
		{
			next = chain_next(store, addr);
			prev = addr;
		}
		addr = next;
	}
}

/*
 * An empty posting leaves its chain, if it is in one; it may be out of any
 * where a VACUUM or an insert was interrupted.
 */
static void
posting_remove(HnswVacuum *vac, NodeAddr addr)
{
	GraphStore *store = &vac->store.base;
	const Posting *posting;
	NodeAddr	owner = INVALID_NODE_ADDR;

	inserts_stop(vac);
	posting = (const Posting *) store->ops->read(store, addr);
	if (posting->kind == SLOT_POSTING && posting->ntids == 0)
		owner = posting->owner;
	store->ops->read_end(store);
	/* an owner is older than its postings: pass 1 has seen it */
	if (owner != INVALID_NODE_ADDR &&
		node_addr_block(owner) >= vac->gone.nblocks)
		ereport(ERROR,
				(errcode(ERRCODE_INDEX_CORRUPTED),
				 errmsg("index \"%s\" has a posting of no node at block %u slot %d",
						RelationGetRelationName(vac->index),
						node_addr_block(addr), node_addr_slot(addr)),
				 errhint("REINDEX the index.")));
	if (owner != INVALID_NODE_ADDR)
	{
		chain_remove_empty(vac, owner);
		if (!slot_set_has(&vac->gone, addr))
		{
			slot_set_add(&vac->gone, addr);
			vac->ngone++;
		}
	}
	inserts_go_on(vac);
}

static void
vacuum_remove_postings(HnswVacuum *vac)
{
	for (BlockNumber block = 0; block < vac->empty.nblocks; block++)
		for (int slot = 0; vac->empty.bits[block] >> slot != 0; slot++)
		{
			NodeAddr	addr = node_addr(block, slot);

			if (!slot_set_has(&vac->empty, addr) ||
				slot_set_has(&vac->gone, addr))
				continue;
			compat_vacuum_delay_point();
			posting_remove(vac, addr);
		}
}

/* ----- pass 3: free slots ----- */

/* Free the slots of a page that are gone. */
static void
page_free_slots(HnswVacuum *vac, BlockNumber block)
{
	const NodeLayout *layout = &vac->store.base.layout;
	Buffer		buffer = vacuum_read_page(vac, block, BUFFER_LOCK_EXCLUSIVE);
	PageEdit	edit;
	Page		page;
	int			nfree = 0;

	if (!BufferIsValid(buffer))
		elog(ERROR, "page %u of nodes has changed its kind", block);
	page = page_edit_begin(&edit, vac->index, buffer, PAGE_WAL_GENERIC);
	for (int slot = 0; slot < layout->slots_per_page; slot++)
	{
		GraphNode  *node = page_slot(layout, page, slot);

		if (slot_set_has(&vac->gone, node_addr(block, slot)))
			node->kind = SLOT_FREE;
		nfree += node->kind == SLOT_FREE;
	}
	page_edit_end(&edit, true);
	UnlockReleaseBuffer(buffer);
	RecordFreeIndexPage(vac->index, block);
	if (nfree == layout->slots_per_page)
		vac->stats->pages_free++;
}

static void
vacuum_free_slots(HnswVacuum *vac)
{
	for (BlockNumber block = 0; block < vac->gone.nblocks; block++)
	{
		if (vac->gone.bits[block] == 0)
			continue;
		compat_vacuum_delay_point();
		page_free_slots(vac, block);
	}
}

/* ----- the long list ----- */

static bool
node_is_gone(void *arg, NodeAddr addr)
{
	const HnswVacuum *vac = arg;

	return slot_set_has(&vac->gone, addr);
}

/* ----- the callbacks ----- */

static void
vacuum_begin(HnswVacuum *vac, IndexVacuumInfo *info)
{
	vac->info = info;
	vac->index = info->index;
	hnsw_meta_read(vac->index, &vac->meta);
	if (vac->meta.dim == 0)
		return;
	page_store_init(&vac->store, vac->index, &vac->meta, PAGE_WAL_GENERIC);
	slot_set_create(&vac->gone, RelationGetNumberOfBlocks(vac->index));
	slot_set_create(&vac->empty, vac->gone.nblocks);
}

/* All passes over an index that has pages of nodes. */
static void
vacuum_run(HnswVacuum *vac)
{
	vacuum_remove_dead(vac);
	key_tape_vacuum(vac->info, &vac->meta, vac->callback, vac->callback_state);
	if (vac->nempty > 0)
		vacuum_remove_postings(vac);
	if (vac->ngone > 0)
	{
		inserts_stop(vac);
		inserts_go_on(vac);
		graph_repair(vac);
		long_list_vacuum(vac->index, &vac->meta, node_is_gone, vac);
		vacuum_free_slots(vac);
	}
	page_store_close(&vac->store);
	IndexFreeSpaceMapVacuum(vac->index);
}

/*
 * Remove the rows that the callback says are dead.  Pages added meanwhile
 * hold none: the rows were dead, and in the index, before we began.
 */
IndexBulkDeleteResult *
hnsw_bulk_delete(IndexVacuumInfo *info, IndexBulkDeleteResult *stats,
				 IndexBulkDeleteCallback callback, void *callback_state)
{
	HnswVacuum	vac = {0};
	MemoryContext context;
	MemoryContext old;

	if (stats == NULL)
		stats = palloc0(sizeof(IndexBulkDeleteResult));
	context = AllocSetContextCreate(CurrentMemoryContext,
									"recsys_hnsw vacuum",
									ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	vac.stats = stats;
	vac.callback = callback;
	vac.callback_state = callback_state;
	stats->estimated_count = false;
	stats->num_index_tuples = 0;
	stats->pages_free = 0;
	vacuum_begin(&vac, info);
	if (vac.meta.dim != 0)
		vacuum_run(&vac);
	stats->num_pages = RelationGetNumberOfBlocks(info->index);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return stats;
}

/*
 * Where no row was dead nothing has been counted, and the last count stands:
 * the heap's would be wrong for a partial index or with NULL vectors.
 */
IndexBulkDeleteResult *
hnsw_vacuum_cleanup(IndexVacuumInfo *info, IndexBulkDeleteResult *stats)
{
	if (info->analyze_only || stats != NULL)
		return stats;
	stats = palloc0(sizeof(IndexBulkDeleteResult));
	stats->num_pages = RelationGetNumberOfBlocks(info->index);
	stats->num_index_tuples = Max(info->index->rd_rel->reltuples, 0.0f);
	stats->estimated_count = true;
	return stats;
}
