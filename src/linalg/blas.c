/*
 * blas.c
 *		The only user of a BLAS library: loads OpenBLAS when it is first
 *		needed, and keeps it on one thread.
 *
 * Why not link to it: loading OpenBLAS takes milliseconds, which every
 * connection and every parallel worker would pay, also those that only compare
 * vectors; and its threaded build starts threads while it is being loaded,
 * before any code of ours could forbid it.  A backend must never have threads:
 * the server's memory, errors and signals know of one only.  So the variable
 * that OpenBLAS reads while it is loaded is set around the load.
 */
#include "postgres.h"

#include <cblas.h>
#include <dlfcn.h>
#include <sys/mman.h>

#include "kernels/kernels.h"
#include "linalg/blas.h"
#include "miscadmin.h"

#ifndef BLAS_LIBRARY
#ifdef __APPLE__
#define BLAS_LIBRARY "libopenblas.dylib"
#else
#define BLAS_LIBRARY "libopenblas.so.0"
#endif
#endif

#define BLAS_THREADS_VARIABLE "OPENBLAS_NUM_THREADS"

/* Multiplications of one call, some 30 ms, which cannot be interrupted. */
#define PIECE_PRODUCTS (1024 * 1024 * 1024)

/* More than the work space that OpenBLAS takes, 128 MB on most machines. */
#define WORK_BYTES ((Size) 160 * 1024 * 1024)

/* More than the library itself takes, 30 to 40 MB. */
#define LIBRARY_BYTES ((Size) 64 * 1024 * 1024)

#define MEMORY_HINT "Raise the limit on the server's address space, or on the memory that the system commits."

/* A product that is large enough to need it, a tenth of a millisecond. */
#define FIRST_PRODUCT 128

/* Its type comes from the header, so that the compiler checks the calls. */
static __typeof__(&cblas_sgemm) sgemm = NULL;

/* dlopen with a single thread asked for; the environment is left as it was. */
static void *
blas_dlopen(void)
{
	const char *old = getenv(BLAS_THREADS_VARIABLE);
	char	   *saved = old == NULL ? NULL : pstrdup(old);
	void	   *library;

	setenv(BLAS_THREADS_VARIABLE, "1", 1);
	library = dlopen(BLAS_LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (saved == NULL)
		unsetenv(BLAS_THREADS_VARIABLE);
	else
	{
		setenv(BLAS_THREADS_VARIABLE, saved, 1);
		pfree(saved);
	}
	return library;
}

/* Whether so many bytes of address space could be had now. */
static bool
space_is_left(Size bytes)
{
	void	   *space = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
							 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (space == MAP_FAILED)
		return false;
	munmap(space, bytes);
	return true;
}

/* The library is not there, or there is no room for it; why is dlopen's word. */
static void
blas_missing(const char *why)
{
	bool		room = space_is_left(LIBRARY_BYTES);

	ereport(ERROR,
			(errcode(room ? ERRCODE_UNDEFINED_FILE : ERRCODE_OUT_OF_MEMORY),
			 errmsg("could not load library \"%s\": %s", BLAS_LIBRARY, why),
			 room ? errhint("Install OpenBLAS, on Debian the package "
							"libopenblas0-serial.") :
			 errhint(MEMORY_HINT)));
}

/*
 * Lets the library take its work space, which it keeps.  Where it gets none it
 * tries again for ever, and nothing can cancel that: so the space is asked for
 * beforehand.
 */
static void
blas_take_work_space(__typeof__(sgemm) product)
{
	float	   *x;

	if (!space_is_left(WORK_BYTES))
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory: OpenBLAS needs %d MB of address space",
						(int) (WORK_BYTES / (1024 * 1024))),
				 errhint(MEMORY_HINT)));
	x = palloc0(sizeof(float) * FIRST_PRODUCT * FIRST_PRODUCT * 2);
	product(CblasRowMajor, CblasNoTrans, CblasTrans, FIRST_PRODUCT,
			FIRST_PRODUCT, FIRST_PRODUCT, 1.0f, x, FIRST_PRODUCT,
			x, FIRST_PRODUCT, 0.0f, x + FIRST_PRODUCT * FIRST_PRODUCT,
			FIRST_PRODUCT);
	pfree(x);
}

/* Loads the library unless this backend has it; an error may be retried. */
static void
blas_load(void)
{
	void	   *library;
	void		(*set_num_threads) (int);

	__typeof__(sgemm) product;

	if (sgemm != NULL)
		return;
	library = blas_dlopen();
	if (library == NULL)
		blas_missing(dlerror());

	/* Another module may have loaded the library before, with its threads. */
	set_num_threads = (void (*) (int)) dlsym(library,
											 "openblas_set_num_threads");
	if (set_num_threads != NULL)
		set_num_threads(1);

	product = (__typeof__(sgemm)) dlsym(library, "cblas_sgemm");
	if (product == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("library \"%s\" has no cblas_sgemm", BLAS_LIBRARY),
				 errhint("Install an OpenBLAS that was built with CBLAS.")));
	blas_take_work_space(product);
	sgemm = product;
}

/* By our own kernel: a backend that needs no more does not load the library. */
void
blas_gemv(const float *w, const float *x, const float *bias,
		  float *y, int outputs, int inputs)
{
	for (int i = 0; i < outputs; i++)
	{
		y[i] = kernels->dot_f32(w + (size_t) i * inputs, x, inputs);
		if (bias != NULL)
			y[i] += bias[i];
	}
}

/* Rows of a result that are worth one piece, each of so many products. */
static int
piece_of(Size products)
{
	return (int) Max(PIECE_PRODUCTS / products, 1);
}

void
blas_gemm(const float *w, const float *x, const float *bias,
		  float *y, BlasShape shape)
{
	Size		outputs = shape.outputs;
	Size		inputs = shape.inputs;
	int			step = piece_of(outputs * inputs);

	blas_load();
	if (bias != NULL)
	{
		for (int row = 0; row < shape.rows; row++)
			memcpy(y + row * outputs, bias, sizeof(float) * outputs);
	}
	for (int row = 0; row < shape.rows; row += step)
	{
		CHECK_FOR_INTERRUPTS();
		sgemm(CblasRowMajor, CblasNoTrans, CblasTrans,
			  Min(step, shape.rows - row), shape.outputs, shape.inputs,
			  1.0f, x + row * inputs, shape.inputs, w, shape.inputs,
			  bias == NULL ? 0.0f : 1.0f, y + row * outputs, shape.outputs);
	}
}

void
blas_add_outer(const float *u, const float *v, float *y, BlasShape shape)
{
	Size		inputs = shape.inputs;
	int			step = piece_of((Size) shape.rows * inputs);

	blas_load();
	for (int output = 0; output < shape.outputs; output += step)
	{
		CHECK_FOR_INTERRUPTS();
		sgemm(CblasRowMajor, CblasTrans, CblasNoTrans,
			  Min(step, shape.outputs - output), shape.inputs, shape.rows,
			  1.0f, u + output, shape.outputs, v, shape.inputs,
			  1.0f, y + output * inputs, shape.inputs);
	}
}
