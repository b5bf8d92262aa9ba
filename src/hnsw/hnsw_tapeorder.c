/*
 * hnsw_tapeorder.c
 *		The order in which a build puts rows on the key tape.
 *
 * The slots are halved again and again, across the direction in which they
 * differ most (the first principal component of a sample), until a part fills a
 * unit.  Halves are whole numbers of units.
 *
 * For inner product, directions are halved, until a part has GROUP_UNITS units;
 * these then follow each other by length.  For what rows score is the product of
 * both, and most of the rows that are among the best are long ones: a unit of
 * short rows need not be read, wherever it points.  Share of the units that hold
 * 98% of the best 105, when units are read in their rank's order; made rows, a
 * million of 128 dimensions, units of 160 rows, filters that take rows at random:
 *
 *									10%		3%		1%
 *		cells of the entry set			0.317	0.425	0.463
 *		halves of the vectors			0.158	0.204	0.227
 *		halves of directions, 12 units	0.069	0.112	0.166
 *		the same, 24 units				0.066	0.114	0.176
 *
 * Callers hold no locks; the arena's nodes do not change.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"

#include "hnsw/hnsw_node.h"
#include "hnsw/hnsw_tapeorder.h"
#include "index/metric.h"
#include "kernels/kernels.h"

#define GROUP_UNITS 16

/* Slots whose first principal component is found, and rounds to find it. */
#define SAMPLE_SLOTS 256
#define POWER_ROUNDS 5

/* Slots that are on their way to the processor's caches. */
#define ORDER_PREFETCH 12

typedef struct TapeOrder
{
	Arena	   *arena;
	int			dim;			/* of rotated vectors */
	bool		by_length;		/* groups, then by length */
	int			unit;
	float	   *sample;			/* SAMPLE_SLOTS x dim */
	float	   *axis;			/* dim */
	float	   *next_axis;
} TapeOrder;

#define SELECT_NAME select_slot
#define SELECT_TYPE OrderedSlot
#define SELECT_BEFORE(a, b) ((a)->key < (b)->key)
#include "index/quickselect.h"

#define ST_SORT sort_slots
#define ST_ELEMENT_TYPE OrderedSlot
#define ST_COMPARE(a, b) ((a)->key != (b)->key ? \
						  ((a)->key < (b)->key ? -1 : 1) : \
						  ((a)->addr < (b)->addr ? -1 : (a)->addr > (b)->addr))
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

NodeAddr
slot_owner(Arena *arena, NodeAddr addr)
{
	const GraphNode *slot = arena_slot(arena, addr);

	return slot->kind == SLOT_POSTING ? ((const Posting *) slot)->owner : addr;
}

static const GraphNode *
order_node(const TapeOrder *order, NodeAddr addr)
{
	return arena_slot(order->arena, slot_owner(order->arena, addr));
}

/* What a node's digits are multiplied by: to a vector, or to a direction. */
static float
order_scale(const TapeOrder *order, const GraphNode *node)
{
	if (!order->by_length)
		return node->scale;
	return node->norm > 0.0f ? node->scale / node->norm : 0.0f;
}

/* Copy some of the slots into the sample, less their mean; returns how many. */
static int
order_sample(TapeOrder *order, const OrderedSlot *slots, uint32 n)
{
	const NodeLayout *layout = &order->arena->base.layout;
	int			nsample = (int) Min(n, SAMPLE_SLOTS);
	float	   *mean = order->next_axis;

	memset(mean, 0, sizeof(float) * order->dim);
	for (int i = 0; i < nsample; i++)
	{
		uint32		place = (uint32) ((uint64) n * i / nsample);
		const GraphNode *node = order_node(order, slots[place].addr);
		const int8 *own = node_own(layout, node);
		float		scale = order_scale(order, node);
		float	   *row = order->sample + (Size) i * order->dim;

		for (int d = 0; d < order->dim; d++)
		{
			row[d] = scale * own[d];
			mean[d] += row[d] / nsample;
		}
	}
	for (int i = 0; i < nsample; i++)
		for (int d = 0; d < order->dim; d++)
			order->sample[(Size) i * order->dim + d] -= mean[d];
	return nsample;
}

/* Begin with the longest difference from the mean. */
static void
order_begin_axis(TapeOrder *order, int nsample)
{
	float		longest = -1.0f;

	for (int i = 0; i < nsample; i++)
	{
		const float *row = order->sample + (Size) i * order->dim;
		float		norm2 = kernels->dot_f32(row, row, order->dim);

		if (norm2 > longest)
		{
			longest = norm2;
			memcpy(order->axis, row, sizeof(float) * order->dim);
		}
	}
}

/* Find the axis along which the slots differ most, by power iteration. */
static void
order_find_axis(TapeOrder *order, const OrderedSlot *slots, uint32 n)
{
	int			nsample = order_sample(order, slots, n);

	order_begin_axis(order, nsample);
	for (int round = 0; round < POWER_ROUNDS; round++)
	{
		float		norm2 = kernels->dot_f32(order->axis, order->axis, order->dim);
		float		inverse = norm2 > 0.0f ? 1.0f / sqrtf(norm2) : 0.0f;
		float	   *swap;

		memset(order->next_axis, 0, sizeof(float) * order->dim);
		for (int i = 0; i < nsample; i++)
		{
			const float *row = order->sample + (Size) i * order->dim;
			float		along = inverse *
			kernels->dot_f32(row, order->axis, order->dim);

			for (int d = 0; d < order->dim; d++)
				order->next_axis[d] += along * row[d];
		}
		swap = order->axis;
		order->axis = order->next_axis;
		order->next_axis = swap;
	}
}

/* Let the keys be the places of slots along the axis. */
static void
order_project(TapeOrder *order, OrderedSlot *slots, uint32 n)
{
	const NodeLayout *layout = &order->arena->base.layout;

	for (uint32 i = 0; i < n; i++)
	{
		const GraphNode *node;

		if (i % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
		if (i + ORDER_PREFETCH < n)
			node_prefetch_own(layout, arena_slot(order->arena,
												 slots[i + ORDER_PREFETCH].addr));
		node = order_node(order, slots[i].addr);
		slots[i].key = order_scale(order, node) *
			kernels->dot_f32_i8(order->axis, node_own(layout, node), order->dim);
	}
}

/* The slots of a group, by length. */
static void
order_by_length(TapeOrder *order, OrderedSlot *slots, uint32 n)
{
	for (uint32 i = 0; i < n; i++)
		slots[i].key = order_node(order, slots[i].addr)->norm;
	sort_slots(slots, n);
}

static void
order_part(TapeOrder *order, OrderedSlot *slots, uint32 n)
{
	uint32		most = order->unit * (order->by_length ? GROUP_UNITS : 1);

	while (n > most)
	{
		uint32		nunits = (n + order->unit - 1) / order->unit;
		uint32		half = nunits / 2 * order->unit;

		CHECK_FOR_INTERRUPTS();
		order_find_axis(order, slots, n);
		order_project(order, slots, n);
		select_slot(slots, 0, (int64) n - 1, half);
		order_part(order, slots, half);
		slots += half;
		n -= half;
	}
	if (order->by_length)
		order_by_length(order, slots, n);
}

void
tape_order(Arena *arena, OrderedSlot *slots, uint32 n, int unit)
{
	int			dim = arena->base.layout.padded_dim;
	TapeOrder	order = {.arena = arena,.dim = dim,.unit = unit};

	order.by_length = metric_query_measure(arena->base.metric) == MEASURE_IP;
	order.sample = palloc(sizeof(float) * SAMPLE_SLOTS * dim);
	order.axis = palloc(sizeof(float) * dim);
	order.next_axis = palloc(sizeof(float) * dim);
	order_part(&order, slots, n);
	pfree(order.sample);
	pfree(order.axis);
	pfree(order.next_axis);
}
