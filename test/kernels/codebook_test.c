/*
 * codebook_test.c
 *		Product quantisation: encode, decode and look-ups agree, training loses
 *		less than no training, and odd samples do no harm.
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "ivfpq/ivf_codebook.h"
#include "kernels/kernels.h"
#include "linalg/rotation.h"
#include "tap.h"

/* What codebook_create is to do with a malloc'd stand-in for palloc. */
#define codebook_free free

static double
uniform(void)
{
	return (rand() + 0.5) / (RAND_MAX + 1.0);
}

static float
normal(void)
{
	return (float) (sqrt(-2 * log(uniform())) * cos(2 * M_PI * uniform()));
}

static double
dot(const float *a, const float *b, int n)
{
	double		sum = 0;

	for (int i = 0; i < n; i++)
		sum += (double) a[i] * b[i];
	return sum;
}

static void
normalize(float *x, int n)
{
	double		length = sqrt(dot(x, x, n));

	for (int i = 0; i < n && length > 0; i++)
		x[i] = (float) (x[i] / length);
}

/* Random vectors of length 1, element i drawn with deviation decay^i. */
static float *
random_units(int n, int dim, double decay)
{
	float	   *units = malloc(sizeof(float) * n * dim);

	for (int i = 0; i < n; i++)
	{
		for (int d = 0; d < dim; d++)
			units[(size_t) i * dim + d] = normal() * (float) pow(decay, d);
		normalize(units + (size_t) i * dim, dim);
	}
	return units;
}

/* Mean cosine of vectors with what is decoded of them. */
static double
mean_cosine(const Codebook *codebook, const float *units, int n)
{
	int			dim = codebook->padded_dim;
	uint8	   *codes = malloc(codebook->nsub);
	float	   *decoded = malloc(sizeof(float) * dim);
	double		sum = 0;

	for (int i = 0; i < n; i++)
	{
		float		product = codebook_encode(codebook, units + (size_t) i * dim,
											  codes);

		codebook_decode(codebook, codes, decoded);
		sum += product / sqrt(dot(decoded, decoded, dim));
	}
	free(decoded);
	free(codes);
	return sum / n;
}

/* All words are finite, float16, and different within a sub-space. */
static bool
words_good(const Codebook *codebook)
{
	int			subdim = codebook->subdim;

	for (int i = 0; i < codebook->nsub * CODEBOOK_WORDS; i++)
	{
		const float *word = codebook->words + (size_t) i * subdim;

		for (int d = 0; d < subdim; d++)
		{
			uint16		half;
			float		rounded;

			kernels->f32_to_f16(word + d, &half, 1);
			kernels->f16_to_f32(&half, &rounded, 1);
			if (!isfinite(word[d]) || rounded != word[d])
				return false;
		}
		for (int j = i - i % CODEBOOK_WORDS; j < i; j++)
		{
			if (memcmp(word, codebook->words + (size_t) j * subdim,
					   sizeof(float) * subdim) == 0)
				return false;
		}
	}
	return true;
}

/* The sub-vectors that fit, against a count of all. */
static void
test_nsub(void)
{
	int			wrong = 0;

	for (int dim = 64; dim <= 8192; dim += 64)
	{
		int			nsub = codebook_default_nsub(dim);
		int			most = 0;

		for (int i = -1; i <= dim; i++)
		{
			bool		fits = i > 0 && i <= CODEBOOK_MAX_SUB && dim % i == 0 &&
			dim / i <= 64;

			wrong += codebook_nsub_fits(dim, i) != fits;
			if (fits && dim / i >= 4)
				most = i;
		}
		wrong += nsub != most;
		wrong += dim <= 4 * CODEBOOK_MAX_SUB && nsub != dim / 4;
		wrong += dim <= 16 * CODEBOOK_MAX_SUB && dim / nsub > 16;
	}
	tap_ok(wrong == 0, "numbers of sub-vectors, 64 to 8192 dimensions");
}

/* The code is the nearest word of each part, and the product is right. */
static void
test_encode(int dim, int nsub)
{
	Codebook   *codebook = codebook_create(dim, nsub);
	float	   *units = random_units(200, dim, 1);
	float	   *decoded = malloc(sizeof(float) * dim);
	uint8	   *codes = malloc(nsub);
	double		worst = 0;
	bool		nearest = true;

	codebook_set_gaussian(codebook);
	for (int i = 0; i < 200; i++)
	{
		float	   *unit = units + (size_t) i * dim;
		float		product = codebook_encode(codebook, unit, codes);

		codebook_decode(codebook, codes, decoded);
		worst = fmax(worst, fabs(product - dot(unit, decoded, dim)));
		nearest = nearest && product > 0;
		for (int j = 0; j < nsub * CODEBOOK_WORDS; j++)
		{
			int			at = j / CODEBOOK_WORDS * codebook->subdim;
			const float *word = codebook->words + (size_t) j * codebook->subdim;
			double		chosen = 0,
						other = 0;

			for (int d = 0; d < codebook->subdim; d++)
			{
				chosen += pow(unit[at + d] - decoded[at + d], 2);
				other += pow(unit[at + d] - word[d], 2);
			}
			nearest = nearest && chosen <= other + 1e-5;
		}
	}
	tap_ok(nearest && worst < 1e-5,
		   "%d/%d: nearest words, product off by %.1e at most", dim, nsub,
		   worst);
	tap_ok(words_good(codebook), "%d/%d: words are distinct float16 values",
		   dim, nsub);
	free(codes);
	free(decoded);
	free(units);
	codebook_free(codebook);
}

/* Sums of look-ups are the product with what is decoded, within the steps. */
static void
test_lut(int dim, int nsub, float length)
{
	Codebook   *codebook = codebook_create(dim, nsub);
	float	   *units = random_units(100, dim, 1);
	float	   *query = random_units(1, dim, 0.99);
	float	   *decoded = malloc(sizeof(float) * dim);
	uint8	   *codes = malloc(nsub);
	uint8	   *lut = malloc(nsub * CODEBOOK_WORDS);
	CodebookScale scale;
	double		worst = 0;
	int			largest = 0;

	for (int d = 0; d < dim; d++)
		query[d] *= length;
	codebook_set_gaussian(codebook);
	codebook_lut(codebook, query, lut, &scale);
	for (int i = 0; i < nsub * CODEBOOK_WORDS; i++)
		largest = lut[i] > largest ? lut[i] : largest;
	for (int i = 0; i < 100; i++)
	{
		int			sum = 0;

		codebook_encode(codebook, units + (size_t) i * dim, codes);
		codebook_decode(codebook, codes, decoded);
		for (int sub = 0; sub < nsub; sub++)
			sum += lut[sub * CODEBOOK_WORDS + codes[sub]];
		worst = fmax(worst, fabs(scale.delta * sum + scale.bias -
								 dot(query, decoded, dim)));
	}
	tap_ok(largest == 255 && scale.delta > 0 &&
		   worst <= (nsub / 2.0) * scale.delta + length * 1e-5,
		   "%d/%d: a table for length %g, off by %.2f steps at most", dim, nsub,
		   length, worst / scale.delta);
	free(lut);
	free(codes);
	free(decoded);
	free(query);
	free(units);
	codebook_free(codebook);
}

/* Queries that no table can serve: it is zero, not a fault. */
static void
test_lut_extremes(void)
{
	Codebook   *codebook = codebook_create(64, 16);
	float		query[64] = {0};
	uint8		lut[16 * CODEBOOK_WORDS];
	CodebookScale scale;
	bool		good = true;

	codebook_set_gaussian(codebook);
	for (int extreme = 0; extreme < 4; extreme++)
	{
		const float values[] = {0, FLT_MIN, FLT_MAX, INFINITY};

		query[3] = values[extreme];
		query[5] = -values[extreme];
		memset(lut, 1, sizeof(lut));
		codebook_lut(codebook, query, lut, &scale);
		good = good && scale.delta == 0 && isfinite(scale.bias);
		for (size_t i = 0; i < sizeof(lut); i++)
			good = good && lut[i] == 0;
	}
	tap_ok(good, "a table of zeros for queries of no or of endless length");
	codebook_free(codebook);
}

/* Random directions: what 4 bits for 4 dimensions can keep of them. */
static void
test_gaussian(int dim, int nsub, double expected)
{
	Codebook   *codebook = codebook_create(dim, nsub);
	Codebook   *again = codebook_create(dim, nsub);
	float	   *units = random_units(2000, dim, 1);
	double		cosine;

	codebook_set_gaussian(codebook);
	codebook_set_gaussian(again);
	cosine = mean_cosine(codebook, units, 2000);
	tap_ok(fabs(cosine - expected) < 0.01,
		   "%d/%d: Gaussian words, mean cosine %.4f", dim, nsub, cosine);
	tap_ok(memcmp(codebook->words, again->words,
				  sizeof(float) * CODEBOOK_WORDS * dim) == 0,
		   "%d/%d: the same words again", dim, nsub);
	free(units);
	codebook_free(again);
	codebook_free(codebook);
}

/* Trained on half of the vectors, judged by the other half. */
static void
test_train(const char *what, float *units, int n, double gain)
{
	Codebook   *codebook = codebook_create(64, 16);
	Codebook   *again = codebook_create(64, 16);
	const float *others = units + (size_t) n / 2 * 64;
	double		before,
				after;

	codebook_set_gaussian(codebook);
	before = mean_cosine(codebook, others, n / 2);
	codebook_train(codebook, units, n / 2);
	after = mean_cosine(codebook, others, n / 2);
	codebook_train(again, units, n / 2);
	tap_ok(after > before + gain, "%s: mean cosine %.4f, trained %.4f", what,
		   before, after);
	tap_ok(words_good(codebook) &&
		   memcmp(codebook->words, again->words,
				  sizeof(float) * CODEBOOK_WORDS * 64) == 0,
		   "%s: good words, the same again", what);
	free(units);
	codebook_free(again);
	codebook_free(codebook);
}

/* Vectors of few kinds: of the columns of a Hadamard-like matrix. */
static float *
few_units(int n, int kinds)
{
	float	   *kind = random_units(kinds, 64, 1);
	float	   *units = malloc(sizeof(float) * n * 64);

	for (int i = 0; i < n; i++)
		memcpy(units + (size_t) i * 64, kind + (size_t) (i % kinds) * 64,
			   sizeof(float) * 64);
	free(kind);
	return units;
}

/* Units in the plane of two random directions. */
static float *
plane_units(int n)
{
	float	   *axes = random_units(2, 64, 1);
	float	   *units = malloc(sizeof(float) * n * 64);

	for (int i = 0; i < n; i++)
	{
		float		a = normal(),
					b = normal();

		for (int d = 0; d < 64; d++)
			units[(size_t) i * 64 + d] = a * axes[d] + b * axes[64 + d];
		normalize(units + (size_t) i * 64, 64);
	}
	free(axes);
	return units;
}

/* More vectors than are sampled; none; only zeros. */
static void
test_samples(void)
{
	Codebook   *codebook = codebook_create(64, 16);
	Codebook   *gaussian = codebook_create(64, 16);
	size_t		size = sizeof(float) * CODEBOOK_WORDS * 64;
	int			n = CODEBOOK_SAMPLE * 3;
	float	   *units = calloc((size_t) n * 64, sizeof(float));
	float	   *some = few_units(CODEBOOK_SAMPLE, 5);

	codebook_set_gaussian(gaussian);
	codebook_train(codebook, units, 0);
	tap_ok(memcmp(codebook->words, gaussian->words, size) == 0,
		   "no sample: Gaussian words");
	codebook_train(codebook, units, 100);
	tap_ok(memcmp(codebook->words, gaussian->words, size) == 0,
		   "a sample of zero vectors: Gaussian words");

	/* every third vector is not zero, and those are what is sampled */
	for (int i = 0; i < CODEBOOK_SAMPLE; i++)
		memcpy(units + (size_t) i * 3 * 64, some + (size_t) i * 64,
			   sizeof(float) * 64);
	codebook_train(codebook, units, n);
	codebook_train(gaussian, some, CODEBOOK_SAMPLE);
	tap_ok(memcmp(codebook->words, gaussian->words, size) == 0,
		   "a sample of a large sample is even");
	free(some);
	free(units);
	codebook_free(gaussian);
	codebook_free(codebook);
}

/* What the sample lacks can be coded too. */
static void
test_strangers(void)
{
	Codebook   *codebook = codebook_create(64, 16);
	float	   *units = random_units(4000, 64, 1);
	uint8		codes[16];
	float		least = 1;

	/* a sub-space of zeros, another of one value */
	for (int i = 0; i < 2000; i++)
	{
		for (int d = 0; d < 4; d++)
		{
			units[(size_t) i * 64 + 8 + d] = 0;
			units[(size_t) i * 64 + 12 + d] = 0.1f;
		}
	}
	codebook_train(codebook, units, 2000);
	for (int i = 2000; i < 4000; i++)
		least = fminf(least, codebook_encode(codebook, units + (size_t) i * 64,
											 codes));
	tap_ok(words_good(codebook) && least > 0,
		   "constant parts: other vectors have a product of %.3f at least",
		   least);
	free(units);

	/* all elements positive in training, negative then */
	units = random_units(2000, 64, 1);
	for (int i = 0; i < 2000 * 64; i++)
		units[i] = fabsf(units[i]);
	codebook_train(codebook, units, 2000);
	for (int i = 0; i < 64; i++)
		units[i] = i % 8 < 4 ? -units[i] : units[i] / 10;
	tap_ok(codebook_encode(codebook, units, codes) <= 0,
		   "a vector against the whole sample has no positive product");
	memset(units, 0, sizeof(float) * 64);
	tap_ok(codebook_encode(codebook, units, codes) == 0,
		   "a zero vector has a product of 0");
	free(units);
	codebook_free(codebook);
}

/* Random vectors as an index has them: uneven, but in no axis's direction. */
static float *
mixed_units(int n, int dim, double decay)
{
	Rotation   *rotation = rotation_create(dim, dim);
	float	   *units = random_units(n, dim, decay);
	float	   *mixed = malloc(sizeof(float) * n * dim);

	for (int i = 0; i < n; i++)
		rotation_apply(rotation, units + (size_t) i * dim,
					   mixed + (size_t) i * dim);
	free(units);
	free(rotation);
	return mixed;
}

/* The sample, rotated. */
static float *
rotated(const float *rotation, const float *units, int n, int dim)
{
	float	   *images = malloc(sizeof(float) * n * dim);

	for (int i = 0; i < n; i++)
	{
		for (int row = 0; row < dim; row++)
			images[(size_t) i * dim + row] = (float)
				dot(rotation + (size_t) row * dim, units + (size_t) i * dim, dim);
	}
	return images;
}

/* The largest element of R R' - I. */
static double
orthogonality_fault(const float *rotation, int dim)
{
	double		worst = 0;

	for (int i = 0; i < dim; i++)
	{
		for (int j = 0; j <= i; j++)
			worst = fmax(worst, fabs(dot(rotation + (size_t) i * dim,
										 rotation + (size_t) j * dim, dim) -
									 (i == j)));
	}
	return worst;
}

/* Learned from half of the vectors, judged by the other half. */
static void
test_rotation(const char *what, float *units, int n, double gain)
{
	Codebook   *codebook = codebook_create(64, 16);
	Codebook   *again = codebook_create(64, 16);
	size_t		size = sizeof(float) * 64 * 64;
	float	   *rotation = malloc(size);
	float	   *rotation_again = malloc(size);
	const float *others = units + (size_t) n / 2 * 64;
	float	   *images;
	double		before,
				after,
				fault;

	codebook_train(codebook, units, n / 2);
	before = mean_cosine(codebook, others, n / 2);
	codebook_train_rotation(codebook, units, n / 2, rotation);
	codebook_train_rotation(again, units, n / 2, rotation_again);
	images = rotated(rotation, others, n / 2, 64);
	after = mean_cosine(codebook, images, n / 2);
	fault = orthogonality_fault(rotation, 64);
	tap_ok(fault < 1e-5, "%s: the rotation is orthogonal, within %.1e", what,
		   fault);
	tap_ok(after > before + gain, "%s: mean cosine %.4f, rotated %.4f", what,
		   before, after);
	tap_ok(words_good(codebook) &&
		   memcmp(rotation, rotation_again, size) == 0,
		   "%s: good words, the same rotation again", what);
	free(images);
	free(rotation_again);
	free(rotation);
	free(units);
	codebook_free(again);
	codebook_free(codebook);
}

/* A sample that says nothing, or little, about directions. */
static void
test_rotation_samples(void)
{
	Codebook   *codebook = codebook_create(64, 16);
	float	   *rotation = malloc(sizeof(float) * 64 * 64);
	float	   *units = few_units(300, 1);
	bool		identity = true;

	codebook_train_rotation(codebook, units, 300, rotation);
	tap_ok(orthogonality_fault(rotation, 64) < 1e-5 && words_good(codebook),
		   "a rotation for one direction");
	memset(units, 0, sizeof(float) * 300 * 64);
	for (int n = 0; n <= 300; n += 300)
	{
		codebook_train_rotation(codebook, units, n, rotation);
		for (int i = 0; i < 64 * 64; i++)
			identity = identity && rotation[i] == (i % 65 == 0);
	}
	tap_ok(identity && words_good(codebook),
		   "no rotation for zero vectors, or for none");
	free(units);
	free(rotation);
	codebook_free(codebook);
}

int
main(void)
{
	kernels_init();
	test_nsub();
	test_encode(64, 16);
	test_encode(128, 32);
	test_encode(192, 64);
	test_encode(64, 64);
	test_encode(1024, 16);
	test_lut(64, 16, 1);
	test_lut(128, 32, 1e-6f);
	test_lut(192, 64, 1e6f);
	test_lut(8192, 256, 1);
	test_lut_extremes();
	test_gaussian(128, 32, 0.81);
	test_gaussian(64, 64, 0.995);
	test_train("uneven directions", random_units(8000, 64, 0.95), 8000, 0.03);
	test_train("a plane", plane_units(4000), 4000, 0.1);
	test_train("twelve kinds", few_units(1000, 12), 1000, 0.1);
	test_train("even directions", random_units(40000, 64, 1), 40000, -0.001);
	test_samples();
	test_strangers();
	test_rotation("uneven directions", mixed_units(8000, 64, 0.95), 8000,
				  0.02);
	test_rotation("a plane", plane_units(4000), 4000, 0);
	test_rotation("even directions", random_units(40000, 64, 1), 40000, -0.002);
	test_rotation_samples();
	return tap_done("codebook");
}
