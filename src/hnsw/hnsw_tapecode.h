/*
 * hnsw_tapecode.h
 *		Short codes of vectors, and what a query scores by them: of the rows on the
 *		key tape, and of the nodes of the long list.
 *
 * A code has two bits a dimension: with the length of the vector and a random
 * rotation its coordinates are about normally distributed, and each is one of
 * the four levels that lose least of a normal distribution (Max 1960):
 *
 *		x_j ~ |x| / sqrt(d) * L_j,	L_j = -1.510, -0.4528, 0.4528 or 1.510
 *
 *		<q,x> ~ f * sum L_j q_j,	f = |x|^2 / sum L_j x_j
 *
 * with the factor of RaBitQ (Gao, Long 2024), which makes the estimate right on
 * average.  Where a page cannot hold a block of 32 such codes, beyond 960
 * dimensions, codes have one bit, L_j = -1 or 1, and beyond 1984 dimensions
 * they leave out the last ones.
 *
 * Codes are made of the coarse digits of the node's own vector, so that they can
 * be checked against it.
 */
#ifndef RECSYS_HNSW_TAPECODE_H
#define RECSYS_HNSW_TAPECODE_H

#include "hnsw/hnsw_node.h"

#define TAPE_CODE_MAX_GROUPS 496

/* Sizes and offsets of a block, which kernels->code_scan_block reads. */
typedef struct TapeCodeLayout
{
	int			padded_dim;		/* of the vectors */
	int			bits;			/* a dimension */
	int			ngroups;		/* of four bits */
	Size		t_off;
	Size		f_off;
	Size		block_size;
} TapeCodeLayout;

typedef struct TapeCode
{
	uint16		t;				/* squared length, for Euclidean distance */
	uint16		f;
	uint8		groups[TAPE_CODE_MAX_GROUPS];	/* a nibble each */
} TapeCode;

/* A query's tables; the score of a row is larger for a closer one. */
typedef struct TapeQuery
{
	uint8		lut[TAPE_CODE_MAX_GROUPS * FASTSCAN_GROUP_ENTRIES];
	CodeScan	scan;
} TapeQuery;

/* The layout of blocks of at most so many bytes. */
extern void tape_code_layout_init(TapeCodeLayout *layout, int padded_dim,
								  Size room);

/* The code of an own vector's coarse digits. */
extern void tape_code_encode(const TapeCodeLayout *layout, float unit,
							 float scale, const int8 *own, TapeCode *code);

/* Put a code into its lane of a block, or get it. */
extern void tape_code_put(const TapeCodeLayout *layout, uint8 *block, int lane,
						  const TapeCode *code);
extern void tape_code_get(const TapeCodeLayout *layout, const uint8 *block,
						  int lane, TapeCode *code);

/*
 * The squared length of a lane's vector and the factor of its estimates, both
 * as multiples of the unit in float16: the bits are in the order of the numbers.
 */
static inline uint16
tape_code_length(const TapeCodeLayout *layout, const uint8 *block, int lane)
{
	return ((const uint16 *) (block + layout->t_off))[lane];
}

static inline uint16
tape_code_factor(const TapeCodeLayout *layout, const uint8 *block, int lane)
{
	return ((const uint16 *) (block + layout->f_off))[lane];
}

/* A number that tells codes apart. */
extern uint64 tape_code_hash(const TapeCodeLayout *layout,
							 const TapeCode *code);

/* Set a query to a rotated vector, for a metric that measures so. */
extern void tape_query_set(const TapeCodeLayout *layout, float unit,
						   Measure measure, const float *rotated,
						   TapeQuery *query);

/* What the score of an exactly known row is. */
static inline float
tape_query_score(Measure measure, float ip, float norm)
{
	return measure == MEASURE_IP ? ip : ip - norm * norm / 2.0f;
}

#endif							/* RECSYS_HNSW_TAPECODE_H */
