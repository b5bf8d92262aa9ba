/*
 * ivf_codebook.h
 *		Product quantisation of directions: 4 bits for each sub-vector.
 *
 * A vector of padded_dim elements and of length 1 is cut into nsub parts of
 * subdim elements, and each part is replaced by the nearest of 16 codewords
 * (Jegou, Douze, Schmid 2011).  What is coded is a direction; its length is
 * kept beside the code, see ivf_coder.h.
 */
#ifndef RECSYS_IVF_CODEBOOK_H
#define RECSYS_IVF_CODEBOOK_H

#define CODEBOOK_WORDS 16

/* Sub-vectors that a code can have: a block of a list page must hold them. */
#define CODEBOOK_MAX_SUB 480

/* Dimensions of a sub-vector: more are not worth 4 bits. */
#define CODEBOOK_MAX_SUBDIM 64

typedef struct Codebook
{
	int			padded_dim;		/* nsub * subdim */
	int			nsub;
	int			subdim;
	float	   *words;			/* nsub x 16 x subdim, float16 values */

	/* what codebook_words_changed derives from the words */
	float	   *columns;		/* nsub x subdim x 16 */
	float	   *half_norms;		/* nsub x 16: |word|^2 / 2 */
} Codebook;

/* The three lie one after another: words, columns, half_norms. */
static inline Size
codebook_floats(int padded_dim, int nsub)
{
	return CODEBOOK_WORDS * (2 * (Size) padded_dim + nsub);
}

/* How a query's table of look-ups becomes an inner product. */
typedef struct CodebookScale
{
	float		delta;			/* <q, decoded> ~ delta * sum + bias */
	float		bias;
} CodebookScale;

extern int	codebook_default_nsub(int padded_dim);
extern bool codebook_nsub_fits(int padded_dim, int nsub);

/*
 * In the current memory context, one chunk.  All words are zero: it is for the
 * caller to train it, or to fill in words that were stored and call
 * codebook_words_changed.
 */
extern Codebook *codebook_create(int padded_dim, int nsub);

/* Rounds the words to float16; encode and lut go by the words of this call. */
extern void codebook_words_changed(Codebook *codebook);

/*
 * Codewords that need no data: those of Gaussian sub-vectors, which is what a
 * random rotation makes of any direction.  The last bits may differ between
 * machines, so an index has to store them.
 */
extern void codebook_set_gaussian(Codebook *codebook);

/*
 * Codewords from a sample of n vectors of length 1 (zero vectors may occur, n
 * may be 0).  Of more than CODEBOOK_SAMPLE vectors it takes that many.
 */
#define CODEBOOK_SAMPLE 65536

extern void codebook_train(Codebook *codebook, const float *units, int n);

/*
 * Learn a rotation, padded_dim x padded_dim, row-major, y = rotation x, under
 * which the sample loses less (Ge, He, Ke, Sun 2013), and the codewords of the
 * rotated sample.  Of more than ROTATION_SAMPLE vectors it takes that many.
 * The time grows with the third power of padded_dim: 1 s at 128, 21 s at 768,
 * 39 s at 1,024, on one core.  Takes memory for four matrices of that size.
 */
#define ROTATION_SAMPLE 32768

extern void codebook_train_rotation(Codebook *codebook, const float *units,
									int n, float *rotation);

/*
 * codes[nsub] becomes the code of a vector of length 1.  Returns <unit,
 * decoded>, which is positive unless the vector is zero or like nothing that
 * the codebook was made for.
 */
extern float codebook_encode(const Codebook *codebook, const float *unit,
							 uint8 *codes);
extern void codebook_decode(const Codebook *codebook, const uint8 *codes,
							float *decoded);

/* Fill lut[nsub][16] for a query, in the order of kernels.h. */
extern void codebook_lut(const Codebook *codebook, const float *query,
						 uint8 *lut, CodebookScale *scale);

#endif							/* RECSYS_IVF_CODEBOOK_H */
