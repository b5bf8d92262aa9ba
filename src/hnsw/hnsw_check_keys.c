/*
 * hnsw_check_keys.c
 *		check_index: the keys of filter columns, in nodes and on the key tape,
 *		and the codes and summaries there.
 *
 * What both say of each heap row is collected and sorted by TID.  For a row
 * that the snapshot sees both must be there, of the same node, and be the keys
 * of the row's values, the code must be that of the node's vector, and the
 * summary of the unit must be true of it.  Of a dead row a crash may have left
 * either alone.
 */
#include "postgres.h"

#include <math.h>

#include "common/hashfn.h"
#include "port/pg_bitutils.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "hnsw/hnsw_check.h"
#include "hnsw/hnsw_summary.h"

/* What two computations of a distance may differ by, of the lengths. */
#define DISTANCE_TOLERANCE 1e-3f

/* ----- collecting ----- */

static uint64
keys_hash(const HnswCheck *check, const FilterKeys *keys)
{
	return hash_bytes_extended((const unsigned char *) keys->keys,
							   (int) (sizeof(uint64) * check->inspection.meta.nfilters),
							   keys->nulls);
}

static void
key_list_add(KeyList *list, IndexedKeys row)
{
	if (list->n == list->max)
	{
		list->max = Max(list->max * 2, 1024);
		list->rows = list->rows == NULL ?
			palloc(sizeof(IndexedKeys) * list->max) :
			repalloc_huge(list->rows, mul_size(sizeof(IndexedKeys), list->max));
	}
	list->rows[list->n++] = row;
}

void
check_keys_of_slot(HnswCheck *check, NodeAddr node, const GraphNode *slot)
{
	SlotRows	rows = slot_rows(&check->inspection.layout, slot);
	NodeRow		row;

	if (rows.nfilters == 0)
		return;
	for (int i = 0; i < rows.n; i++)
	{
		IndexedKeys keys = {.addr = node};

		slot_rows_get(&rows, i, &row);
		keys.tid = row.tid;
		keys.hash = keys_hash(check, &row.keys);
		key_list_add(&check->node_keys, keys);
	}
}

uint64
check_code_of_node(const HnswCheck *check, const GraphNode *node)
{
	const NodeLayout *nodes = &check->inspection.layout;
	KeyLayout	layout;
	TapeCode	code;

	if (nodes->nfilters == 0)
		return 0;
	key_layout_of(&layout, &check->inspection.meta);
	tape_code_encode(&layout.code, check->inspection.meta.unit, node->scale,
					 node_own(nodes, node), &code);
	return tape_code_hash(&layout.code, &code);
}

/* Collect the keys of a row of a page of the tape. */
static void
check_tape_row(HnswCheck *check, const KeyLayout *layout, uint32 unit,
			   IndexPlace at)
{
	Page		page = check->inspection.page.data;
	uint8	   *block = key_page_block(layout, page, at.slot / FASTSCAN_LANES);
	int			lane = at.slot % FASTSCAN_LANES;
	IndexedKeys row = {.unit = unit,.place = at};
	FilterKeys	keys;

	row.addr = key_block_addrs(layout, block)[lane];
	row.tid = key_block_tids(layout, block)[lane];
	if (!inspection_holds(&check->inspection, row.addr))
	{
		index_check_standby(&check->base);
		index_check_fault(&check->base, at, "it leads to block %u slot %d, which does not exist",
						  node_addr_block(row.addr), node_addr_slot(row.addr));
	}
	filter_block_get(block, layout->nfilters, lane, &keys);
	row.hash = keys_hash(check, &keys);
	key_list_add(&check->tape_keys, row);
}

/* Collect the keys of a page of the tape. */
static void
check_tape_page(HnswCheck *check, const KeyLayout *layout, uint32 unit,
				BlockNumber block)
{
	IndexPlace	at = {block, 0};
	const KeyPage *page;

	if (block >= check->inspection.nblocks ||
		inspection_read_page(&check->inspection, block) != HNSW_PAGE_KEYS)
		index_check_fault(&check->base, at, "it is no page of filter keys");
	page = key_page(check->inspection.page.data);
	for (int i = 0; i < KEY_PAGE_MAX_BLOCKS; i++)
	{
		uint32		live = page->live[i];

		for (; live != 0; live &= live - 1)
		{
			at.slot = i * FASTSCAN_LANES + pg_rightmost_one_pos32(live);
			if (i >= layout->blocks_per_page)
				index_check_fault(&check->base, at,
								  "a page of filter keys has no such row");
			check_tape_row(check, layout, unit, at);
		}
	}
}

/* Collect the codes of the rows from place first of tape_keys on, of a unit. */
static void
check_tape_codes(HnswCheck *check, const KeyLayout *layout, BlockNumber block,
				 Size first)
{
	int			current = 0;

	for (Size i = first; i < check->tape_keys.n; i++)
	{
		IndexedKeys *row = &check->tape_keys.rows[i];
		int			b = row->place.slot / FASTSCAN_LANES;
		IndexPlace	at = {block + key_unit_code_page(layout, b), 0};
		TapeCode	code;

		if (key_unit_code_page(layout, b) != current &&
			(at.block >= check->inspection.nblocks ||
			 inspection_read_page(&check->inspection, at.block) != HNSW_PAGE_CODES))
			index_check_fault(&check->base, at, "it is no page of codes");
		current = key_unit_code_page(layout, b);
		tape_code_get(&layout->code,
					  code_page_block(layout, check->inspection.page.data, b),
					  row->place.slot % FASTSCAN_LANES, &code);
		row->code = tape_code_hash(&layout->code, &code);
	}
}

static void
check_tape_unit(HnswCheck *check, const KeyLayout *layout, uint32 unit)
{
	Size		first = check->tape_keys.n;
	BlockNumber block = key_tape_block(layout, &check->inspection.meta, unit);

	check_tape_page(check, layout, unit, block);
	check_tape_codes(check, layout, block, first);
}

static UnitSummary *
check_summary(const HnswCheck *check, uint32 unit)
{
	return (UnitSummary *) (check->summaries + (Size) unit *
							summary_size(check->inspection.layout.padded_dim));
}

/*
 * Whether the numbers of a summary agree with each other: the mean of squared
 * lengths is the centroid's and that of squared distances from it, but for what the
 * centroid is rounded by.
 */
static bool
summary_is_consistent(const UnitSummary *summary, int dim)
{
	double		norm2 = (double) summary->scale * summary->scale *
	kernels->dot_i8(summary->centroid, summary->centroid, dim);
	double		spread2 = (double) summary->spread * summary->spread * dim;
	double		rounding = sqrt(norm2 * dim) * summary->scale;
	double		tolerance = DISTANCE_TOLERANCE * (norm2 + spread2);

	return fabs(norm2 - summary->norm2) <= tolerance &&
		fabs(summary->mean_norm2 - norm2 - spread2) <= rounding + tolerance;
}

/* Copy the summaries. */
static void
check_summaries(HnswCheck *check)
{
	const HnswMeta *meta = &check->inspection.meta;
	int			dim = check->inspection.layout.padded_dim;
	int			per_page = summaries_per_page(dim);

	check->summaries = MemoryContextAllocHuge(CurrentMemoryContext,
											  mul_size(summary_size(dim),
													   Max(meta->nsummaries, 1)));
	for (uint32 i = 0; i < meta->nsummaries; i++)
	{
		IndexPlace	at = {meta->first_summary + i / per_page, i % per_page};
		UnitSummary *summary = check_summary(check, i);

		if (i % per_page == 0 &&
			(at.block >= check->inspection.nblocks ||
			 inspection_read_page(&check->inspection, at.block) !=
			 HNSW_PAGE_SUMMARIES))
			index_check_fault(&check->base, at, "it is no page of summaries");
		memcpy(summary, summary_on_page(check->inspection.page.data, dim, i),
			   summary_size(dim));
		if (summary->state != SUMMARY_VOID && !summary_is_valid(summary))
			index_check_fault(&check->base, at,
							  "the summary of unit %u of the key tape is invalid", i);
		if (summary->state == SUMMARY_VALID &&
			!summary_is_consistent(summary, dim))
			index_check_fault(&check->base, at,
							  "the summary of unit %u of the key tape contradicts itself", i);
	}
}

static int
compare_keys(const void *a, const void *b, void *arg)
{
	return ItemPointerCompare((ItemPointer) &((const IndexedKeys *) a)->tid,
							  (ItemPointer) &((const IndexedKeys *) b)->tid);
}

void
check_keys_of_tape(HnswCheck *check)
{
	const HnswMeta *meta = &check->inspection.meta;
	KeyList    *tape = &check->tape_keys;
	KeyLayout	layout;

	if (meta->nfilters == 0)
		return;
	check->filters = filter_encoder_create(check->inspection.access.index);
	key_layout_init(&layout, meta->nfilters,
					check->inspection.layout.padded_dim);
	check_summaries(check);
	for (uint32 unit = 0; unit < key_tape_nunits(meta); unit++)
		check_tape_unit(check, &layout, unit);
	if (check->node_keys.n > 0)
		qsort_interruptible(check->node_keys.rows, check->node_keys.n,
							sizeof(IndexedKeys), compare_keys, NULL);
	if (tape->n > 0)
		qsort_interruptible(tape->rows, tape->n, sizeof(IndexedKeys),
							compare_keys, NULL);
	for (Size i = 1; i < tape->n; i++)
	{
		const IndexedKeys *row = &tape->rows[i];

		if (!ItemPointerEquals((ItemPointer) &row->tid,
							   (ItemPointer) &row[-1].tid))
			continue;
		index_check_standby(&check->base);
		index_check_fault(&check->base, row->place,
						  "it holds the filter keys of heap row (%u,%u), as does block %u slot %d",
						  ItemPointerGetBlockNumber(&row->tid),
						  ItemPointerGetOffsetNumber(&row->tid),
						  row[-1].place.block, row[-1].place.slot);
	}
}

/* ----- rows of the table ----- */

static const IndexedKeys *
key_list_find(const KeyList *list, ItemPointer tid)
{
	IndexedKeys key = {.tid = *tid};

	return list->n == 0 ? NULL :
		bsearch_arg(&key, list->rows, list->n, sizeof(IndexedKeys),
					compare_keys, NULL);
}

/*
 * Whether a row's vector, which check->own is, lies as near to the centroid of its
 * unit as the summary claims.
 */
static bool
summary_agrees(const HnswCheck *check, uint32 unit)
{
	int			dim = check->inspection.layout.padded_dim;
	const UnitSummary *summary;
	float		norm2;

	if (unit >= check->inspection.meta.nsummaries)
		return true;
	summary = check_summary(check, unit);
	norm2 = own_dot(&check->inspection.layout, check->own_scale, check->own,
					check->own_scale, check->own);
	return summary->state == SUMMARY_VOID ||
		summary_distance(summary, dim, check->own_scale, check->own) <=
		summary->radius + DISTANCE_TOLERANCE *
		(sqrtf(norm2) + sqrtf(summary->norm2));
}

void
check_keys_of_row(HnswCheck *check, const CheckedRow *row, uint64 code)
{
	NodeAddr	addr = node_addr(row->holder.block, row->holder.slot);
	const IndexedKeys *in_node;
	const IndexedKeys *on_tape;
	FilterKeys	keys;
	uint64		hash;
	const char *what;

	if (check->filters == NULL)
		return;
	filter_encode(check->filters, row->values, row->isnull, &keys);
	hash = keys_hash(check, &keys);
	in_node = key_list_find(&check->node_keys, row->tid);
	on_tape = key_list_find(&check->tape_keys, row->tid);
	if (in_node == NULL || in_node->hash != hash)
		what = "it holds other filter keys than heap row (%u,%u)";
	else if (on_tape == NULL)
		what = "the key tape lacks its heap row (%u,%u)";
	else if (on_tape->addr != addr)
		what = "the key tape has its heap row (%u,%u) in another node";
	else if (on_tape->hash != hash)
		what = "the key tape holds other filter keys than its heap row (%u,%u)";
	else if (on_tape->code != code)
		what = "the key tape holds the code of another vector for its heap row (%u,%u)";
	else if (!summary_agrees(check, on_tape->unit))
		what = "its heap row (%u,%u) lies farther from the centroid of its unit than the summary claims";
	else
		return;
	index_check_standby(&check->base);
	check_fault(check, addr, what, ItemPointerGetBlockNumber(row->tid),
				ItemPointerGetOffsetNumber(row->tid));
}
