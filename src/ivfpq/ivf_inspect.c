/*
 * ivf_inspect.c
 *		What ivfpq_stats and check_index share: the opened index, its pages one
 *		by one.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/rel.h"

#include "ivfpq/ivf_inspect.h"

void
ivf_inspection_begin(IvfInspection *inspection, const IndexAccess *access)
{
	Relation	index = access->index;

	memset(inspection, 0, sizeof(IvfInspection));
	inspection->access = *access;
	inspection->strategy = GetAccessStrategy(BAS_BULKREAD);
	if (RelationGetNumberOfBlocks(index) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INDEX_CORRUPTED),
				 errmsg("index \"%s\" has no pages",
						RelationGetRelationName(index)),
				 errhint("REINDEX the index.")));
	ivf_meta_read(index, &inspection->meta);
	/* after the metapage: whatever it names is there by now */
	inspection->nblocks = RelationGetNumberOfBlocks(index);
	block_set_create(&inspection->seen, inspection->nblocks);
	if (inspection->meta.dim > 0)
		ivf_meta_layout(&inspection->meta, &inspection->layout);
}

void
ivf_inspection_end(IvfInspection *inspection)
{
	FreeAccessStrategy(inspection->strategy);
	pfree(inspection->seen.bits);
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
ivf_inspection_read(IvfInspection *inspection, BlockNumber block, Page copy)
{
	Relation	index = inspection->access.index;
	Buffer		buffer;
	int			kind = 0;

	CHECK_FOR_INTERRUPTS();
	buffer = ReadBufferExtended(index, MAIN_FORKNUM, block, RBM_NORMAL,
								inspection->strategy);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	memcpy(copy, BufferGetPage(buffer), BLCKSZ);
	if (block == IVF_META_BLOCK || !page_is_zero(copy))
	{
		kind = block == IVF_META_BLOCK ? IVF_PAGE_META : page_tag(copy)->kind;
		if (kind <= IVF_PAGE_META || kind > IVF_PAGE_FREE)
			kind = block == IVF_META_BLOCK ? IVF_PAGE_META : IVF_PAGE_FREE;
		page_check(index, buffer, ivf_tag(kind));
	}
	UnlockReleaseBuffer(buffer);
	return kind;
}
