/*
 * safetensors.h
 *		A tower file: its directory of tensors, its metadata, and its bytes.
 */
#ifndef RECSYS_SAFETENSORS_H
#define RECSYS_SAFETENSORS_H

#include "tower/jsontree.h"

#define TENSOR_MAX_DIMS 8

/*
 * Where the bytes of a file come from: memory at import, the rows of a table
 * later.  read copies the bytes [offset, offset + length), which lie within
 * the file.  A source that lasts as long as what is built from it may be read
 * when it is used (TensorRows).
 */
typedef struct ByteSource
{
	uint64		size;
	bool		lasts;
	void		(*read) (struct ByteSource *source, uint64 offset,
						 void *bytes, Size length);
} ByteSource;

typedef struct MemorySource
{
	ByteSource	base;
	const char *bytes;
} MemorySource;

typedef struct TensorType
{
	const char *name;			/* as in the file */
	int			width;			/* bytes an element */
	void		(*floats) (const unsigned char *bytes, int64 n, float *floats);
	bool		integer;		/* and then it has no floats */
} TensorType;

typedef struct Tensor
{
	const char *name;
	const TensorType *type;
	int			ndims;
	int64		dims[TENSOR_MAX_DIMS];
	int64		count;			/* elements */
	uint64		start;			/* in the file */
	uint64		end;
	bool		used;			/* by a node of a tower */
} Tensor;

/*
 * The rows of a tensor of two dimensions as float4.  Where the source lasts, a
 * piece of 1 << shift rows is read when one of them is first asked for.
 */
typedef struct TensorRows
{
	Tensor		tensor;
	ByteSource *source;
	float	   *floats;
	int			shift;
	bool	   *missing;		/* by piece: not read yet; NULL: all are */
} TensorRows;

typedef struct TensorFile
{
	ByteSource *source;
	int			ntensors;
	Tensor	   *tensors;		/* in the byte order of their names */
	const char *spec;			/* "recsys.spec" of the metadata */
	const char *golden;			/* "recsys.golden", or NULL */
} TensorFile;

extern void memory_source_init(MemorySource *source, const char *bytes,
							   Size size);
extern TensorFile *safetensors_open(ByteSource *source);
extern Tensor *safetensors_find(TensorFile *file, const char *name);
extern const char *tensor_shape(const Tensor *tensor);
extern float *tensor_floats(TensorFile *file, const Tensor *tensor);
extern int64 *tensor_ints(TensorFile *file, const Tensor *tensor);
extern TensorRows *tensor_rows(TensorFile *file, const Tensor *tensor);
extern void tensor_rows_read(TensorRows *rows, int64 piece);

/* Row i, 0 <= i < dims[0]; an error if it must be read and cannot. */
static inline const float *
tensor_row(TensorRows *rows, int64 i)
{
	if (rows->missing && rows->missing[i >> rows->shift])
		tensor_rows_read(rows, i >> rows->shift);
	return rows->floats + i * rows->tensor.dims[1];
}

/* Let the first kB of row i be on its way before it is wanted. */
static inline void
tensor_row_prefetch(const TensorRows *rows, int64 i)
{
	const char *row = (const char *) (rows->floats + i * rows->tensor.dims[1]);

	for (Size byte = 0; byte < Min(rows->tensor.dims[1] * sizeof(float), 1024); byte += 64)
		__builtin_prefetch(row + byte);
}

#endif							/* RECSYS_SAFETENSORS_H */
