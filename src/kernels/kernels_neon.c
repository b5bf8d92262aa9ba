/*
 * kernels_neon.c
 *		NEON kernels.
 */
#include "kernels/kernels.h"

const Kernels *
kernels_neon(void)
{
	return NULL;
}
