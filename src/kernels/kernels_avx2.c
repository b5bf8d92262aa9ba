/*
 * kernels_avx2.c
 *		AVX2 kernels.
 */
#include "kernels/kernels.h"

const Kernels *
kernels_avx2(void)
{
	return NULL;
}
