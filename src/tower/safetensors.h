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
 * the file.
 */
typedef struct ByteSource
{
	uint64		size;
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
	uint64		start;			/* in the file's data */
	uint64		end;
	bool		used;			/* by a node of a tower */
} Tensor;

typedef struct TensorFile
{
	ByteSource *source;
	uint64		data;			/* where the data begin in the file */
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

#endif							/* RECSYS_SAFETENSORS_H */
