/*
 * hnsw_meta.c
 *		The metapage: what holds for the whole index.
 */
#include "postgres.h"

#include <math.h>

#include "access/xloginsert.h"
#include "miscadmin.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "hnsw/hnsw_summary.h"
#include "index/filter_key.h"

static HnswMeta *
meta_of_page(Page page)
{
	return (HnswMeta *) page_content(page);
}

/*
 * Write the metapage of an empty index as the first block of a fork.  In the
 * init fork of an unlogged index it is logged at once; a build logs all its
 * pages at its end.
 */
void
hnsw_meta_create(Relation index, ForkNumber fork)
{
	Buffer		buffer = compat_extend_relation(index, fork);
	Page		page = BufferGetPage(buffer);
	HnswMeta   *meta;
	int			nfilters = filter_columns(index);
	Metric		metric = metric_of_index(index);

	if (BufferGetBlockNumber(buffer) != HNSW_META_BLOCK)
		elog(ERROR, "index \"%s\" already has pages",
			 RelationGetRelationName(index));
	START_CRIT_SECTION();
	page_format(page, hnsw_tag(HNSW_PAGE_META));
	meta = meta_of_page(page);
	memset(meta, 0, sizeof(HnswMeta));
	meta->metric = metric;
	meta->nfilters = nfilters;
	meta->unit = 1.0f;
	meta->insert_block = InvalidBlockNumber;
	MarkBufferDirty(buffer);
	if (fork == INIT_FORKNUM)
		log_newpage_buffer(buffer, true);
	END_CRIT_SECTION();
	UnlockReleaseBuffer(buffer);
}

/* ----- what a damaged page could say ----- */

/* What cannot be so, whatever the index; NULL where all can. */
static const char *
meta_fault(const HnswMeta *meta)
{
	if (meta->dim < 0 || meta->dim > NODE_MAX_DIM)
		return "its dimensions are out of range";
	if (!isfinite(meta->unit) || meta->unit <= 0.0f)
		return "its unit is no positive number";
	if (!isfinite(meta->radius2) || meta->radius2 < 0.0f)
		return "its radius is no number";
	if (meta->nentry_blocks < 0 || meta->nentry_blocks > ENTRY_MAX_BLOCKS ||
		meta->nentries < 0 || meta->nentries > ENTRY_MAX)
		return "its number of entries is out of range";
	if (meta->nkey_runs < 0 || meta->nkey_runs > KEY_MAX_RUNS)
		return "its number of runs of filter keys is out of range";
	if (meta->dim == 0 && meta->nentries > 0)
		return "it has entries but no dimensions";
	return NULL;
}

/* The same of the blocks that it names, in an index of nblocks. */
static const char *
meta_block_fault(const HnswMeta *meta, BlockNumber nblocks)
{
	KeyLayout	layout;
	uint64		nunits = 0;

	for (int i = 0; i < meta->nentry_blocks; i++)
		if (meta->entry_blocks[i] == HNSW_META_BLOCK ||
			meta->entry_blocks[i] >= nblocks)
			return "a page of entries does not exist";
	key_layout_init(&layout, meta->nfilters, node_padded_dim(meta->dim));
	for (int i = 0; i < meta->nkey_runs; i++)
	{
		const KeyRun *run = &meta->key_runs[i];

		if (run->first == HNSW_META_BLOCK ||
			run->first + (uint64) run->n * layout.unit_pages > nblocks)
			return "a page of filter keys does not exist";
		nunits += run->n;
	}
	if (nunits > nblocks)
		return "a page of filter keys is listed twice";
	if (meta->key_fill > nunits)
		return "its page for filter keys does not exist";
	if (meta->nsummaries > nunits)
		return "it has more summaries than units of filter keys";
	if (meta->nsummaries > 0 &&
		(meta->first_summary == HNSW_META_BLOCK ||
		 meta->first_summary + (uint64)
		 summary_npages(layout.code.padded_dim, meta->nsummaries) > nblocks))
		return "a page of summaries does not exist";
	if (meta->insert_block != InvalidBlockNumber &&
		meta->insert_block >= nblocks)
		return "its insert block does not exist";
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
meta_check_columns(Relation index, const HnswMeta *meta)
{
	metric_check(index, meta->metric);
	if (meta->nfilters != IndexRelationGetNumberOfKeyAttributes(index) - 1)
		page_meta_fault(index, "it was built for other filter columns");
	if (meta->nfilters == 0 && meta->nkey_runs > 0)
		page_meta_fault(index, "it has filter keys but no filter columns");
}

/* ----- read and change ----- */

/*
 * Copy the metapage.  What it says has been checked: blocks that it names
 * existed before it was written.
 */
void
hnsw_meta_read(Relation index, HnswMeta *meta)
{
	Buffer		buffer = ReadBuffer(index, HNSW_META_BLOCK);

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	page_check(index, buffer, hnsw_tag(HNSW_PAGE_META));
	*meta = *meta_of_page(BufferGetPage(buffer));
	UnlockReleaseBuffer(buffer);
	meta_check(index, meta_fault(meta));
	meta_check_columns(index, meta);
	meta_check(index, meta_block_fault(meta, RelationGetNumberOfBlocks(index)));
}

void
hnsw_meta_update(Relation index, PageWal wal, HnswMeta *meta,
				 HnswMetaUpdate update, void *arg)
{
	Buffer		buffer = ReadBuffer(index, HNSW_META_BLOCK);
	PageEdit	edit;
	Page		page;
	bool		changed;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	page_check(index, buffer, hnsw_tag(HNSW_PAGE_META));
	*meta = *meta_of_page(BufferGetPage(buffer));
	meta_check(index, meta_fault(meta));
	changed = update(meta, arg);
	if (changed)
	{
		page = page_edit_begin(&edit, index, buffer, wal);
		*meta_of_page(page) = *meta;
		page_edit_end(&edit, true);
	}
	UnlockReleaseBuffer(buffer);
}
