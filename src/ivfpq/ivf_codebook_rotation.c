/*
 * ivf_codebook_rotation.c
 *		A rotation under which the codes lose less, learned from a sample.
 *
 * Optimised product quantisation without assumptions on the data (Ge, He, Ke,
 * Sun 2013): the words are fitted to the rotated sample, then the rotation to
 * the words, in turn.  The best rotation for given codes is that of orthogonal
 * Procrustes, the polar factor of the sum of the outer products of decoded and
 * original vectors.
 *
 * It starts from no rotation, since the vectors come rotated at random, and
 * from Gaussian words.  (Where directions of large variance lie along the axes,
 * no rotation is a bad start.)
 */
#include "postgres.h"

#include "ivfpq/ivf_codebook_train.h"
#include "linalg/blas.h"
#include "linalg/polar.h"
#include "miscadmin.h"

#include <math.h>

/* Rounds of words and rotation, and of words alone at the end. */
#define TURNING_ROUNDS 12
#define FINAL_ROUNDS 4

/*
 * How much of the former rotation the sum is given, in proportion to its root
 * mean square singular value.  Where the sample does not reach, as in padding,
 * the sum is singular, and the rotation stays as it was; elsewhere this slows
 * it down, if it is large: with 0.1, 0.02 and 0.002 the mean cosine after twelve
 * rounds was 0.8252, 0.8257 and 0.8259.
 */
#define ANCHOR 0.005

/* Floats that a batch of vectors takes. */
#define BATCH_FLOATS 262144

typedef struct RotationTraining
{
	Codebook   *codebook;
	CodebookCells *cells;
	const float *units;
	int			nunits;
	int			n;				/* how many of them are used */
	float	   *rotation;		/* padded_dim x padded_dim */
	float	   *sum;			/* the same: of outer products */
	uint8	   *codes;			/* n x nsub */
	int			batch;			/* vectors at a time */
	float	   *originals;		/* batch x padded_dim */
	float	   *images;			/* the same: rotated, or decoded */
} RotationTraining;

static void
training_init(RotationTraining *training, Codebook *codebook,
			  const float *units, int n)
{
	Size		dim = codebook->padded_dim;
	Size		batch = Max(BATCH_FLOATS / dim, 64);

	training->codebook = codebook;
	training->cells = codebook_cells_create(codebook);
	training->units = units;
	training->nunits = n;
	training->n = Min(n, ROTATION_SAMPLE);
	training->rotation = palloc0(sizeof(float) * dim * dim);
	for (Size i = 0; i < dim; i++)
		training->rotation[i * dim + i] = 1.0f;
	training->sum = palloc(sizeof(float) * dim * dim);
	training->codes = palloc((Size) Max(training->n, 1) * codebook->nsub);
	training->batch = (int) batch;
	training->originals = palloc(sizeof(float) * batch * dim);
	training->images = palloc(sizeof(float) * batch * dim);
}

static void
training_free(RotationTraining *training)
{
	codebook_cells_free(training->cells);
	pfree(training->rotation);
	pfree(training->sum);
	pfree(training->codes);
	pfree(training->originals);
	pfree(training->images);
}

/* Copies the batch that begins at vector start; returns its size. */
static int
training_read(RotationTraining *training, int start)
{
	Size		dim = training->codebook->padded_dim;
	int			n = Min(training->batch, training->n - start);

	CHECK_FOR_INTERRUPTS();
	for (int i = 0; i < n; i++)
	{
		int			row = codebook_sample_row(start + i, training->n,
											  training->nunits);

		memcpy(training->originals + i * dim, training->units + row * dim,
			   sizeof(float) * dim);
	}
	return n;
}

/* Codes the rotated sample, and fits the words to it. */
static void
training_fit_words(RotationTraining *training)
{
	int			dim = training->codebook->padded_dim;
	BlasShape	shape = {0, dim, dim};
	int			n;

	for (int start = 0; start < training->n; start += n)
	{
		shape.rows = n = training_read(training, start);
		blas_gemm(training->rotation, training->originals, NULL,
				  training->images, shape);
		codebook_cells_add(training->cells, training->codebook,
						   training->images, n, training->codes +
						   (Size) start * training->codebook->nsub);
	}
	codebook_cells_apply(training->cells, training->codebook);
}

/* sum = the outer products of the sample, decoded, with itself. */
static void
training_add_up(RotationTraining *training)
{
	const Codebook *codebook = training->codebook;
	Size		dim = codebook->padded_dim;
	BlasShape	shape = {0, (int) dim, (int) dim};
	int			n;

	memset(training->sum, 0, sizeof(float) * dim * dim);
	for (int start = 0; start < training->n; start += n)
	{
		shape.rows = n = training_read(training, start);
		for (int i = 0; i < n; i++)
			codebook_decode(codebook, training->codes +
							(Size) (start + i) * codebook->nsub,
							training->images + i * dim);
		blas_add_outer(training->images, training->originals, training->sum,
					   shape);
	}
}

/* Fits the rotation to the codes; false if they do not determine any. */
static bool
training_fit_rotation(RotationTraining *training)
{
	int			dim = training->codebook->padded_dim;
	Size		n = (Size) dim * dim;
	double		square = 0;
	float		anchor;

	training_add_up(training);
	for (Size i = 0; i < n; i++)
		square += (double) training->sum[i] * training->sum[i];
	anchor = (float) (ANCHOR * sqrt(square / dim));
	for (Size i = 0; i < n; i++)
		training->sum[i] += anchor * training->rotation[i];

	if (!polar_factor(training->sum, dim))
		return false;
	memcpy(training->rotation, training->sum, sizeof(float) * n);
	return true;
}

void
codebook_train_rotation(Codebook *codebook, const float *units, int n,
						float *rotation)
{
	RotationTraining training;
	Size		dim = codebook->padded_dim;

	training_init(&training, codebook, units, n);
	codebook_set_gaussian(codebook);
	for (int round = 0; round < TURNING_ROUNDS; round++)
	{
		training_fit_words(&training);
		if (!training_fit_rotation(&training))
			break;
	}
	for (int round = 0; round < FINAL_ROUNDS; round++)
		training_fit_words(&training);
	memcpy(rotation, training.rotation, sizeof(float) * dim * dim);
	training_free(&training);
}
