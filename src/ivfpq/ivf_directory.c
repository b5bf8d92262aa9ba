/*
 * ivf_directory.c
 *		The lists: their centroids, where their pages are, how wide they are.
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "miscadmin.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "ivfpq/ivf_directory.h"
#include "vector/mips.h"

void
list_get_centroid(const IvfLayout *layout, const IvfList *entry,
				  float *centroid)
{
	kernels->f16_to_f32(entry->centroid, centroid, layout->padded_dim);
	for (int i = 0; i < layout->padded_dim; i++)
		centroid[i] *= entry->scale;
}

void
list_set_centroid(const IvfLayout *layout, IvfList *entry, float *centroid,
				  float coordinate)
{
	int			d = layout->padded_dim;
	float		largest = 0.0f;
	int			exponent = 0;

	for (int i = 0; i < d; i++)
		largest = Max(largest, fabsf(centroid[i]));
	if (largest > 0.0f)
		frexpf(largest, &exponent);
	entry->scale = Max(ldexpf(1.0f, exponent), FLT_MIN);
	for (int i = 0; i < d; i++)
		centroid[i] /= entry->scale;
	kernels->f32_to_f16(centroid, entry->centroid, d);
	list_get_centroid(layout, entry, centroid);
	entry->norm2 = kernels->dot_f32(centroid, centroid, d);
	entry->coordinate = coordinate;
}

Buffer
directory_lock(Relation index, const IvfMeta *meta, const IvfLayout *layout,
			   uint32 list, int mode)
{
	Buffer		buffer = ReadBuffer(index, directory_block(meta, layout, list));

	LockBuffer(buffer, mode);
	page_check(index, buffer, ivf_tag(IVF_PAGE_DIRECTORY));
	return buffer;
}

void
directory_visit(Relation index, const IvfMeta *meta, const IvfLayout *layout,
				DirectoryVisit visit, void *arg)
{
	for (int first = 0; first < meta->nlists; first += layout->lists_per_page)
	{
		int			end = Min(first + layout->lists_per_page, meta->nlists);
		Buffer		buffer = directory_lock(index, meta, layout, first,
											BUFFER_LOCK_SHARE);
		Page		page = BufferGetPage(buffer);

		for (int list = first; list < end; list++)
			visit(list, directory_page_list(layout, page, list), arg);
		UnlockReleaseBuffer(buffer);
		CHECK_FOR_INTERRUPTS();
	}
}

BlockNumber
directory_extend(Relation index, PageWal wal, const IvfMeta *meta,
				 const IvfLayout *layout)
{
	BlockNumber npages = directory_pages(meta, layout);
	BlockNumber first = InvalidBlockNumber;

	for (BlockNumber i = 0; i < npages; i++)
	{
		Buffer		buffer = compat_extend_relation(index, MAIN_FORKNUM);
		PageEdit	edit;

		if (i == 0)
			first = BufferGetBlockNumber(buffer);
		else if (BufferGetBlockNumber(buffer) != first + i)
			elog(ERROR, "the directory of index \"%s\" is not contiguous",
				 RelationGetRelationName(index));
		page_format(page_edit_begin(&edit, index, buffer, wal),
					ivf_tag(IVF_PAGE_DIRECTORY));
		page_edit_end(&edit, true);
		UnlockReleaseBuffer(buffer);
		CHECK_FOR_INTERRUPTS();
	}
	return first;
}

/* ----- the nearest list ----- */

typedef struct NearestSearch
{
	const IvfLayout *layout;
	const float *x;
	float		coordinate;		/* of x in the augmented space */
	float		best;			/* <x,c> - |c|^2 / 2, augmented */
	ListCopy   *nearest;
} NearestSearch;

static void
nearest_visit(uint32 list, const IvfList *entry, void *arg)
{
	NearestSearch *search = arg;
	float		score = entry->scale *
	kernels->dot_f32_f16(search->x, entry->centroid,
						 search->layout->padded_dim) +
	search->coordinate * entry->coordinate -
	(entry->norm2 + entry->coordinate * entry->coordinate) / 2.0f;

	if (list > 0 && !(score > search->best))
		return;
	search->best = score;
	search->nearest->list = list;
	search->nearest->entry = *entry;
	list_get_centroid(search->layout, entry, search->nearest->centroid);
}

void
directory_nearest(Relation index, const IvfMeta *meta, const IvfLayout *layout,
				  const float *x, ListCopy *nearest)
{
	NearestSearch search = {layout, x, 0.0f, 0.0f, nearest};

	if (meta->radius2 > 0.0f)
		search.coordinate =
			mips_coordinate(kernels->dot_f32(x, x, layout->padded_dim),
							meta->radius2);
	directory_visit(index, meta, layout, nearest_visit, &search);
}
