/*
 * kernels.h
 *		The inner loops: distances and code scans, one table of functions an
 *		instruction set, chosen once when the library is loaded.
 *
 * Pure C: nothing here needs the server, so a plain program can test it.
 * kernels_scalar.c is the reference and is written to be read; every other
 * table must agree with it (test/kernels).  No array needs any alignment;
 * n may be 0 and need not be a multiple of anything, unless a kernel says so.
 *
 * The choice: the best table that the CPU supports, less the sets named in
 * the environment variable RECSYS_DISABLE_CPU (comma separated, for example
 * "avx512" or "avx512,avx2").
 */
#ifndef RECSYS_KERNELS_H
#define RECSYS_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* Codes that are scored together: the rows of a FastScan block, the edges of a node. */
#define FASTSCAN_LANES 32

/* Dimensions that one lookup covers, and entries of its table. */
#define FASTSCAN_GROUP_DIMS 4
#define FASTSCAN_GROUP_ENTRIES 16
/* Bytes of codes that one group of four dimensions takes for a whole block. */
#define FASTSCAN_GROUP_BYTES 16

/*
 * An edge as nodes keep it: the code of ngroups / 2 bytes, whose byte i has group
 * 2i in its low half and group 2i + 1 in its high half, and then t, f and a length
 * as float16.  Edges follow each other without gaps.
 */
#define EDGE_FACTORS 3
#define EDGE_BYTES(ngroups) ((ngroups) / 2 + EDGE_FACTORS * sizeof(uint16_t))

/* The number of groups of an edge's code: at least, and always a multiple of. */
#define EDGE_MIN_GROUPS 32
#define EDGE_GROUPS_MULTIPLE 16

/*
 * How the sums of codes become estimates of <q,y_i>:
 *
 *		t[i] * qp + f[i] * (sums[i] * delta + bias)
 *
 * qp is <q,p>, p being the node that holds the edges; delta and bias undo the
 * quantisation of the lookup table.  t and f are arrays of float16.
 */
typedef struct EdgeScale
{
	float		qp;
	float		delta;
	float		bias;
} EdgeScale;

/*
 * How scores s[i] become squared distances of vectors with one more coordinate
 * (vector/mips.h):
 *
 *		query_norm2 + n[i] - 2 s[i] + (query_z - z[i])^2,
 *		n[i] = lengths[i]^2 unit2, z[i] = sqrt(max(radius2 - n[i], 0))
 *
 * lengths is an array of float16.
 */
typedef struct EdgeDistance
{
	float		unit2;
	float		radius2;
	float		query_norm2;
	float		query_z;
} EdgeDistance;

/*
 * What is left of a vector sy * y when its part along another is taken out:
 *
 *		r[i] = sy * y[i] - tp * p[i]
 *
 * y and p are int8 digits.
 */
typedef struct EdgeInput
{
	const int8_t *y;
	const int8_t *p;
	float		sy;
	float		tp;
} EdgeInput;

/*
 * What edge_residual finds.  bits points to nbits / 8 bytes of the caller; bit
 * i % 8 of byte i / 8 is set where r[i] > 0.
 */
typedef struct EdgeOutput
{
	uint8_t    *bits;			/* of i < nbits */
	float		sum;			/* of |r[i]|, i < nbits */
	float		norm2;			/* of r[i]^2, i < n */
} EdgeOutput;

/*
 * A scan of FastScan blocks that looks for high scores: the same for all blocks
 * of a page.  A block is ngroups * 16 bytes of codes, then t[32], then f[32],
 * both float16; its scores are those of edge_scores.
 */
typedef struct CodeScan
{
	const uint8_t *lut;			/* ngroups x 16 */
	size_t		ngroups;
	EdgeScale	scale;
	float		threshold;
} CodeScan;

typedef struct Kernels
{
	const char *name;			/* "scalar", "avx2", "avx512", "neon" */

	/* float4 vectors of n elements */
	float		(*dot_f32) (const float *a, const float *b, size_t n);
	float		(*l2sq_f32) (const float *a, const float *b, size_t n);
	float		(*l1_f32) (const float *a, const float *b, size_t n);

	/* <q,c> of a float4 query and an int8 code; the caller applies the scale */
	float		(*dot_f32_i8) (const float *q, const int8_t *c, size_t n);

	/* <q,h> of a float4 query and a float16 vector */
	float		(*dot_f32_f16) (const float *q, const uint16_t *h, size_t n);

	/* <a,b> of two int8 codes in [-127,127]; exact for n <= 131072 */
	int32_t		(*dot_i8) (const int8_t *a, const int8_t *b, size_t n);

	/*
	 * IEEE float16 arrays, round to nearest even.  Finite overflow clamps to
	 * 65504; infinity stays infinity and a NaN stays a (quiet) NaN.
	 */
	void		(*f32_to_f16) (const float *src, uint16_t *dst, size_t n);
	void		(*f16_to_f32) (const uint16_t *src, float *dst, size_t n);

	/*
	 * The sums of FASTSCAN_LANES edges: sums[i] becomes the sum over the
	 * groups of lut[group][code of edge i], lut having 16 entries a group.
	 * Exact for any ngroups < 2^24.
	 */
	void		(*edge_sums) (const uint8_t *edges, const uint8_t *lut,
							  size_t ngroups, uint32_t sums[FASTSCAN_LANES]);

	/* What follows the codes of FASTSCAN_LANES edges, each kind together. */
	void		(*edge_factors) (const uint8_t *edges, size_t ngroups,
								 uint16_t factors[EDGE_FACTORS][FASTSCAN_LANES]);

	/* Estimates from sums: see EdgeScale. */
	void		(*edge_scores) (const uint32_t sums[FASTSCAN_LANES],
								const uint16_t t[FASTSCAN_LANES],
								const uint16_t f[FASTSCAN_LANES],
								const EdgeScale *scale,
								float scores[FASTSCAN_LANES]);

	/* Squared distances from scores: see EdgeDistance. */
	void		(*edge_distances) (const float scores[FASTSCAN_LANES],
								   const uint16_t lengths[FASTSCAN_LANES],
								   const EdgeDistance *distance,
								   float distances[FASTSCAN_LANES]);

	/* Bit i of the result is set where values[i] < limit: never for a NaN. */
	uint32_t	(*floats_below) (const float values[FASTSCAN_LANES], float limit);

	/*
	 * Scores of a FastScan block (Andre et al. 2017): for each of ngroups
	 * groups of four bits, it holds 16 bytes: byte j has the code of lane j
	 * in its low half, of lane j + 16 in its high half; see CodeScan for what
	 * follows. Returns a mask: bit i is set where scores[i] >= threshold,
	 * never where either is a NaN.  All scores are written if the mask is not
	 * zero; if it is, they may hold anything. ngroups <= 2^23 - 1.
	 */
	uint32_t	(*code_scan_block) (const uint8_t *block, const CodeScan *scan,
									float scores[FASTSCAN_LANES]);

	/*
	 * Keys within a range, bounds included: bit i of the result is set where
	 * low <= keys[i] <= high.
	 */
	uint32_t	(*keys_in_range) (const uint64_t keys[FASTSCAN_LANES],
								  uint64_t low, uint64_t high);

	/*
	 * Signs and sizes of a residual: see EdgeInput and EdgeOutput.  nbits and
	 * n are multiples of 64, nbits <= n.  tp * p[i] is rounded to float4, sy *
	 * y[i] is not rounded (a fused multiply-subtract takes it as it is); so
	 * the bits are the same in every table.
	 */
	void		(*edge_residual) (const EdgeInput *edge, size_t nbits, size_t n,
								  EdgeOutput *out);
} Kernels;

/* The table in use; the scalar one until kernels_init has run. */
extern const Kernels *kernels;

extern void kernels_init(void);

/* The tables of this build, best first, NULL where the CPU lacks the set. */
extern const Kernels *kernels_scalar(void);
extern const Kernels *kernels_avx2(void);
extern const Kernels *kernels_avx512(void);
extern const Kernels *kernels_neon(void);

/* What kernels_avx512 gives on a CPU without VNNI; by itself for the tests. */
extern const Kernels *kernels_avx512_without_vnni(void);

#endif							/* RECSYS_KERNELS_H */
