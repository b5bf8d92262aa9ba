/*
 * ivf_write.c
 *		The sorted rows onto list pages, and the lists into the directory.
 *
 * The pages of a list lie side by side, newest first, and all lists' before all
 * tape pages, so that a scan reads codes in long runs.  Only the newest page of
 * a list has room, since that is where inserts look.
 */
#include "postgres.h"

#include "commands/progress.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "ivfpq/ivf_build.h"
#include "ivfpq/ivf_directory.h"
#include "ivfpq/ivf_space.h"

typedef struct ListWriter
{
	Relation	index;
	IvfMeta		meta;
	IvfLayout	layout;
	Metric		metric;
	RowSort    *sort;
	IvfRow	   *rows;			/* slots_per_page: of one page */
	float	   *sizes;			/* scratch, slots_per_page */
	double		distance2;		/* sum over this list's rows */
	double		nwritten;
	BlockNumber nblocks;		/* see page_check_block */
} ListWriter;

static ListWriter *
writer_create(Relation index, RowSort *sort)
{
	ListWriter *writer = palloc0(sizeof(ListWriter));
	const IvfLayout *layout = &writer->layout;

	writer->index = index;
	writer->sort = sort;
	ivf_meta_read(index, &writer->meta);
	ivf_meta_layout(&writer->meta, &writer->layout);
	writer->metric = (Metric) writer->meta.metric;
	writer->rows = palloc0(sizeof(IvfRow) * layout->slots_per_page);
	for (int i = 0; i < layout->slots_per_page; i++)
	{
		writer->rows[i].codes = palloc(layout->nsub);
		if (layout->tape_record > 0)
			writer->rows[i].record = palloc(layout->tape_record);
	}
	writer->sizes = palloc(sizeof(float) * layout->slots_per_page);
	return writer;
}

/* Pages of a list of n rows. */
static uint32
writer_pages(const ListWriter *writer, uint32 n)
{
	uint32		slots = writer->layout.slots_per_page;

	return n / slots + (n % slots != 0);
}

/* Append the empty pages of all lists; returns the first block. */
static BlockNumber
writer_extend(ListWriter *writer, pg_atomic_uint32 *counts)
{
	BlockNumber first = RelationGetNumberOfBlocks(writer->index);
	BlockNumber block = first;

	for (int list = 0; list < writer->meta.nlists; list++)
	{
		uint32		npages = writer_pages(writer,
										  pg_atomic_read_u32(&counts[list]));

		for (uint32 seq = npages; seq > 0; seq--, block++)
		{
			Buffer		buffer;
			PageEdit	edit;

			/* before a page is locked, since a lock holds interrupts off */
			CHECK_FOR_INTERRUPTS();
			buffer = compat_extend_relation(writer->index, MAIN_FORKNUM);
			if (BufferGetBlockNumber(buffer) != block)
				elog(ERROR, "the lists of index \"%s\" are not contiguous",
					 RelationGetRelationName(writer->index));
			list_page_init(page_edit_begin(&edit, writer->index, buffer,
										   PAGE_WAL_AT_END),
						   list, seq, seq > 1 ? block + 1 : InvalidBlockNumber);
			page_edit_end(&edit, true);
			UnlockReleaseBuffer(buffer);
		}
	}
	return first;
}

static int
compare_floats(const void *a, const void *b)
{
	float		x = *(const float *) a;
	float		y = *(const float *) b;

	return (x > y) - (x < y);
}

/* The unit of a page of n rows, from the median of their factors. */
static float
writer_unit(ListWriter *writer, int n)
{
	for (int i = 0; i < n; i++)
		writer->sizes[i] = writer->rows[i].f;
	qsort(writer->sizes, n, sizeof(float), compare_floats);
	return list_page_unit(writer->sizes[n / 2]);
}

/* The next n rows, which are of one list, to an empty page of it. */
static void
writer_fill_page(ListWriter *writer, uint32 list, BlockNumber block, int n)
{
	Buffer		buffer;
	PageEdit	edit;
	Page		page;

	for (int i = 0; i < n; i++)
	{
		uint32		row_list;

		if (!row_sort_get(writer->sort, &row_list, &writer->rows[i]) ||
			row_list != list)
			elog(ERROR, "rows of list %u of index \"%s\" are missing",
				 list, RelationGetRelationName(writer->index));
		writer->distance2 += writer->rows[i].distance2;
	}

	buffer = ReadBuffer(writer->index, block);
	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	page = page_edit_begin(&edit, writer->index, buffer, PAGE_WAL_AT_END);
	list_page(page)->unit = writer_unit(writer, n);
	for (int i = 0; i < n; i++)
	{
		ListSlot	at = {writer->index, &writer->layout, writer->metric,
		PAGE_WAL_AT_END, buffer, i, &writer->nblocks};

		ivf_slot_fill(&at, page, &writer->rows[i]);
	}
	list_page(page)->ncounted = n;
	page_edit_end(&edit, true);
	UnlockReleaseBuffer(buffer);

	writer->nwritten += n;
	pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE,
								 (int64) writer->nwritten);
}

/* Tell the directory of a list of n rows, whose pages begin at a block. */
static void
writer_enter(ListWriter *writer, uint32 list, BlockNumber first, uint32 n)
{
	Buffer		buffer = directory_lock(writer->index, &writer->meta,
										&writer->layout, list,
										BUFFER_LOCK_EXCLUSIVE);
	PageEdit	edit;
	Page		page = page_edit_begin(&edit, writer->index, buffer,
									   PAGE_WAL_AT_END);
	IvfList    *entry = directory_page_list(&writer->layout, page, list);

	entry->head = entry->run_first = first;
	entry->run_count = entry->seq = writer_pages(writer, n);
	entry->nrows = n;
	entry->width2 = (float) (writer->distance2 / n);
	page_edit_end(&edit, true);
	UnlockReleaseBuffer(buffer);
}

/* Write the next n rows, which are all of a list, to its pages. */
static void
writer_fill_list(ListWriter *writer, uint32 list, BlockNumber first, uint32 n)
{
	uint32		slots = writer->layout.slots_per_page;
	uint32		npages = writer_pages(writer, n);

	writer->distance2 = 0.0;
	for (uint32 i = 0; i < npages; i++)
	{
		CHECK_FOR_INTERRUPTS();
		writer_fill_page(writer, list, first + i,
						 i == 0 ? n - (npages - 1) * slots : slots);
	}
	writer_enter(writer, list, first, n);
}

/*
 * Write the sorted rows, of which each list has as many as counts says, nrows
 * in all.
 */
void
ivf_write_lists(Relation index, RowSort *sort, pg_atomic_uint32 *counts,
				double nrows)
{
	ListWriter *writer = writer_create(index, sort);
	BlockNumber block;

	ivf_build_begin_step(IVF_BUILD_WRITE, (int64) nrows);
	block = writer_extend(writer, counts);
	for (int list = 0; list < writer->meta.nlists; list++)
	{
		uint32		n = pg_atomic_read_u32(&counts[list]);

		if (n == 0)
			continue;
		writer_fill_list(writer, list, block, n);
		block += writer_pages(writer, n);
	}
}
