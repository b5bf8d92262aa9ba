/*
 * kernels_sum.h
 *		The two choices that make a kernel out of the one loop over floats that
 *		each instruction set has.  For the files of this room only.
 */
#ifndef RECSYS_KERNELS_SUM_H
#define RECSYS_KERNELS_SUM_H

/* What each pair of elements adds to the sum. */
typedef enum Term
{
	TERM_PRODUCT,
	TERM_SQUARED_DIFFERENCE,
	TERM_ABSOLUTE_DIFFERENCE
} Term;

/* What the elements of the second vector are; the first has floats. */
typedef enum Element
{
	ELEMENT_F32,
	ELEMENT_F16,
	ELEMENT_I8
} Element;

#endif							/* RECSYS_KERNELS_SUM_H */
