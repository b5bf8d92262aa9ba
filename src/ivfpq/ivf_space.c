/*
 * ivf_space.c
 *		Pages taken from the free space map or the end of the index, and given
 *		back.
 */
#include "postgres.h"

#include "storage/indexfsm.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "ivfpq/ivf_space.h"
#include "ivfpq/ivf_tape.h"

Buffer
ivf_page_take(Relation index)
{
	BlockNumber block;

	/* the map is a hint: what it names may be in use again */
	while ((block = GetFreeIndexPage(index)) != InvalidBlockNumber)
	{
		Buffer		buffer;

		if (block >= RelationGetNumberOfBlocks(index))
			continue;
		buffer = ReadBuffer(index, block);
		if (ConditionalLockBuffer(buffer))
		{
			Page		page = BufferGetPage(buffer);

			if (PageIsNew(page) || page_tag(page)->kind == IVF_PAGE_FREE)
				return buffer;
			LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
		}
		ReleaseBuffer(buffer);
	}
	return compat_extend_relation(index, MAIN_FORKNUM);
}

void
ivf_page_give(Relation index, Buffer buffer, PageWal wal)
{
	PageEdit	edit;

	ivf_page_set_free(page_edit_begin(&edit, index, buffer, wal));
	page_edit_end(&edit, true);
	RecordFreeIndexPage(index, BufferGetBlockNumber(buffer));
}

void
ivf_list_fault(Relation index, BlockNumber block, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INDEX_CORRUPTED),
			 errmsg("index \"%s\" has a list page at block %u that %s",
					RelationGetRelationName(index), block, what),
			 errhint("REINDEX the index.")));
}

/*
 * Error where the page of the tape that a list page names cannot be so: it is
 * the list page itself, which is locked, or no page.
 */
static void
slot_check_tape(const ListSlot *at, BlockNumber block)
{
	page_check_block(at->index, block, at->nblocks);
	if (block == BufferGetBlockNumber(at->buffer))
		ivf_list_fault(at->index, block, "is its own page of the tape");
}

/* Error where a page of the tape is another's; it is not to be written to. */
static void
slot_check_owner(const ListSlot *at, Buffer buffer)
{
	const TapePage *tape = tape_page(BufferGetPage(buffer));
	int			slots = at->layout->tape_slots;

	page_check(at->index, buffer, ivf_tag(IVF_PAGE_TAPE));
	if (tape->owner != BufferGetBlockNumber(at->buffer) ||
		tape->first_slot != at->slot / slots * slots)
		ivf_list_fault(at->index, BufferGetBlockNumber(at->buffer),
					   "names a page of the tape that is another's");
}

/* Put the record of a slot on the tape; returns the tape page's block. */
static BlockNumber
slot_write_record(const ListSlot *at, BlockNumber block, const void *record)
{
	const IvfLayout *layout = at->layout;
	bool		is_new = block == InvalidBlockNumber;
	Buffer		buffer;
	PageEdit	edit;
	Page		page;

	if (is_new)
		buffer = ivf_page_take(at->index);
	else
	{
		slot_check_tape(at, block);
		buffer = ReadBuffer(at->index, block);
		LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
		slot_check_owner(at, buffer);
	}
	page = page_edit_begin(&edit, at->index, buffer, at->wal);
	if (is_new)
		tape_page_init(page, BufferGetBlockNumber(at->buffer),
					   at->slot / layout->tape_slots * layout->tape_slots);
	memcpy(tape_page_record(layout, page, at->slot), record,
		   layout->tape_record);
	page_edit_end(&edit, true);
	block = BufferGetBlockNumber(buffer);
	UnlockReleaseBuffer(buffer);
	return block;
}

void
ivf_slot_fill(const ListSlot *at, Page page, const IvfRow *row)
{
	const IvfLayout *layout = at->layout;

	if (layout->tape_record > 0)
	{
		BlockNumber *tape = &list_page(page)->tapes[at->slot / layout->tape_slots];

		*tape = slot_write_record(at, *tape, row->record);
	}
	list_page_put(layout, at->metric, page, at->slot, row);
}
