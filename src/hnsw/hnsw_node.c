/*
 * hnsw_node.c
 *		The node of the graph: its form on disk, and its codes.
 */
#include "postgres.h"

#include <math.h>

#include "hnsw/hnsw_node.h"

/* Lengths below this are taken as zero; their squares would underflow. */
#define TINY_NORM 1e-18f

/* Where n heap rows end that begin at an offset of a slot. */
static Size
rows_end(Size begin, int nfilters, int n)
{
	return nfilters == 0 ? begin + n * sizeof(ItemPointerData) :
		slot_keys_offset(begin, n) + (Size) n * nfilters * sizeof(uint64);
}

/* Let a node have room for so many heap rows; code_dim is known. */
static void
layout_set_rows(NodeLayout *layout, int n)
{
	layout->node_tids = n;
	layout->addrs_off = rows_end(offsetof(GraphNode, tids), layout->nfilters, n);
	layout->edges_off = layout->addrs_off + NODE_DEGREE * sizeof(NodeAddr);
	layout->edge_size = EDGE_BYTES(layout->code_dim / FASTSCAN_GROUP_DIMS);
	layout->own_off = layout->edges_off + layout->edge_size * NODE_DEGREE;
	layout->fine_off = layout->own_off + layout->padded_dim;
	layout->node_size = layout->fine_off + layout->padded_dim;
	layout->slots_per_page = Min(PAGE_CONTENT_SIZE / layout->node_size,
								 1 << NODE_SLOT_BITS);
}

/* Heap rows of a node: six, or as many as take no slot from a page. */
static void
layout_choose_rows(NodeLayout *layout, int least)
{
	int			n = NODE_INLINE_TIDS;
	int			nslots;

	layout_set_rows(layout, least);
	nslots = layout->slots_per_page;
	do
	{
		layout_set_rows(layout, n);
	} while (layout->slots_per_page < nslots && n-- > least);
}

/* A posting fills the slot with heap rows. */
static void
layout_set_posting(NodeLayout *layout)
{
	int			n = layout->node_size / sizeof(ItemPointerData);

	while (rows_end(offsetof(Posting, tids), layout->nfilters, n) >
		   layout->node_size)
		n--;
	layout->posting_tids = n;
}

/*
 * Compute sizes and offsets for vectors of dim elements.  The code takes one
 * bit for each padded dimension where a page has room for that, else as many
 * as fit: the signs of the first code_dim coordinates of a random rotation
 * are as good as those of any others.
 */
void
node_layout_init(NodeLayout *layout, int dim, int nfilters)
{
	int			least = nfilters == 0 ? NODE_INLINE_TIDS : 1;
	int			room;

	Assert(dim >= 1 && dim <= NODE_MAX_DIM);
	layout->dim = dim;
	layout->nfilters = nfilters;
	layout->padded_dim = node_padded_dim(dim);
	layout->code_dim = 0;
	layout_set_rows(layout, least);
	room = (int) (PAGE_CONTENT_SIZE - layout->node_size);
	layout->code_dim = Min(layout->padded_dim,
						   room / (NODE_DEGREE / 8) / 64 * 64);
	layout_choose_rows(layout, least);
	layout_set_posting(layout);
	Assert(layout->code_dim >= EDGE_MIN_GROUPS * FASTSCAN_GROUP_DIMS);
	Assert(layout->slots_per_page >= 1 && layout->posting_tids >= 1);
}

/*
 * Quantise a rotated vector.  own->codes and own->fine must have room for
 * padded_dim bytes each.
 */
void
node_own_encode(const NodeLayout *layout, const float *rotated, OwnVector *own)
{
	float		largest = 0.0f;
	double		norm2 = 0.0;
	double		err2 = 0.0;

	for (int i = 0; i < layout->padded_dim; i++)
		largest = Max(largest, fabsf(rotated[i]));
	own->scale = largest / 127.0f;
	if (own->scale < TINY_NORM)
		own->scale = 0.0f;
	for (int i = 0; i < layout->padded_dim; i++)
	{
		float		digits = own->scale == 0.0f ? 0.0f : rotated[i] / own->scale;
		double		decoded;

		own->codes[i] = (int8) rintf(digits);
		own->fine[i] = (int8) rintf((digits - own->codes[i]) * OWN_FINE_STEPS);
		decoded = (double) own->scale *
			(own->codes[i] + own->fine[i] / OWN_FINE_STEPS);
		norm2 += decoded * decoded;
		err2 += (rotated[i] - decoded) * (rotated[i] - decoded);
	}
	own->norm = (float) sqrt(norm2);
	/* the rotation itself rounds, a little more than one float4 step a round */
	own->err = (float) (sqrt(err2) * (1.0 + 1e-6) + 4e-6 * sqrt(norm2)) +
		TINY_NORM;
}

/* A node's own vector, up to rounding. */
void
node_own_decode(const NodeLayout *layout, const GraphNode *node,
				float *rotated)
{
	const int8 *coarse = node_own(layout, node);
	const int8 *fine = node_fine(layout, node);

	for (int i = 0; i < layout->padded_dim; i++)
		rotated[i] = node->scale * (coarse[i] + fine[i] / OWN_FINE_STEPS);
}

/* Make a node without edges and heap rows. */
void
node_init(const NodeLayout *layout, GraphNode *node, const OwnVector *own)
{
	memset(node, 0, layout->edges_off);
	node->kind = SLOT_NODE;
	node->scale = own->scale;
	node->norm = own->norm;
	node->err = own->err;
	node->posting = INVALID_NODE_ADDR;
	memset(node_addrs(layout, node), 0xFF, NODE_DEGREE * sizeof(NodeAddr));
	memcpy(node_own(layout, node), own->codes, layout->padded_dim);
	memcpy(node_fine(layout, node), own->fine, layout->padded_dim);
}

/* Whether a node holds the very same vector. */
bool
node_holds(const NodeLayout *layout, const GraphNode *node,
		   const OwnVector *own)
{
	return node->kind == SLOT_NODE && node->scale == own->scale &&
		node->norm == own->norm && node->err == own->err &&
		memcmp(node_own(layout, node), own->codes, layout->padded_dim) == 0 &&
		memcmp(node_fine(layout, node), own->fine, layout->padded_dim) == 0;
}

/*
 * Compute the codes of the edge parent -> child; the caller sets the address and
 * whether it is a diverse one.  The parent's own vector must be valid.
 */
void
edge_encode(const NodeLayout *layout, float unit, const GraphNode *parent,
			const OwnVector *child, EdgeCode *edge)
{
	const int8 *p = node_own(layout, parent);
	const int8 *y = child->codes;
	float		norm2 = own_dot(layout, parent->scale, p, parent->scale, p);
	float		ip = own_dot(layout, parent->scale, p, child->scale, y);
	float		t = norm2 > TINY_NORM * TINY_NORM ? ip / norm2 : 0.0f;
	EdgeInput	input = {y, p, child->scale, 0.0f};
	EdgeOutput	residual = {.bits = edge->bits};
	float		factors[2];

	/* use t as it will be read */
	kernels->f32_to_f16(&t, &edge->factors.t, 1);
	kernels->f16_to_f32(&edge->factors.t, &t, 1);
	input.tp = t * parent->scale;

	Assert(layout->code_dim % 64 == 0 && layout->padded_dim % 64 == 0 &&
		   layout->code_dim <= layout->padded_dim);
	kernels->edge_residual(&input, layout->code_dim, layout->padded_dim,
						   &residual);
	factors[0] = residual.sum > TINY_NORM ?
		residual.norm2 / residual.sum / unit : 0.0f;
	factors[1] = child->norm / unit;
	kernels->f32_to_f16(factors, &edge->factors.f, 1);
	kernels->f32_to_f16(factors + 1, &edge->factors.norm, 1);
}

/*
 * The unit of an index whose vectors have about the given length: the power
 * of two next to it, so that float16 holds lengths from a ten thousandth to
 * ten thousand times that.
 */
float
node_unit(float norm)
{
	int			exponent;

	if (norm <= TINY_NORM)
		return 1.0f;
	frexpf(norm, &exponent);
	return ldexpf(1.0f, exponent);
}

/* Write an edge into its lane, replacing what was there. */
void
node_edge_set(const NodeLayout *layout, GraphNode *node, int lane,
			  const EdgeCode *edge)
{
	memcpy(node_lanes(layout, node) + lane * layout->edge_size, edge->bits,
		   layout->code_dim / 8);
	*node_edge_factors(layout, node, lane) = edge->factors;
	node_addrs(layout, node)[lane] = edge->addr;
	node->diverse = (node->diverse & ~((uint32) 1 << lane)) |
		(uint32) edge->diverse << lane;
}

/* Take an edge out; its codes stay and mean nothing. */
void
node_edge_clear(const NodeLayout *layout, GraphNode *node, int lane)
{
	node_addrs(layout, node)[lane] = INVALID_NODE_ADDR;
	node->diverse &= ~((uint32) 1 << lane);
}
