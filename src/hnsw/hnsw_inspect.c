/*
 * hnsw_inspect.c
 *		What index_stats and check_index share: the opened index, its pages one
 *		by one, sets of nodes.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "hnsw/hnsw_inspect.h"

/* Read the size of the file and the metapage. */
static void
inspection_read_meta(Inspection *inspection)
{
	Relation	index = inspection->access.index;

	inspection->nblocks = RelationGetNumberOfBlocks(index);
	if (inspection->nblocks == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INDEX_CORRUPTED),
				 errmsg("index \"%s\" has no pages",
						RelationGetRelationName(index)),
				 errhint("REINDEX the index.")));
	hnsw_meta_read(index, &inspection->meta);
	/* again: whatever the metapage names is there by now */
	inspection->nblocks = RelationGetNumberOfBlocks(index);
	if (inspection->meta.dim > 0)
		node_layout_init(&inspection->layout, inspection->meta.dim,
						 inspection->meta.nfilters);
}

void
inspection_begin(Inspection *inspection, const IndexAccess *access)
{
	memset(inspection, 0, sizeof(Inspection));
	inspection->access = *access;
	inspection->strategy = GetAccessStrategy(BAS_BULKREAD);
	inspection_read_meta(inspection);
}

void
inspection_end(Inspection *inspection)
{
	FreeAccessStrategy(inspection->strategy);
}

static bool
page_is_zero(const char *page)
{
	for (int i = 0; i < BLCKSZ; i++)
		if (page[i] != 0)
			return false;
	return true;
}

int
inspection_read_page(Inspection *inspection, BlockNumber block)
{
	Relation	index = inspection->access.index;
	Buffer		buffer;
	Page		page;
	int			kind = 0;

	CHECK_FOR_INTERRUPTS();
	buffer = ReadBufferExtended(index, MAIN_FORKNUM, block, RBM_NORMAL,
								inspection->strategy);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	page = BufferGetPage(buffer);
	if (block == HNSW_META_BLOCK || !page_is_zero(page))
	{
		kind = block == HNSW_META_BLOCK ? HNSW_PAGE_META : HNSW_PAGE_NODES;
		if (kind == HNSW_PAGE_NODES &&
			(page_tag(page)->kind == HNSW_PAGE_ENTRY ||
			 page_tag(page)->kind == HNSW_PAGE_KEYS ||
			 page_tag(page)->kind == HNSW_PAGE_CODES ||
			 page_tag(page)->kind == HNSW_PAGE_SUMMARIES ||
			 page_tag(page)->kind == HNSW_PAGE_LONG))
			kind = page_tag(page)->kind;
		page_check(index, buffer, hnsw_tag(kind));
	}
	memcpy(inspection->page.data, page, BLCKSZ);
	UnlockReleaseBuffer(buffer);
	return kind;
}

AddrSet *
addr_set_create(const Inspection *inspection)
{
	Size		nslots = mul_size(inspection->nblocks, 1 << NODE_SLOT_BITS);

	return MemoryContextAllocExtended(CurrentMemoryContext,
									  mul_size(nslots / 64 + 1, sizeof(AddrSet)),
									  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
}
