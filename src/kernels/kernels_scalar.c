/*
 * kernels_scalar.c
 *		The reference kernels: plain loops, written to be read.
 *
 * Every other table must agree with this one: bit for bit where the result is
 * an integer or a float16, within rounding where it is a sum of floats.  It
 * is also what runs on a CPU that has no table of its own.
 *
 * Pointers may have any alignment, so elements are read through memcpy, which
 * compiles to plain loads.
 */
#include "kernels/kernels.h"

#include <math.h>
#include <string.h>

#define F32_SIGN 0x80000000u
#define F32_INFINITY 0x7f800000u
#define F32_QUIET_NAN 0x00400000u
#define F32_F16_MAX 0x477fe000u /* 65504, the largest finite float16 */
#define F32_F16_MIN_NORMAL 0x38800000u	/* 2^-14 */
#define F32_F16_BIAS_SHIFT 0x38000000u	/* (127 - 15) << 23 */

#define F16_SIGN 0x8000u
#define F16_INFINITY 0x7c00u
#define F16_QUIET_NAN 0x0200u
#define F16_MAX 0x7bffu
#define F16_MANTISSA 0x03ffu

static inline float
load_f32(const float *p)
{
	float		value;

	memcpy(&value, p, sizeof(value));
	return value;
}

static inline uint16_t
load_u16(const uint16_t *p)
{
	uint16_t	value;

	memcpy(&value, p, sizeof(value));
	return value;
}

static inline uint32_t
float_bits(float value)
{
	uint32_t	bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

static inline float
bits_float(uint32_t bits)
{
	float		value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

static float
scalar_dot_f32(const float *a, const float *b, size_t n)
{
	float		sum = 0.0f;

	for (size_t i = 0; i < n; i++)
		sum += load_f32(a + i) * load_f32(b + i);
	return sum;
}

static float
scalar_l2sq_f32(const float *a, const float *b, size_t n)
{
	float		sum = 0.0f;

	for (size_t i = 0; i < n; i++)
	{
		float		diff = load_f32(a + i) - load_f32(b + i);

		sum += diff * diff;
	}
	return sum;
}

static float
scalar_l1_f32(const float *a, const float *b, size_t n)
{
	float		sum = 0.0f;

	for (size_t i = 0; i < n; i++)
		sum += fabsf(load_f32(a + i) - load_f32(b + i));
	return sum;
}

static float
scalar_dot_f32_i8(const float *q, const int8_t *c, size_t n)
{
	float		sum = 0.0f;

	for (size_t i = 0; i < n; i++)
		sum += load_f32(q + i) * (float) c[i];
	return sum;
}

static int32_t
scalar_dot_i8(const int8_t *a, const int8_t *b, size_t n)
{
	int32_t		sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += (int32_t) a[i] * (int32_t) b[i];
	return sum;
}

/*
 * Round to nearest even.  Infinity stays, a NaN becomes quiet and keeps the
 * upper bits of its payload, as the hardware does it.
 */
static uint16_t
f16_from_float(float value)
{
	uint32_t	bits = float_bits(value);
	uint32_t	sign = (bits & F32_SIGN) >> 16;
	uint32_t	mag = bits & ~F32_SIGN;

	if (mag > F32_INFINITY)
		return sign | F16_INFINITY | F16_QUIET_NAN |
			((mag >> 13) & F16_MANTISSA);
	if (mag == F32_INFINITY)
		return sign | F16_INFINITY;
	if (mag >= F32_F16_MAX)
		return sign | F16_MAX;

	/*
	 * Below 2^-14 a float16 is a multiple of 2^-24, which is the unit of the
	 * last place of a float4 in [0.5, 1): the addition does the rounding.
	 */
	if (mag < F32_F16_MIN_NORMAL)
		return sign | (float_bits(bits_float(mag) + 0.5f) - float_bits(0.5f));

	/* Drop 13 bits of the mantissa; a carry into the exponent is right. */
	mag += 0x0fff + ((mag >> 13) & 1);
	return sign | ((mag - F32_F16_BIAS_SHIFT) >> 13);
}

static float
f16_to_float(uint16_t half)
{
	uint32_t	sign = (uint32_t) (half & F16_SIGN) << 16;
	uint32_t	mag = half & ~F16_SIGN;

	if (mag > F16_INFINITY)
		return bits_float(sign | F32_INFINITY | F32_QUIET_NAN |
						  (mag & F16_MANTISSA) << 13);
	if (mag == F16_INFINITY)
		return bits_float(sign | F32_INFINITY);
	if (mag <= F16_MANTISSA)	/* zero or subnormal: a multiple of 2^-24 */
		return bits_float(sign | float_bits((float) mag / 16777216.0f));
	return bits_float(sign | ((mag << 13) + F32_F16_BIAS_SHIFT));
}

static void
scalar_f32_to_f16(const float *src, uint16_t *dst, size_t n)
{
	for (size_t i = 0; i < n; i++)
	{
		uint16_t	half = f16_from_float(load_f32(src + i));

		memcpy(dst + i, &half, sizeof(half));
	}
}

static void
scalar_f16_to_f32(const uint16_t *src, float *dst, size_t n)
{
	for (size_t i = 0; i < n; i++)
	{
		float		value = f16_to_float(load_u16(src + i));

		memcpy(dst + i, &value, sizeof(value));
	}
}

static float
scalar_dot_f32_f16(const float *q, const uint16_t *h, size_t n)
{
	float		sum = 0.0f;

	for (size_t i = 0; i < n; i++)
		sum += load_f32(q + i) * f16_to_float(load_u16(h + i));
	return sum;
}

static void
scalar_edge_sums(const uint8_t *edges, const uint8_t *lut, size_t ngroups,
				 uint32_t sums[FASTSCAN_LANES])
{
	for (int i = 0; i < FASTSCAN_LANES; i++)
	{
		const uint8_t *code = edges + i * EDGE_BYTES(ngroups);
		uint32_t	sum = 0;

		for (size_t group = 0; group < ngroups; group++)
			sum += lut[group * FASTSCAN_GROUP_ENTRIES +
					   (code[group / 2] >> (group % 2 * 4) & 0x0f)];
		memcpy(sums + i, &sum, sizeof(sum));
	}
}

static void
scalar_edge_factors(const uint8_t *edges, size_t ngroups,
					uint16_t factors[EDGE_FACTORS][FASTSCAN_LANES])
{
	for (int i = 0; i < FASTSCAN_LANES; i++)
	{
		const uint8_t *from = edges + i * EDGE_BYTES(ngroups) + ngroups / 2;

		for (int k = 0; k < EDGE_FACTORS; k++)
			memcpy(factors[k] + i, from + k * sizeof(uint16_t), sizeof(uint16_t));
	}
}

/* The sums of a FastScan block. */
static void
block_sums(const uint8_t *codes, const uint8_t *lut, size_t ngroups,
		   uint32_t sums[FASTSCAN_LANES])
{
	for (int j = 0; j < FASTSCAN_GROUP_BYTES; j++)
	{
		uint32_t	low = 0;
		uint32_t	high = 0;

		for (size_t group = 0; group < ngroups; group++)
		{
			uint8_t		code = codes[group * FASTSCAN_GROUP_BYTES + j];
			const uint8_t *table = lut + group * FASTSCAN_GROUP_ENTRIES;

			low += table[code & 0x0f];
			high += table[code >> 4];
		}
		memcpy(sums + j, &low, sizeof(low));
		memcpy(sums + j + FASTSCAN_LANES / 2, &high, sizeof(high));
	}
}

static void
scalar_edge_scores(const uint32_t sums[FASTSCAN_LANES],
				   const uint16_t t[FASTSCAN_LANES],
				   const uint16_t f[FASTSCAN_LANES],
				   const EdgeScale *scale,
				   float scores[FASTSCAN_LANES])
{
	for (int i = 0; i < FASTSCAN_LANES; i++)
	{
		uint32_t	sum;
		float		score;

		memcpy(&sum, sums + i, sizeof(sum));
		score = f16_to_float(load_u16(t + i)) * scale->qp +
			f16_to_float(load_u16(f + i)) *
			((float) sum * scale->delta + scale->bias);
		memcpy(scores + i, &score, sizeof(score));
	}
}

static void
scalar_edge_distances(const float scores[FASTSCAN_LANES],
					  const uint16_t lengths[FASTSCAN_LANES],
					  const EdgeDistance *distance,
					  float distances[FASTSCAN_LANES])
{
	for (int i = 0; i < FASTSCAN_LANES; i++)
	{
		float		length = f16_to_float(load_u16(lengths + i));
		float		norm2 = length * length * distance->unit2;
		float		rest = distance->radius2 - norm2;
		float		z = distance->query_z - sqrtf(rest > 0.0f ? rest : 0.0f);
		float		result = distance->query_norm2 + norm2 -
		2.0f * load_f32(scores + i) + z * z;

		memcpy(distances + i, &result, sizeof(result));
	}
}

static uint32_t
scalar_floats_below(const float values[FASTSCAN_LANES], float limit)
{
	uint32_t	mask = 0;

	for (int i = 0; i < FASTSCAN_LANES; i++)
		mask |= (uint32_t) (load_f32(values + i) < limit) << i;
	return mask;
}

static uint32_t
scalar_code_scan_block(const uint8_t *block, const CodeScan *scan,
					   float scores[FASTSCAN_LANES])
{
	const uint16_t *t = (const void *) (block +
										scan->ngroups * FASTSCAN_GROUP_BYTES);
	uint32_t	sums[FASTSCAN_LANES];
	uint32_t	mask = 0;

	block_sums(block, scan->lut, scan->ngroups, sums);
	scalar_edge_scores(sums, t, t + FASTSCAN_LANES, &scan->scale, scores);
	for (int i = 0; i < FASTSCAN_LANES; i++)
		mask |= (uint32_t) (load_f32(scores + i) >= scan->threshold) << i;
	return mask;
}

static uint32_t
scalar_keys_in_range(const uint64_t keys[FASTSCAN_LANES], uint64_t low,
					 uint64_t high)
{
	uint32_t	mask = 0;

	for (int i = 0; i < FASTSCAN_LANES; i++)
	{
		uint64_t	key;

		memcpy(&key, keys + i, sizeof(key));
		mask |= (uint32_t) (key >= low && key <= high) << i;
	}
	return mask;
}

static void
scalar_edge_residual(const EdgeInput *edge, size_t nbits, size_t n,
					 EdgeOutput *out)
{
	float		sum = 0.0f;
	float		norm2 = 0.0f;

	memset(out->bits, 0, nbits / 8);
	for (size_t i = 0; i < n; i++)
	{
		double		y = (double) edge->sy * edge->y[i]; /* exact */
		float		p = edge->tp * (float) edge->p[i];
		float		r = (float) (y - p);

		norm2 += r * r;
		if (i < nbits)
		{
			sum += fabsf(r);
			out->bits[i / 8] |= (uint8_t) ((r > 0.0f) << (i % 8));
		}
	}
	out->sum = sum;
	out->norm2 = norm2;
}

static const Kernels scalar_table = {
	.name = "scalar",
	.dot_f32 = scalar_dot_f32,
	.l2sq_f32 = scalar_l2sq_f32,
	.l1_f32 = scalar_l1_f32,
	.dot_f32_i8 = scalar_dot_f32_i8,
	.dot_f32_f16 = scalar_dot_f32_f16,
	.dot_i8 = scalar_dot_i8,
	.f32_to_f16 = scalar_f32_to_f16,
	.f16_to_f32 = scalar_f16_to_f32,
	.edge_sums = scalar_edge_sums,
	.edge_factors = scalar_edge_factors,
	.edge_scores = scalar_edge_scores,
	.edge_distances = scalar_edge_distances,
	.floats_below = scalar_floats_below,
	.code_scan_block = scalar_code_scan_block,
	.keys_in_range = scalar_keys_in_range,
	.edge_residual = scalar_edge_residual,
};

/* What callers use; here, so that it is valid before kernels_init. */
const Kernels *kernels = &scalar_table;

const Kernels *
kernels_scalar(void)
{
	return &scalar_table;
}
