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
#include "ivfpq/ivf_meta.h"

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

/* Whether the numbers can be those of an index. */
static bool
meta_is_valid(const IvfMeta *meta)
{
	if (meta->metric < METRIC_IP || meta->metric > METRIC_COSINE)
		return false;
	if (meta->dim == 0)
		return true;
	return meta->dim > 0 && meta->dim <= IVF_MAX_DIM &&
		codebook_nsub_fits((meta->dim + 63) / 64 * 64, meta->nsub) &&
		meta->nsub <= ivf_layout_max_nsub(meta->nfilters) &&
		meta->refine >= REFINE_SQ8 && meta->refine <= REFINE_NONE &&
		meta->nlists > 0 && isfinite(meta->radius2) && meta->radius2 >= 0.0f &&
		meta->model_first != IVF_META_BLOCK &&
		meta->directory_first != IVF_META_BLOCK;
}

/* Copy the metapage. */
void
ivf_meta_read(Relation index, IvfMeta *meta)
{
	Buffer		buffer = ReadBuffer(index, IVF_META_BLOCK);

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	page_check(index, buffer, ivf_tag(IVF_PAGE_META));
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
