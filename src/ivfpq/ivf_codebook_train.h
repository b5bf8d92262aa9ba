/*
 * ivf_codebook_train.h
 *		Rounds of Lloyd's k-means on all sub-spaces of a codebook at once, for
 *		src/ivfpq/ivf_codebook*.c alone.
 */
#ifndef RECSYS_IVF_CODEBOOK_TRAIN_H
#define RECSYS_IVF_CODEBOOK_TRAIN_H

#include "ivfpq/ivf_codebook.h"

/* What the vectors of a round add up to in each cell, a word's part of them. */
typedef struct CodebookCells
{
	double	   *sums;			/* nsub x 16 x subdim */
	double	   *squares;		/* nsub x 16: of the lengths of sub-vectors */
	float	   *members;		/* nsub x 16 x subdim: the last that came */
	int		   *counts;			/* nsub x 16 */
} CodebookCells;

/* In the current memory context; empty. */
extern CodebookCells *codebook_cells_create(const Codebook *codebook);
extern void codebook_cells_free(CodebookCells *cells);

/* Encodes n vectors into codes, n x nsub, and adds them to their cells. */
extern void codebook_cells_add(CodebookCells *cells, const Codebook *codebook,
							   const float *units, int n, uint8 *codes);

/*
 * Ends a round: the words become the means of their cells, which it empties.
 */
extern void codebook_cells_apply(CodebookCells *cells, Codebook *codebook);

/* Row i of an even choice of m <= n rows. */
static inline int
codebook_sample_row(int i, int m, int n)
{
	return (int) ((int64) i * n / m);
}

#endif							/* RECSYS_IVF_CODEBOOK_TRAIN_H */
