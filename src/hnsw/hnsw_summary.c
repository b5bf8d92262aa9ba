/*
 * hnsw_summary.c
 *		What the units of the key tape hold, in short.
 *
 * Callers hold no page lock.  What is void stays void, and a row is only added
 * where the summary is: so it needs no lock on both pages to add one, or to make
 * a summary void.
 */
#include "postgres.h"

#include <math.h>

#include "utils/rel.h"

#include "base/compat.h"
#include "hnsw/hnsw_summary.h"
#include "index/buffer_hint.h"

bool
summary_is_valid(const UnitSummary *summary)
{
	return summary->state == SUMMARY_VALID &&
		isfinite(summary->scale) && summary->scale >= 0.0f &&
		isfinite(summary->norm2) && summary->norm2 >= 0.0f &&
		isfinite(summary->mean_norm2) && summary->mean_norm2 >= 0.0f &&
		isfinite(summary->spread) && summary->spread >= 0.0f &&
		isfinite(summary->radius) && summary->radius >= 0.0f;
}

float
summary_distance(const UnitSummary *summary, int padded_dim, float scale,
				 const int8 *own)
{
	double		ip = (double) scale * summary->scale *
	kernels->dot_i8(own, summary->centroid, padded_dim);
	double		norm2 = (double) scale * scale *
	kernels->dot_i8(own, own, padded_dim);

	return (float) sqrt(Max(norm2 - 2.0 * ip + summary->norm2, 0.0));
}

/* ----- making them ----- */

void
summary_sums_init(SummarySums *sums, int padded_dim)
{
	sums->padded_dim = padded_dim;
	sums->sum = palloc(sizeof(float) * padded_dim);
	summary_sums_reset(sums);
}

void
summary_sums_reset(SummarySums *sums)
{
	sums->n = 0;
	sums->norm2 = 0.0;
	memset(sums->sum, 0, sizeof(float) * sums->padded_dim);
}

void
summary_sums_add(SummarySums *sums, float scale, const int8 *own)
{
	sums->n++;
	sums->norm2 += (double) scale * scale *
		kernels->dot_i8(own, own, sums->padded_dim);
	for (int i = 0; i < sums->padded_dim; i++)
		sums->sum[i] += scale * own[i];
}

void
summary_make(const SummarySums *sums, UnitSummary *summary)
{
	int			dim = sums->padded_dim;
	float		largest = 0.0f;
	float		inverse;
	double		along = 0.0;
	double		norm2 = 0.0;
	double		spread2;

	for (int i = 0; i < dim; i++)
		largest = Max(largest, fabsf(sums->sum[i]));
	summary->scale = largest / 127.0f / sums->n;
	inverse = largest > 0.0f ? 127.0f / largest : 0.0f;
	for (int i = 0; i < dim; i++)
	{
		summary->centroid[i] = (int8) rintf(sums->sum[i] * inverse);
		along += (double) summary->centroid[i] * sums->sum[i];
		norm2 += (double) summary->centroid[i] * summary->centroid[i];
	}
	norm2 *= (double) summary->scale * summary->scale;
	spread2 = (sums->norm2 - 2.0 * summary->scale * along) / sums->n + norm2;
	summary->state = SUMMARY_VALID;
	summary->norm2 = (float) norm2;
	summary->mean_norm2 = (float) (sums->norm2 / sums->n);
	summary->spread = (float) sqrt(Max(spread2, 0.0) / dim);
	summary->radius = 0.0f;
}

BlockNumber
summary_reserve(Relation index, PageWal wal, int padded_dim, uint32 n)
{
	uint32		npages = summary_npages(padded_dim, n);
	BlockNumber first = InvalidBlockNumber;

	for (uint32 i = 0; i < npages; i++)
	{
		Buffer		buffer = compat_extend_relation(index, MAIN_FORKNUM);
		BlockNumber block = BufferGetBlockNumber(buffer);
		PageEdit	edit;

		page_format(page_edit_begin(&edit, index, buffer, wal),
					hnsw_tag(HNSW_PAGE_SUMMARIES));
		page_edit_end(&edit, true);
		UnlockReleaseBuffer(buffer);
		if (i == 0)
			first = block;
		else if (block != first + i)
			elog(ERROR, "pages of index \"%s\" are not next to each other",
				 RelationGetRelationName(index));
	}
	return first;
}

/* Pin and lock the page of a summary, where the first page is given. */
static Buffer
summary_page_lock(Relation index, BlockNumber first, int padded_dim,
				  uint32 number, int mode)
{
	Buffer		buffer = buffer_hint_read(index, first + number /
										  summaries_per_page(padded_dim));

	LockBuffer(buffer, mode);
	page_check(index, buffer, hnsw_tag(HNSW_PAGE_SUMMARIES));
	return buffer;
}

void
summary_write(Relation index, PageWal wal, BlockNumber first, int padded_dim,
			  uint32 number, const UnitSummary *summary)
{
	Buffer		buffer = summary_page_lock(index, first, padded_dim, number,
										   BUFFER_LOCK_EXCLUSIVE);
	PageEdit	edit;
	Page		page = page_edit_begin(&edit, index, buffer, wal);

	memcpy(summary_on_page(page, padded_dim, number), summary,
		   summary_size(padded_dim));
	page_edit_end(&edit, true);
	UnlockReleaseBuffer(buffer);
}

/* ----- using them ----- */

Buffer
summary_lock(Relation index, const HnswMeta *meta, uint32 number)
{
	return summary_page_lock(index, meta->first_summary,
							 node_padded_dim(meta->dim), number,
							 BUFFER_LOCK_SHARE);
}

/* One that is damaged covers its unit too: it is not known what it was. */
bool
summary_covers(Relation index, const HnswMeta *meta, uint32 number)
{
	Buffer		buffer;
	bool		covers;

	if (number >= meta->nsummaries)
		return false;
	buffer = summary_lock(index, meta, number);
	covers = summary_on_page(BufferGetPage(buffer), node_padded_dim(meta->dim),
							 number)->state != SUMMARY_VOID;
	UnlockReleaseBuffer(buffer);
	return covers;
}

void
summary_drop(Relation index, const HnswMeta *meta, uint32 number)
{
	int			padded_dim = node_padded_dim(meta->dim);
	Buffer		buffer = summary_page_lock(index, meta->first_summary, padded_dim,
										   number, BUFFER_LOCK_EXCLUSIVE);
	PageEdit	edit;
	Page		page = page_edit_begin(&edit, index, buffer, PAGE_WAL_GENERIC);

	summary_on_page(page, padded_dim, number)->state = SUMMARY_VOID;
	page_edit_end(&edit, true);
	UnlockReleaseBuffer(buffer);
}
