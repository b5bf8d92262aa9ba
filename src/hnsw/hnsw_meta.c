/*
 * hnsw_meta.c
 *		The metapage: what holds for the whole index.
 */
#include "postgres.h"

#include "access/xloginsert.h"
#include "miscadmin.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "hnsw/hnsw_meta.h"
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

/* Whether the numbers can be those of an index. */
static bool
meta_is_valid(const HnswMeta *meta)
{
	return meta->dim >= 0 && meta->dim <= NODE_MAX_DIM &&
		meta->nentry_blocks >= 0 && meta->nentry_blocks <= ENTRY_MAX_BLOCKS &&
		meta->nentries >= 0 && meta->nentries <= ENTRY_MAX &&
		meta->nkey_runs >= 0 && meta->nkey_runs <= KEY_MAX_RUNS;
}

/* Copy the metapage. */
void
hnsw_meta_read(Relation index, HnswMeta *meta)
{
	Buffer		buffer = ReadBuffer(index, HNSW_META_BLOCK);

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	page_check(index, buffer, hnsw_tag(HNSW_PAGE_META));
	*meta = *meta_of_page(BufferGetPage(buffer));
	UnlockReleaseBuffer(buffer);
	if (!meta_is_valid(meta) ||
		meta->nfilters != IndexRelationGetNumberOfKeyAttributes(index) - 1)
		ereport(ERROR,
				(errcode(ERRCODE_INDEX_CORRUPTED),
				 errmsg("index \"%s\" has an invalid metapage",
						RelationGetRelationName(index)),
				 errhint("REINDEX the index.")));
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
	changed = update(meta, arg);
	if (changed)
	{
		page = page_edit_begin(&edit, index, buffer, wal);
		*meta_of_page(page) = *meta;
		page_edit_end(&edit, true);
	}
	UnlockReleaseBuffer(buffer);
}
