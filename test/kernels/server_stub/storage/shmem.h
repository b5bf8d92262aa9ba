/* Stands in for the server's header: products of sizes. */
#ifndef RECSYS_STUB_SHMEM_H
#define RECSYS_STUB_SHMEM_H

static inline Size
mul_size(Size a, Size b)
{
	Size		product;

	if (__builtin_mul_overflow(a, b, &product))
		abort();
	return product;
}

#endif							/* RECSYS_STUB_SHMEM_H */
