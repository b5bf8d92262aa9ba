/*
 * ivf_check.c
 *		What recsys.check_index does: walk every list, find the first fault.
 *
 * A ShareLock on the table keeps writers and VACUUM out for as long as it
 * takes, since most of what is checked holds between pages.  On a standby no
 * such lock can be had; see index_check_standby.
 *
 * The chains of all lists are followed, each page with its tape pages, and
 * their rows are collected.  A chain cannot go round, since seq decreases, nor
 * run into another, since its pages have their list's number; and a tape page
 * names its owner and place.  Then the blocks that no chain led to are looked
 * at, and the rows of the table (ivf_check_rows.c).  Memory: a bit a block, 12
 * bytes a row.
 *
 * These are no faults, since a crash or a failed statement leaves them behind:
 * pages of zeros, and pages of any kind that nothing leads to.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "index/index_method.h"
#include "ivfpq/ivf.h"
#include "ivfpq/ivf_check.h"
#include "ivfpq/ivf_tape.h"

/* By how much |c|^2 may be off: sums are not rounded alike everywhere. */
#define NORM2_TOLERANCE 1e-4f

/* Whether n float16 numbers are finite. */
static bool
halves_are_finite(const uint16 *numbers, int n)
{
	for (int i = 0; i < n; i++)
		if ((numbers[i] & 0x7C00) == 0x7C00)
			return false;
	return true;
}

static bool
all_finite(const float *numbers, Size n)
{
	for (Size i = 0; i < n; i++)
		if (!isfinite(numbers[i]))
			return false;
	return true;
}

/* ----- the model ----- */

static void
check_model(IvfCheck *check)
{
	const IvfMeta *meta = &check->inspection.meta;
	Size		d = check->inspection.layout.padded_dim;

	check->model = ivf_model_read(check->base.access.index, meta);
	if (!all_finite(check->model->mean, d) ||
		!all_finite(check->model->codebook->words, CODEBOOK_WORDS * d) ||
		(meta->learned && !all_finite(check->model->learned, d * d)))
		check_fault(check, meta->model_first, 0,
					"a number of the model is no number");
}

/* ----- tapes ----- */

static void
check_record(IvfCheck *check, BlockNumber block, int slot)
{
	const IvfLayout *layout = &check->inspection.layout;
	const TapeRecord *record = tape_page_record(layout, check->tape.data, slot);
	bool		finite = isfinite(record->scale) && record->scale > 0.0f &&
	tape_record_err(record) >= 0.0f;

	if (finite && layout->refine == REFINE_FLOAT16)
		finite = halves_are_finite((const uint16 *) record->digits,
								   layout->padded_dim);
	if (!finite)
		check_fault(check, block, slot, "its record on the tape is no number");
}

/* Check tape page number i of the list page that was read from a block. */
static void
check_tape(IvfCheck *check, BlockNumber block, int i)
{
	const IvfLayout *layout = &check->inspection.layout;
	const ListPage *head = list_page(check->list.data);
	const TapePage *tape = tape_page(check->tape.data);
	BlockNumber at = head->tapes[i];
	int			first_slot = i * layout->tape_slots;

	if (at >= check->inspection.nblocks ||
		ivf_inspection_read(&check->inspection, at,
							check->tape.data) != IVF_PAGE_TAPE ||
		tape->owner != block || tape->first_slot != first_slot)
	{
		index_check_standby(&check->base);
		check_fault(check, block, first_slot,
					"block %u is not its page of the tape", at);
	}
	block_set_add(&check->inspection.seen, at);
	for (int slot = first_slot;
		 slot < Min(first_slot + layout->tape_slots, layout->slots_per_page);
		 slot++)
		if (list_page_is_live(check->list.data, slot))
			check_record(check, block, slot);
}

/* ----- list pages ----- */

/* Check the head of the list page read last. */
static void
check_list_head(IvfCheck *check, BlockNumber block)
{
	const ListPage *head = list_page(check->list.data);
	int			nlive = 0;

	if (head->nslots > check->inspection.layout.slots_per_page)
		check_fault(check, block, head->nslots,
					"it is used, but a page has %d slots",
					check->inspection.layout.slots_per_page);
	for (int i = 0; i < LIST_MAX_BLOCKS; i++)
	{
		uint32		live = head->live[i];

		nlive += pg_popcount32(live);
		if (live != 0 && i * 32 + pg_leftmost_one_pos32(live) >= head->nslots)
			check_fault(check, block, i * 32 + pg_leftmost_one_pos32(live),
						"it holds a row, but %d slots are used", head->nslots);
	}
	if (nlive != head->nlive)
		check_fault(check, block, 0, "it counts %d rows on its page, but there are %d",
					head->nlive, nlive);
	if (nlive > 0 && !(isfinite(head->unit) && head->unit > 0.0f &&
					   isfinite(head->width2) && head->width2 >= 0.0f))
		check_fault(check, block, 0, "the unit or width of its page is no number");
}

/* Check the slots of the list page read last, and note their rows. */
static void
check_list_slots(IvfCheck *check, BlockNumber block)
{
	const IvfLayout *layout = &check->inspection.layout;
	Page		page = check->list.data;
	const ListPage *head = list_page(page);

	for (int slot = 0; slot < head->nslots; slot++)
	{
		const uint8 *lanes = list_page_block(layout, page,
											 slot / FASTSCAN_LANES);
		IndexPlace	place = {block, slot};
		int			lane = slot % FASTSCAN_LANES;

		if (!list_page_is_live(page, slot))
			continue;
		if (!halves_are_finite((const uint16 *) (lanes + layout->t_off) + lane, 1) ||
			!halves_are_finite((const uint16 *) (lanes + layout->f_off) + lane, 1))
			check_fault(check, block, slot, "a factor of its code is no number");
		if (layout->tape_record > 0 &&
			head->tapes[slot / layout->tape_slots] == InvalidBlockNumber)
			check_fault(check, block, slot, "it has no record on the tape");
		index_check_add_rows(&check->base, place, place,
							 list_page_tid(layout, page, slot), 1);
	}
	for (int i = 0; i < layout->tapes; i++)
		if (head->tapes[i] != InvalidBlockNumber)
			check_tape(check, block, i);
}

/* ----- lists ----- */

/* What the walk through a list has seen. */
typedef struct ChainSeen
{
	bool		insert;			/* the page where inserts begin */
	uint32		run_count;		/* pages of the run */
} ChainSeen;

/* Follow the chain of a list, whose entry is at a place. */
static ChainSeen
check_chain(IvfCheck *check, IndexPlace at, uint32 list, const IvfList *entry)
{
	const ListPage *head = list_page(check->list.data);
	ChainSeen	seen = {false, 0};
	uint64		last_seq = (uint64) entry->seq + 1;

	for (BlockNumber block = entry->head; block != InvalidBlockNumber;
		 block = head->next)
	{
		if (block >= check->inspection.nblocks ||
			ivf_inspection_read(&check->inspection, block,
								check->list.data) != IVF_PAGE_LIST)
		{
			index_check_standby(&check->base);
			check_fault(check, at.block, at.slot,
						"it leads to block %u, which is no list page", block);
		}
		if (head->list != list || head->seq >= last_seq)
		{
			index_check_standby(&check->base);
			check_fault(check, at.block, at.slot,
						"it leads to block %u, page %u of list %u, where one of list %u below %llu must be",
						block, head->seq, head->list, list,
						(unsigned long long) last_seq);
		}
		check_list_head(check, block);
		check_list_slots(check, block);
		block_set_add(&check->inspection.seen, block);
		seen.insert |= block == entry->insert;
		seen.run_count += block - entry->run_first < entry->run_count;
		last_seq = head->seq;
		at = (IndexPlace)
		{
			block, 0
		};
	}
	return seen;
}

void
ivf_check_read_entry(IvfCheck *check, uint32 list)
{
	const IvfLayout *layout = &check->inspection.layout;
	Buffer		buffer = directory_lock(check->base.access.index,
										&check->inspection.meta, layout, list,
										BUFFER_LOCK_SHARE);
	const IvfList *entry = directory_page_list(layout, BufferGetPage(buffer),
											   list);

	check->entry.list = list;
	check->entry.entry = *entry;
	list_get_centroid(layout, entry, check->entry.centroid);
	UnlockReleaseBuffer(buffer);
}

static void
check_list(IvfCheck *check, uint32 list)
{
	const IvfLayout *layout = &check->inspection.layout;
	IndexPlace	place = {directory_block(&check->inspection.meta, layout, list),
	list % layout->lists_per_page};
	const float *centroid = check->entry.centroid;
	const IvfList *entry = &check->entry.entry;
	ChainSeen	seen;
	float		norm2;

	ivf_check_read_entry(check, list);
	norm2 = kernels->dot_f32(centroid, centroid, layout->padded_dim);
	if (!isfinite(entry->width2) || entry->width2 < 0.0f ||
		!isfinite(entry->coordinate) || entry->coordinate < 0.0f)
		check_fault(check, place.block, place.slot,
					"the width of list %u or its coordinate is no number", list);
	if (!isfinite(entry->scale) || entry->scale <= 0.0f || !isfinite(norm2) ||
		!(fabsf(norm2 - entry->norm2) <= NORM2_TOLERANCE * norm2))
		check_fault(check, place.block, place.slot,
					"the centroid of list %u does not have its length", list);
	seen = check_chain(check, place, list, entry);
	if (entry->insert != InvalidBlockNumber && !seen.insert)
	{
		index_check_standby(&check->base);
		check_fault(check, place.block, place.slot,
					"inserts into list %u begin at block %u, which is not in it",
					list, entry->insert);
	}
	if (seen.run_count != entry->run_count)
	{
		index_check_standby(&check->base);
		check_fault(check, place.block, place.slot,
					"list %u has %u pages from block %u on, where %u must be",
					list, seen.run_count, entry->run_first, entry->run_count);
	}
}

/* ----- the check ----- */

/* Check the tags of the pages that no chain led to. */
static void
check_other_pages(IvfCheck *check)
{
	IvfInspection *inspection = &check->inspection;

	for (BlockNumber block = 0; block < inspection->nblocks; block++)
		if (!block_set_has(&inspection->seen, block))
			ivf_inspection_read(inspection, block, check->list.data);
}

/* See IndexMethod. */
void
ivf_check(const IndexAccess *access)
{
	IvfCheck   *check = palloc0(sizeof(IvfCheck));

	index_check_begin(&check->base, access);
	ivf_inspection_begin(&check->inspection, access);
	if (check->inspection.meta.dim > 0)
	{
		check_model(check);
		check->entry.centroid = palloc(sizeof(float) *
									   check->inspection.layout.padded_dim);
		for (int list = 0; list < check->inspection.meta.nlists; list++)
			check_list(check, list);
	}
	check_other_pages(check);
	ivf_check_rows(check);
	ivf_inspection_end(&check->inspection);
	index_check_end(&check->base);
}
