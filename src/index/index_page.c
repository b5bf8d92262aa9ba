/*
 * index_page.c
 *		What every page of our indexes has, and the only way to change one.
 *
 * In normal running an edit is one generic WAL record.  A build changes
 * buffers directly and logs the whole file at its end.
 */
#include "postgres.h"

#include "catalog/pg_am.h"
#include "utils/rel.h"

#include "index/index_page.h"

/* Make an empty page with the given tag. */
void
page_format(Page page, PageTag tag)
{
	PageInit(page, BLCKSZ, 0);
	*page_tag(page) = tag;
	((PageHeader) page)->pd_lower = BLCKSZ;
	((PageHeader) page)->pd_upper = BLCKSZ;
}

/* Of a page that has just been formatted: nothing behind the tag is in use. */
void
page_use_none(Page page)
{
	((PageHeader) page)->pd_lower = PAGE_CONTENT_OFFSET;
}

/*
 * Error ERRCODE_INDEX_CORRUPTED unless the page has the expected tag.  The
 * caller holds a content lock.
 */
void
page_check(Relation index, Buffer buffer, PageTag expected)
{
	Page		page = BufferGetPage(buffer);
	PageHeader	header = (PageHeader) page;
	BlockNumber block = BufferGetBlockNumber(buffer);
	const PageTag *tag;

	/* of a page that is all zero, pd_upper is 0 */
	if (header->pd_upper != BLCKSZ || header->pd_lower < PAGE_CONTENT_OFFSET ||
		header->pd_lower > BLCKSZ)
		ereport(ERROR,
				(errcode(ERRCODE_INDEX_CORRUPTED),
				 errmsg("index \"%s\" has an empty or foreign page at block %u",
						RelationGetRelationName(index), block),
				 errhint("REINDEX the index.")));
	tag = page_tag(page);
	if (tag->magic != expected.magic || tag->kind != expected.kind)
		ereport(ERROR,
				(errcode(ERRCODE_INDEX_CORRUPTED),
				 errmsg("index \"%s\" has a page of another kind at block %u",
						RelationGetRelationName(index), block),
				 errdetail("Expected magic %04x kind %u, found magic %04x kind %u.",
						   expected.magic, expected.kind,
						   tag->magic, tag->kind),
				 errhint("REINDEX the index.")));
	if (tag->version != expected.version)
		ereport(ERROR,
				(errcode(ERRCODE_INDEX_CORRUPTED),
				 errmsg("index \"%s\" has page format %u at block %u, this version reads format %u",
						RelationGetRelationName(index), tag->version, block,
						expected.version),
				 errhint("REINDEX the index.")));
}

void
page_block_fault(Relation index, BlockNumber block, BlockNumber *nblocks)
{
	*nblocks = RelationGetNumberOfBlocks(index);
	if (block == 0 || block >= *nblocks)
		ereport(ERROR,
				(errcode(ERRCODE_INDEX_CORRUPTED),
				 errmsg("index \"%s\" leads to block %u, which does not exist",
						RelationGetRelationName(index), block),
				 errhint("REINDEX the index.")));
}

/* Blocks of TIDs are those of the file in the server's own kind of table. */
void
page_tid_fault(Relation index, Relation heap, const ItemPointerData *tid,
			   BlockNumber *nblocks)
{
	BlockNumber block = ItemPointerGetBlockNumberNoCheck(tid);
	OffsetNumber offset = ItemPointerGetOffsetNumberNoCheck(tid);

	*nblocks = heap->rd_rel->relam == HEAP_TABLE_AM_OID ?
		RelationGetNumberOfBlocks(heap) : InvalidBlockNumber;
	if (block >= *nblocks || !OffsetNumberIsValid(offset))
		ereport(ERROR,
				(errcode(ERRCODE_INDEX_CORRUPTED),
				 errmsg("index \"%s\" has a row at (%u,%u) of table \"%s\", which does not exist",
						RelationGetRelationName(index), block, offset,
						RelationGetRelationName(heap)),
				 errhint("REINDEX the index.")));
}

void
page_meta_fault(Relation index, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INDEX_CORRUPTED),
			 errmsg("index \"%s\" has an invalid metapage: %s",
					RelationGetRelationName(index), what),
			 errhint("REINDEX the index.")));
}

/*
 * Begin to change the page of a pinned and exclusively locked buffer.  The
 * page returned may be a copy.
 */
Page
page_edit_begin(PageEdit *edit, Relation index, Buffer buffer, PageWal wal)
{
	edit->buffer = buffer;
	edit->used = 0;
	if (wal == PAGE_WAL_GENERIC)
	{
		int			flags = PageIsNew(BufferGetPage(buffer)) ?
		GENERIC_XLOG_FULL_IMAGE : 0;

		edit->xlog = GenericXLogStart(index);
		edit->page = GenericXLogRegisterBuffer(edit->xlog, buffer, flags);
	}
	else
	{
		edit->xlog = NULL;
		edit->page = BufferGetPage(buffer);
	}
	return edit->page;
}

/* Take a further buffer into an edit, or one again; returns its page. */
Page
page_edit_add(PageEdit *edit, Buffer buffer)
{
	if (edit->xlog != NULL)
		return GenericXLogRegisterBuffer(edit->xlog, buffer, 0);
	MarkBufferDirty(buffer);
	return BufferGetPage(buffer);
}

/* What is before offset end of an edit's first page is in use from now on. */
void
page_edit_use(PageEdit *edit, Size end)
{
	PageHeader	header = (PageHeader) edit->page;

	if (header->pd_lower < end)
		header->pd_lower = edit->used = end;
}

/*
 * Log an edit.  Generic WAL logs where an edit's copy of a page differs from the
 * buffer, and where pd_lower moves up, all bytes that it has passed, since it does
 * not compare what was not in use.  But that is zero, here and where the record is
 * replayed: generic WAL itself sees to it.  So we have it compare them: in the
 * buffer we first set pd_lower far enough up, to a number of which both bytes
 * differ from what it becomes, since both must be logged.  The bytes that stay
 * zero are then left out.
 *
 * The buffer is locked, and from here on GenericXLogFinish does nothing that may
 * fail short of a panic, until it has put the copy in the buffer's place.
 */
static void
page_edit_log(PageEdit *edit)
{
	StaticAssertStmt(BLCKSZ <= PG_UINT16_MAX / 2,
					 "the complement of an offset is behind the page");

	if (edit->used > 0)
		((PageHeader) BufferGetPage(edit->buffer))->pd_lower = ~edit->used;
	GenericXLogFinish(edit->xlog);
}

/*
 * End an edit: log it and mark the buffers dirty, or forget it.  An edit that
 * is forgotten must not have written, since a build has no copy to drop.
 */
void
page_edit_end(PageEdit *edit, bool changed)
{
	if (edit->xlog != NULL)
	{
		if (changed)
			page_edit_log(edit);
		else
			GenericXLogAbort(edit->xlog);
	}
	else if (changed)
		MarkBufferDirty(edit->buffer);
}
