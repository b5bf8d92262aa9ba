/*
 * kernels_avx2.h
 *		Kernels for AVX2 that the table for AVX-512 has too: they shuffle bytes
 *		within 16 of them, and longer registers would make it harder to fill
 *		them.  For the files of this room only.
 */
#ifndef RECSYS_KERNELS_AVX2_H
#define RECSYS_KERNELS_AVX2_H

#include "kernels/kernels.h"

extern void avx2_edge_sums(const uint8_t *edges, const uint8_t *lut,
						   size_t ngroups, uint32_t sums[FASTSCAN_LANES]);
extern void avx2_edge_factors(const uint8_t *edges, size_t ngroups,
							  uint16_t factors[EDGE_FACTORS][FASTSCAN_LANES]);

#endif							/* RECSYS_KERNELS_AVX2_H */
