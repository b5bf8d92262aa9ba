/*
 * index_page.h
 *		What every page of our indexes has, and the only way to change one.
 *
 *		| PageHeader | PageTag | content ...                         |
 *
 * The tag is next to the header, and not in special space at the page's end,
 * so that checking it touches no other cache line.  Generic WAL leaves out
 * what lies between pd_lower and pd_upper, and makes it zero.  pd_upper is the
 * end of the page, and so is pd_lower at first: all of the page counts.  Who
 * fills a page from its beginning may move pd_lower down on a new one, and up
 * again as the page fills: then a new page's image in the WAL is short.
 */
#ifndef RECSYS_INDEX_PAGE_H
#define RECSYS_INDEX_PAGE_H

#include "access/generic_xlog.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "storage/itemptr.h"
#include "utils/relcache.h"

#include "base/compat.h"

/* Which access method, format and kind a page is of. */
typedef struct PageTag
{
	uint16		magic;			/* one a kind of index */
	uint8		version;		/* of the page format */
	uint8		kind;			/* meaning is the access method's */
	uint32		unused;
} PageTag;

StaticAssertDecl(sizeof(PageTag) == 8, "PageTag is part of the disk format");

#define PAGE_CONTENT_OFFSET \
	(MAXALIGN(SizeOfPageHeaderData) + MAXALIGN(sizeof(PageTag)))
#define PAGE_CONTENT_SIZE (BLCKSZ - PAGE_CONTENT_OFFSET)

/* How changes reach the WAL. */
typedef enum PageWal
{
	PAGE_WAL_GENERIC,			/* each edit is one generic WAL record */
	PAGE_WAL_AT_END				/* a build: all pages are logged when done */
} PageWal;

/*
 * An edit of one page, or of up to PAGE_EDIT_PAGES, which is one WAL record.  The
 * caller holds a pin and an exclusive content lock on each buffer until the end;
 * changes show only after page_edit_end.
 */
#define PAGE_EDIT_PAGES MAX_GENERIC_XLOG_PAGES

typedef struct PageEdit
{
	Buffer		buffer;
	Page		page;			/* write here */
	GenericXLogState *xlog;		/* NULL in a build */
	uint16		used;			/* where pd_lower moves to, or 0 */
} PageEdit;

extern void page_format(Page page, PageTag tag);
extern void page_use_none(Page page);
extern void page_check(Relation index, Buffer buffer, PageTag expected);

/* Error that tells what is wrong with an index's metapage. */
pg_noreturn extern void page_meta_fault(Relation index, const char *what);

/*
 * Error ERRCODE_INDEX_CORRUPTED unless a block that a page names is one behind
 * the metapage that exists.  *nblocks is the caller's, 0 at first, and is taken
 * anew where it does not do: so this is mostly a comparison.  An invalid block
 * must not come to ReadBuffer, which would extend the index.
 */
extern void page_block_fault(Relation index, BlockNumber block,
							 BlockNumber *nblocks);

static inline void
page_check_block(Relation index, BlockNumber block, BlockNumber *nblocks)
{
	if (unlikely(block == 0 || block >= *nblocks))
		page_block_fault(index, block, nblocks);
}

/*
 * The same for a TID that an index gives, of a table of *nblocks: the server
 * would extend the table for an invalid block, and its error for one behind the
 * end would be about the table's file.  Whether there is such a row is not asked.
 */
extern void page_tid_fault(Relation index, Relation heap,
						   const ItemPointerData *tid, BlockNumber *nblocks);

static inline void
page_check_tid(Relation index, Relation heap, const ItemPointerData *tid,
			   BlockNumber *nblocks)
{
	if (unlikely(ItemPointerGetBlockNumberNoCheck(tid) >= *nblocks ||
				 !OffsetNumberIsValid(ItemPointerGetOffsetNumberNoCheck(tid))))
		page_tid_fault(index, heap, tid, nblocks);
}

extern Page page_edit_begin(PageEdit *edit, Relation index, Buffer buffer,
							PageWal wal);
extern Page page_edit_add(PageEdit *edit, Buffer buffer);
extern void page_edit_use(PageEdit *edit, Size end);
extern void page_edit_end(PageEdit *edit, bool changed);

static inline PageTag *
page_tag(Page page)
{
	return (PageTag *) ((char *) page + MAXALIGN(SizeOfPageHeaderData));
}

static inline char *
page_content(Page page)
{
	return (char *) page + PAGE_CONTENT_OFFSET;
}

#endif							/* RECSYS_INDEX_PAGE_H */
