/*
 * ivf_codebook.c
 *		Product quantisation of directions: the codes, and look-ups in them.
 *
 * Owns nothing but its memory.  The words are trained in ivf_codebook_train.c.
 *
 * Encoding is called for each row of a build.  The words of a sub-space are
 * kept a second time by columns, so that one pass over the sub-vector gives its
 * products with all 16 words side by side, four in a register; compilers have
 * those registers on every CPU.
 */
#include "postgres.h"

#include "ivfpq/ivf_codebook.h"
#include "kernels/kernels.h"

#include <float.h>

/* 16 numbers, one a word, are four of these. */
typedef float Float4 __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32 Int4 __attribute__((vector_size(16), aligned(4), may_alias));
#define PARTS (CODEBOOK_WORDS / 4)

bool
codebook_nsub_fits(int padded_dim, int nsub)
{
	return nsub >= 1 && nsub <= CODEBOOK_MAX_SUB && padded_dim % nsub == 0 &&
		padded_dim / nsub <= CODEBOOK_MAX_SUBDIM;
}

/*
 * One bit a dimension, which is a sub-vector for each four, as long as that
 * fits; else as many sub-vectors as do.  padded_dim is a multiple of 64, so
 * there is a fitting number for every one up to 64 * CODEBOOK_MAX_SUB.
 */
int
codebook_default_nsub(int padded_dim)
{
	int			nsub = Min(padded_dim / 4, CODEBOOK_MAX_SUB);

	while (!codebook_nsub_fits(padded_dim, nsub))
	{
		nsub--;
		Assert(nsub > 0);
	}
	return nsub;
}

Codebook *
codebook_create(int padded_dim, int nsub)
{
	Size		nwords = (Size) padded_dim * CODEBOOK_WORDS;
	Codebook   *codebook;

	Assert(codebook_nsub_fits(padded_dim, nsub));
	codebook = palloc0(sizeof(Codebook) +
					   sizeof(float) * codebook_floats(padded_dim, nsub));
	codebook->padded_dim = padded_dim;
	codebook->nsub = nsub;
	codebook->subdim = padded_dim / nsub;
	codebook->words = (float *) (codebook + 1);
	codebook->columns = codebook->words + nwords;
	codebook->half_norms = codebook->columns + nwords;
	return codebook;
}

void
codebook_words_changed(Codebook *codebook)
{
	int			subdim = codebook->subdim;

	for (int i = 0; i < codebook->nsub * CODEBOOK_WORDS; i++)
	{
		float	   *word = codebook->words + (Size) i * subdim;
		float	   *column = codebook->columns +
		(Size) (i / CODEBOOK_WORDS) * CODEBOOK_WORDS * subdim +
		i % CODEBOOK_WORDS;
		uint16		halves[CODEBOOK_MAX_SUBDIM];

		kernels->f32_to_f16(word, halves, subdim);
		kernels->f16_to_f32(halves, word, subdim);
		codebook->half_norms[i] = kernels->dot_f32(word, word, subdim) / 2;
		for (int d = 0; d < subdim; d++)
			column[d * CODEBOOK_WORDS] = word[d];
	}
}

/* Products of sub-vector number sub of x with its 16 words. */
static inline void
sub_products(const Codebook *codebook, int sub, const float *x,
			 Float4 products[PARTS])
{
	int			subdim = codebook->subdim;
	const Float4 *column = (const Float4 *)
	(codebook->columns + (Size) sub * subdim * CODEBOOK_WORDS);
	Float4		p0 = {0},
				p1 = {0},
				p2 = {0},
				p3 = {0};

	x += (Size) sub * subdim;
	for (int d = 0; d < subdim; d++, column += PARTS)
	{
		Float4		xd = {x[d], x[d], x[d], x[d]};

		p0 += xd * column[0];
		p1 += xd * column[1];
		p2 += xd * column[2];
		p3 += xd * column[3];
	}
	products[0] = p0;
	products[1] = p1;
	products[2] = p2;
	products[3] = p3;
}

/*
 * The number of the largest of 16 scores; some number if there are NaNs.  The
 * last four bits of a score give way to its number, so that finding one finds
 * the other, without branches: which word wins cannot be predicted.
 */
static inline int
largest_of_16(const Float4 scores[PARTS])
{
	Int4		number = {0, 1, 2, 3};
	Float4		best;
	float		low,
				high;
	int32		bits;

	best = (Float4) (((Int4) scores[0] & ~15) | number);
	for (int part = 1; part < PARTS; part++)
	{
		Float4		score;
		Int4		above;

		number += 4;
		score = (Float4) (((Int4) scores[part] & ~15) | number);
		above = score > best;
		best = (Float4) ((above & (Int4) score) | (~above & (Int4) best));
	}
	low = Max(best[0], best[1]);
	high = Max(best[2], best[3]);
	low = Max(low, high);
	memcpy(&bits, &low, sizeof(bits));
	return bits & 15;
}

/*
 * In each sub-space the word w with the largest <unit,w> - norm_weight |w|^2 /
 * 2; with a weight of 1 that is the nearest.  Returns <unit, decoded>.
 */
static float
encode_weighted(const Codebook *codebook, const float *unit,
				float norm_weight, uint8 *codes)
{
	float		product = 0;

	for (int sub = 0; sub < codebook->nsub; sub++)
	{
		const Float4 *half_norms = (const Float4 *)
		(codebook->half_norms + (Size) sub * CODEBOOK_WORDS);
		Float4		products[PARTS];
		Float4		scores[PARTS];
		int			best;

		sub_products(codebook, sub, unit, products);
		for (int part = 0; part < PARTS; part++)
			scores[part] = products[part] - norm_weight * half_norms[part];
		best = largest_of_16(scores);
		codes[sub] = (uint8) best;
		product += ((const float *) products)[best];
	}
	return product;
}

/*
 * The nearest words have a positive product with the vector if they surround
 * the origin.  Words that were trained on a lopsided sample may not, and then
 * the words furthest in the vector's direction are a better choice.
 */
float
codebook_encode(const Codebook *codebook, const float *unit, uint8 *codes)
{
	float		product = encode_weighted(codebook, unit, 1.0f, codes);

	if (product <= 0)
		product = encode_weighted(codebook, unit, 0.0f, codes);
	return product;
}

void
codebook_decode(const Codebook *codebook, const uint8 *codes, float *decoded)
{
	int			subdim = codebook->subdim;

	for (int sub = 0; sub < codebook->nsub; sub++)
		memcpy(decoded + (Size) sub * subdim,
			   codebook->words +
			   ((Size) sub * CODEBOOK_WORDS + codes[sub]) * subdim,
			   sizeof(float) * subdim);
}

/* The least and the largest of 16 numbers. */
static inline void
range_of_16(const Float4 numbers[PARTS], float *least, float *largest)
{
	const float *number = (const float *) numbers;

	*least = *largest = number[0];
	for (int i = 1; i < CODEBOOK_WORDS; i++)
	{
		*least = Min(*least, number[i]);
		*largest = Max(*largest, number[i]);
	}
}

/*
 * The widest range that the products of a query have in a sub-space, and the
 * sum of the least ones.
 */
static float
widest_range(const Codebook *codebook, const float *query, float *sum_least)
{
	float		widest = 0;
	double		sum = 0;

	for (int sub = 0; sub < codebook->nsub; sub++)
	{
		Float4		products[PARTS];
		float		least,
					largest;

		sub_products(codebook, sub, query, products);
		range_of_16(products, &least, &largest);
		widest = Max(widest, largest - least);
		sum += least;
	}
	*sum_least = (float) sum;
	return widest;
}

/*
 * All sub-spaces share one step, so that sums of entries can be taken without
 * weights: 1/255 of the widest range.  An entry is off by half a step at most.
 * The products are computed twice, which is cheaper than to keep them.
 *
 * A query of length 0, or so long that its square overflows, gets a table of
 * zeros.
 */
void
codebook_lut(const Codebook *codebook, const float *query, uint8 *lut,
			 CodebookScale *scale)
{
	float		norm2 = kernels->dot_f32(query, query, codebook->padded_dim);
	float		widest = 0;
	float		steps;

	scale->delta = scale->bias = 0;
	if (norm2 <= FLT_MAX)
		widest = widest_range(codebook, query, &scale->bias);
	if (widest < FLT_MIN * 256)
	{
		memset(lut, 0, (Size) codebook->nsub * CODEBOOK_WORDS);
		return;
	}

	scale->delta = widest / 255;
	steps = 255 / widest;
	for (int sub = 0; sub < codebook->nsub; sub++)
	{
		Float4		products[PARTS];
		float		least,
					largest;

		sub_products(codebook, sub, query, products);
		range_of_16(products, &least, &largest);
		for (int i = 0; i < CODEBOOK_WORDS; i++)
			*lut++ = (uint8) ((((const float *) products)[i] - least) * steps +
							  0.5f);
	}
}
