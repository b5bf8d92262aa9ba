/*
 * hnsw_tapecode.c
 *		Short codes of vectors, and what a query scores by them.
 */
#include "postgres.h"

#include <math.h>

#include "common/hashfn.h"

#include "hnsw/hnsw_tapecode.h"

/*
 * Levels and the bound between them, in deviations.  By how much they matter,
 * in a model of the scan: 300,000 made rows of 128 dimensions, of which a filter
 * takes a tenth at random or the tenth farthest from the query; rows whose nodes
 * would be read, and recall, for K = 10 and 100:
 *
 *		bits	 bytes		random						far
 *		1		  20		106 0.980	844 0.985		398 0.977	2021 0.964
 *		2		  36		 43 1.000	309 0.996		 66 0.995	 532 0.989
 *		4		  68		 39 1.000	207 1.000		 39 1.000	 210 1.000
 */
#define INNER_LEVEL 0.4528f
#define OUTER_LEVEL 1.510f
#define LEVEL_BOUND 0.9816f

#define MAX_BITS 2

void
tape_code_layout_init(TapeCodeLayout *layout, int padded_dim, Size room)
{
	int			most = (room - 2 * FASTSCAN_LANES * sizeof(uint16)) /
	FASTSCAN_GROUP_BYTES;

	Assert(padded_dim % 4 == 0);
	most = Min(most, TAPE_CODE_MAX_GROUPS);
	layout->padded_dim = padded_dim;
	layout->bits = padded_dim * MAX_BITS / 4 <= most ? MAX_BITS : 1;
	layout->ngroups = Min(padded_dim * layout->bits / 4, most);
	layout->t_off = layout->ngroups * FASTSCAN_GROUP_BYTES;
	layout->f_off = layout->t_off + FASTSCAN_LANES * sizeof(uint16);
	layout->block_size = layout->f_off + FASTSCAN_LANES * sizeof(uint16);
}

/* Level i of 2^bits, ascending. */
static float
level(int bits, int i)
{
	static const float levels[] = {-OUTER_LEVEL, -INNER_LEVEL, INNER_LEVEL, OUTER_LEVEL};

	return bits == 1 ? 2.0f * i - 1.0f : levels[i];
}

/* ----- codes ----- */

void
tape_code_encode(const TapeCodeLayout *layout, float unit, float scale,
				 const int8 *own, TapeCode *code)
{
	float		norm2 = (float) kernels->dot_i8(own, own, layout->padded_dim);
	float		bound = LEVEL_BOUND * sqrtf(norm2 / layout->padded_dim);
	int			per_group = 4 / layout->bits;
	int32		inner = 0;
	int32		outer = 0;
	float		along;
	float		factors[2];

	for (int g = 0; g < layout->ngroups; g++)
	{
		uint8		nibble = 0;

		for (int i = 0; i < per_group; i++)
		{
			int			x = own[g * per_group + i];
			bool		far = layout->bits == MAX_BITS && abs(x) > bound;
			int			bits = layout->bits == 1 ? x > 0 :
			x > 0 ? 2 + far : 1 - far;

			nibble |= bits << (i * layout->bits);
			if (far)
				outer += abs(x);
			else
				inner += abs(x);
		}
		code->groups[g] = nibble;
	}
	along = layout->bits == 1 ? (float) inner :
		INNER_LEVEL * inner + OUTER_LEVEL * outer;
	factors[0] = scale / unit * (scale / unit) * norm2;
	factors[1] = along > 0.0f ? scale / unit * (norm2 / along) : 0.0f;
	kernels->f32_to_f16(factors, &code->t, 1);
	kernels->f32_to_f16(factors + 1, &code->f, 1);
}

static inline uint16 *
block_t(const TapeCodeLayout *layout, const uint8 *block)
{
	return (uint16 *) (block + layout->t_off);
}

static inline uint16 *
block_f(const TapeCodeLayout *layout, const uint8 *block)
{
	return (uint16 *) (block + layout->f_off);
}

void
tape_code_put(const TapeCodeLayout *layout, uint8 *block, int lane,
			  const TapeCode *code)
{
	uint8	   *bytes = block + lane % FASTSCAN_GROUP_BYTES;
	int			shift = lane < FASTSCAN_GROUP_BYTES ? 0 : 4;

	for (int g = 0; g < layout->ngroups; g++, bytes += FASTSCAN_GROUP_BYTES)
		*bytes = (uint8) ((*bytes & (0xF0 >> shift)) | (code->groups[g] << shift));
	block_t(layout, block)[lane] = code->t;
	block_f(layout, block)[lane] = code->f;
}

void
tape_code_get(const TapeCodeLayout *layout, const uint8 *block, int lane,
			  TapeCode *code)
{
	const uint8 *bytes = block + lane % FASTSCAN_GROUP_BYTES;
	int			shift = lane < FASTSCAN_GROUP_BYTES ? 0 : 4;

	for (int g = 0; g < layout->ngroups; g++, bytes += FASTSCAN_GROUP_BYTES)
		code->groups[g] = (*bytes >> shift) & 15;
	code->t = block_t(layout, block)[lane];
	code->f = block_f(layout, block)[lane];
}

uint64
tape_code_hash(const TapeCodeLayout *layout, const TapeCode *code)
{
	return hash_bytes_extended(code->groups, layout->ngroups,
							   (uint64) code->t << 16 | code->f);
}

/* ----- queries ----- */

/* What the entries of a group's table stand for: sum of L_j q_j. */
static void
group_values(int bits, const float *q, float values[FASTSCAN_GROUP_ENTRIES])
{
	int			n = 1;

	Assert(bits == 1 || bits == MAX_BITS);
	values[0] = 0.0f;
	for (int i = 0; i < 4 / bits; i++)
	{
		/* the least level last: its values take the place of those before */
		for (int l = (1 << bits) - 1; l >= 0; l--)
			for (int entry = 0; entry < n; entry++)
				values[l * n + entry] = values[entry] + q[i] * level(bits, l);
		n <<= bits;
	}
}

/* The largest entry; the least is the same with the other sign. */
static float
group_most(int bits, const float *q)
{
	float		most = 0.0f;

	for (int i = 0; i < 4 / bits; i++)
		most += fabsf(q[i]) * level(bits, (1 << bits) - 1);
	return most;
}

/* The entries of all groups are bytes, with one step. */
void
tape_query_set(const TapeCodeLayout *layout, float unit, Measure measure,
			   const float *rotated, TapeQuery *query)
{
	int			per_group = 4 / layout->bits;
	float		widest = 0.0f;
	float		total = 0.0f;
	float		inverse;

	for (int g = 0; g < layout->ngroups; g++)
	{
		float		half = group_most(layout->bits, rotated + g * per_group);

		widest = Max(widest, half);
		total += half;
	}
	inverse = widest > 0.0f ? 255.0f / (2.0f * widest) : 0.0f;
	for (int g = 0; g < layout->ngroups; g++)
	{
		const float *q = rotated + g * per_group;
		float		half = group_most(layout->bits, q);
		float		values[FASTSCAN_GROUP_ENTRIES];

		group_values(layout->bits, q, values);
		for (int entry = 0; entry < FASTSCAN_GROUP_ENTRIES; entry++)
			query->lut[g * FASTSCAN_GROUP_ENTRIES + entry] = (uint8)
				Min(Max(values[entry] + half, 0.0f) * inverse + 0.5f, 255.0f);
	}
	query->scan.lut = query->lut;
	query->scan.ngroups = layout->ngroups;
	query->scan.scale.qp = measure == MEASURE_IP ? 0.0f : -unit * unit / 2.0f;
	query->scan.scale.delta = unit * 2.0f * widest / 255.0f;
	query->scan.scale.bias = -unit * total;
	query->scan.threshold = -INFINITY;
}
