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

/* ----- pages ----- */

BlockNumber
hnsw_page_add(Relation index, PageWal wal, HnswPageKind kind)
{
	Buffer		buffer = compat_extend_relation(index, MAIN_FORKNUM);
	BlockNumber block = BufferGetBlockNumber(buffer);
	PageEdit	edit;

	page_format(page_edit_begin(&edit, index, buffer, wal), hnsw_tag(kind));
	page_edit_end(&edit, true);
	UnlockReleaseBuffer(buffer);
	return block;
}

uint32
page_runs_count(const PageRun *runs, int nruns)
{
	uint32		n = 0;

	for (int i = 0; i < nruns; i++)
		n += runs[i].n;
	return n;
}

BlockNumber
page_runs_block(const PageRun *runs, int nruns, int unit_pages, uint32 number)
{
	for (int i = 0; i < nruns; i++)
	{
		if (number < runs[i].n)
			return runs[i].first + number * unit_pages;
		number -= runs[i].n;
	}
	return InvalidBlockNumber;
}

bool
page_runs_add(PageRun *runs, int *nruns, int max, int unit_pages,
			  BlockNumber first)
{
	PageRun    *end = &runs[*nruns];

	if (*nruns > 0 && end[-1].first + end[-1].n * unit_pages == first)
	{
		end[-1].n++;
		return true;
	}
	if (*nruns == max)
		return false;
	end->first = first;
	end->n = 1;
	++*nruns;
	return true;
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
	if (meta->nlong_runs < 0 || meta->nlong_runs > LONG_MAX_RUNS)
		return "its number of runs of the long list is out of range";
	if (!isfinite(meta->long_norm) || meta->long_norm < 0.0f ||
		!isfinite(meta->long_whole) || meta->long_whole < 0.0f)
		return "the length from which its long list begins is no number";
	if (meta->dim == 0 && meta->nentries > 0)
		return "it has entries but no dimensions";
	return NULL;
}

/*
 * Whether runs name pages that an index of nblocks has not, or one twice; *n
 * receives their units.
 */
static bool
page_runs_are_wrong(const PageRun *runs, int nruns, int unit_pages,
					BlockNumber nblocks, uint64 *n)
{
	*n = 0;
	for (int i = 0; i < nruns; i++)
	{
		if (runs[i].first == HNSW_META_BLOCK ||
			runs[i].first + (uint64) runs[i].n * unit_pages > nblocks)
			return true;
		*n += runs[i].n;
	}
	return *n > nblocks;
}

/* The same of the blocks that it names for filter columns. */
static const char *
meta_key_fault(const HnswMeta *meta, BlockNumber nblocks)
{
	KeyLayout	layout;
	uint64		nunits;

	key_layout_init(&layout, meta->nfilters, node_padded_dim(meta->dim));
	if (page_runs_are_wrong(meta->key_runs, meta->nkey_runs,
							layout.unit_pages, nblocks, &nunits))
		return "a page of filter keys does not exist";
	if (meta->key_fill > nunits)
		return "its page for filter keys does not exist";
	if (meta->nsummaries > nunits)
		return "it has more summaries than units of filter keys";
	if (meta->nsummaries > 0 &&
		(meta->first_summary == HNSW_META_BLOCK ||
		 meta->first_summary + (uint64)
		 summary_npages(layout.code.padded_dim, meta->nsummaries) > nblocks))
		return "a page of summaries does not exist";
	return NULL;
}

/* The same of all blocks that it names, in an index of nblocks. */
static const char *
meta_block_fault(const HnswMeta *meta, BlockNumber nblocks)
{
	uint64		nlong;

	for (int i = 0; i < meta->nentry_blocks; i++)
		if (meta->entry_blocks[i] == HNSW_META_BLOCK ||
			meta->entry_blocks[i] >= nblocks)
			return "a page of entries does not exist";
	if (page_runs_are_wrong(meta->long_runs, meta->nlong_runs, 1, nblocks,
							&nlong) ||
		meta->long_fill > nlong || meta->long_sorted > nlong)
		return "a page of the long list does not exist";
	if (meta->insert_block != InvalidBlockNumber &&
		meta->insert_block >= nblocks)
		return "its insert block does not exist";
	return meta_key_fault(meta, nblocks);
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
