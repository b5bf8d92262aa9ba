/*
 * kernels_avx2.c
 *		Kernels for x86-64 with AVX2, FMA and F16C.
 *
 * The instruction sets are asked for function by function, so that the file
 * compiles with any flags and nothing outside it uses them.  The sums of
 * floats are one function, avx2_sum, which the compiler specialises for each
 * kernel.
 */
#include "kernels/kernels.h"

#ifdef __x86_64__

#include <cpuid.h>
#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/kernels_avx2.h"
#include "kernels/kernels_sum.h"

#define TARGET __attribute__((target("avx2,fma,f16c")))
#define INLINE TARGET inline __attribute__((always_inline))

/* For a loop over an array that is to be held in registers. */
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

#define LANES 8					/* floats in a register */

/* Groups after which a 16-bit sum over both halves may be full: 65535 / 255. */
#define FASTSCAN_FLUSH 256

static const int32_t tail_masks[2 * LANES] =
{-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};

static INLINE __m128i
load16(const void *bytes)
{
	return _mm_loadu_si128(bytes);
}

static INLINE __m256i
load32(const void *bytes)
{
	return _mm256_loadu_si256(bytes);
}

/* Elements i to i + 7 of b as floats. */
static INLINE __m256
load_lanes(const void *b, size_t i, Element element)
{
	__m128i		codes;

	if (element == ELEMENT_F32)
		return _mm256_loadu_ps((const float *) b + i);
	if (element == ELEMENT_F16)
		return _mm256_cvtph_ps(load16((const uint16_t *) b + i));
	codes = _mm_loadl_epi64((const void *) ((const int8_t *) b + i));
	return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes));
}

/* Elements i to i + count - 1, count < 8; zero in the other lanes. */
static INLINE __m256
load_tail(const void *b, size_t i, size_t count, Element element)
{
	uint16_t	halves[LANES] = {0};
	int8_t		codes[LANES] = {0};

	if (element == ELEMENT_F32)
		return _mm256_maskload_ps((const float *) b + i,
								  load32(tail_masks + LANES - count));
	if (element == ELEMENT_F16)
	{
		memcpy(halves, (const uint16_t *) b + i, count * sizeof(uint16_t));
		return load_lanes(halves, 0, element);
	}
	memcpy(codes, (const int8_t *) b + i, count);
	return load_lanes(codes, 0, element);
}

static INLINE __m256
add_term(__m256 sum, __m256 a, __m256 b, Term term)
{
	__m256		diff;

	if (term == TERM_PRODUCT)
		return _mm256_fmadd_ps(a, b, sum);
	diff = _mm256_sub_ps(a, b);
	if (term == TERM_SQUARED_DIFFERENCE)
		return _mm256_fmadd_ps(diff, diff, sum);
	return _mm256_add_ps(sum, _mm256_andnot_ps(_mm256_set1_ps(-0.0f), diff));
}

static INLINE float
horizontal_sum(__m256 x)
{
	__m128		sum = _mm_add_ps(_mm256_castps256_ps128(x),
								 _mm256_extractf128_ps(x, 1));

	sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
	sum = _mm_add_ss(sum, _mm_movehdup_ps(sum));
	return _mm_cvtss_f32(sum);
}

/* sum plus the terms of elements i to i + 7. */
static INLINE __m256
add_lanes(__m256 sum, const float *a, const void *b, size_t i,
		  Term term, Element element)
{
	return add_term(sum, _mm256_loadu_ps(a + i), load_lanes(b, i, element),
					term);
}

/* Four sums, so that the latency of an addition is hidden. */
static INLINE float
avx2_sum(const float *a, const void *b, size_t n, Term term, Element element)
{
	__m256		sum0 = _mm256_setzero_ps();
	__m256		sum1 = sum0;
	__m256		sum2 = sum0;
	__m256		sum3 = sum0;
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
	return horizontal_sum(_mm256_add_ps(_mm256_add_ps(sum0, sum1),
										_mm256_add_ps(sum2, sum3)));
}

static TARGET float
avx2_dot_f32(const float *a, const float *b, size_t n)
{
	return avx2_sum(a, b, n, TERM_PRODUCT, ELEMENT_F32);
}

static TARGET float
avx2_l2sq_f32(const float *a, const float *b, size_t n)
{
	return avx2_sum(a, b, n, TERM_SQUARED_DIFFERENCE, ELEMENT_F32);
}

static TARGET float
avx2_l1_f32(const float *a, const float *b, size_t n)
{
	return avx2_sum(a, b, n, TERM_ABSOLUTE_DIFFERENCE, ELEMENT_F32);
}

static TARGET float
avx2_dot_f32_i8(const float *q, const int8_t *c, size_t n)
{
	return avx2_sum(q, c, n, TERM_PRODUCT, ELEMENT_I8);
}

static TARGET float
avx2_dot_f32_f16(const float *q, const uint16_t *h, size_t n)
{
	return avx2_sum(q, h, n, TERM_PRODUCT, ELEMENT_F16);
}

/*
 * The byte product wants one unsigned side: |a| times b with the sign of a.
 * Two products of at most 127^2 fit its 16 bits.
 */
static INLINE __m256i
add_code_products(__m256i sum, __m256i a, __m256i b)
{
	__m256i		pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(a),
											 _mm256_sign_epi8(b, a));

	return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs,
												   _mm256_set1_epi16(1)));
}

static TARGET int32_t
avx2_dot_i8(const int8_t *a, const int8_t *b, size_t n)
{
	__m256i		sum = _mm256_setzero_si256();
	__m128i		half;
	size_t		i = 0;

	for (; i + 32 <= n; i += 32)
		sum = add_code_products(sum,
								load32(a + i),
								load32(b + i));
	if (i < n)
	{
		int8_t		tail[2][32] = {{0}};

		memcpy(tail[0], a + i, n - i);
		memcpy(tail[1], b + i, n - i);
		sum = add_code_products(sum,
								load32(tail[0]),
								load32(tail[1]));
	}
	half = _mm_add_epi32(_mm256_castsi256_si128(sum),
						 _mm256_extracti128_si256(sum, 1));
	half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
	half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0xb1));
	return _mm_cvtsi128_si32(half);
}

/* The instruction would make infinity of a finite overflow. */
static INLINE __m128i
halves_from_floats(__m256 x)
{
	__m256		mag = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
	__m256		finite = _mm256_cmp_ps(mag, _mm256_set1_ps(__builtin_inff()),
									   _CMP_LT_OQ);
	__m256		clamped = _mm256_min_ps(x, _mm256_set1_ps(65504.0f));

	clamped = _mm256_max_ps(clamped, _mm256_set1_ps(-65504.0f));
	return _mm256_cvtps_ph(_mm256_blendv_ps(x, clamped, finite),
						   _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

static TARGET void
avx2_f32_to_f16(const float *src, uint16_t *dst, size_t n)
{
	size_t		i = 0;

	for (; i + LANES <= n; i += LANES)
		_mm_storeu_si128((void *) (dst + i),
						 halves_from_floats(_mm256_loadu_ps(src + i)));
	if (i < n)
	{
		uint16_t	tail[LANES];

		_mm_storeu_si128((void *) tail,
						 halves_from_floats(load_tail(src, i, n - i,
													  ELEMENT_F32)));
		memcpy(dst + i, tail, (n - i) * sizeof(uint16_t));
	}
}

static TARGET void
avx2_f16_to_f32(const uint16_t *src, float *dst, size_t n)
{
	size_t		i = 0;

	for (; i + LANES <= n; i += LANES)
		_mm256_storeu_ps(dst + i, load_lanes(src, i, ELEMENT_F16));
	if (i < n)
	{
		float		tail[LANES];

		_mm256_storeu_ps(tail, load_tail(src, i, n - i, ELEMENT_F16));
		memcpy(dst + i, tail, (n - i) * sizeof(float));
	}
}

/*
 * 16-bit sums of 16 lanes, from bytes that are added two at a time: pairs
 * holds even + 256 * odd, modulo 2^16, and odd the odd ones alone.
 */
typedef struct LaneSums
{
	__m256i		pairs;
	__m256i		odd;
} LaneSums;

static INLINE void
lane_sums_add(LaneSums *sums, __m256i bytes)
{
	sums->pairs = _mm256_add_epi16(sums->pairs, bytes);
	sums->odd = _mm256_add_epi16(sums->odd, _mm256_srli_epi16(bytes, 8));
}

/* Looks up two groups, one a half of the registers. */
static INLINE void
look_up(__m256i codes, __m256i lut, LaneSums *low, LaneSums *high)
{
	const __m256i nibble = _mm256_set1_epi8(0x0f);
	__m256i		low_codes = _mm256_and_si256(codes, nibble);
	__m256i		high_codes = _mm256_and_si256(_mm256_srli_epi16(codes, 4),
											  nibble);

	lane_sums_add(low, _mm256_shuffle_epi8(lut, low_codes));
	lane_sums_add(high, _mm256_shuffle_epi8(lut, high_codes));
}

/* 16 bytes in the low half, zeros in the high one. */
static INLINE __m256i
load_half(const uint8_t *bytes)
{
	return _mm256_zextsi128_si256(load16(bytes));
}

/*
 * Adds up the halves of low and of high, which belong to two groups.  Taken as
 * pairs of 16-bit numbers, low being [l0 l1 l2 l3] in each half, the result is
 * [l0 l2 h0 h2 | l1 l3 h1 h3].
 */
static INLINE __m256i
halves_sum(__m256i low, __m256i high)
{
	__m256		low_ps = _mm256_castsi256_ps(low);
	__m256		high_ps = _mm256_castsi256_ps(high);
	__m256i		even = _mm256_castps_si256(_mm256_shuffle_ps(low_ps, high_ps, 0x88));
	__m256i		odd = _mm256_castps_si256(_mm256_shuffle_ps(low_ps, high_ps, 0xdd));

	return _mm256_add_epi16(_mm256_blend_epi32(even, odd, 0xf0),
							_mm256_permute2x128_si256(even, odd, 0x21));
}

/* Sums of all lanes, eight a register. */
typedef struct BlockSums
{
	__m256i		lanes[4];
} BlockSums;

/*
 * To 32 bits and in order: after halves_sum, unpacking even with odd lanes and
 * then with zeros puts every lane in its place.
 */
static INLINE BlockSums
lane_sums_unpack(const LaneSums *low, const LaneSums *high)
{
	const __m256i zero = _mm256_setzero_si256();
	__m256i		low_even = _mm256_sub_epi16(low->pairs,
											_mm256_slli_epi16(low->odd, 8));
	__m256i		high_even = _mm256_sub_epi16(high->pairs,
											 _mm256_slli_epi16(high->odd, 8));
	__m256i		even = halves_sum(low_even, high_even);
	__m256i		odd = halves_sum(low->odd, high->odd);
	__m256i		first = _mm256_unpacklo_epi16(even, odd);
	__m256i		second = _mm256_unpackhi_epi16(even, odd);
	BlockSums	sums = {{_mm256_unpacklo_epi16(first, zero),
			_mm256_unpackhi_epi16(first, zero),
			_mm256_unpacklo_epi16(second, zero),
	_mm256_unpackhi_epi16(second, zero)}};

	return sums;
}

/* The sums over at most FASTSCAN_FLUSH groups. */
static INLINE BlockSums
first_sums(const uint8_t *codes, const uint8_t *lut, size_t ngroups)
{
	LaneSums	low = {_mm256_setzero_si256(), _mm256_setzero_si256()};
	LaneSums	high = {_mm256_setzero_si256(), _mm256_setzero_si256()};

	for (; ngroups >= 4; ngroups -= 4, codes += 64, lut += 64)
	{
		look_up(load32(codes), load32(lut), &low, &high);
		look_up(load32(codes + 32), load32(lut + 32), &low, &high);
	}
	if (ngroups >= 2)
	{
		look_up(load32(codes), load32(lut), &low, &high);
		codes += 32;
		lut += 32;
	}
	if (ngroups % 2 == 1)
		look_up(load_half(codes), load_half(lut), &low, &high);
	return lane_sums_unpack(&low, &high);
}

/* The sums over any number of groups. */
static TARGET BlockSums
many_sums(const uint8_t *codes, const uint8_t *lut, size_t ngroups)
{
	const __m256i zero = _mm256_setzero_si256();
	BlockSums	total = {{zero, zero, zero, zero}};

	while (ngroups > 0)
	{
		size_t		groups = ngroups < FASTSCAN_FLUSH ? ngroups : FASTSCAN_FLUSH;
		BlockSums	sums = first_sums(codes, lut, groups);

		total.lanes[0] = _mm256_add_epi32(total.lanes[0], sums.lanes[0]);
		total.lanes[1] = _mm256_add_epi32(total.lanes[1], sums.lanes[1]);
		total.lanes[2] = _mm256_add_epi32(total.lanes[2], sums.lanes[2]);
		total.lanes[3] = _mm256_add_epi32(total.lanes[3], sums.lanes[3]);
		ngroups -= groups;
		codes += groups * FASTSCAN_GROUP_BYTES;
		lut += groups * FASTSCAN_GROUP_ENTRIES;
	}
	return total;
}

static INLINE BlockSums
block_sums(const uint8_t *codes, const uint8_t *lut, size_t ngroups)
{
	if (ngroups <= FASTSCAN_FLUSH)
		return first_sums(codes, lut, ngroups);
	return many_sums(codes, lut, ngroups);
}

/* 16 bytes of an edge, and in the high half as many of the 16th after it. */
static INLINE __m256i
load_edges(const uint8_t *bytes, size_t stride)
{
	return _mm256_set_m128i(load16(bytes + FASTSCAN_LANES / 2 * stride),
							load16(bytes));
}

/*
 * Transposes eight bytes of every edge: out[i] gets byte i of edges 0 to 15, and
 * of the others in the high half.  They are the last of the 16 at bytes, or the
 * first.
 */
static INLINE void
transpose_edges(const uint8_t *bytes, size_t stride, bool last, __m256i out[8])
{
	__m256i		x[8];			/* two edges, eight bytes */
	__m256i		y[2][4];		/* four edges, four bytes */
	__m256i		z[4][2];		/* eight edges, two bytes */

	UNROLL
		for (int i = 0; i < 8; i++, bytes += stride)
	{
		__m256i		a = load_edges(bytes, stride);
		__m256i		b = load_edges(bytes + 8 * stride, stride);

		x[i] = last ? _mm256_unpackhi_epi8(a, b) : _mm256_unpacklo_epi8(a, b);
	}
	UNROLL
		for (int i = 0; i < 4; i++)
	{
		y[0][i] = _mm256_unpacklo_epi8(x[i], x[i + 4]);
		y[1][i] = _mm256_unpackhi_epi8(x[i], x[i + 4]);
	}
	UNROLL
		for (int i = 0; i < 4; i++)
	{
		z[i / 2 * 2][i % 2] = _mm256_unpacklo_epi8(y[i / 2][i % 2],
												   y[i / 2][i % 2 + 2]);
		z[i / 2 * 2 + 1][i % 2] = _mm256_unpackhi_epi8(y[i / 2][i % 2],
													   y[i / 2][i % 2 + 2]);
	}
	UNROLL
		for (int i = 0; i < 4; i++)
	{
		out[2 * i] = _mm256_unpacklo_epi8(z[i][0], z[i][1]);
		out[2 * i + 1] = _mm256_unpackhi_epi8(z[i][0], z[i][1]);
	}
}

/* Adds eight bytes of every edge's code; lut has the tables of these. */
static INLINE void
add_edges(const uint8_t *bytes, size_t stride, bool last, const uint8_t *lut,
		  LaneSums *sums)
{
	const __m256i nibble = _mm256_set1_epi8(0x0f);
	__m256i		codes[8];

	transpose_edges(bytes, stride, last, codes);
	UNROLL
		for (int i = 0; i < 8; i++, lut += 2 * FASTSCAN_GROUP_ENTRIES)
	{
		__m256i		low = _mm256_and_si256(codes[i], nibble);
		__m256i		high = _mm256_and_si256(_mm256_srli_epi16(codes[i], 4),
											nibble);
		__m256i		first = _mm256_broadcastsi128_si256(load16(lut));
		__m256i		second = _mm256_broadcastsi128_si256(load16(lut + 16));

		lane_sums_add(sums, _mm256_shuffle_epi8(first, low));
		lane_sums_add(sums, _mm256_shuffle_epi8(second, high));
	}
}

/* To 32 bits and in order; each half of the sums has those of 16 edges. */
static INLINE BlockSums
edge_sums_unpack(const LaneSums *sums)
{
	__m256i		even = _mm256_sub_epi16(sums->pairs,
										_mm256_slli_epi16(sums->odd, 8));
	__m256i		first = _mm256_unpacklo_epi16(even, sums->odd);
	__m256i		second = _mm256_unpackhi_epi16(even, sums->odd);
	BlockSums	lanes = {{_mm256_cvtepu16_epi32(_mm256_castsi256_si128(first)),
			_mm256_cvtepu16_epi32(_mm256_castsi256_si128(second)),
			_mm256_cvtepu16_epi32(_mm256_extracti128_si256(first, 1)),
	_mm256_cvtepu16_epi32(_mm256_extracti128_si256(second, 1))}};

	return lanes;
}

/*
 * Edges are transposed, eight bytes of each at a time, so that a register has
 * the same byte of all.  From the second eight on they are loaded with those
 * before, so that nothing behind the edges is.
 */
TARGET void
avx2_edge_sums(const uint8_t *edges, const uint8_t *lut, size_t ngroups,
			   uint32_t sums[FASTSCAN_LANES])
{
	const size_t stride = EDGE_BYTES(ngroups);
	const __m256i zero = _mm256_setzero_si256();
	BlockSums	total = {{zero, zero, zero, zero}};

	for (size_t first = 0; first < ngroups; first += FASTSCAN_FLUSH)
	{
		size_t		end = ngroups - first < FASTSCAN_FLUSH ? ngroups :
		first + FASTSCAN_FLUSH;
		LaneSums	lanes = {zero, zero};
		BlockSums	part;

		for (size_t group = first; group < end; group += 16)
			if (group == 0)
				add_edges(edges, stride, false, lut, &lanes);
			else
				add_edges(edges + group / 2 - 8, stride, true,
						  lut + group * FASTSCAN_GROUP_ENTRIES, &lanes);
		part = edge_sums_unpack(&lanes);
		for (int i = 0; i < 4; i++)
			total.lanes[i] = _mm256_add_epi32(total.lanes[i], part.lanes[i]);
	}
	for (int i = 0; i < 4; i++)
		_mm256_storeu_si256((void *) (sums + i * LANES), total.lanes[i]);
}

/*
 * The last three of the eight 16-bit numbers that end an edge are transposed as
 * bytes are above; only what holds them is kept.
 */
TARGET void
avx2_edge_factors(const uint8_t *edges, size_t ngroups,
				  uint16_t factors[EDGE_FACTORS][FASTSCAN_LANES])
{
	const size_t stride = EDGE_BYTES(ngroups);
	const uint8_t *ends = edges + stride - 16;
	__m256i		x[8];			/* two rows, the last four numbers */
	__m256i		y[2][4];		/* four rows, two numbers */
	__m256i		z[EDGE_FACTORS][2]; /* eight rows */

	UNROLL
		for (int i = 0; i < 8; i++)
		x[i] = _mm256_unpackhi_epi16(load_edges(ends + i * stride, stride),
									 load_edges(ends + (i + 8) * stride, stride));
	UNROLL
		for (int i = 0; i < 4; i++)
	{
		y[0][i] = _mm256_unpacklo_epi16(x[i], x[i + 4]);
		y[1][i] = _mm256_unpackhi_epi16(x[i], x[i + 4]);
	}
	UNROLL
		for (int i = 0; i < 2; i++)
	{
		z[0][i] = _mm256_unpackhi_epi16(y[0][i], y[0][i + 2]);
		z[1][i] = _mm256_unpacklo_epi16(y[1][i], y[1][i + 2]);
		z[2][i] = _mm256_unpackhi_epi16(y[1][i], y[1][i + 2]);
	}
	UNROLL
		for (int k = 0; k < EDGE_FACTORS; k++)
	{
		__m256i		first = _mm256_unpacklo_epi16(z[k][0], z[k][1]);
		__m256i		second = _mm256_unpackhi_epi16(z[k][0], z[k][1]);

		_mm256_storeu_si256((void *) factors[k],
							_mm256_permute2x128_si256(first, second, 0x20));
		_mm256_storeu_si256((void *) (factors[k] + 16),
							_mm256_permute2x128_si256(first, second, 0x31));
	}
}

/* Unsigned integers as floats, correctly rounded. */
static INLINE __m256
floats_from_u32(__m256i x)
{
	__m256i		high = _mm256_srli_epi32(x, 16);
	__m256i		low = _mm256_and_si256(x, _mm256_set1_epi32(0xffff));

	return _mm256_fmadd_ps(_mm256_cvtepi32_ps(high), _mm256_set1_ps(65536.0f),
						   _mm256_cvtepi32_ps(low));
}

/* Scores of eight lanes, of which t and f are the first. */
static INLINE __m256
lane_scores(__m256 sums, const uint16_t *t, const uint16_t *f,
			const EdgeScale *scale)
{
	__m256		residual = _mm256_fmadd_ps(sums, _mm256_set1_ps(scale->delta),
										   _mm256_set1_ps(scale->bias));
	__m256		parallel = _mm256_mul_ps(load_lanes(t, 0, ELEMENT_F16),
										 _mm256_set1_ps(scale->qp));

	return _mm256_fmadd_ps(load_lanes(f, 0, ELEMENT_F16), residual, parallel);
}

static TARGET void
avx2_edge_scores(const uint32_t sums[FASTSCAN_LANES],
				 const uint16_t t[FASTSCAN_LANES],
				 const uint16_t f[FASTSCAN_LANES],
				 const EdgeScale *scale,
				 float scores[FASTSCAN_LANES])
{
	const EdgeScale in = *scale;	/* a copy, which no store changes */

	for (int i = 0; i < FASTSCAN_LANES; i += LANES)
		_mm256_storeu_ps(scores + i,
						 lane_scores(floats_from_u32(load32(sums + i)),
									 t + i, f + i, &in));
}

static TARGET void
avx2_edge_distances(const float scores[FASTSCAN_LANES],
					const uint16_t lengths[FASTSCAN_LANES],
					const EdgeDistance *distance,
					float distances[FASTSCAN_LANES])
{
	const __m256 unit2 = _mm256_set1_ps(distance->unit2);
	const __m256 radius2 = _mm256_set1_ps(distance->radius2);
	const __m256 query_norm2 = _mm256_set1_ps(distance->query_norm2);
	const __m256 query_z = _mm256_set1_ps(distance->query_z);

	for (int i = 0; i < FASTSCAN_LANES; i += LANES)
	{
		__m256		length = load_lanes(lengths, i, ELEMENT_F16);
		__m256		norm2 = _mm256_mul_ps(_mm256_mul_ps(length, length), unit2);
		__m256		rest = _mm256_max_ps(_mm256_sub_ps(radius2, norm2),
										 _mm256_setzero_ps());
		__m256		z = _mm256_sub_ps(query_z, _mm256_sqrt_ps(rest));
		__m256		plain = _mm256_fmadd_ps(_mm256_set1_ps(-2.0f),
											load_lanes(scores, i, ELEMENT_F32),
											_mm256_add_ps(query_norm2, norm2));

		_mm256_storeu_ps(distances + i, _mm256_fmadd_ps(z, z, plain));
	}
}

static TARGET uint32_t
avx2_floats_below(const float values[FASTSCAN_LANES], float limit)
{
	const __m256 limits = _mm256_set1_ps(limit);
	uint32_t	mask = 0;

	for (int i = 0; i < FASTSCAN_LANES; i += LANES)
	{
		__m256		below = _mm256_cmp_ps(load_lanes(values, i, ELEMENT_F32),
										  limits, _CMP_LT_OQ);

		mask |= (uint32_t) _mm256_movemask_ps(below) << i;
	}
	return mask;
}

/*
 * All ones where a score is at least the threshold, 16 bits each; the order is
 * the first half of a, that of b, and the second halves.
 */
static INLINE __m256i
reached(__m256 a, __m256 b, __m256 threshold)
{
	__m256		a_hits = _mm256_cmp_ps(a, threshold, _CMP_GE_OQ);
	__m256		b_hits = _mm256_cmp_ps(b, threshold, _CMP_GE_OQ);

	return _mm256_packs_epi32(_mm256_castps_si256(a_hits),
							  _mm256_castps_si256(b_hits));
}

static TARGET uint32_t
avx2_code_scan_block(const uint8_t *block, const CodeScan *scan,
					 float scores[FASTSCAN_LANES])
{
	const EdgeScale *scale = &scan->scale;
	const uint16_t *t = (const void *) (block +
										scan->ngroups * FASTSCAN_GROUP_BYTES);
	const uint16_t *f = t + FASTSCAN_LANES;
	const __m256 threshold = _mm256_set1_ps(scan->threshold);
	BlockSums	sums = block_sums(block, scan->lut, scan->ngroups);
	__m256		s0 = lane_scores(_mm256_cvtepi32_ps(sums.lanes[0]), t, f, scale);
	__m256		s1 = lane_scores(_mm256_cvtepi32_ps(sums.lanes[1]), t + 8, f + 8, scale);
	__m256		s2 = lane_scores(_mm256_cvtepi32_ps(sums.lanes[2]), t + 16, f + 16, scale);
	__m256		s3 = lane_scores(_mm256_cvtepi32_ps(sums.lanes[3]), t + 24, f + 24, scale);
	__m256i		hits = _mm256_packs_epi16(reached(s0, s1, threshold),
										  reached(s2, s3, threshold));

	if (_mm256_testz_si256(hits, hits))
		return 0;
	_mm256_storeu_ps(scores, s0);
	_mm256_storeu_ps(scores + 8, s1);
	_mm256_storeu_ps(scores + 16, s2);
	_mm256_storeu_ps(scores + 24, s3);

	/* In fours of lanes, the order is [0 2 4 6 | 1 3 5 7]. */
	hits = _mm256_permutevar8x32_epi32(hits, _mm256_setr_epi32(0, 4, 1, 5,
															   2, 6, 3, 7));
	return (uint32_t) _mm256_movemask_epi8(hits);
}

/* There is only a signed comparison, so the highest bit is turned. */
static TARGET uint32_t
avx2_keys_in_range(const uint64_t keys[FASTSCAN_LANES], uint64_t low,
				   uint64_t high)
{
	const uint64_t sign = UINT64_C(1) << 63;
	const __m256i turn = _mm256_set1_epi64x((long long) sign);
	const __m256i least = _mm256_set1_epi64x((long long) (low ^ sign));
	const __m256i most = _mm256_set1_epi64x((long long) (high ^ sign));
	uint32_t	outside = 0;

	for (int i = 0; i < FASTSCAN_LANES; i += 4)
	{
		__m256i		key = _mm256_xor_si256(load32(keys + i), turn);
		__m256i		out = _mm256_or_si256(_mm256_cmpgt_epi64(least, key),
										  _mm256_cmpgt_epi64(key, most));

		outside |= (uint32_t) _mm256_movemask_pd(_mm256_castsi256_pd(out)) << i;
	}
	return ~outside;
}

/* Sums over the residuals of every LANES-th element. */
typedef struct ResidualSums
{
	__m256		sizes;
	__m256		squares;
} ResidualSums;

/* Adds elements i to i + 7; returns the bits of those above 0. */
static INLINE uint32_t
add_residuals(ResidualSums *sums, const EdgeInput *edge, size_t i)
{
	__m256		p = _mm256_mul_ps(load_lanes(edge->p, i, ELEMENT_I8),
								  _mm256_set1_ps(edge->tp));
	__m256		r = _mm256_fmsub_ps(load_lanes(edge->y, i, ELEMENT_I8),
									_mm256_set1_ps(edge->sy), p);

	sums->sizes = _mm256_add_ps(sums->sizes,
								_mm256_andnot_ps(_mm256_set1_ps(-0.0f), r));
	sums->squares = _mm256_fmadd_ps(r, r, sums->squares);
	return _mm256_movemask_ps(_mm256_cmp_ps(r, _mm256_setzero_ps(), _CMP_GT_OQ));
}

static TARGET void
avx2_edge_residual(const EdgeInput *edge, size_t nbits, size_t n,
				   EdgeOutput *out)
{
	const EdgeInput in = *edge; /* a copy, which no store of bits changes */
	ResidualSums even = {_mm256_setzero_ps(), _mm256_setzero_ps()};
	ResidualSums odd = even;
	size_t		i = 0;

	for (; i < nbits; i += 2 * LANES)
	{
		out->bits[i / 8] = add_residuals(&even, &in, i);
		out->bits[i / 8 + 1] = add_residuals(&odd, &in, i + LANES);
	}
	out->sum = horizontal_sum(_mm256_add_ps(even.sizes, odd.sizes));
	for (; i < n; i += 2 * LANES)
	{
		add_residuals(&even, &in, i);
		add_residuals(&odd, &in, i + LANES);
	}
	out->norm2 = horizontal_sum(_mm256_add_ps(even.squares, odd.squares));
}

static const Kernels avx2_table = {
	.name = "avx2",
	.dot_f32 = avx2_dot_f32,
	.l2sq_f32 = avx2_l2sq_f32,
	.l1_f32 = avx2_l1_f32,
	.dot_f32_i8 = avx2_dot_f32_i8,
	.dot_f32_f16 = avx2_dot_f32_f16,
	.dot_i8 = avx2_dot_i8,
	.f32_to_f16 = avx2_f32_to_f16,
	.f16_to_f32 = avx2_f16_to_f32,
	.edge_sums = avx2_edge_sums,
	.edge_factors = avx2_edge_factors,
	.edge_scores = avx2_edge_scores,
	.edge_distances = avx2_edge_distances,
	.floats_below = avx2_floats_below,
	.code_scan_block = avx2_code_scan_block,
	.keys_in_range = avx2_keys_in_range,
	.edge_residual = avx2_edge_residual,
};

/* clang's __builtin_cpu_supports does not know f16c. */
static bool
cpu_has_f16c(void)
{
	unsigned int eax,
				ebx,
				ecx,
				edx;

	return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_F16C) != 0;
}

const Kernels *
kernels_avx2(void)
{
	__builtin_cpu_init();
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
		cpu_has_f16c())
		return &avx2_table;
	return NULL;
}

#else							/* not __x86_64__ */

const Kernels *
kernels_avx2(void)
{
	return NULL;
}

#endif
