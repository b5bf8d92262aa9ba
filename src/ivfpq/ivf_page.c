/*
 * ivf_page.c
 *		Layouts of pages, and the lanes of a list page's blocks.
 *
 * Nothing here touches a buffer: pages are given by those who hold the locks.
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "port/pg_bitutils.h"

#include "ivfpq/ivf_directory.h"
#include "ivfpq/ivf_page.h"
#include "ivfpq/ivf_tape.h"

/* Bytes of a block without codes and keys. */
#define LANES_SIZE ((2 * sizeof(uint16) + sizeof(ItemPointerData)) * FASTSCAN_LANES)

int
ivf_layout_max_nsub(int nfilters)
{
	return (int) ((PAGE_CONTENT_SIZE - LIST_BLOCKS_OFFSET - LANES_SIZE -
				   filter_block_size(nfilters)) / FASTSCAN_GROUP_BYTES);
}

/*
 * The tape pages of a list page.  A last one that would be less than half full
 * is not worth a page: its slots are left out.  With eight filter columns at
 * 128 dimensions a page has room for 64 rows, and a tape page for 59 records.
 */
static void
layout_choose_tapes(IvfLayout *layout)
{
	int			rest = layout->slots_per_page % layout->tape_slots;

	layout->tapes = layout->slots_per_page / layout->tape_slots;
	if (layout->tapes > 0 && 2 * rest < layout->tape_slots)
		layout->slots_per_page -= rest;
	else if (rest > 0)
		layout->tapes++;
}

/* Sizes for vectors of dim elements; all arguments have been checked. */
void
ivf_layout_init(IvfLayout *layout, int dim, int nsub, Refine refine,
				int nfilters)
{
	memset(layout, 0, sizeof(IvfLayout));
	layout->dim = dim;
	layout->padded_dim = (dim + 63) / 64 * 64;
	layout->nsub = nsub;
	layout->refine = refine;
	layout->nfilters = nfilters;

	layout->t_off = (Size) nsub * FASTSCAN_GROUP_BYTES;
	layout->f_off = layout->t_off + sizeof(uint16) * FASTSCAN_LANES;
	layout->tids_off = layout->f_off + sizeof(uint16) * FASTSCAN_LANES;
	layout->keys_off = layout->tids_off +
		sizeof(ItemPointerData) * FASTSCAN_LANES;
	layout->block_size = layout->keys_off + filter_block_size(nfilters);
	layout->blocks_per_page = (PAGE_CONTENT_SIZE - LIST_BLOCKS_OFFSET) /
		layout->block_size;
	layout->blocks_per_page = Min(layout->blocks_per_page, LIST_MAX_BLOCKS);

	layout->tape_record = tape_record_size(refine, layout->padded_dim);
	if (layout->tape_record > 0)
	{
		layout->tape_slots = (PAGE_CONTENT_SIZE - sizeof(TapePage)) /
			layout->tape_record;
		layout->blocks_per_page = Min(layout->blocks_per_page,
									  LIST_MAX_TAPES * layout->tape_slots /
									  FASTSCAN_LANES);
	}
	layout->slots_per_page = layout->blocks_per_page * FASTSCAN_LANES;
	if (layout->tape_record > 0)
		layout_choose_tapes(layout);

	layout->list_size = offsetof(IvfList, centroid) +
		sizeof(uint16) * layout->padded_dim;
	layout->lists_per_page = PAGE_CONTENT_SIZE / layout->list_size;
	Assert(layout->blocks_per_page > 0 && layout->lists_per_page > 0);
}

/* Make an empty list page. */
void
list_page_init(Page page, uint32 list, uint32 seq, BlockNumber next)
{
	ListPage   *head = list_page(page);

	page_format(page, ivf_tag(IVF_PAGE_LIST));
	head->next = next;
	head->list = list;
	head->seq = seq;
	for (int i = 0; i < LIST_MAX_TAPES; i++)
		head->tapes[i] = InvalidBlockNumber;
}

/* Make an empty tape page for slots from first_slot on of a list page. */
void
tape_page_init(Page page, BlockNumber owner, int first_slot)
{
	page_format(page, ivf_tag(IVF_PAGE_TAPE));
	tape_page(page)->owner = owner;
	tape_page(page)->first_slot = first_slot;
}

bool
list_page_is_valid(const IvfLayout *layout, Page page)
{
	const ListPage *head = list_page(page);
	int			nlive = 0;
	int			end = 0;

	for (int i = 0; i < layout->blocks_per_page; i++)
		if (head->live[i] != 0)
		{
			nlive += pg_popcount32(head->live[i]);
			end = i * 32 + pg_leftmost_one_pos32(head->live[i]) + 1;
		}
	return nlive == head->nlive && end <= head->nslots &&
		head->nslots <= layout->slots_per_page;
}

/* A slot of a valid list page that holds no row, or -1. */
int
list_page_free_slot(const IvfLayout *layout, Page page)
{
	const ListPage *head = list_page(page);

	if (head->nlive < head->nslots)
		for (int i = 0; i < layout->blocks_per_page; i++)
			if (head->live[i] != PG_UINT32_MAX)
			{
				int			slot = i * 32;

				while (head->live[i] >> (slot % 32) & 1)
					slot++;
				return slot;
			}
	return head->nslots < layout->slots_per_page ? head->nslots : -1;
}

/*
 * The unit of a page whose rows have factors near f.  Each page has its own,
 * so that rows of another scale that come first spoil no more than a page.
 */
float
list_page_unit(float f)
{
	int			exponent;

	if (!(f > 0.0f) || !isfinite(f))
		return 1.0f;
	frexpf(f, &exponent);
	/* the square of it, which scales t for L2, must stay within float4 */
	return ldexpf(1.0f, Max(Min(exponent, 60), -60));
}

/* See ivf_page.h. */
float
list_page_scale_t(const ListPage *head, Metric metric, float t)
{
	if (metric_query_measure(metric) != MEASURE_L2 ||
		metric_normalizes(metric))
		return t;
	t = t / head->unit / head->unit;
	/* infinity would stay so in float16 */
	return Max(Min(t, FLT_MAX), -FLT_MAX);
}

/* Write the code of a slot into the lanes of its block. */
static void
block_set_codes(uint8 *block, int nsub, int lane, const uint8 *codes)
{
	uint8	   *at = block + lane % 16;
	int			shift = lane < 16 ? 0 : 4;

	for (int i = 0; i < nsub; i++, at += FASTSCAN_GROUP_BYTES)
		*at = (uint8) ((*at & (0xF0 >> shift)) | codes[i] << shift);
}

/*
 * Put a row into a slot.  The first row of a page decides its unit, unless
 * that has been set before.
 */
void
list_page_put(const IvfLayout *layout, Metric metric, Page page, int slot,
			  const IvfRow *row)
{
	ListPage   *head = list_page(page);
	uint8	   *block = list_page_block(layout, page, slot / FASTSCAN_LANES);
	int			lane = slot % FASTSCAN_LANES;
	float		t;
	float		f;

	if (head->unit == 0.0f)
		head->unit = list_page_unit(row->f);
	t = list_page_scale_t(head, metric, row->t);
	f = row->f / head->unit;
	block_set_codes(block, layout->nsub, lane, row->codes);
	kernels->f32_to_f16(&t, (uint16 *) (block + layout->t_off) + lane, 1);
	kernels->f32_to_f16(&f, (uint16 *) (block + layout->f_off) + lane, 1);
	*list_page_tid(layout, page, slot) = row->tid;
	filter_block_put(block + layout->keys_off, layout->nfilters, lane,
					 &row->keys);
	head->live[slot / 32] |= 1u << (slot % 32);
	head->nlive++;
	head->nslots = Max(head->nslots, slot + 1);
	head->nput = Min(head->nput, PG_UINT16_MAX - 1) + 1;
	head->width2 += (row->distance2 - head->width2) / head->nput;
}

/* codes[nsub] becomes the code of a slot. */
void
list_page_codes(const IvfLayout *layout, Page page, int slot, uint8 *codes)
{
	int			lane = slot % FASTSCAN_LANES;
	const uint8 *at = list_page_block(layout, page, slot / FASTSCAN_LANES) +
	lane % 16;

	for (int i = 0; i < layout->nsub; i++, at += FASTSCAN_GROUP_BYTES)
		codes[i] = lane < 16 ? *at & 0x0F : *at >> 4;
}

/* Take a row out of a slot, which is then free. */
void
list_page_remove(Page page, int slot)
{
	ListPage   *head = list_page(page);

	Assert(list_page_is_live(page, slot));
	head->live[slot / 32] &= ~(1u << (slot % 32));
	head->nlive--;
}
