/*
 * kernels_avx512.c
 *		AVX-512 kernels.
 */
#include "kernels/kernels.h"

const Kernels *
kernels_avx512(void)
{
	return NULL;
}
