/*
 * ivf_meta.c
 *		The metapage: what holds for the whole index.
 */
#include "postgres.h"

#include <math.h>

#include "access/xloginsert.h"
#include "miscadmin.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "ivfpq/ivf_directory.h"
#include "ivfpq/ivf_model.h"

static IvfMeta *
meta_of_page(Page page)
{
	return (IvfMeta *) page_content(page);
}

/*
 * Write the metapage of an empty index as the first block of a fork.  In the
 * init fork of an unlogged index it is logged at once; a build logs all its
 * pages at its end.
 */
void
ivf_meta_create(Relation index, ForkNumber fork)
{
	Buffer		buffer = compat_extend_relation(index, fork);
	Page		page = BufferGetPage(buffer);
	IvfMeta    *meta;
	Metric		metric = metric_of_index(index);
	int			nfilters = filter_columns(index);

	if (BufferGetBlockNumber(buffer) != IVF_META_BLOCK)
		elog(ERROR, "index \"%s\" already has pages",
			 RelationGetRelationName(index));
	START_CRIT_SECTION();
	page_format(page, ivf_tag(IVF_PAGE_META));
	meta = meta_of_page(page);
	memset(meta, 0, sizeof(IvfMeta));
	meta->metric = metric;
	meta->nfilters = nfilters;
	MarkBufferDirty(buffer);
	if (fork == INIT_FORKNUM)
		log_newpage_buffer(buffer, true);
	END_CRIT_SECTION();
	UnlockReleaseBuffer(buffer);
}

/* ----- what a damaged page could say ----- */

/* What cannot be so, whatever the index; NULL where all can. */
static const char *
meta_fault(const IvfMeta *meta)
{
	if (meta->dim < 0 || meta->dim > IVF_MAX_DIM)
		return "its dimensions are out of range";
	if (meta->dim == 0)
		return NULL;
	if (!codebook_nsub_fits((meta->dim + 63) / 64 * 64, meta->nsub) ||
		meta->nsub > ivf_layout_max_nsub(meta->nfilters))
		return "its number of codes a row does not fit its dimensions";
	if (meta->refine < REFINE_SQ8 || meta->refine > REFINE_NONE)
		return "its form of refinement is unknown";
	if (meta->nlists < 1 || meta->nlists > IVF_MAX_LISTS)
		return "its number of lists is out of range";
	if ((meta->learned != 0 && meta->learned != 1) ||
		(meta->trained != 0 && meta->trained != 1) || meta->sample < 0)
		return "what it says of its training cannot be";
	if (!isfinite(meta->radius2) || meta->radius2 < 0.0f)
		return "its radius is no number";
	return NULL;
}

/* Whether npages blocks from first on can be those of the model or directory. */
static bool
blocks_exist(BlockNumber first, BlockNumber npages, BlockNumber nblocks)
{
	return first != IVF_META_BLOCK && (uint64) first + npages <= nblocks;
}

/* The same of the blocks that it names, in an index of nblocks. */
static const char *
meta_block_fault(const IvfMeta *meta, BlockNumber nblocks)
{
	IvfLayout	layout;

	if (meta->dim == 0)
		return NULL;
	ivf_meta_layout(meta, &layout);
	if (!blocks_exist(meta->model_first,
					  ivf_model_pages(layout.padded_dim, meta->learned),
					  nblocks))
		return "a page of the model does not exist";
	if (!blocks_exist(meta->directory_first, directory_pages(meta, &layout),
					  nblocks))
		return "a page of the directory does not exist";
	return NULL;
}

/* Error where there is a fault. */
static void
meta_check(Relation index, const char *fault)
{
	if (fault != NULL)
		page_meta_fault(index, fault);
}

/* Error unless it is the metapage of such an index. */
static void
meta_check_columns(Relation index, const IvfMeta *meta)
{
	metric_check(index, meta->metric);
	if (meta->nfilters != IndexRelationGetNumberOfKeyAttributes(index) - 1)
		meta_check(index, "it was built for other filter columns");
}

/* ----- read and change ----- */

/*
 * Copy the metapage.  What it says has been checked: blocks that it names
 * existed before it was written.
 */
void
ivf_meta_read(Relation index, IvfMeta *meta)
{
	Buffer		buffer = ReadBuffer(index, IVF_META_BLOCK);

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	page_check(index, buffer, ivf_tag(IVF_PAGE_META));
	*meta = *meta_of_page(BufferGetPage(buffer));
	UnlockReleaseBuffer(buffer);
	meta_check_columns(index, meta);
	meta_check(index, meta_fault(meta));
	meta_check(index, meta_block_fault(meta, RelationGetNumberOfBlocks(index)));
}

void
ivf_meta_start(Relation index, PageWal wal, IvfMeta *meta, IvfMetaStart start,
			   void *arg)
{
	Buffer		buffer = ReadBuffer(index, IVF_META_BLOCK);
	PageEdit	edit;
	Page		page;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	page_check(index, buffer, ivf_tag(IVF_PAGE_META));
	*meta = *meta_of_page(BufferGetPage(buffer));
	if (meta->dim == 0)
	{
		start(index, wal, meta, arg);
		page = page_edit_begin(&edit, index, buffer, wal);
		*meta_of_page(page) = *meta;
		page_edit_end(&edit, true);
	}
	UnlockReleaseBuffer(buffer);
}
