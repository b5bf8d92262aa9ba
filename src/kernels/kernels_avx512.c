/*
 * kernels_avx512.c
 *		Kernels for x86-64 with AVX-512 (F, BW, DQ, VL), and its VNNI byte
 *		products where the CPU has them.
 *
 * Laid out as kernels_avx2.c; what differs is that the last elements are read
 * and written under a mask, so that no tail needs a buffer.  The CPU does not
 * touch memory behind a zero of the mask.
 */
#include "kernels/kernels.h"

#ifdef __x86_64__

#include <immintrin.h>
#include <string.h>

#include "kernels/kernels_avx2.h"
#include "kernels/kernels_sum.h"

#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
#define TARGET_VNNI \
	__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))
#define INLINE TARGET inline __attribute__((always_inline))

#define LANES 16				/* floats in a register */

/* Groups after which a 16-bit sum over four quarters may be full: 65535/255 */
#define FASTSCAN_FLUSH 256

/* The first count of 16 or 64 elements. */
static INLINE __mmask16
mask16(size_t count)
{
	return (__mmask16) ((1u << count) - 1);
}

static INLINE __mmask64
mask64(size_t count)
{
	return ((__mmask64) 1 << count) - 1;
}

static INLINE __m512i
load64(const void *bytes)
{
	return _mm512_loadu_si512(bytes);
}

/* Elements i to i + count - 1, count <= 16; zero in the other lanes. */
static INLINE __m512
load_lanes(const void *b, size_t i, size_t count, Element element)
{
	__mmask16	mask = mask16(count);
	__m256i		halves;
	__m128i		codes;

	if (element == ELEMENT_F32)
		return _mm512_maskz_loadu_ps(mask, (const float *) b + i);
	if (element == ELEMENT_F16)
	{
		halves = _mm256_maskz_loadu_epi16(mask, (const uint16_t *) b + i);
		return _mm512_cvtph_ps(halves);
	}
	codes = _mm_maskz_loadu_epi8(mask, (const int8_t *) b + i);
	return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(codes));
}

static INLINE __m512
add_term(__m512 sum, __m512 a, __m512 b, Term term)
{
	__m512		diff;

	if (term == TERM_PRODUCT)
		return _mm512_fmadd_ps(a, b, sum);
	diff = _mm512_sub_ps(a, b);
	if (term == TERM_SQUARED_DIFFERENCE)
		return _mm512_fmadd_ps(diff, diff, sum);
	return _mm512_add_ps(sum, _mm512_abs_ps(diff));
}

/* sum plus the terms of elements i to i + 15. */
static INLINE __m512
add_lanes(__m512 sum, const float *a, const void *b, size_t i,
		  Term term, Element element)
{
	return add_term(sum, load_lanes(a, i, LANES, ELEMENT_F32),
					load_lanes(b, i, LANES, element), term);
}

/* Four sums, so that the latency of an addition is hidden. */
static INLINE float
avx512_sum(const float *a, const void *b, size_t n, Term term, Element element)
{
	__m512		sum0 = _mm512_setzero_ps();
	__m512		sum1 = sum0;
	__m512		sum2 = sum0;
	__m512		sum3 = sum0;
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
		sum1 = add_term(sum1, load_lanes(a, i, n - i, ELEMENT_F32),
						load_lanes(b, i, n - i, element), term);
	return _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(sum0, sum1),
											  _mm512_add_ps(sum2, sum3)));
}

static TARGET float
avx512_dot_f32(const float *a, const float *b, size_t n)
{
	return avx512_sum(a, b, n, TERM_PRODUCT, ELEMENT_F32);
}

static TARGET float
avx512_l2sq_f32(const float *a, const float *b, size_t n)
{
	return avx512_sum(a, b, n, TERM_SQUARED_DIFFERENCE, ELEMENT_F32);
}

static TARGET float
avx512_l1_f32(const float *a, const float *b, size_t n)
{
	return avx512_sum(a, b, n, TERM_ABSOLUTE_DIFFERENCE, ELEMENT_F32);
}

static TARGET float
avx512_dot_f32_i8(const float *q, const int8_t *c, size_t n)
{
	return avx512_sum(q, c, n, TERM_PRODUCT, ELEMENT_I8);
}

static TARGET float
avx512_dot_f32_f16(const float *q, const uint16_t *h, size_t n)
{
	return avx512_sum(q, h, n, TERM_PRODUCT, ELEMENT_F16);
}

/* 32 codes at a time, widened to 16 bits. */
static TARGET int32_t
avx512_dot_i8(const int8_t *a, const int8_t *b, size_t n)
{
	__m512i		sum = _mm512_setzero_si512();

	for (size_t i = 0; i < n; i += 32)
	{
		__mmask32	mask = (__mmask32) mask64(n - i < 32 ? n - i : 32);
		__m256i		a_codes = _mm256_maskz_loadu_epi8(mask, a + i);
		__m256i		b_codes = _mm256_maskz_loadu_epi8(mask, b + i);

		sum = _mm512_add_epi32(sum,
							   _mm512_madd_epi16(_mm512_cvtepi8_epi16(a_codes),
												 _mm512_cvtepi8_epi16(b_codes)));
	}
	return _mm512_reduce_add_epi32(sum);
}

/*
 * The byte product wants one unsigned side: (a + 128) b, less 128 b.  Sums
 * may wrap around on the way; the difference is exact modulo 2^32, and the
 * true result fits.
 */
static TARGET_VNNI int32_t
avx512vnni_dot_i8(const int8_t *a, const int8_t *b, size_t n)
{
	const __m512i offset = _mm512_set1_epi8(-128);	/* 128, as an unsigned */
	__m512i		shifted = _mm512_setzero_si512();
	__m512i		excess = _mm512_setzero_si512();
	size_t		i = 0;

	for (; i + 64 <= n; i += 64)
	{
		__m512i		b_codes = _mm512_loadu_si512((const void *) (b + i));
		__m512i		a_codes = _mm512_loadu_si512((const void *) (a + i));

		shifted = _mm512_dpbusd_epi32(shifted,
									  _mm512_xor_si512(a_codes, offset),
									  b_codes);
		excess = _mm512_dpbusd_epi32(excess, offset, b_codes);
	}
	if (i < n)
	{
		__m512i		b_codes = _mm512_maskz_loadu_epi8(mask64(n - i), b + i);
		__m512i		a_codes = _mm512_maskz_loadu_epi8(mask64(n - i), a + i);

		shifted = _mm512_dpbusd_epi32(shifted,
									  _mm512_xor_si512(a_codes, offset),
									  b_codes);
		excess = _mm512_dpbusd_epi32(excess, offset, b_codes);
	}
	return _mm512_reduce_add_epi32(_mm512_sub_epi32(shifted, excess));
}

/* The instruction would make infinity of a finite overflow. */
static INLINE __m256i
halves_from_floats(__m512 x)
{
	__mmask16	finite = _mm512_cmp_ps_mask(_mm512_abs_ps(x),
											_mm512_set1_ps(__builtin_inff()),
											_CMP_LT_OQ);
	__m512		clamped;

	clamped = _mm512_mask_min_ps(x, finite, x, _mm512_set1_ps(65504.0f));
	clamped = _mm512_mask_max_ps(clamped, finite, clamped,
								 _mm512_set1_ps(-65504.0f));
	return _mm512_cvtps_ph(clamped,
						   _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

static TARGET void
avx512_f32_to_f16(const float *src, uint16_t *dst, size_t n)
{
	size_t		i = 0;

	for (; i + LANES <= n; i += LANES)
		_mm256_storeu_si256((void *) (dst + i),
							halves_from_floats(_mm512_loadu_ps(src + i)));
	if (i < n)
		_mm256_mask_storeu_epi16(dst + i, mask16(n - i),
								 halves_from_floats(load_lanes(src, i, n - i,
															   ELEMENT_F32)));
}

static TARGET void
avx512_f16_to_f32(const uint16_t *src, float *dst, size_t n)
{
	size_t		i = 0;

	for (; i + LANES <= n; i += LANES)
		_mm512_storeu_ps(dst + i, load_lanes(src, i, LANES, ELEMENT_F16));
	if (i < n)
		_mm512_mask_storeu_ps(dst + i, mask16(n - i),
							  load_lanes(src, i, n - i, ELEMENT_F16));
}

/*
 * 16-bit sums of 16 lanes, from bytes that are added two at a time: pairs
 * holds even + 256 * odd, modulo 2^16, and odd the odd ones alone.
 */
typedef struct LaneSums
{
	__m512i		pairs;
	__m512i		odd;
} LaneSums;

static INLINE void
lane_sums_add(LaneSums *sums, __m512i bytes)
{
	sums->pairs = _mm512_add_epi16(sums->pairs, bytes);
	sums->odd = _mm512_add_epi16(sums->odd, _mm512_srli_epi16(bytes, 8));
}

/* The four quarters of x added up, in 16 bits. */
static INLINE __m128i
quarters_sum(__m512i x)
{
	__m256i		half = _mm256_add_epi16(_mm512_castsi512_si256(x),
										_mm512_extracti64x4_epi64(x, 1));

	return _mm_add_epi16(_mm256_castsi256_si128(half),
						 _mm256_extracti128_si256(half, 1));
}

/* total plus the sums of 16 lanes. */
static INLINE __m512i
lane_sums_flush(const LaneSums *sums, __m512i total)
{
	__m512i		even = _mm512_sub_epi16(sums->pairs,
										_mm512_slli_epi16(sums->odd, 8));
	__m128i		even16 = quarters_sum(even);
	__m128i		odd16 = quarters_sum(sums->odd);
	__m256i		lanes = _mm256_set_m128i(_mm_unpackhi_epi16(even16, odd16),
										 _mm_unpacklo_epi16(even16, odd16));

	return _mm512_add_epi32(total, _mm512_cvtepu16_epi32(lanes));
}

/* Looks up four groups, one a quarter of the registers. */
static INLINE void
look_up(__m512i codes, __m512i lut, LaneSums *low, LaneSums *high)
{
	const __m512i nibble = _mm512_set1_epi8(0x0f);
	__m512i		low_codes = _mm512_and_si512(codes, nibble);
	__m512i		high_codes = _mm512_and_si512(_mm512_srli_epi16(codes, 4),
											  nibble);

	lane_sums_add(low, _mm512_shuffle_epi8(lut, low_codes));
	lane_sums_add(high, _mm512_shuffle_epi8(lut, high_codes));
}

/* The sums of a block, 16 lanes a register. */
static INLINE void
block_sums(const uint8_t *codes, const uint8_t *lut, size_t ngroups,
		   __m512i total[2])
{
	const __m512i zero = _mm512_setzero_si512();

	total[0] = zero;
	total[1] = zero;
	while (ngroups > 0)
	{
		size_t		groups = ngroups < FASTSCAN_FLUSH ? ngroups : FASTSCAN_FLUSH;
		LaneSums	low = {zero, zero};
		LaneSums	high = {zero, zero};

		ngroups -= groups;
		for (; groups >= 4; groups -= 4)
		{
			look_up(load64(codes), load64(lut), &low, &high);
			codes += 4 * FASTSCAN_GROUP_BYTES;
			lut += 4 * FASTSCAN_GROUP_ENTRIES;
		}
		if (groups > 0)
		{
			__mmask64	mask = mask64(groups * FASTSCAN_GROUP_BYTES);

			look_up(_mm512_maskz_loadu_epi8(mask, codes),
					_mm512_maskz_loadu_epi8(mask, lut), &low, &high);
		}
		total[0] = lane_sums_flush(&low, total[0]);
		total[1] = lane_sums_flush(&high, total[1]);
	}
}

/* Scores of 16 lanes, of which t and f are the first. */
static INLINE __m512
lane_scores(__m512i sums, const uint16_t *t, const uint16_t *f,
			const EdgeScale *scale)
{
	__m512		residual = _mm512_fmadd_ps(_mm512_cvtepu32_ps(sums),
										   _mm512_set1_ps(scale->delta),
										   _mm512_set1_ps(scale->bias));
	__m512		parallel = _mm512_mul_ps(load_lanes(t, 0, LANES, ELEMENT_F16),
										 _mm512_set1_ps(scale->qp));

	return _mm512_fmadd_ps(load_lanes(f, 0, LANES, ELEMENT_F16), residual,
						   parallel);
}

static TARGET void
avx512_edge_scores(const uint32_t sums[FASTSCAN_LANES],
				   const uint16_t t[FASTSCAN_LANES],
				   const uint16_t f[FASTSCAN_LANES],
				   const EdgeScale *scale,
				   float scores[FASTSCAN_LANES])
{
	const EdgeScale in = *scale;	/* a copy, which no store changes */

	for (int i = 0; i < FASTSCAN_LANES; i += LANES)
		_mm512_storeu_ps(scores + i,
						 lane_scores(load64(sums + i), t + i, f + i, &in));
}

static TARGET void
avx512_edge_distances(const float scores[FASTSCAN_LANES],
					  const uint16_t lengths[FASTSCAN_LANES],
					  const EdgeDistance *distance,
					  float distances[FASTSCAN_LANES])
{
	const __m512 unit2 = _mm512_set1_ps(distance->unit2);
	const __m512 radius2 = _mm512_set1_ps(distance->radius2);
	const __m512 query_norm2 = _mm512_set1_ps(distance->query_norm2);
	const __m512 query_z = _mm512_set1_ps(distance->query_z);

	for (int i = 0; i < FASTSCAN_LANES; i += LANES)
	{
		__m512		length = load_lanes(lengths, i, LANES, ELEMENT_F16);
		__m512		norm2 = _mm512_mul_ps(_mm512_mul_ps(length, length), unit2);
		__m512		rest = _mm512_max_ps(_mm512_sub_ps(radius2, norm2),
										 _mm512_setzero_ps());
		__m512		z = _mm512_sub_ps(query_z, _mm512_sqrt_ps(rest));
		__m512		plain = _mm512_fmadd_ps(_mm512_set1_ps(-2.0f),
											load_lanes(scores, i, LANES, ELEMENT_F32),
											_mm512_add_ps(query_norm2, norm2));

		_mm512_storeu_ps(distances + i, _mm512_fmadd_ps(z, z, plain));
	}
}

static TARGET uint32_t
avx512_floats_below(const float values[FASTSCAN_LANES], float limit)
{
	const __m512 limits = _mm512_set1_ps(limit);
	uint32_t	mask = 0;

	for (int i = 0; i < FASTSCAN_LANES; i += LANES)
		mask |= (uint32_t) _mm512_cmp_ps_mask(load_lanes(values, i, LANES, ELEMENT_F32),
											  limits, _CMP_LT_OQ) << i;
	return mask;
}

static TARGET uint32_t
avx512_code_scan_block(const uint8_t *block, const CodeScan *scan,
					   float scores[FASTSCAN_LANES])
{
	const uint16_t *t = (const void *) (block +
										scan->ngroups * FASTSCAN_GROUP_BYTES);
	const uint16_t *f = t + FASTSCAN_LANES;
	const __m512 threshold = _mm512_set1_ps(scan->threshold);
	__m512i		sums[2];
	__m512		low;
	__m512		high;
	uint32_t	mask;

	block_sums(block, scan->lut, scan->ngroups, sums);
	low = lane_scores(sums[0], t, f, &scan->scale);
	high = lane_scores(sums[1], t + LANES, f + LANES, &scan->scale);
	mask = _mm512_cmp_ps_mask(low, threshold, _CMP_GE_OQ) |
		(uint32_t) _mm512_cmp_ps_mask(high, threshold, _CMP_GE_OQ) << LANES;
	if (mask != 0)
	{
		_mm512_storeu_ps(scores, low);
		_mm512_storeu_ps(scores + LANES, high);
	}
	return mask;
}

static TARGET uint32_t
avx512_keys_in_range(const uint64_t keys[FASTSCAN_LANES], uint64_t low,
					 uint64_t high)
{
	const __m512i least = _mm512_set1_epi64((long long) low);
	const __m512i most = _mm512_set1_epi64((long long) high);
	uint32_t	mask = 0;

	for (int i = 0; i < FASTSCAN_LANES; i += 8)
	{
		__m512i		key = load64(keys + i);

		mask |= (uint32_t) (_mm512_cmpge_epu64_mask(key, least) &
							_mm512_cmple_epu64_mask(key, most)) << i;
	}
	return mask;
}

/* Sums over the residuals of every LANES-th element. */
typedef struct ResidualSums
{
	__m512		sizes;
	__m512		squares;
} ResidualSums;

/* Adds elements i to i + 15; returns the bits of those above 0. */
static INLINE __mmask16
add_residuals(ResidualSums *sums, const EdgeInput *edge, size_t i)
{
	__m512		p = _mm512_mul_ps(load_lanes(edge->p, i, LANES, ELEMENT_I8),
								  _mm512_set1_ps(edge->tp));
	__m512		r = _mm512_fmsub_ps(load_lanes(edge->y, i, LANES, ELEMENT_I8),
									_mm512_set1_ps(edge->sy), p);

	sums->sizes = _mm512_add_ps(sums->sizes, _mm512_abs_ps(r));
	sums->squares = _mm512_fmadd_ps(r, r, sums->squares);
	return _mm512_cmp_ps_mask(r, _mm512_setzero_ps(), _CMP_GT_OQ);
}

static TARGET void
avx512_edge_residual(const EdgeInput *edge, size_t nbits, size_t n,
					 EdgeOutput *out)
{
	const EdgeInput in = *edge; /* a copy, which no store of bits changes */
	ResidualSums even = {_mm512_setzero_ps(), _mm512_setzero_ps()};
	ResidualSums odd = even;
	size_t		i = 0;

	for (; i < nbits; i += 2 * LANES)
	{
		__mmask16	bits[2];

		bits[0] = add_residuals(&even, &in, i);
		bits[1] = add_residuals(&odd, &in, i + LANES);
		memcpy(out->bits + i / 8, bits, sizeof(bits));
	}
	out->sum = _mm512_reduce_add_ps(_mm512_add_ps(even.sizes, odd.sizes));
	for (; i < n; i += 2 * LANES)
	{
		add_residuals(&even, &in, i);
		add_residuals(&odd, &in, i + LANES);
	}
	out->norm2 = _mm512_reduce_add_ps(_mm512_add_ps(even.squares, odd.squares));
}

/* All but the product of codes, which depends on VNNI. */
#define AVX512_KERNELS \
	.name = "avx512", \
	.dot_f32 = avx512_dot_f32, \
	.l2sq_f32 = avx512_l2sq_f32, \
	.l1_f32 = avx512_l1_f32, \
	.dot_f32_i8 = avx512_dot_f32_i8, \
	.dot_f32_f16 = avx512_dot_f32_f16, \
	.f32_to_f16 = avx512_f32_to_f16, \
	.f16_to_f32 = avx512_f16_to_f32, \
	.edge_sums = avx2_edge_sums, \
	.edge_factors = avx2_edge_factors, \
	.edge_scores = avx512_edge_scores, \
	.edge_distances = avx512_edge_distances, \
	.floats_below = avx512_floats_below, \
	.code_scan_block = avx512_code_scan_block, \
	.keys_in_range = avx512_keys_in_range, \
	.edge_residual = avx512_edge_residual

static const Kernels avx512_table = {
	AVX512_KERNELS,
	.dot_i8 = avx512_dot_i8,
};

static const Kernels avx512vnni_table = {
	AVX512_KERNELS,
	.dot_i8 = avx512vnni_dot_i8,
};

const Kernels *
kernels_avx512_without_vnni(void)
{
	__builtin_cpu_init();
	if (__builtin_cpu_supports("avx512f") &&
		__builtin_cpu_supports("avx512bw") &&
		__builtin_cpu_supports("avx512dq") &&
		__builtin_cpu_supports("avx512vl"))
		return &avx512_table;
	return NULL;
}

const Kernels *
kernels_avx512(void)
{
	const Kernels *table = kernels_avx512_without_vnni();

	if (table != NULL && __builtin_cpu_supports("avx512vnni"))
		return &avx512vnni_table;
	return table;
}

#else							/* not __x86_64__ */

const Kernels *
kernels_avx512_without_vnni(void)
{
	return NULL;
}

const Kernels *
kernels_avx512(void)
{
	return NULL;
}

#endif
