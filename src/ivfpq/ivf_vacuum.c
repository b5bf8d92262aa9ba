/*
 * ivf_vacuum.c
 *		VACUUM: take out dead rows, give empty pages back, count.
 *
 * The chain of each list is walked once, head to tail.  A page is exclusively
 * locked while its dead rows are taken out, in one edit that also notes how
 * many are left.  A page that would be left without rows is taken out of the
 * chain instead, and becomes free; so do its tape pages.
 *
 * Nobody else takes rows or pages out of a list: VACUUMs of one table exclude
 * each other.  Inserts may fill slots and make new heads meanwhile.
 *
 * - A page leaves its chain under the exclusive locks of its list's directory
 *	 page, of the page before it and of itself, and only if it still holds no
 *	 row but the dead ones.  Its locks are held until it is free, and nothing in
 *	 between can fail, so nobody puts a row on a page that is in no chain.  An
 *	 insert that comes with an old block number finds a page that is free, or of
 *	 another list, and looks the list up again; or it finds a page of the list,
 *	 used anew, which does as well.
 * - entry->insert is moved off the page under the same locks.
 * - What tells a page's new use from its old one is seq.  A new head gets seq
 *	 entry->seq + 1, and entry->seq is never set back, not even for an empty
 *	 list.  So along a chain seq strictly decreases, which taking out a page does
 *	 not change; and a page used anew has a seq above those of all pages that
 *	 were in the chain before.  A scan that follows an old link to it therefore
 *	 sees another list number or a seq that does not decrease.  A scan that
 *	 begins at it, by an old copy of the entry, begins at a newer head, from
 *	 which it comes to all rows older than its snapshot, since no row moves.
 * - The entry's count of rows is replaced by ours; rows that inserts have
 *	 counted into it since we locked the first head are added.
 *
 * A last pass looks at all blocks that no chain led to.  Pages that are free
 * are told to the free space map, which is not crash safe.  Pages that a crash
 * or a failed statement left over, made and never linked, become free.  The
 * lock that an insert holds from making a page to linking it tells these from
 * pages that are new: a list page is looked for in its chain under the share
 * lock of its directory page, a tape page is looked up in its owner.
 *
 * Memory: a bit for each block of the index.
 */
#include "postgres.h"

#include "commands/vacuum.h"
#include "miscadmin.h"
#include "storage/indexfsm.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "ivfpq/ivf.h"
#include "ivfpq/ivf_space.h"

/* One call of ambulkdelete. */
typedef struct IvfVacuum
{
	IndexVacuumInfo *info;
	IndexBulkDeleteResult *stats;
	IndexBulkDeleteCallback callback;
	void	   *callback_state;
	Relation	index;
	IvfMeta		meta;
	IvfLayout	layout;
	BlockSet	reached;		/* in use, of the blocks when we began */
	BlockNumber nblocks;		/* see page_check_block */
} IvfVacuum;

/* The walk through a list. */
typedef struct ListWalk
{
	uint32		list;
	BlockNumber head;			/* when it began */
	uint32		nrows;			/* of the entry, then */
	uint64		last_seq;
	BlockNumber prev;			/* the last page that stays */
	BlockNumber room;			/* the first one with free slots */
	BlockNumber room_behind;	/* the first one behind the head */
	uint64		nlive;			/* rows that stay */
	double		distance2;		/* sum of |x - c|^2 */
} ListWalk;

/* What the walk has found on a page. */
typedef struct PageFind
{
	BlockNumber block;
	BlockNumber next;
	int			ndead;
	uint32		dead[LIST_MAX_BLOCKS];	/* a bit a slot */
} PageFind;

/* ----- pages ----- */

/* A list page that stays is in use, and its tape pages are. */
static void
mark_list_page(IvfVacuum *vac, BlockNumber block, const ListPage *head)
{
	block_set_add(&vac->reached, block);
	for (int i = 0; i < vac->layout.tapes; i++)
		block_set_add(&vac->reached, head->tapes[i]);
}

static Buffer
vacuum_lock(IvfVacuum *vac, BlockNumber block, int mode)
{
	Buffer		buffer;

	page_check_block(vac->index, block, &vac->nblocks);
	buffer = ReadBufferExtended(vac->index, MAIN_FORKNUM, block, RBM_NORMAL,
								vac->info->strategy);
	LockBuffer(buffer, mode);
	return buffer;
}

static Buffer
vacuum_lock_list(const IvfVacuum *vac, uint32 list, int mode)
{
	return directory_lock(vac->index, &vac->meta, &vac->layout, list, mode);
}

static IvfList *
vacuum_entry(const IvfVacuum *vac, Page page, uint32 list)
{
	return directory_page_list(&vac->layout, page, list);
}

/* Kind of a locked page, 0 for an empty one. */
static int
page_kind(const IvfVacuum *vac, Buffer buffer)
{
	Page		page = BufferGetPage(buffer);

	if (PageIsNew(page))
		return 0;
	page_check(vac->index, buffer, ivf_tag(page_tag(page)->kind));
	return page_tag(page)->kind;
}

/* Free the tape pages of a list page that has left its chain. */
static void
tapes_free(IvfVacuum *vac, BlockNumber owner, const BlockNumber *tapes)
{
	for (int i = 0; i < vac->layout.tapes; i++)
	{
		Buffer		buffer;

		if (tapes[i] == InvalidBlockNumber)
			continue;
		compat_vacuum_delay_point();
		buffer = vacuum_lock(vac, tapes[i], BUFFER_LOCK_EXCLUSIVE);
		if (page_kind(vac, buffer) == IVF_PAGE_TAPE &&
			tape_page(BufferGetPage(buffer))->owner == owner)
		{
			ivf_page_give(vac->index, buffer, PAGE_WAL_GENERIC);
			vac->stats->pages_newly_deleted++;
		}
		UnlockReleaseBuffer(buffer);
	}
}

/* ----- the chain of a list ----- */

/* Look for dead rows on a page of the list, in its turn. */
static void
page_find_dead(IvfVacuum *vac, ListWalk *walk, Buffer buffer, PageFind *find)
{
	Page		page = BufferGetPage(buffer);
	const ListPage *head = list_page(page);

	page_check(vac->index, buffer, ivf_tag(IVF_PAGE_LIST));
	find->block = BufferGetBlockNumber(buffer);
	if (!list_page_is_valid(&vac->layout, page))
		ivf_list_fault(vac->index, find->block, "does not count its rows right");
	if (head->list != walk->list || head->seq >= walk->last_seq)
		ereport(ERROR,
				(errcode(ERRCODE_INDEX_CORRUPTED),
				 errmsg("index \"%s\" has a page out of place in list %u at block %u",
						RelationGetRelationName(vac->index), walk->list,
						find->block),
				 errhint("REINDEX the index.")));
	walk->last_seq = head->seq;
	find->next = head->next;
	find->ndead = 0;
	memset(find->dead, 0, sizeof(find->dead));
	for (int slot = 0; slot < vac->layout.slots_per_page; slot++)
		if (list_page_is_live(page, slot) &&
			vac->callback(list_page_tid(&vac->layout, page, slot),
						  vac->callback_state))
		{
			find->dead[slot / 32] |= 1u << (slot % 32);
			find->ndead++;
		}
}

/* Whether all rows of a page are those that were found dead. */
static bool
page_is_dead(const IvfVacuum *vac, Page page, const PageFind *find)
{
	for (int i = 0; i < vac->layout.blocks_per_page; i++)
		if ((list_page(page)->live[i] & ~find->dead[i]) != 0)
			return false;
	return true;
}

/* A page stays: take out the dead rows and count the others. */
static void
page_keep(IvfVacuum *vac, ListWalk *walk, Buffer buffer, const PageFind *find)
{
	PageEdit	edit;
	Page		page = page_edit_begin(&edit, vac->index, buffer,
									   PAGE_WAL_GENERIC);
	ListPage   *head = list_page(page);
	bool		changed;

	for (int slot = 0; slot < vac->layout.slots_per_page; slot++)
		if ((find->dead[slot / 32] >> (slot % 32)) & 1)
			list_page_remove(page, slot);
	changed = find->ndead > 0 || head->ncounted != head->nlive;
	head->ncounted = head->nlive;

	walk->nlive += head->nlive;
	walk->distance2 += (double) head->nlive * head->width2;
	if (head->nlive < vac->layout.slots_per_page)
	{
		if (walk->room == InvalidBlockNumber)
			walk->room = find->block;
		if (walk->room_behind == InvalidBlockNumber &&
			find->block != walk->head)
			walk->room_behind = find->block;
	}
	walk->prev = find->block;
	mark_list_page(vac, find->block, head);
	page_edit_end(&edit, changed);
}

/*
 * Take a page out of its chain and make it free.  All three buffers are
 * exclusively locked: of the directory, of the page before, which is invalid
 * where this one is the head, and of the page.
 */
static void
page_unlink(IvfVacuum *vac, uint32 list, Buffer directory, Buffer before,
			Buffer buffer)
{
	BlockNumber block = BufferGetBlockNumber(buffer);
	BlockNumber next = list_page(BufferGetPage(buffer))->next;
	bool		is_head = !BufferIsValid(before);
	PageEdit	entry_edit;
	PageEdit	before_edit;
	PageEdit	edit;
	IvfList    *entry;
	bool		in_run;
	bool		changed;

	/* begin all, so that nothing can fail once the first has ended */
	entry = vacuum_entry(vac, page_edit_begin(&entry_edit, vac->index, directory,
											  PAGE_WAL_GENERIC), list);
	if (!is_head)
		list_page(page_edit_begin(&before_edit, vac->index, before,
								  PAGE_WAL_GENERIC))->next = next;
	ivf_page_set_free(page_edit_begin(&edit, vac->index, buffer,
									  PAGE_WAL_GENERIC));

	in_run = block - entry->run_first < entry->run_count;
	changed = is_head || in_run || entry->insert == block;
	if (is_head)
		entry->head = next;
	if (in_run)
		entry->run_count = 0;
	if (entry->insert == block)
		entry->insert = next;
	page_edit_end(&entry_edit, changed);
	if (!is_head)
		page_edit_end(&before_edit, true);
	page_edit_end(&edit, true);
}

/*
 * The page just looked at held dead rows alone.  It becomes free, unless rows
 * came to it since, or new heads before it: then it stays.
 */
static void
page_drop(IvfVacuum *vac, ListWalk *walk, const PageFind *find)
{
	Buffer		directory = vacuum_lock_list(vac, walk->list,
											 BUFFER_LOCK_EXCLUSIVE);
	bool		is_head = vacuum_entry(vac, BufferGetPage(directory),
									   walk->list)->head == find->block;
	bool		drop = is_head || walk->prev != InvalidBlockNumber;
	BlockNumber tapes[LIST_MAX_TAPES];
	Buffer		before = InvalidBuffer;
	Buffer		buffer;

	if (drop && !is_head)
		before = vacuum_lock(vac, walk->prev, BUFFER_LOCK_EXCLUSIVE);
	buffer = vacuum_lock(vac, find->block, BUFFER_LOCK_EXCLUSIVE);
	drop = drop && page_is_dead(vac, BufferGetPage(buffer), find);
	if (drop)
	{
		memcpy(tapes, list_page(BufferGetPage(buffer))->tapes, sizeof(tapes));
		page_unlink(vac, walk->list, directory, before, buffer);
	}
	else
		page_keep(vac, walk, buffer, find);
	UnlockReleaseBuffer(buffer);
	if (BufferIsValid(before))
		UnlockReleaseBuffer(before);
	UnlockReleaseBuffer(directory);
	if (!drop)
		return;
	RecordFreeIndexPage(vac->index, find->block);
	vac->stats->pages_newly_deleted++;
	tapes_free(vac, find->block, tapes);
}

/*
 * Begin a walk; returns the head, exclusively locked, if there is one.  No rows
 * are counted into the entry between our look at it and at the head.
 */
static Buffer
walk_begin(IvfVacuum *vac, ListWalk *walk, uint32 list)
{
	Buffer		directory = vacuum_lock_list(vac, list, BUFFER_LOCK_SHARE);
	const IvfList *entry = vacuum_entry(vac, BufferGetPage(directory), list);
	Buffer		buffer = InvalidBuffer;

	memset(walk, 0, sizeof(ListWalk));
	walk->list = list;
	walk->head = entry->head;
	walk->nrows = entry->nrows;
	walk->last_seq = PG_UINT64_MAX;
	walk->prev = walk->room = walk->room_behind = InvalidBlockNumber;
	if (walk->head == BufferGetBlockNumber(directory))
		ivf_list_fault(vac->index, walk->head, "is one of the directory");
	if (walk->head != InvalidBlockNumber)
		buffer = vacuum_lock(vac, walk->head, BUFFER_LOCK_EXCLUSIVE);
	UnlockReleaseBuffer(directory);
	return buffer;
}

/*
 * Bring the entry of the list up to date.  Where inserts should look for room
 * they try the head first in any case.  The width of a list that is empty now
 * stays, as the best guess of what comes.
 */
static void
walk_end(IvfVacuum *vac, const ListWalk *walk)
{
	Buffer		directory = vacuum_lock_list(vac, walk->list,
											 BUFFER_LOCK_EXCLUSIVE);
	PageEdit	edit;
	IvfList    *entry = vacuum_entry(vac, page_edit_begin(&edit, vac->index,
														  directory,
														  PAGE_WAL_GENERIC),
									 walk->list);
	IvfList		old = *entry;

	entry->nrows = (uint32) walk->nlive + (old.nrows - walk->nrows);
	if (walk->nlive > 0)
		entry->width2 = (float) (walk->distance2 / walk->nlive);
	entry->insert = entry->head == walk->head ? walk->room_behind : walk->room;
	page_edit_end(&edit, entry->nrows != old.nrows ||
				  entry->width2 != old.width2 || entry->insert != old.insert);
	UnlockReleaseBuffer(directory);
}

static void
vacuum_list(IvfVacuum *vac, uint32 list)
{
	ListWalk	walk;
	PageFind	find;
	Buffer		buffer = walk_begin(vac, &walk, list);

	if (!BufferIsValid(buffer))
		return;
	for (;;)
	{
		bool		drop;

		page_find_dead(vac, &walk, buffer, &find);
		drop = page_is_dead(vac, BufferGetPage(buffer), &find);
		if (!drop)
			page_keep(vac, &walk, buffer, &find);
		UnlockReleaseBuffer(buffer);
		if (drop)
			page_drop(vac, &walk, &find);
		vac->stats->tuples_removed += find.ndead;
		compat_vacuum_delay_point();
		if (find.next == InvalidBlockNumber)
			break;
		buffer = vacuum_lock(vac, find.next, BUFFER_LOCK_EXCLUSIVE);
	}
	walk_end(vac, &walk);
	vac->stats->num_index_tuples += walk.nlive;
}

/* ----- pages that no chain led to ----- */

static void
leftover_free(IvfVacuum *vac, Buffer buffer)
{
	ivf_page_give(vac->index, buffer, PAGE_WAL_GENERIC);
	vac->stats->pages_newly_deleted++;
	vac->stats->pages_free++;
}

/*
 * Whether the list has come to have a page at a block since its walk.  Its
 * directory page is share locked, so it gets no new head.  The new pages are
 * marked as they are met; what is behind a page that was marked is too.
 */
static bool
list_reaches(IvfVacuum *vac, const IvfList *entry, BlockNumber wanted)
{
	BlockNumber block = entry->head;
	uint64		last_seq = PG_UINT64_MAX;

	while (block != InvalidBlockNumber && !block_set_has(&vac->reached, block))
	{
		Buffer		buffer = vacuum_lock(vac, block, BUFFER_LOCK_SHARE);
		const ListPage *head = list_page(BufferGetPage(buffer));

		page_check(vac->index, buffer, ivf_tag(IVF_PAGE_LIST));
		if (head->seq >= last_seq)
			ivf_list_fault(vac->index, block, "is not in its place");
		last_seq = head->seq;
		mark_list_page(vac, block, head);
		block = head->next;
		UnlockReleaseBuffer(buffer);
	}
	return block_set_has(&vac->reached, wanted);
}

/*
 * A list page that was not met: free it if it is in no chain.  Its tape pages
 * have their own turn.
 */
static void
leftover_list_page(IvfVacuum *vac, BlockNumber block, const ListPage *found)
{
	Buffer		directory;
	const IvfList *entry;

	if (found->list >= vac->meta.nlists)
		return;
	directory = vacuum_lock_list(vac, found->list, BUFFER_LOCK_SHARE);
	entry = vacuum_entry(vac, BufferGetPage(directory), found->list);
	if (!list_reaches(vac, entry, block))
	{
		Buffer		buffer = vacuum_lock(vac, block, BUFFER_LOCK_EXCLUSIVE);
		const ListPage *head = list_page(BufferGetPage(buffer));

		if (page_kind(vac, buffer) == IVF_PAGE_LIST &&
			head->list == found->list && head->seq == found->seq)
			leftover_free(vac, buffer);
		UnlockReleaseBuffer(buffer);
	}
	UnlockReleaseBuffer(directory);
}

/*
 * A tape page that was not met: free it if its owner does not know it.  The
 * owner's lock keeps an insert from being between making the page and saying
 * so.
 */
static void
leftover_tape_page(IvfVacuum *vac, BlockNumber block, const TapePage *found)
{
	Buffer		owner;
	Buffer		buffer;
	bool		known;
	int			i;

	if (found->owner >= RelationGetNumberOfBlocks(vac->index) ||
		found->owner == IVF_META_BLOCK || found->owner == block ||
		found->first_slot >= vac->layout.tapes * vac->layout.tape_slots)
		return;
	i = found->first_slot / vac->layout.tape_slots;
	owner = vacuum_lock(vac, found->owner, BUFFER_LOCK_SHARE);
	known = page_kind(vac, owner) == IVF_PAGE_LIST &&
		list_page(BufferGetPage(owner))->tapes[i] == block;
	buffer = vacuum_lock(vac, block, BUFFER_LOCK_EXCLUSIVE);
	if (!known && page_kind(vac, buffer) == IVF_PAGE_TAPE &&
		memcmp(tape_page(BufferGetPage(buffer)), found, sizeof(TapePage)) == 0)
		leftover_free(vac, buffer);
	UnlockReleaseBuffer(buffer);
	UnlockReleaseBuffer(owner);
}

/* Look at a block that was not met. */
static void
leftover_page(IvfVacuum *vac, BlockNumber block)
{
	Buffer		buffer = vacuum_lock(vac, block, BUFFER_LOCK_SHARE);
	int			kind = page_kind(vac, buffer);
	PGAlignedBlock copy;

	if (kind == IVF_PAGE_LIST || kind == IVF_PAGE_TAPE)
		memcpy(copy.data, BufferGetPage(buffer), BLCKSZ);
	UnlockReleaseBuffer(buffer);
	switch (kind)
	{
		case 0:
		case IVF_PAGE_FREE:
			RecordFreeIndexPage(vac->index, block);
			vac->stats->pages_free++;
			break;
		case IVF_PAGE_LIST:
			leftover_list_page(vac, block, list_page(copy.data));
			break;
		case IVF_PAGE_TAPE:
			leftover_tape_page(vac, block, tape_page(copy.data));
			break;
		default:
			break;
	}
}

static void
vacuum_leftovers(IvfVacuum *vac)
{
	for (BlockNumber block = IVF_META_BLOCK + 1; block < vac->reached.nblocks; block++)
	{
		if (block_set_has(&vac->reached, block))
			continue;
		compat_vacuum_delay_point();
		leftover_page(vac, block);
	}
}

/* ----- the callbacks ----- */

/*
 * Read what holds for the index.  A block that is in the file by now, and new,
 * is locked by who has extended the file: so the size is taken under the lock
 * for that.
 */
static void
vacuum_begin(IvfVacuum *vac)
{
	BlockNumber nblocks;

	ivf_meta_read(vac->index, &vac->meta);
	if (vac->meta.dim == 0)
		return;
	ivf_meta_layout(&vac->meta, &vac->layout);
	LockRelationForExtension(vac->index, ExclusiveLock);
	nblocks = RelationGetNumberOfBlocks(vac->index);
	UnlockRelationForExtension(vac->index, ExclusiveLock);
	block_set_create(&vac->reached, nblocks);
}

/*
 * Remove the rows that the callback says are dead.  Pages made meanwhile hold
 * none: the rows were dead, and in the index, before we began.
 */
IndexBulkDeleteResult *
ivf_bulk_delete(IndexVacuumInfo *info, IndexBulkDeleteResult *stats,
				IndexBulkDeleteCallback callback, void *callback_state)
{
	IvfVacuum	vac = {.info = info,.index = info->index,
	.callback = callback,.callback_state = callback_state};

	if (stats == NULL)
		stats = palloc0(sizeof(IndexBulkDeleteResult));
	vac.stats = stats;
	stats->estimated_count = false;
	stats->num_index_tuples = 0;
	stats->pages_free = 0;
	vacuum_begin(&vac);
	if (vac.meta.dim != 0)
	{
		for (int list = 0; list < vac.meta.nlists; list++)
			vacuum_list(&vac, list);
		vacuum_leftovers(&vac);
		IndexFreeSpaceMapVacuum(vac.index);
		pfree(vac.reached.bits);
	}
	stats->pages_deleted = stats->pages_free;
	stats->num_pages = RelationGetNumberOfBlocks(vac.index);
	return stats;
}

static void
count_visit(uint32 list, const IvfList *entry, void *arg)
{
	double	   *nrows = arg;

	*nrows += entry->nrows;
}

/*
 * Where no row was dead nothing has been counted but what the directory says,
 * which leaves out rows that came since.
 */
IndexBulkDeleteResult *
ivf_vacuum_cleanup(IndexVacuumInfo *info, IndexBulkDeleteResult *stats)
{
	IvfMeta		meta;
	IvfLayout	layout;

	if (info->analyze_only || stats != NULL)
		return stats;
	stats = palloc0(sizeof(IndexBulkDeleteResult));
	ivf_meta_read(info->index, &meta);
	if (meta.dim != 0)
	{
		ivf_meta_layout(&meta, &layout);
		directory_visit(info->index, &meta, &layout, count_visit,
						&stats->num_index_tuples);
	}
	stats->num_pages = RelationGetNumberOfBlocks(info->index);
	stats->estimated_count = true;
	return stats;
}
