/*
 * kernels_neon.c
 *		Kernels for 64-bit Arm, whose every CPU has NEON.
 *
 * Laid out as kernels_avx2.c.  Nothing beyond the base architecture is used:
 * no dot product and no float16 arithmetic extension.
 */
#include "kernels/kernels.h"

#if defined(__aarch64__) && !defined(__AARCH64EB__)

#include <arm_neon.h>
#include <string.h>

#include "kernels/kernels_sum.h"

#define INLINE inline __attribute__((always_inline))

#define LANES 4					/* floats in a register */

/* Groups after which a 16-bit sum may be full: 65535 / 255. */
#define FASTSCAN_FLUSH 256

static INLINE float32x4_t
load_floats(const float *p)
{
	return vreinterpretq_f32_u8(vld1q_u8((const uint8_t *) p));
}

static INLINE float32x4_t
load_halves(const uint16_t *p)
{
	return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8((const uint8_t *) p)));
}

static INLINE void
store_floats(float *p, float32x4_t x)
{
	vst1q_u8((uint8_t *) p, vreinterpretq_u8_f32(x));
}

/* Elements i to i + 3 of b as floats. */
static INLINE float32x4_t
load_lanes(const void *b, size_t i, Element element)
{
	uint32_t	codes;
	int16x8_t	wide;

	if (element == ELEMENT_F32)
		return load_floats((const float *) b + i);
	if (element == ELEMENT_F16)
		return load_halves((const uint16_t *) b + i);
	memcpy(&codes, (const int8_t *) b + i, sizeof(codes));
	wide = vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(codes)));
	return vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide)));
}

/* Elements i to i + count - 1, count < 4; zero in the other lanes. */
static INLINE float32x4_t
load_tail(const void *b, size_t i, size_t count, Element element)
{
	const size_t sizes[] = {
		[ELEMENT_F32] = sizeof(float),
		[ELEMENT_F16] = sizeof(uint16_t),
		[ELEMENT_I8] = sizeof(int8_t),
	};
	float		tail[LANES] = {0};

	memcpy(tail, (const char *) b + i * sizes[element],
		   count * sizes[element]);
	return load_lanes(tail, 0, element);
}

static INLINE float32x4_t
add_term(float32x4_t sum, float32x4_t a, float32x4_t b, Term term)
{
	float32x4_t diff;

	if (term == TERM_PRODUCT)
		return vfmaq_f32(sum, a, b);
	diff = vsubq_f32(a, b);
	if (term == TERM_SQUARED_DIFFERENCE)
		return vfmaq_f32(sum, diff, diff);
	return vaddq_f32(sum, vabsq_f32(diff));
}

/* sum plus the terms of elements i to i + 3. */
static INLINE float32x4_t
add_lanes(float32x4_t sum, const float *a, const void *b, size_t i,
		  Term term, Element element)
{
	return add_term(sum, load_floats(a + i), load_lanes(b, i, element), term);
}

/* Four sums, so that the latency of an addition is hidden. */
static INLINE float
neon_sum(const float *a, const void *b, size_t n, Term term, Element element)
{
	float32x4_t sum0 = vdupq_n_f32(0.0f);
	float32x4_t sum1 = sum0;
	float32x4_t sum2 = sum0;
	float32x4_t sum3 = sum0;
	size_t		i = 0;

	for (; i + 4 * LANES <= n; i += 4 * LANES)
	{
		sum0 = add_lanes(sum0, a, b, i, term, element);
		sum1 = add_lanes(sum1, a, b, i + LANES, term, element);
		sum2 = add_lanes(sum2, a, b, i + 2 * LANES, term, element);
		sum3 = add_lanes(sum3, a, b, i + 3 * LANES, term, element);
	}
	for (; i + LANES <= n; i += LANES)
		sum0 = add_lanes(sum0, a, b, i, term, element);
	if (i < n)
		sum1 = add_term(sum1, load_tail(a, i, n - i, ELEMENT_F32),
						load_tail(b, i, n - i, element), term);
	return vaddvq_f32(vaddq_f32(vaddq_f32(sum0, sum1),
								vaddq_f32(sum2, sum3)));
}

static float
neon_dot_f32(const float *a, const float *b, size_t n)
{
	return neon_sum(a, b, n, TERM_PRODUCT, ELEMENT_F32);
}

static float
neon_l2sq_f32(const float *a, const float *b, size_t n)
{
	return neon_sum(a, b, n, TERM_SQUARED_DIFFERENCE, ELEMENT_F32);
}

static float
neon_l1_f32(const float *a, const float *b, size_t n)
{
	return neon_sum(a, b, n, TERM_ABSOLUTE_DIFFERENCE, ELEMENT_F32);
}

static float
neon_dot_f32_i8(const float *q, const int8_t *c, size_t n)
{
	return neon_sum(q, c, n, TERM_PRODUCT, ELEMENT_I8);
}

static float
neon_dot_f32_f16(const float *q, const uint16_t *h, size_t n)
{
	return neon_sum(q, h, n, TERM_PRODUCT, ELEMENT_F16);
}

static INLINE int32x4_t
add_code_products(int32x4_t sum, int8x16_t a, int8x16_t b)
{
	sum = vpadalq_s16(sum, vmull_s8(vget_low_s8(a), vget_low_s8(b)));
	return vpadalq_s16(sum, vmull_high_s8(a, b));
}

static int32_t
neon_dot_i8(const int8_t *a, const int8_t *b, size_t n)
{
	int32x4_t	sum = vdupq_n_s32(0);
	size_t		i = 0;

	for (; i + 16 <= n; i += 16)
		sum = add_code_products(sum, vld1q_s8(a + i), vld1q_s8(b + i));
	if (i < n)
	{
		int8_t		tail[2][16] = {{0}};

		memcpy(tail[0], a + i, n - i);
		memcpy(tail[1], b + i, n - i);
		sum = add_code_products(sum, vld1q_s8(tail[0]), vld1q_s8(tail[1]));
	}
	return vaddvq_s32(sum);
}

/* The instruction would make infinity of a finite overflow. */
static INLINE uint8x8_t
halves_from_floats(float32x4_t x)
{
	uint32x4_t	finite = vcltq_f32(vabsq_f32(x),
								   vdupq_n_f32(__builtin_inff()));
	float32x4_t clamped = vmaxq_f32(vminq_f32(x, vdupq_n_f32(65504.0f)),
									vdupq_n_f32(-65504.0f));

	return vreinterpret_u8_f16(vcvt_f16_f32(vbslq_f32(finite, clamped, x)));
}

static void
neon_f32_to_f16(const float *src, uint16_t *dst, size_t n)
{
	size_t		i = 0;

	for (; i + LANES <= n; i += LANES)
		vst1_u8((uint8_t *) (dst + i),
				halves_from_floats(load_floats(src + i)));
	if (i < n)
	{
		float32x4_t last = load_tail(src, i, n - i, ELEMENT_F32);
		uint16_t	tail[LANES];

		vst1_u8((uint8_t *) tail, halves_from_floats(last));
		memcpy(dst + i, tail, (n - i) * sizeof(uint16_t));
	}
}

static void
neon_f16_to_f32(const uint16_t *src, float *dst, size_t n)
{
	size_t		i = 0;

	for (; i + LANES <= n; i += LANES)
		store_floats(dst + i, load_halves(src + i));
	if (i < n)
	{
		float		tail[LANES];

		store_floats(tail, load_tail(src, i, n - i, ELEMENT_F16));
		memcpy(dst + i, tail, (n - i) * sizeof(float));
	}
}

/* 16-bit sums of 16 lanes. */
typedef struct LaneSums
{
	uint16x8_t	first;
	uint16x8_t	second;
} LaneSums;

static INLINE void
lane_sums_add(LaneSums *sums, uint8x16_t bytes)
{
	sums->first = vaddw_u8(sums->first, vget_low_u8(bytes));
	sums->second = vaddw_high_u8(sums->second, bytes);
}

/* Adds the sums of 16 lanes to total. */
static INLINE void
lane_sums_flush(const LaneSums *sums, uint32x4_t total[4])
{
	total[0] = vaddw_u16(total[0], vget_low_u16(sums->first));
	total[1] = vaddw_high_u16(total[1], sums->first);
	total[2] = vaddw_u16(total[2], vget_low_u16(sums->second));
	total[3] = vaddw_high_u16(total[3], sums->second);
}

/* The sums of a block, four lanes a register. */
static INLINE void
block_sums(const uint8_t *codes, const uint8_t *lut, size_t ngroups,
		   uint32x4_t total[FASTSCAN_LANES / LANES])
{
	for (int i = 0; i < FASTSCAN_LANES / LANES; i++)
		total[i] = vdupq_n_u32(0);
	while (ngroups > 0)
	{
		size_t		groups = ngroups < FASTSCAN_FLUSH ? ngroups : FASTSCAN_FLUSH;
		LaneSums	low = {vdupq_n_u16(0), vdupq_n_u16(0)};
		LaneSums	high = low;

		ngroups -= groups;
		for (; groups > 0; groups--)
		{
			uint8x16_t	code = vld1q_u8(codes);
			uint8x16_t	table = vld1q_u8(lut);

			lane_sums_add(&low, vqtbl1q_u8(table,
										   vandq_u8(code, vdupq_n_u8(0x0f))));
			lane_sums_add(&high, vqtbl1q_u8(table, vshrq_n_u8(code, 4)));
			codes += FASTSCAN_GROUP_BYTES;
			lut += FASTSCAN_GROUP_ENTRIES;
		}
		lane_sums_flush(&low, total);
		lane_sums_flush(&high, total + 4);
	}
}

/* As in kernels_avx2.c, for 16 rows of eight bytes. */
static INLINE void
transpose_edges(const uint8_t *bytes, size_t stride, uint8x16_t out[8])
{
	uint8x16_t	x[8];			/* two rows, eight bytes */
	uint8x16_t	y[2][4];		/* four rows, four bytes */
	uint8x16_t	z[4][2];		/* eight rows, two bytes */

	for (int i = 0; i < 8; i++)
	{
		const uint8_t *a = bytes + i * stride;
		const uint8_t *b = a + 8 * stride;

		x[i] = vzip1q_u8(vcombine_u8(vld1_u8(a), vdup_n_u8(0)),
						 vcombine_u8(vld1_u8(b), vdup_n_u8(0)));
	}
	for (int i = 0; i < 4; i++)
	{
		y[0][i] = vzip1q_u8(x[i], x[i + 4]);
		y[1][i] = vzip2q_u8(x[i], x[i + 4]);
	}
	for (int i = 0; i < 4; i++)
	{
		z[i][0] = i % 2 == 0 ? vzip1q_u8(y[i / 2][0], y[i / 2][2]) :
			vzip2q_u8(y[i / 2][0], y[i / 2][2]);
		z[i][1] = i % 2 == 0 ? vzip1q_u8(y[i / 2][1], y[i / 2][3]) :
			vzip2q_u8(y[i / 2][1], y[i / 2][3]);
	}
	for (int i = 0; i < 4; i++)
	{
		out[2 * i] = vzip1q_u8(z[i][0], z[i][1]);
		out[2 * i + 1] = vzip2q_u8(z[i][0], z[i][1]);
	}
}

/* The sums of 16 edges. */
static INLINE void
half_edge_sums(const uint8_t *edges, const uint8_t *lut, size_t ngroups,
			   uint32_t *sums)
{
	const size_t stride = EDGE_BYTES(ngroups);
	uint32x4_t	total[4] = {vdupq_n_u32(0), vdupq_n_u32(0),
	vdupq_n_u32(0), vdupq_n_u32(0)};

	for (size_t first = 0; first < ngroups; first += FASTSCAN_FLUSH)
	{
		size_t		end = ngroups - first < FASTSCAN_FLUSH ? ngroups :
		first + FASTSCAN_FLUSH;
		LaneSums	lanes = {vdupq_n_u16(0), vdupq_n_u16(0)};

		for (size_t group = first; group < end; group += 16)
		{
			uint8x16_t	codes[8];

			transpose_edges(edges + group / 2, stride, codes);
			for (int i = 0; i < 8; i++)
			{
				const uint8_t *tables = lut + (group + 2 * i) *
				FASTSCAN_GROUP_ENTRIES;
				uint8x16_t	low = vandq_u8(codes[i], vdupq_n_u8(0x0f));

				lane_sums_add(&lanes, vqtbl1q_u8(vld1q_u8(tables), low));
				lane_sums_add(&lanes, vqtbl1q_u8(vld1q_u8(tables + 16),
												 vshrq_n_u8(codes[i], 4)));
			}
		}
		lane_sums_flush(&lanes, total);
	}
	for (int i = 0; i < 4; i++)
		vst1q_u8((uint8_t *) (sums + i * LANES), vreinterpretq_u8_u32(total[i]));
}

static void
neon_edge_sums(const uint8_t *edges, const uint8_t *lut, size_t ngroups,
			   uint32_t sums[FASTSCAN_LANES])
{
	half_edge_sums(edges, lut, ngroups, sums);
	half_edge_sums(edges + FASTSCAN_LANES / 2 * EDGE_BYTES(ngroups), lut,
				   ngroups, sums + FASTSCAN_LANES / 2);
}

static void
neon_edge_factors(const uint8_t *edges, size_t ngroups,
				  uint16_t factors[EDGE_FACTORS][FASTSCAN_LANES])
{
	const size_t stride = EDGE_BYTES(ngroups);

	edges += ngroups / 2;
	for (int i = 0; i < FASTSCAN_LANES; i++, edges += stride)
	{
		memcpy(factors[0] + i, edges, sizeof(uint16_t));
		memcpy(factors[1] + i, edges + 2, sizeof(uint16_t));
		memcpy(factors[2] + i, edges + 4, sizeof(uint16_t));
	}
}

/* Scores of four lanes, of which t and f are the first. */
static INLINE float32x4_t
lane_scores(uint32x4_t sums, const uint16_t *t, const uint16_t *f,
			const EdgeScale *scale)
{
	float32x4_t residual = vfmaq_n_f32(vdupq_n_f32(scale->bias),
									   vcvtq_f32_u32(sums), scale->delta);
	float32x4_t parallel = vmulq_n_f32(load_halves(t), scale->qp);

	return vfmaq_f32(parallel, load_halves(f), residual);
}

static void
neon_edge_scores(const uint32_t sums[FASTSCAN_LANES],
				 const uint16_t t[FASTSCAN_LANES],
				 const uint16_t f[FASTSCAN_LANES],
				 const EdgeScale *scale,
				 float scores[FASTSCAN_LANES])
{
	const EdgeScale in = *scale;	/* a copy, which no store changes */

	for (int i = 0; i < FASTSCAN_LANES; i += LANES)
	{
		uint32x4_t	lanes = vreinterpretq_u32_u8(vld1q_u8((const uint8_t *)
														  (sums + i)));

		store_floats(scores + i, lane_scores(lanes, t + i, f + i, &in));
	}
}

static uint32_t
neon_code_scan_block(const uint8_t *block, const CodeScan *scan,
					 float scores[FASTSCAN_LANES])
{
	static const uint32_t weights[LANES] = {1, 2, 4, 8};
	const uint32x4_t bits = vld1q_u32(weights);
	const float32x4_t threshold = vdupq_n_f32(scan->threshold);
	const uint16_t *t = (const void *) (block +
										scan->ngroups * FASTSCAN_GROUP_BYTES);
	uint32x4_t	sums[FASTSCAN_LANES / LANES];
	float32x4_t lanes[FASTSCAN_LANES / LANES];
	uint32x4_t	hits = vdupq_n_u32(0);
	uint32_t	mask;

	block_sums(block, scan->lut, scan->ngroups, sums);
	for (int i = 0; i < FASTSCAN_LANES / LANES; i++)
	{
		const uint16_t *first = t + i * LANES;
		uint32x4_t	above;

		lanes[i] = lane_scores(sums[i], first, first + FASTSCAN_LANES,
							   &scan->scale);
		above = vandq_u32(vcgeq_f32(lanes[i], threshold), bits);
		hits = vorrq_u32(hits, vshlq_u32(above, vdupq_n_s32(i * LANES)));
	}
	mask = vaddvq_u32(hits);
	for (int i = 0; mask != 0 && i < FASTSCAN_LANES / LANES; i++)
		store_floats(scores + i * LANES, lanes[i]);
	return mask;
}

static void
neon_edge_distances(const float scores[FASTSCAN_LANES],
					const uint16_t lengths[FASTSCAN_LANES],
					const EdgeDistance *distance,
					float distances[FASTSCAN_LANES])
{
	const EdgeDistance in = *distance;	/* a copy, which no store changes */

	for (int i = 0; i < FASTSCAN_LANES; i += LANES)
	{
		float32x4_t length = load_halves(lengths + i);
		float32x4_t norm2 = vmulq_n_f32(vmulq_f32(length, length), in.unit2);
		float32x4_t rest = vmaxnmq_f32(vsubq_f32(vdupq_n_f32(in.radius2), norm2),
									   vdupq_n_f32(0.0f));
		float32x4_t z = vsubq_f32(vdupq_n_f32(in.query_z), vsqrtq_f32(rest));
		float32x4_t plain = vfmaq_n_f32(vaddq_f32(vdupq_n_f32(in.query_norm2),
												  norm2),
										load_floats(scores + i), -2.0f);

		store_floats(distances + i, vfmaq_f32(plain, z, z));
	}
}

static uint32_t
neon_floats_below(const float values[FASTSCAN_LANES], float limit)
{
	static const uint32_t weights[LANES] = {1, 2, 4, 8};
	const uint32x4_t bits = vld1q_u32(weights);
	uint32x4_t	below = vdupq_n_u32(0);

	for (int i = 0; i < FASTSCAN_LANES; i += LANES)
	{
		uint32x4_t	lanes = vcltq_f32(load_floats(values + i),
									  vdupq_n_f32(limit));

		below = vorrq_u32(below, vshlq_u32(vandq_u32(lanes, bits),
										   vdupq_n_s32(i)));
	}
	return vaddvq_u32(below);
}

static uint32_t
neon_keys_in_range(const uint64_t keys[FASTSCAN_LANES], uint64_t low,
				   uint64_t high)
{
	const		uint64x2_t least = vdupq_n_u64(low);
	const		uint64x2_t most = vdupq_n_u64(high);
	uint32_t	mask = 0;

	for (int i = 0; i < FASTSCAN_LANES; i += 2)
	{
		uint64x2_t	key = vreinterpretq_u64_u8(vld1q_u8((const uint8_t *)
														(keys + i)));
		uint64x2_t	in = vandq_u64(vcgeq_u64(key, least), vcleq_u64(key, most));

		mask |= (uint32_t) (vgetq_lane_u64(in, 0) & 1) << i |
			(uint32_t) (vgetq_lane_u64(in, 1) & 2) << i;
	}
	return mask;
}

/* Sums over the residuals of every LANES-th element. */
typedef struct ResidualSums
{
	float32x4_t sizes;
	float32x4_t squares;
} ResidualSums;

/* Adds elements i to i + 3; returns all ones where one is above 0. */
static INLINE uint16x4_t
add_residuals(ResidualSums *sums, const EdgeInput *edge, size_t i)
{
	float32x4_t p = vmulq_n_f32(load_lanes(edge->p, i, ELEMENT_I8), -edge->tp);
	float32x4_t r = vfmaq_n_f32(p, load_lanes(edge->y, i, ELEMENT_I8),
								edge->sy);

	sums->sizes = vaddq_f32(sums->sizes, vabsq_f32(r));
	sums->squares = vfmaq_f32(sums->squares, r, r);
	return vmovn_u32(vcgtzq_f32(r));
}

static void
neon_edge_residual(const EdgeInput *edge, size_t nbits, size_t n,
				   EdgeOutput *out)
{
	static const uint16_t weights[8] = {1, 2, 4, 8, 16, 32, 64, 128};
	const EdgeInput in = *edge; /* a copy, which no store of bits changes */
	ResidualSums even = {vdupq_n_f32(0.0f), vdupq_n_f32(0.0f)};
	ResidualSums odd = even;
	size_t		i = 0;

	for (; i < nbits; i += 2 * LANES)
	{
		uint16x4_t	low = add_residuals(&even, &in, i);
		uint16x4_t	high = add_residuals(&odd, &in, i + LANES);

		out->bits[i / 8] = vaddvq_u16(vandq_u16(vcombine_u16(low, high),
												vld1q_u16(weights)));
	}
	out->sum = vaddvq_f32(vaddq_f32(even.sizes, odd.sizes));
	for (; i < n; i += 2 * LANES)
	{
		add_residuals(&even, &in, i);
		add_residuals(&odd, &in, i + LANES);
	}
	out->norm2 = vaddvq_f32(vaddq_f32(even.squares, odd.squares));
}

static const Kernels neon_table = {
	.name = "neon",
	.dot_f32 = neon_dot_f32,
	.l2sq_f32 = neon_l2sq_f32,
	.l1_f32 = neon_l1_f32,
	.dot_f32_i8 = neon_dot_f32_i8,
	.dot_f32_f16 = neon_dot_f32_f16,
	.dot_i8 = neon_dot_i8,
	.f32_to_f16 = neon_f32_to_f16,
	.f16_to_f32 = neon_f16_to_f32,
	.edge_sums = neon_edge_sums,
	.edge_factors = neon_edge_factors,
	.edge_scores = neon_edge_scores,
	.edge_distances = neon_edge_distances,
	.floats_below = neon_floats_below,
	.code_scan_block = neon_code_scan_block,
	.keys_in_range = neon_keys_in_range,
	.edge_residual = neon_edge_residual,
};

const Kernels *
kernels_neon(void)
{
	return &neon_table;
}

#else							/* not little-endian 64-bit Arm */

const Kernels *
kernels_neon(void)
{
	return NULL;
}

#endif
