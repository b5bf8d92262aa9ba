/*
 * kernels_test.c
 *		Holds every table of kernels that this CPU can run, the scalar one
 *		included, against sums computed here in integers and doubles, and against
 *		the scalar table where results must agree bit for bit.
 *
 * Inputs lie at the very end of a page whose successor may not be touched, at
 * each of 16 alignments, so that a read past the end is a crash.
 */
#define _GNU_SOURCE

#include "kernels/kernels.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tap.h"

#define MAX_LENGTH 4096
#define ALIGNMENTS 16
#define ARENA_SIZE (8 << 20)
#define MAX_GROUPS 70000

/* Half of the smallest float16, 2^-25. */
#define HALF_TINY (1.0f / 33554432.0f)

/* Arenas: a, b are inputs, c an output; each ends before a forbidden page. */
static char *arena_end[3];

static uint64_t random_state = 42;

static uint32_t
random_bits(void)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t) (random_state >> 32);
}

static float
random_float(void)
{
	return (float) (int32_t) random_bits() / 2147483648.0f;
}

static int
random_between(int low, int high)
{
	return low + (int) (random_bits() % (uint32_t) (high - low + 1));
}

static void
arenas_create(void)
{
	long		page = sysconf(_SC_PAGESIZE);

	for (int i = 0; i < 3; i++)
	{
		char	   *base = mmap(NULL, ARENA_SIZE + page,
								PROT_READ | PROT_WRITE,
								MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (base == MAP_FAILED ||
			mprotect(base + ARENA_SIZE, page, PROT_NONE) != 0)
		{
			perror("mmap");
			exit(2);
		}
		arena_end[i] = base + ARENA_SIZE;
	}
}

/* Room for size bytes in an arena, shift bytes before its end. */
static void *
place(int arena, size_t size, int shift)
{
	return arena_end[arena] - size - shift;
}

static void
set_float(void *array, size_t i, float value)
{
	memcpy((char *) array + i * sizeof(float), &value, sizeof(float));
}

static float
get_float(const void *array, size_t i)
{
	float		value;

	memcpy(&value, (const char *) array + i * sizeof(float), sizeof(float));
	return value;
}

static uint16_t
get_half(const void *array, size_t i)
{
	uint16_t	value;

	memcpy(&value, (const char *) array + i * sizeof(value), sizeof(value));
	return value;
}

static void
set_half(void *array, size_t i, uint16_t value)
{
	memcpy((char *) array + i * sizeof(value), &value, sizeof(value));
}

/* An integer of [-8, 8] as float16; such values make every sum exact. */
static uint16_t
small_half(int value)
{
	float		source = (float) value;
	uint16_t	half;

	kernels_scalar()->f32_to_f16(&source, &half, 1);
	return half;
}

/* How many alignments to try at length n: all for short ones, else a few. */
static bool
skip_alignment(size_t n, int shift)
{
	return n > 600 && shift != 0 && shift != (int) (n % ALIGNMENTS);
}

/*
 * Sums of small integers are exact in every order, so that a lost or doubled
 * element shows at any length: the results must be equal.
 */
static bool
exact_sums(const Kernels *k, size_t n, int shift)
{
	float	   *a = place(0, n * sizeof(float), shift);
	float	   *b = place(1, n * sizeof(float), shift);
	int8_t	   *c = place(2, n, shift);
	int64_t		dot = 0,
				l2sq = 0,
				l1 = 0,
				dot_code = 0;
	bool		good;

	for (size_t i = 0; i < n; i++)
	{
		int			x = random_between(-8, 8);
		int			y = random_between(-8, 8);

		set_float(a, i, (float) x);
		set_float(b, i, (float) y);
		c[i] = (int8_t) random_between(-127, 127);
		dot += x * y;
		l2sq += (x - y) * (x - y);
		l1 += abs(x - y);
		dot_code += x * c[i];
	}
	good = k->dot_f32(a, b, n) == (float) dot &&
		k->l2sq_f32(a, b, n) == (float) l2sq &&
		k->l1_f32(a, b, n) == (float) l1 &&
		k->dot_f32_i8(a, c, n) == (float) dot_code;
	if (!good)
		printf("# %s: inexact sum at n = %zu, shift %d\n", k->name, n, shift);
	return good;
}

static bool
exact_f16_sums(const Kernels *k, size_t n, int shift)
{
	float	   *q = place(0, n * sizeof(float), shift);
	uint16_t   *h = place(1, n * sizeof(uint16_t), shift);
	static uint16_t halves[17];
	int64_t		dot = 0;

	if (halves[0] == 0)
	{
		for (int i = 0; i < 17; i++)
			halves[i] = small_half(i - 8);
	}
	for (size_t i = 0; i < n; i++)
	{
		int			x = random_between(-8, 8);
		int			y = random_between(-8, 8);

		set_float(q, i, (float) x);
		set_half(h, i, halves[y + 8]);
		dot += x * y;
	}
	if (k->dot_f32_f16(q, h, n) == (float) dot)
		return true;
	printf("# %s: dot_f32_f16 at n = %zu, shift %d\n", k->name, n, shift);
	return false;
}

/* Codes of all values, and the extremes, whose sum is near the int32 limit. */
static bool
exact_codes(const Kernels *k, size_t n, int shift)
{
	int8_t	   *a = place(0, n, shift);
	int8_t	   *b = place(1, n, shift);

	for (int pattern = 0; pattern < 3; pattern++)
	{
		int64_t		dot = 0;

		for (size_t i = 0; i < n; i++)
		{
			a[i] = pattern == 0 ? random_between(-127, 127) : -127;
			b[i] = pattern == 0 ? random_between(-127, 127) :
				pattern == 1 ? -127 : 127;
			dot += a[i] * b[i];
		}
		if (k->dot_i8(a, b, n) != dot)
		{
			printf("# %s: dot_i8 at n = %zu, shift %d, pattern %d\n",
				   k->name, n, shift, pattern);
			return false;
		}
	}
	return true;
}

static void
test_lengths(const Kernels *k)
{
	bool		sums = true,
				halves = true,
				codes = true;

	for (size_t n = 0; n <= MAX_LENGTH; n++)
	{
		for (int shift = 0; shift < ALIGNMENTS; shift++)
		{
			if (skip_alignment(n, shift))
				continue;
			sums = sums && exact_sums(k, n, shift);
			halves = halves && exact_f16_sums(k, n, shift);
			codes = codes && exact_codes(k, n, shift);
		}
	}
	tap_ok(sums, "%s: dot_f32, l2sq_f32, l1_f32, dot_f32_i8 exact, n to %d",
		   k->name, MAX_LENGTH);
	tap_ok(halves, "%s: dot_f32_f16 exact, n to %d", k->name, MAX_LENGTH);
	tap_ok(codes, "%s: dot_i8 exact, n to %d", k->name, MAX_LENGTH);
	tap_ok(exact_codes(k, 131072, 0), "%s: dot_i8 exact at n = 131072",
		   k->name);
}

/*
 * |got - exact| against the bound of a sequential sum of n rounded terms
 * whose absolute values sum to terms.
 */
static bool
sum_within(double got, double exact, double terms, size_t n)
{
	return fabs(got - exact) <= (double) (n + 2) * (FLT_EPSILON / 2) * terms;
}

/* Values whose magnitudes are spread over low..high powers of two. */
static bool
rounded_sums(const Kernels *k, size_t n, int low, int high)
{
	float	   *a = place(0, n * sizeof(float), 4);
	float	   *b = place(1, n * sizeof(float), 8);
	int8_t	   *c = place(2, n, 3);
	double		exact[4] = {0},
				terms[4] = {0},
				got[4];

	for (size_t i = 0; i < n; i++)
	{
		float		x = ldexpf(random_float(), random_between(low, high));
		float		y = ldexpf(random_float(), random_between(low, high));
		double		diff = (double) x - y;

		set_float(a, i, x);
		set_float(b, i, y);
		c[i] = (int8_t) random_between(-127, 127);
		exact[0] += (double) x * y;
		terms[0] += fabs((double) x * y);
		exact[1] = terms[1] += 1.000001 * diff * diff;
		exact[2] = terms[2] += fabs(diff);
		exact[3] += (double) x * c[i];
		terms[3] += fabs((double) x * c[i]);
	}
	exact[1] /= 1.000001;
	got[0] = k->dot_f32(a, b, n);
	got[1] = k->l2sq_f32(a, b, n);
	got[2] = k->l1_f32(a, b, n);
	got[3] = k->dot_f32_i8(a, c, n);
	for (int i = 0; i < 4; i++)
	{
		/* The rounding of a difference counts twice in its square. */
		if (!sum_within(got[i], exact[i], terms[i], n + 2))
		{
			printf("# %s: sum %d at n = %zu is %.9g, not %.9g\n",
				   k->name, i, n, got[i], exact[i]);
			return false;
		}
	}
	return true;
}

static void
test_rounding(const Kernels *k)
{
	bool		good = true;

	for (size_t n = 1; n <= MAX_LENGTH; n++)
		good = good && rounded_sums(k, n, -4, 4) &&
			rounded_sums(k, n, 50, 56) && rounded_sums(k, n, -56, -50);
	tap_ok(good, "%s: float sums within the rounding bound", k->name);
}

/* Subnormal inputs and results must not be flushed to zero. */
static void
test_subnormals(const Kernels *k)
{
	float		tiny[100],
				huge[100],
				zero[100] = {0};
	int8_t		ones[100];
	bool		good = true;

	for (int i = 0; i < 100; i++)
	{
		tiny[i] = FLT_TRUE_MIN;
		huge[i] = ldexpf(1.0f, 100);
		ones[i] = 1;
	}
	for (size_t n = 1; n <= 100; n++)
		good = good && k->dot_f32(tiny, huge, n) == ldexpf((float) n, -49) &&
			k->l1_f32(tiny, zero, n) == (float) n * FLT_TRUE_MIN &&
			k->dot_f32_i8(tiny, ones, n) == (float) n * FLT_TRUE_MIN;
	tap_ok(good, "%s: subnormal values count", k->name);
}

static void
test_overflow(const Kernels *k)
{
	float		a[67],
				b[67];
	bool		good = true;

	for (int i = 0; i < 67; i++)
	{
		a[i] = FLT_MAX;
		b[i] = -FLT_MAX;
	}
	for (size_t n = 1; n <= 67; n++)
		good = good && k->dot_f32(a, a, n) == INFINITY &&
			k->dot_f32(a, b, n) == -INFINITY &&
			k->l2sq_f32(a, b, n) == INFINITY &&
			k->l1_f32(a, b, n) == INFINITY &&
			k->l2sq_f32(a, a, n) == 0 && k->l1_f32(a, a, n) == 0;
	tap_ok(good, "%s: overflow gives infinity, equal vectors zero", k->name);
}

/* Rounding to float16 by arithmetic in doubles; value is finite. */
static double
rounded_to_f16(float value)
{
	int			exponent = value == 0 ? -14 : ilogb(value);
	double		rounded;

	if (exponent < -14)
		exponent = -14;
	rounded = ldexp(nearbyint(ldexp(value, 10 - exponent)), exponent - 10);
	return rounded > 65504 ? 65504 : rounded < -65504 ? -65504 : rounded;
}

/* Converts one value by k and by the definition above. */
static bool
rounds_right(const Kernels *k, float value)
{
	uint16_t	half;
	float		back;

	k->f32_to_f16(&value, &half, 1);
	kernels_scalar()->f16_to_f32(&half, &back, 1);
	if ((double) back == rounded_to_f16(value) &&
		signbit(back) == signbit(value))
		return true;
	printf("# %s: %a becomes %a\n", k->name, value, back);
	return false;
}

/* What one half means, by the definition of the format. */
static float
half_value(uint16_t half)
{
	int			exponent = (half >> 10) & 31;
	int			mantissa = half & 1023;
	float		value;

	if (exponent == 31)
		value = mantissa == 0 ? INFINITY : NAN;
	else if (exponent == 0)
		value = ldexpf((float) mantissa, -24);
	else
		value = ldexpf((float) (1024 + mantissa), exponent - 25);
	return half & 0x8000 ? -value : value;
}

static void
test_all_halves(const Kernels *k)
{
	static uint16_t halves[65536],
				back[65536];
	static float values[65536];
	bool		to_float = true,
				to_half = true;

	for (int i = 0; i < 65536; i++)
		halves[i] = i;
	k->f16_to_f32(halves, values, 65536);
	k->f32_to_f16(values, back, 65536);
	for (int i = 0; i < 65536; i++)
	{
		float		right = half_value(i);

		if (isnan(right))
		{
			to_float = to_float && isnan(values[i]) &&
				!signbit(values[i]) == !(i & 0x8000);
			to_half = to_half && back[i] == (i | 0x0200);	/* quiet */
		}
		else
		{
			to_float = to_float && memcmp(&values[i], &right, 4) == 0;
			to_half = to_half && back[i] == i;
		}
	}
	tap_ok(to_float, "%s: f16_to_f32 of all 65536 values", k->name);
	tap_ok(to_half, "%s: f32_to_f16 brings all 65536 values back", k->name);
}

/* Between each two neighbouring halves: the middle and just beside it. */
static void
test_half_rounding(const Kernels *k)
{
	bool		good = true;
	const float specials[] = {65504.0f, 65519.99f, 65520.0f, 65536.0f, 1e6f,
	FLT_MAX, FLT_TRUE_MIN, FLT_MIN, HALF_TINY, HALF_TINY * (1 + FLT_EPSILON), 2 * HALF_TINY, 0.0f};

	for (int i = 0; good && i < 0x7bff; i++)
	{
		float		middle = (half_value(i) + half_value(i + 1)) / 2;

		good = rounds_right(k, middle) && rounds_right(k, -middle) &&
			rounds_right(k, nextafterf(middle, 0)) &&
			rounds_right(k, nextafterf(middle, INFINITY));
	}
	for (size_t i = 0; i < sizeof(specials) / sizeof(specials[0]); i++)
		good = good && rounds_right(k, specials[i]) &&
			rounds_right(k, -specials[i]);
	tap_ok(good, "%s: f32_to_f16 to nearest even, overflow clamped", k->name);
}

/* Any bits, infinities and NaNs among them, at all lengths and alignments. */
static void
test_half_arrays(const Kernels *k)
{
	bool		good = true;

	for (size_t n = 0; n <= 300; n++)
	{
		for (int shift = 0; shift < ALIGNMENTS; shift++)
		{
			float	   *src = place(0, n * 4, shift);
			uint16_t   *dst = place(1, n * 2, shift);
			float	   *back = place(2, n * 4, shift);
			uint16_t	halves[300];
			float		values[300];

			for (size_t i = 0; i < n * 4; i++)
				((char *) src)[i] = (char) random_bits();
			for (size_t i = 0; i < n; i += 7)
				set_float(src, i, random_float() * 70000.0f);
			memset((char *) dst - 1, 77, n * 2 + shift + 1);
			memset((char *) back - 1, 77, n * 4 + shift + 1);
			k->f32_to_f16(src, dst, n);
			kernels_scalar()->f32_to_f16(src, halves, n);
			k->f16_to_f32(dst, back, n);
			kernels_scalar()->f16_to_f32(halves, values, n);
			good = good && memcmp(dst, halves, n * 2) == 0 &&
				memcmp(back, values, n * 4) == 0 &&
				((char *) dst)[-1] == 77 && ((char *) back)[-1] == 77;
			for (int i = 0; i < shift; i++)
				good = good && ((char *) dst)[n * 2 + i] == 77 &&
					((char *) back)[n * 4 + i] == 77;
		}
	}
	tap_ok(good, "%s: float16 arrays as the scalar table, nothing else written",
		   k->name);
}

/* Random edges; full: every entry of the table is 255, else random. */
static bool
edge_sums_right(const Kernels *k, size_t ngroups, bool full, int shift)
{
	size_t		bytes = FASTSCAN_LANES * EDGE_BYTES(ngroups);
	uint8_t    *edges = place(0, bytes, shift);
	uint8_t    *lut = place(1, ngroups * FASTSCAN_GROUP_ENTRIES, shift);
	uint32_t   *sums = place(2, sizeof(uint32_t) * FASTSCAN_LANES, shift);
	uint32_t	right[FASTSCAN_LANES] = {0};

	for (size_t i = 0; i < bytes; i++)
		edges[i] = (uint8_t) random_bits();
	for (size_t i = 0; i < ngroups * FASTSCAN_GROUP_ENTRIES; i++)
		lut[i] = full ? 255 : (uint8_t) random_bits();
	for (int lane = 0; lane < FASTSCAN_LANES; lane++)
	{
		for (size_t group = 0; group < ngroups; group++)
		{
			uint8_t		byte = edges[lane * EDGE_BYTES(ngroups) + group / 2];

			right[lane] += lut[group * 16 + (group % 2 == 0 ? byte & 15 : byte >> 4)];
		}
	}
	k->edge_sums(edges, lut, ngroups, sums);
	if (memcmp(sums, right, sizeof(right)) == 0)
		return true;
	printf("# %s: edge_sums of %zu groups, full %d, shift %d\n",
		   k->name, ngroups, full, shift);
	return false;
}

static void
test_edge_sums(const Kernels *k)
{
	const size_t larger[] = {1024, 1040, 2032, 2048, MAX_GROUPS};
	bool		good = true;

	for (size_t n = EDGE_MIN_GROUPS; good && n <= 640;
		 n += EDGE_GROUPS_MULTIPLE)
		for (int shift = 0; good && shift < ALIGNMENTS; shift++)
			good = edge_sums_right(k, n, false, shift) &&
				edge_sums_right(k, n, true, shift);
	for (size_t i = 0; good && i < sizeof(larger) / sizeof(larger[0]); i++)
		good = edge_sums_right(k, larger[i], false, 0) &&
			edge_sums_right(k, larger[i], true, 0);
	tap_ok(good, "%s: edge_sums exact, to %d groups of 255s",
		   k->name, MAX_GROUPS);
}

static bool
edge_factors_right(const Kernels *k, size_t ngroups, int shift)
{
	size_t		bytes = FASTSCAN_LANES * EDGE_BYTES(ngroups);
	uint8_t    *edges = place(0, bytes, shift);
	size_t		size = sizeof(uint16_t) * EDGE_FACTORS * FASTSCAN_LANES;
	uint16_t	(*factors)[FASTSCAN_LANES] = place(1, size, shift);

	for (size_t i = 0; i < bytes; i++)
		edges[i] = (uint8_t) random_bits();
	k->edge_factors(edges, ngroups, factors);
	for (int lane = 0; lane < FASTSCAN_LANES; lane++)
		for (int i = 0; i < EDGE_FACTORS; i++)
			if (memcmp((char *) factors + 2 * (i * FASTSCAN_LANES + lane),
					   edges + lane * EDGE_BYTES(ngroups) + ngroups / 2 + 2 * i, 2) != 0)
			{
				printf("# %s: edge_factors of %zu groups, shift %d: %d of edge %d\n",
					   k->name, ngroups, shift, i, lane);
				return false;
			}
	return true;
}

static void
test_edge_factors(const Kernels *k)
{
	bool		good = true;

	for (size_t n = EDGE_MIN_GROUPS; good && n <= 640;
		 n += EDGE_GROUPS_MULTIPLE)
		for (int shift = 0; good && shift < ALIGNMENTS; shift++)
			good = edge_factors_right(k, n, shift);
	tap_ok(good, "%s: edge_factors", k->name);
}

static bool
edge_scores_right(const Kernels *k, int shift)
{
	uint32_t   *sums = place(0, sizeof(uint32_t) * FASTSCAN_LANES, shift);
	uint16_t   *t = place(1, sizeof(uint16_t) * FASTSCAN_LANES, shift);
	uint16_t   *f = place(1, sizeof(uint16_t) * FASTSCAN_LANES, shift + 64);
	float	   *scores = place(2, sizeof(float) * FASTSCAN_LANES, shift);
	EdgeScale	scale = {random_float() * 10, random_float(), random_float()};

	for (int i = 0; i < FASTSCAN_LANES; i++)
	{
		uint32_t	sum = random_bits() >> random_between(0, 31);

		memcpy(sums + i, &sum, sizeof(sum));
		set_half(t, i, (uint16_t) (random_bits() & 0xbfff));
		set_half(f, i, (uint16_t) (random_bits() & 0xbfff));
	}
	k->edge_scores(sums, t, f, &scale, scores);
	for (int i = 0; i < FASTSCAN_LANES; i++)
	{
		uint32_t	sum;
		double		tp,
					fs,
					fb;

		memcpy(&sum, sums + i, sizeof(sum));
		tp = (double) half_value(get_half(t, i)) * scale.qp;
		fs = (double) half_value(get_half(f, i)) * scale.delta * sum;
		fb = (double) half_value(get_half(f, i)) * scale.bias;
		if (!sum_within(get_float(scores, i), tp + fs + fb,
						fabs(tp) + fabs(fs) + fabs(fb) + FLT_MIN, 4))
		{
			printf("# %s: edge_scores lane %d is %.9g, not %.9g\n",
				   k->name, i, get_float(scores, i), tp + fs + fb);
			return false;
		}
	}
	return true;
}

static void
test_edge_scores(const Kernels *k)
{
	bool		good = true;

	for (int i = 0; good && i < 20000; i++)
		good = edge_scores_right(k, i % ALIGNMENTS);
	tap_ok(good, "%s: edge_scores", k->name);
}

/*
 * One lane's squared distance, and the sum of the sizes of its terms.  What is
 * under the root is rounded as the kernels do: the root of what is nearly zero
 * makes much of the last bit.
 */
static double
exact_distance(const EdgeDistance *distance, double score, float length,
			   double *terms)
{
	volatile float norm2 = length * length;
	volatile float rest;
	double		z;

	norm2 *= distance->unit2;
	rest = distance->radius2 - norm2;
	z = distance->query_z - sqrt(rest > 0 ? rest : 0);
	*terms = distance->query_norm2 + norm2 + 2 * fabs(score) + distance->radius2 +
		(double) distance->query_z * distance->query_z;
	return (double) distance->query_norm2 + norm2 - 2 * score + z * z;
}

/* Items shorter than the radius, as long as it, and longer. */
static bool
edge_distances_right(const Kernels *k, int shift)
{
	float	   *scores = place(0, sizeof(float) * FASTSCAN_LANES, shift);
	uint16_t   *lengths = place(1, sizeof(uint16_t) * FASTSCAN_LANES, shift);
	float	   *distances = place(2, sizeof(float) * FASTSCAN_LANES, shift);
	float		radius = random_between(0, 3) == 0 ? 0.0f : fabsf(random_float());
	float		norm = fabsf(random_float());
	EdgeDistance distance = {ldexpf(1.0f, random_between(-4, 4)),
		radius * radius, norm * norm,
	random_between(0, 1) * radius};

	for (int i = 0; i < FASTSCAN_LANES; i++)
	{
		set_float(scores, i, random_float());
		set_half(lengths, i, (uint16_t) random_between(0, 0x4400));
	}
	k->edge_distances(scores, lengths, &distance, distances);
	for (int i = 0; i < FASTSCAN_LANES; i++)
	{
		double		terms;
		double		right = exact_distance(&distance, get_float(scores, i),
										   half_value(get_half(lengths, i)), &terms);

		if (!sum_within(get_float(distances, i), right, terms + FLT_MIN, 8))
		{
			printf("# %s: edge_distances lane %d is %.9g, not %.9g\n",
				   k->name, i, get_float(distances, i), right);
			return false;
		}
	}
	return true;
}

/* Values at a limit and beside it, infinities, NaNs and others. */
static bool
floats_below_right(const Kernels *k, float limit, int shift)
{
	const float near[] = {limit, nextafterf(limit, INFINITY),
	nextafterf(limit, -INFINITY), INFINITY, -INFINITY, NAN, 0.0f, -0.0f};
	float	   *values = place(0, sizeof(float) * FASTSCAN_LANES, shift);
	uint32_t	right = 0;

	for (int i = 0; i < FASTSCAN_LANES; i++)
	{
		float		value = i % 2 == 0 ? near[random_between(0, 7)] : random_float();

		set_float(values, i, value);
		right |= (uint32_t) (value < limit) << i;
	}
	return k->floats_below(values, limit) == right;
}

static void
test_edge_keys(const Kernels *k)
{
	const float limits[] = {0.0f, -0.5f, 0.25f, INFINITY, -INFINITY, NAN};
	bool		good = true;

	for (int i = 0; good && i < 20000; i++)
		good = edge_distances_right(k, i % ALIGNMENTS);
	tap_ok(good, "%s: edge_distances", k->name);
	good = true;
	for (int i = 0; i < 6000; i++)
		good = floats_below_right(k, limits[i % 6], i % ALIGNMENTS) && good;
	tap_ok(good, "%s: floats_below", k->name);
}

/* A block, its scan and scores in the arenas, at random alignments. */
typedef struct ScanCase
{
	uint8_t    *block;
	uint8_t    *lut;
	float	   *scores;
	CodeScan	scan;
} ScanCase;

static void
set_lane_halves(ScanCase *c, int lane, uint16_t t, uint16_t f)
{
	uint8_t    *halves = c->block + c->scan.ngroups * FASTSCAN_GROUP_BYTES;

	set_half(halves, lane, t);
	set_half(halves, FASTSCAN_LANES + lane, f);
}

static void
set_scale(ScanCase *c, float qp, float delta, float bias)
{
	c->scan.scale.qp = qp;
	c->scan.scale.delta = delta;
	c->scan.scale.bias = bias;
}

/* Random codes, entries of lut at least lowest, any t and f but NaN. */
static ScanCase
scan_case(size_t ngroups, int lowest)
{
	int			shift = random_between(0, ALIGNMENTS - 1);
	size_t		bytes = ngroups * FASTSCAN_GROUP_BYTES;
	ScanCase	c;

	c.block = place(0, bytes + 4 * FASTSCAN_LANES, shift);
	c.lut = place(1, bytes, random_between(0, ALIGNMENTS - 1));
	c.scores = place(2, sizeof(float) * FASTSCAN_LANES, shift);
	c.scan.lut = c.lut;
	c.scan.ngroups = ngroups;
	set_scale(&c, 0, 1, 0);
	c.scan.threshold = 0;
	for (size_t i = 0; i < bytes; i++)
	{
		c.block[i] = (uint8_t) random_bits();
		c.lut[i] = (uint8_t) random_between(lowest, 255);
	}
	for (int i = 0; i < FASTSCAN_LANES; i++)
		set_lane_halves(&c, i, random_bits() & 0xbfff, random_bits() & 0xbfff);
	return c;
}

/* The lanes whose number is at least threshold. */
static uint32_t
lanes_above(const float *numbers, float threshold)
{
	uint32_t	mask = 0;

	for (int i = 0; i < FASTSCAN_LANES; i++)
		mask |= (uint32_t) (get_float(numbers, i) >= threshold) << i;
	return mask;
}

/* The sums of a block. */
static void
block_sums(const uint8_t *codes, const uint8_t *lut, size_t ngroups,
		   uint32_t sums[FASTSCAN_LANES])
{
	memset(sums, 0, sizeof(uint32_t) * FASTSCAN_LANES);
	for (size_t group = 0; group < ngroups; group++)
	{
		for (int lane = 0; lane < FASTSCAN_LANES; lane++)
		{
			uint8_t		byte = codes[group * 16 + lane % 16];

			sums[lane] += lut[group * 16 + (lane < 16 ? byte & 15 : byte >> 4)];
		}
	}
}

/*
 * With t = 0, f = 1, delta = 1 and bias = 0 the scores are the sums and every
 * table must give the same ones, and the same mask at any threshold.
 */
static bool
scan_sums_right(const Kernels *k, size_t ngroups, int lowest)
{
	ScanCase	c = scan_case(ngroups, lowest);
	uint32_t	sums[FASTSCAN_LANES];
	float		right[FASTSCAN_LANES];

	for (int i = 0; i < FASTSCAN_LANES; i++)
		set_lane_halves(&c, i, 0, 0x3c00);
	block_sums(c.block, c.lut, ngroups, sums);
	for (int i = 0; i < FASTSCAN_LANES; i++)
		right[i] = (float) sums[i];
	for (int i = 0; i < FASTSCAN_LANES + 3; i++)
	{
		uint32_t	expected;

		c.scan.threshold = i < FASTSCAN_LANES ? right[i] :
			i == FASTSCAN_LANES ? -INFINITY :
			i == FASTSCAN_LANES + 1 ? INFINITY : NAN;
		expected = lanes_above(right, c.scan.threshold);
		memset(c.scores, 77, sizeof(right));
		if (k->code_scan_block(c.block, &c.scan, c.scores) != expected ||
			(expected != 0 && memcmp(c.scores, right, sizeof(right)) != 0))
		{
			printf("# %s: code_scan_block of %zu groups, entries from %d, "
				   "threshold %g\n", k->name, ngroups, lowest, c.scan.threshold);
			return false;
		}
	}
	return true;
}

/* One lane just above, all others just below: the one bit, wherever it is. */
static bool
scan_finds_one(const Kernels *k, size_t ngroups)
{
	for (int lane = 0; lane < FASTSCAN_LANES; lane++)
	{
		ScanCase	c = scan_case(ngroups, 255);

		set_scale(&c, 1, 1, 0);
		c.scan.threshold = 255.0f * (float) ngroups + 1;
		for (int i = 0; i < FASTSCAN_LANES; i++)
			set_lane_halves(&c, i, i == lane ? 0x3c00 : 0, 0x3c00);
		if (k->code_scan_block(c.block, &c.scan, c.scores) != 1u << lane)
		{
			printf("# %s: code_scan_block misses lane %d\n", k->name, lane);
			return false;
		}
	}
	return true;
}

/* Whether a score is the right one, within the rounding of its terms. */
static bool
score_close(const ScanCase *c, int lane, uint32_t sum, float got, float right)
{
	const uint8_t *halves = c->block + c->scan.ngroups * FASTSCAN_GROUP_BYTES;
	const EdgeScale *scale = &c->scan.scale;
	double		t = half_value(get_half(halves, lane));
	double		f = half_value(get_half(halves, FASTSCAN_LANES + lane));
	double		terms;

	terms = fabs(t * scale->qp) + fabs(f * scale->bias) +
		fabs(f * scale->delta * sum);
	if (isnan(right) || isinf(right))
		return isnan(right) ? isnan(got) : got == right;
	return fabs((double) got - right) <= 8 * FLT_EPSILON * terms + FLT_MIN;
}

/*
 * Whether k gives the scores of the scalar table within rounding, and the mask
 * of its own scores.  Without a bit in the mask, which leaves the scores
 * unknown, no right score may be above the threshold by more than rounding.
 */
static bool
scan_right(const Kernels *k, ScanCase *c)
{
	uint32_t	sums[FASTSCAN_LANES];
	float		right[FASTSCAN_LANES];
	uint32_t	mask;
	bool		good;

	block_sums(c->block, c->lut, c->scan.ngroups, sums);
	kernels_scalar()->code_scan_block(c->block, &c->scan, right);
	mask = k->code_scan_block(c->block, &c->scan, c->scores);
	good = mask == 0 || mask == lanes_above(c->scores, c->scan.threshold);
	for (int i = 0; i < FASTSCAN_LANES; i++)
	{
		float		other = right[i];

		if (mask != 0)
			other = get_float(c->scores, i);
		else if (right[i] >= c->scan.threshold)
			other = c->scan.threshold;
		good = good && score_close(c, i, sums[i], other, right[i]);
	}
	if (!good)
		printf("# %s: code_scan_block of %zu groups: %g %g %g, threshold %g\n",
			   k->name, c->scan.ngroups, c->scan.scale.qp, c->scan.scale.delta,
			   c->scan.scale.bias, c->scan.threshold);
	return good;
}

/* Scales of either sign, at the threshold of one of the scores. */
static bool
scan_scores_right(const Kernels *k)
{
	ScanCase	c = scan_case(random_between(0, 100), 0);
	float		right[FASTSCAN_LANES];

	set_scale(&c, random_float() * 10, random_float(), random_float() * 100);
	kernels_scalar()->code_scan_block(c.block, &c.scan, right);
	c.scan.threshold = right[random_between(0, FASTSCAN_LANES - 1)];
	return scan_right(k, &c);
}

/* Any bits as t and f, many infinities and NaNs, and extreme scales. */
static bool
scan_extremes_right(const Kernels *k)
{
	const float extremes[] = {0.0f, 1.0f, -1.0f, FLT_TRUE_MIN, -FLT_MIN, 1e20f,
	-1e20f, INFINITY, -INFINITY, NAN};
	ScanCase	c = scan_case(random_between(0, 100), random_between(0, 255));

	set_scale(&c, extremes[random_between(0, 9)],
			  extremes[random_between(0, 9)], extremes[random_between(0, 9)]);
	c.scan.threshold = extremes[random_between(0, 9)];
	for (int i = 0; i < FASTSCAN_LANES; i++)
	{
		int			kind = random_between(0, 3);

		set_lane_halves(&c, i, random_bits() | (kind == 1 ? 0x7c00 : 0),
						kind == 2 ? 0x7c00 : random_bits());
	}
	return scan_right(k, &c);
}

static void
test_code_scan(const Kernels *k)
{
	const size_t larger[] = {1023, 1024, 1025, 1027, 2048, 4099, 65793};
	bool		sums = true,
				scores = true,
				extremes = true;

	for (size_t n = 0; sums && n <= 530; n++)
		sums = scan_sums_right(k, n, 0) && scan_sums_right(k, n, 255) &&
			scan_sums_right(k, n, 254) && scan_finds_one(k, n);
	for (size_t i = 0; sums && i < sizeof(larger) / sizeof(larger[0]); i++)
		sums = scan_sums_right(k, larger[i], 0) &&
			scan_sums_right(k, larger[i], 255);
	for (int i = 0; i < 20000; i++)
	{
		scores = scores && scan_scores_right(k);
		extremes = extremes && scan_extremes_right(k);
	}
	tap_ok(sums, "%s: code_scan_block, exact sums and masks", k->name);
	tap_ok(scores, "%s: code_scan_block, scores and their mask", k->name);
	tap_ok(extremes, "%s: code_scan_block, NaNs and infinities", k->name);
}

/* Whether sy * y is above tp * p when only the latter is rounded. */
static bool
residual_above(float sy, int8_t y, float tp, int8_t p)
{
	float		rounded = (float) ((double) tp * p);	/* once: exact before */

	return (double) sy * y > rounded;
}

/*
 * Whether edge_residual gives the bits of the definition, sums within the
 * rounding of products, differences and sums, and writes nothing else.  exact:
 * the sums must be equal.
 */
static bool
residual_right(const Kernels *k, const EdgeInput *edge, size_t nbits, size_t n,
			   bool exact)
{
	int			shift = random_between(1, 16);
	EdgeOutput	out = {place(2, nbits / 8, shift), -1.0f, -1.0f};
	uint8_t		right[MAX_LENGTH / 8 + 18];
	double		sum = 0,
				norm2 = 0,
				terms = 0,
				square_terms = 0;

	memset(right, 77, sizeof(right));
	memset(right + 1, 0, nbits / 8);
	memset(out.bits - 1, 77, nbits / 8 + 1 + shift);
	for (size_t i = 0; i < n; i++)
	{
		double		y = (double) edge->sy * edge->y[i];
		double		p = (double) edge->tp * edge->p[i];

		norm2 += (y - p) * (y - p);
		square_terms += (fabs(y) + fabs(p)) * (fabs(y) + fabs(p));
		if (i >= nbits)
			continue;
		sum += fabs(y - p);
		terms += fabs(y) + fabs(p);
		if (residual_above(edge->sy, edge->y[i], edge->tp, edge->p[i]))
			right[1 + i / 8] |= 1 << (i % 8);
	}
	k->edge_residual(edge, nbits, n, &out);
	if (memcmp(out.bits - 1, right, nbits / 8 + 1 + shift) == 0 &&
		(exact ? out.sum == sum && out.norm2 == norm2 :
		 sum_within(out.sum, sum, terms, nbits + 2) &&
		 sum_within(out.norm2, norm2, square_terms, n + 4)))
		return true;
	printf("# %s: edge_residual at n = %zu, %zu bits, sy = %a, tp = %a: "
		   "%.9g and %.9g, not %.9g and %.9g, or wrong bits\n", k->name, n, nbits,
		   edge->sy, edge->tp, out.sum, out.norm2, sum, norm2);
	return false;
}

/* Random digits of [-largest, largest], at a random alignment. */
static const int8_t *
random_digits(int arena, size_t n, int largest)
{
	int8_t	   *digits = place(arena, n, random_between(0, ALIGNMENTS - 1));

	for (size_t i = 0; i < n; i++)
		digits[i] = (int8_t) random_between(-largest, largest);
	return digits;
}

/*
 * Products that are nearly equal, so that the sign depends on which of them
 * is rounded: tp is sy times a ratio of digits, which digits of that ratio
 * then undo.  Returns how many of the n signs would change if both products
 * were rounded, or the other one.
 */
static int
nearly_equal_products(EdgeInput *edge, size_t n)
{
	int8_t	   *y = place(0, n, 0);
	int8_t	   *p = place(1, n, 0);
	int			top = random_between(1, 20);
	int			bottom = random_between(1, 20);
	int			changed = 0;

	edge->sy = ldexpf(random_float(), random_between(-20, 20));
	edge->tp = edge->sy * (float) top / (float) bottom;
	edge->y = y;
	edge->p = p;
	for (size_t i = 0; i < n; i++)
	{
		int			factor = random_between(-6, 6);
		float		rounded;
		bool		above;

		y[i] = (int8_t) (top * factor);
		p[i] = (int8_t) (bottom * factor);
		above = residual_above(edge->sy, y[i], edge->tp, p[i]);
		rounded = (float) ((double) edge->sy * y[i]);
		changed += above != (rounded > (float) ((double) edge->tp * p[i]));
		changed += above != (rounded > (double) edge->tp * p[i]);
	}
	return changed;
}

/* Infinite and missing scales, and such as make subnormal products. */
static bool
residual_extremes(const Kernels *k)
{
	const float scales[] = {0.0f, -0.0f, 1.0f, -1.0f, FLT_TRUE_MIN,
	3 * FLT_TRUE_MIN, FLT_MIN / 64, FLT_MAX, -FLT_MAX, INFINITY, NAN};
	const int	nscales = sizeof(scales) / sizeof(scales[0]);
	EdgeInput	edge = {.y = random_digits(0, 256, 3),
	.p = random_digits(1, 256, 3)};
	bool		good = true;

	for (int i = 0; i < nscales * nscales; i++)
	{
		uint8_t		bits[32];
		EdgeOutput	out = {.bits = bits};

		edge.sy = scales[i / nscales];
		edge.tp = scales[i % nscales];
		k->edge_residual(&edge, 256, 256, &out);
		for (int j = 0; j < 256; j++)
			good = good && ((bits[j / 8] >> (j % 8)) & 1) ==
				residual_above(edge.sy, edge.y[j], edge.tp, edge.p[j]);
	}
	return good;
}

static void
test_edge_residual(const Kernels *k)
{
	bool		exact = true,
				rounded = true,
				ties = true;
	int			changed = 0;
	EdgeInput	edge;

	for (size_t n = 0; n <= MAX_LENGTH; n += 64)
	{
		for (size_t nbits = 0; nbits <= n; nbits += n < 640 ? 64 : 640)
		{
			edge.y = random_digits(0, n, 8);
			edge.p = random_digits(1, n, 8);
			edge.sy = (float) random_between(-2, 2);
			edge.tp = (float) random_between(-2, 2);
			exact = exact && residual_right(k, &edge, nbits, n, true);
			edge.y = random_digits(0, n, 127);
			edge.p = random_digits(1, n, 127);
			edge.sy = ldexpf(random_float(), random_between(-20, 20));
			edge.tp = edge.sy * random_float();
			rounded = rounded && residual_right(k, &edge, nbits, n, false);
		}
	}
	for (int i = 0; ties && i < 2000; i++)
	{
		changed += nearly_equal_products(&edge, 256);
		ties = residual_right(k, &edge, 192, 256, false);
	}
	tap_ok(exact, "%s: edge_residual exact on small integers, n to %d",
		   k->name, MAX_LENGTH);
	tap_ok(rounded, "%s: edge_residual, sums within the rounding bound",
		   k->name);
	tap_ok(ties && changed > 10000, "%s: edge_residual rounds one product of "
		   "nearly equal ones (%d cases)", k->name, changed);
	tap_ok(residual_extremes(k), "%s: edge_residual, bits of extreme scales",
		   k->name);
}

/* Keys at and beside the bounds of ranges, and anywhere, at any alignment. */
static bool
keys_right(const Kernels *k, uint64_t low, uint64_t high, int shift)
{
	const uint64_t near[] = {low, high, low - 1, high + 1, 0, UINT64_MAX,
	UINT64_C(1) << 63, (UINT64_C(1) << 63) - 1};
	char		bytes[(FASTSCAN_LANES + 1) * sizeof(uint64_t)];
	uint32_t	right = 0;

	for (int i = 0; i < FASTSCAN_LANES; i++)
	{
		uint64_t	key = i % 2 == 0 ? near[i / 2 % 8] :
		(uint64_t) random_bits() << 48 ^ (uint64_t) random_bits() << 24 ^
		random_bits();

		memcpy(bytes + shift + i * sizeof(key), &key, sizeof(key));
		right |= (uint32_t) (key >= low && key <= high) << i;
	}
	return k->keys_in_range((const void *) (bytes + shift), low, high) == right;
}

static void
test_keys(const Kernels *k)
{
	const uint64_t bounds[] = {0, 1, 77, (UINT64_C(1) << 63) - 1,
	UINT64_C(1) << 63, (UINT64_C(1) << 63) + 1, UINT64_MAX - 1, UINT64_MAX};
	bool		good = true;

	for (int i = 0; i < 64; i++)
		for (int shift = 0; shift < 8; shift++)
			good = keys_right(k, bounds[i / 8], bounds[i % 8], shift) && good;
	tap_ok(good, "%s: keys_in_range", k->name);
}

static void
test_table(const Kernels *k)
{
	test_lengths(k);
	test_rounding(k);
	test_subnormals(k);
	test_overflow(k);
	test_all_halves(k);
	test_half_rounding(k);
	test_half_arrays(k);
	test_edge_sums(k);
	test_edge_factors(k);
	test_edge_scores(k);
	test_edge_keys(k);
	test_code_scan(k);
	test_edge_residual(k);
	test_keys(k);
}

static void
test_choice(const char *disabled, const Kernels *expected)
{
	if (disabled == NULL)
		unsetenv("RECSYS_DISABLE_CPU");
	else
		setenv("RECSYS_DISABLE_CPU", disabled, 1);
	kernels_init();
	tap_ok(kernels == expected, "RECSYS_DISABLE_CPU=%s: %s expected, %s chosen",
		   disabled == NULL ? "" : disabled, expected->name, kernels->name);
}

int
main(void)
{
	const Kernels *tables[] = {kernels_avx512(), kernels_avx2(),
	kernels_neon(), kernels_scalar()};
	const char *names[] = {"avx512", "avx2", "neon", "scalar"};
	const Kernels *best = NULL;
	const Kernels *second = NULL;

	arenas_create();
	tap_ok(kernels == kernels_scalar(), "scalar before kernels_init");
	for (int i = 0; i < 4; i++)
	{
		if (tables[i] == NULL)
		{
			printf("ok %d - %s # SKIP this CPU lacks it\n",
				   ++tap_points, names[i]);
			continue;
		}
		tap_ok(strcmp(tables[i]->name, names[i]) == 0, "%s: name", names[i]);
		test_table(tables[i]);
		if (best == NULL)
			best = tables[i];
		else if (second == NULL)
			second = tables[i];
	}
	if (kernels_avx512_without_vnni() != kernels_avx512())
	{
		printf("# avx512 without VNNI\n");
		test_lengths(kernels_avx512_without_vnni());
	}
	test_choice(NULL, best);
	test_choice("", best);
	test_choice("avx51,avx5122,nothing", best);
	test_choice("scalar", best);
	if (second != NULL)
		test_choice(best->name, second);
	test_choice("avx2, avx512,neon", kernels_scalar());
	return tap_done("kernels");
}
