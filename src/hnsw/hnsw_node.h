/*
 * hnsw_node.h
 *		The node of the graph: its form on disk, and its codes.
 *
 * A node is a fixed-size slot, the same in a build's memory and on a page:
 *
 *		| GraphNode                  | 24 bytes, and the heap rows
 *		| neighbour addresses        | 32 x 4
 *		| edges: code, t, f, length  | 32 x (code_dim / 8 + 3 x float16)
 *		| own vector, coarse         | padded_dim x int8
 *		| own vector, fine           | padded_dim x int8
 *
 * which is 1,148 bytes at up to 128 dimensions without filter columns, seven
 * nodes a page.  The heap rows of a node are six TIDs, or with filter columns
 * as many TIDs and keys (hnsw_rows.h) as take no slot from a page, one at
 * least: up to five columns leave it at seven nodes.  All vectors are rotated
 * (linalg/rotation.h) before they come here.
 *
 * The own vector is a scalar quantisation with one scale a vector, in two
 * int8 digits: scale * (coarse + fine / 254).  The graph works on the coarse
 * digit alone.  The fine one makes a visited node's score so exact that the
 * executor need not fetch rows beyond LIMIT to be sure of their order.
 * Edge i holds a code of neighbour y relative to this node's own vector p, as
 * decoded (so that p's own rounding cancels):
 *
 *		t = <y,p> / |p|^2,  r = y - t p,  f = |r|^2 / sum |r_j|,  sign(r_j),
 *
 * the sum and the signs going over the first code_dim coordinates.  Then
 *
 *		<q,y> ~ t <q,p> + f * sum sign(r_j) q_j.
 *
 * This is RaBitQ (Gao, Long 2024) with the part along the parent taken out.
 */
#ifndef RECSYS_HNSW_NODE_H
#define RECSYS_HNSW_NODE_H

#include "storage/itemptr.h"

#include "index/index_page.h"
#include "index/metric.h"
#include "kernels/kernels.h"
#include "linalg/rotation.h"

/* Edges of a node, which are scored together. */
#define NODE_DEGREE FASTSCAN_LANES

/* Heap rows of the same vector that fit into the node itself, at most. */
#define NODE_INLINE_TIDS 6

/*
 * Dimensions that can be indexed: the own vector takes two bytes each, and
 * what it and the keys of 16 filter columns leave of a page must hold at least
 * 640 code bits an edge.
 */
#define NODE_MAX_DIM 2496

/* Smallest number of code bits an edge; fewer dimensions are padded. */
#define NODE_MIN_CODE_DIM 128

/* Where a node is: block and slot, packed.  A build numbers slots from 0. */
typedef uint32 NodeAddr;

#define INVALID_NODE_ADDR ((NodeAddr) 0xFFFFFFFF)
#define NODE_SLOT_BITS 3
#define NODE_MAX_BLOCK ((BlockNumber) (0xFFFFFFFF >> NODE_SLOT_BITS) - 1)

static inline NodeAddr
node_addr(BlockNumber block, int slot)
{
	return (block << NODE_SLOT_BITS) | (NodeAddr) slot;
}

static inline BlockNumber
node_addr_block(NodeAddr addr)
{
	return addr >> NODE_SLOT_BITS;
}

static inline int
node_addr_slot(NodeAddr addr)
{
	return (int) (addr & ((1 << NODE_SLOT_BITS) - 1));
}

typedef enum SlotKind
{
	SLOT_FREE = 0,				/* may be reused at once */
	SLOT_NODE = 1,
	SLOT_TOMBSTONE = 2,			/* walked through, never returned */
	SLOT_POSTING = 3			/* more heap rows of a node */
} SlotKind;

typedef struct GraphNode
{
	uint8		kind;			/* SlotKind */
	uint8		ntids;			/* used entries of tids */
	uint16		unused;
	float		scale;			/* of the own vector */
	float		norm;			/* length of the own vector as decoded */
	float		err;			/* at least the distance to the true vector */
	NodeAddr	posting;		/* first posting, or INVALID_NODE_ADDR */
	uint32		diverse;		/* lanes that the diversity rule has kept */
	ItemPointerData tids[NODE_INLINE_TIDS]; /* of them node_tids, then keys */
} GraphNode;

StaticAssertDecl(sizeof(GraphNode) == 60, "GraphNode is part of the disk format");

/* A posting fills the slot of a node with heap rows. */
typedef struct Posting
{
	uint8		kind;			/* SLOT_POSTING */
	uint8		unused;
	uint16		ntids;
	NodeAddr	next;			/* or INVALID_NODE_ADDR */
	NodeAddr	owner;			/* the node whose rows they are */
	ItemPointerData tids[FLEXIBLE_ARRAY_MEMBER];
} Posting;

StaticAssertDecl(offsetof(Posting, tids) == 12,
				 "Posting is part of the disk format");

/* The dimensions of rotated vectors. */
static inline int
node_padded_dim(int dim)
{
	return (int) Max(TYPEALIGN(64, dim), NODE_MIN_CODE_DIM);
}

/* Sizes and offsets of a slot: they follow from dimensions and filter columns. */
typedef struct NodeLayout
{
	int			dim;			/* of the user's vectors */
	int			nfilters;		/* filter columns */
	int			padded_dim;		/* of rotated vectors, multiple of 64 */
	int			code_dim;		/* code bits an edge, multiple of 64 */
	int			slots_per_page;
	int			node_tids;		/* heap rows of a node, at most */
	int			posting_tids;	/* of a posting */
	Size		addrs_off;
	Size		edges_off;
	Size		edge_size;
	Size		own_off;
	Size		fine_off;
	Size		node_size;
} NodeLayout;

/* A rotated vector in both its forms, outside any page. */
typedef struct OwnVector
{
	float		scale;
	float		norm;
	float		err;
	int8	   *codes;			/* coarse digits, padded_dim */
	int8	   *fine;			/* fine digits, or NULL where not known */
} OwnVector;

#define OWN_FINE_STEPS 254.0f

/*
 * Where the keys of n heap rows begin, whose TIDs begin at an offset of a slot:
 * behind the TIDs and two bytes a row that tell which keys are NULL.
 */
static inline Size
slot_keys_offset(Size begin, int n)
{
	return MAXALIGN(begin + n * (sizeof(ItemPointerData) + sizeof(uint16)));
}

extern void node_layout_init(NodeLayout *layout, int dim, int nfilters);

extern void node_own_encode(const NodeLayout *layout, const float *rotated,
							OwnVector *own);
extern void node_own_decode(const NodeLayout *layout, const GraphNode *node,
							float *rotated);
extern void node_init(const NodeLayout *layout, GraphNode *node,
					  const OwnVector *own);
extern bool node_holds(const NodeLayout *layout, const GraphNode *node,
					   const OwnVector *own);

/* What an edge has besides its code. */
typedef struct EdgeFactors
{
	uint16		t;
	uint16		f;
	uint16		norm;
} EdgeFactors;

StaticAssertDecl(sizeof(EdgeFactors) == EDGE_FACTORS * sizeof(uint16),
				 "EdgeFactors is part of the disk format");

/*
 * The codes of one edge.  unit scales f and the length into float16's range;
 * it is a constant of the index.
 */
typedef struct EdgeCode
{
	NodeAddr	addr;
	bool		diverse;
	EdgeFactors factors;
	uint8		bits[NODE_MAX_DIM / 8 + 16];
} EdgeCode;

extern float node_unit(float norm);
extern void edge_encode(const NodeLayout *layout, float unit,
						const GraphNode *parent, const OwnVector *child,
						EdgeCode *edge);
extern void node_edge_set(const NodeLayout *layout, GraphNode *node, int lane,
						  const EdgeCode *edge);
extern void node_edge_clear(const NodeLayout *layout, GraphNode *node, int lane);

static inline NodeAddr *
node_addrs(const NodeLayout *layout, const GraphNode *node)
{
	return (NodeAddr *) ((char *) node + layout->addrs_off);
}

/* The edges, as kernels->edge_sums reads them. */
static inline uint8 *
node_lanes(const NodeLayout *layout, const GraphNode *node)
{
	return (uint8 *) node + layout->edges_off;
}

static inline EdgeFactors *
node_edge_factors(const NodeLayout *layout, const GraphNode *node, int lane)
{
	return (EdgeFactors *) (node_lanes(layout, node) +
							(lane + 1) * layout->edge_size) - 1;
}

static inline int8 *
node_own(const NodeLayout *layout, const GraphNode *node)
{
	return (int8 *) node + layout->own_off;
}

static inline int8 *
node_fine(const NodeLayout *layout, const GraphNode *node)
{
	return (int8 *) node + layout->fine_off;
}

/* Bring what a visit reads of a node to the processor's caches. */
static inline void
node_prefetch(const NodeLayout *layout, const void *node)
{
	for (Size off = 0; off < layout->node_size; off += 64)
		__builtin_prefetch((const char *) node + off);
}

/* The same of its header and the coarse digits of its own vector. */
static inline void
node_prefetch_own(const NodeLayout *layout, const void *node)
{
	const char *own = (const char *) node + layout->own_off;

	__builtin_prefetch(node);
	for (int off = 0; off < layout->padded_dim; off += 64)
		__builtin_prefetch(own + off);
	__builtin_prefetch(own + layout->padded_dim - 1);
}

/* What the fine digits add to <q, own vector>. */
static inline float
node_fine_ip(const NodeLayout *layout, const GraphNode *node, const float *q)
{
	return node->scale / OWN_FINE_STEPS *
		kernels->dot_f32_i8(q, node_fine(layout, node), layout->padded_dim);
}

/* <a,b> of two own vectors' coarse digits. */
static inline float
own_dot(const NodeLayout *layout, float scale_a, const int8 *a,
		float scale_b, const int8 *b)
{
	return scale_a * scale_b * (float) kernels->dot_i8(a, b, layout->padded_dim);
}

#endif							/* RECSYS_HNSW_NODE_H */
