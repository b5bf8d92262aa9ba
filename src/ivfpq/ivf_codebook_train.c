/*
 * ivf_codebook_train.c
 *		The words of a codebook, from a sample or from none.
 *
 * Lloyd's k-means in all sub-spaces at once, on the codes that codebook_encode
 * gives.  It starts from the words of Gaussian sub-vectors, which is what a
 * random rotation makes of most data, so there are no seeds to choose, and the
 * outcome follows from the sample.  A word whose cell is empty moves to where
 * the loss is largest.  If nothing is lost, because there are no more distinct
 * sub-vectors than words, it stays where it started, and serves vectors that
 * the sample did not have.
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "ivfpq/ivf_codebook_train.h"
#include "kernels/kernels.h"
#include "miscadmin.h"

#include <math.h>

#define TRAIN_ROUNDS 15

#define GAUSSIAN_SEED UINT64CONST(0x7265637379733034)
#define GAUSSIAN_SAMPLE 16384
#define GAUSSIAN_ROUNDS 40

/* A loss below this part of the squares is taken for none. */
#define ROUNDING 1e-9

/* Vectors between two chances to interrupt. */
#define TRAIN_BATCH 1024

CodebookCells *
codebook_cells_create(const Codebook *codebook)
{
	Size		ncells = (Size) codebook->nsub * CODEBOOK_WORDS;
	CodebookCells *cells = palloc(sizeof(CodebookCells));

	cells->sums = palloc0(sizeof(double) * ncells * codebook->subdim);
	cells->squares = palloc0(sizeof(double) * ncells);
	cells->members = palloc(sizeof(float) * ncells * codebook->subdim);
	cells->counts = palloc0(sizeof(int) * ncells);
	return cells;
}

void
codebook_cells_free(CodebookCells *cells)
{
	pfree(cells->sums);
	pfree(cells->squares);
	pfree(cells->members);
	pfree(cells->counts);
	pfree(cells);
}

static void
cells_add_one(CodebookCells *cells, const Codebook *codebook,
			  const float *unit, const uint8 *codes)
{
	int			subdim = codebook->subdim;

	for (int sub = 0; sub < codebook->nsub; sub++, unit += subdim)
	{
		Size		cell = (Size) sub * CODEBOOK_WORDS + codes[sub];
		double	   *sums = cells->sums + cell * subdim;
		double		square = 0;

		for (int d = 0; d < subdim; d++)
		{
			sums[d] += unit[d];
			square += (double) unit[d] * unit[d];
		}
		memcpy(cells->members + cell * subdim, unit, sizeof(float) * subdim);
		cells->squares[cell] += square;
		cells->counts[cell]++;
	}
}

/* Vectors of length 0 have no direction to learn from. */
void
codebook_cells_add(CodebookCells *cells, const Codebook *codebook,
				   const float *units, int n, uint8 *codes)
{
	for (int i = 0; i < n; i++)
	{
		const float *unit = units + (Size) i * codebook->padded_dim;
		uint8	   *code = codes + (Size) i * codebook->nsub;

		if (i % TRAIN_BATCH == 0)
			CHECK_FOR_INTERRUPTS();
		codebook_encode(codebook, unit, code);
		if (kernels->dot_f32(unit, unit, codebook->padded_dim) > 0)
			cells_add_one(cells, codebook, unit, code);
	}
}

/*
 * The word becomes the mean of its cell, which is not empty.  Returns what the
 * cell's sub-vectors then lose, the sum of their squared distances to it.
 */
static double
word_to_mean(const CodebookCells *cells, Size cell, float *word, int subdim)
{
	const double *sums = cells->sums + cell * subdim;
	int			count = cells->counts[cell];
	double		loss = cells->squares[cell];

	for (int d = 0; d < subdim; d++)
	{
		word[d] = (float) (sums[d] / count);
		loss -= sums[d] * sums[d] / count;
	}
	return loss > cells->squares[cell] * ROUNDING ? loss : 0;
}

/* Where a loss is largest; -1 where there is none. */
static int
largest_loss(const double losses[CODEBOOK_WORDS])
{
	int			largest = 0;

	for (int i = 1; i < CODEBOOK_WORDS; i++)
	{
		if (losses[i] > losses[largest])
			largest = i;
	}
	return losses[largest] > 0 ? largest : -1;
}

/* The words of one sub-space; each cell takes in one word without a cell. */
static void
cells_apply_sub(const CodebookCells *cells, Codebook *codebook, int sub)
{
	int			subdim = codebook->subdim;
	Size		first = (Size) sub * CODEBOOK_WORDS;
	float	   *words = codebook->words + first * subdim;
	double		losses[CODEBOOK_WORDS] = {0};

	for (int i = 0; i < CODEBOOK_WORDS; i++)
		if (cells->counts[first + i] > 0)
			losses[i] = word_to_mean(cells, first + i, words + i * subdim,
									 subdim);
	for (int i = 0; i < CODEBOOK_WORDS; i++)
	{
		int			from = largest_loss(losses);

		if (cells->counts[first + i] > 0 || from < 0)
			continue;
		memcpy(words + i * subdim, cells->members + (first + from) * subdim,
			   sizeof(float) * subdim);
		losses[from] = 0;
	}
}

void
codebook_cells_apply(CodebookCells *cells, Codebook *codebook)
{
	Size		ncells = (Size) codebook->nsub * CODEBOOK_WORDS;

	for (int sub = 0; sub < codebook->nsub; sub++)
		cells_apply_sub(cells, codebook, sub);
	codebook_words_changed(codebook);

	memset(cells->sums, 0, sizeof(double) * ncells * codebook->subdim);
	memset(cells->squares, 0, sizeof(double) * ncells);
	memset(cells->counts, 0, sizeof(int) * ncells);
}

/* Two independent numbers of the normal distribution (Box and Muller). */
static void
normal_pair(pg_prng_state *prng, float pair[2])
{
	double		radius = sqrt(-2 * log(1 - pg_prng_double(prng)));
	double		angle = 2 * M_PI * pg_prng_double(prng);

	pair[0] = (float) (radius * cos(angle));
	pair[1] = (float) (radius * sin(angle));
}

/*
 * Words of one sub-space for sub-vectors whose elements have variance 1.  They
 * begin as one, zero, and split until there are 16.  With other seeds the mean
 * cosine of 4 bits for 4 dimensions came out between 0.809 and 0.811: not
 * worth several starts.
 */
static Codebook *
gaussian_words(int subdim)
{
	Codebook   *words = codebook_create(subdim, 1);
	CodebookCells *cells = codebook_cells_create(words);
	float	   *sample = palloc(sizeof(float) * GAUSSIAN_SAMPLE * subdim);
	uint8	   *codes = palloc(GAUSSIAN_SAMPLE);
	pg_prng_state prng;

	pg_prng_seed(&prng, GAUSSIAN_SEED);
	for (int i = 0; i < GAUSSIAN_SAMPLE * subdim; i += 2)
		normal_pair(&prng, sample + i);
	for (int round = 0; round < GAUSSIAN_ROUNDS; round++)
	{
		codebook_cells_add(cells, words, sample, GAUSSIAN_SAMPLE, codes);
		codebook_cells_apply(cells, words);
	}
	pfree(codes);
	pfree(sample);
	codebook_cells_free(cells);
	return words;
}

void
codebook_set_gaussian(Codebook *codebook)
{
	Codebook   *gaussian = gaussian_words(codebook->subdim);
	float		deviation = 1 / sqrtf((float) codebook->padded_dim);
	int			nfloats = CODEBOOK_WORDS * codebook->subdim;

	for (int sub = 0; sub < codebook->nsub; sub++)
	{
		for (int i = 0; i < nfloats; i++)
			codebook->words[(Size) sub * nfloats + i] =
				gaussian->words[i] * deviation;
	}
	codebook_words_changed(codebook);
	pfree(gaussian);
}

void
codebook_train(Codebook *codebook, const float *units, int n)
{
	CodebookCells *cells = codebook_cells_create(codebook);
	int			m = Min(n, CODEBOOK_SAMPLE);
	uint8	   *codes = palloc(codebook->nsub);

	codebook_set_gaussian(codebook);
	for (int round = 0; round < TRAIN_ROUNDS; round++)
	{
		for (int i = 0; i < m; i++)
			codebook_cells_add(cells, codebook, units +
							   (Size) codebook_sample_row(i, m, n) *
							   codebook->padded_dim, 1, codes);
		codebook_cells_apply(cells, codebook);
	}
	pfree(codes);
	codebook_cells_free(cells);
}
