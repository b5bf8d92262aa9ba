/*
 * safetensors.c
 *		Open a safetensors file, trusting nothing in it.
 *
 *		| header length, u64 | header, JSON | data of the tensors |
 *
 * All numbers are little endian.  The data must be covered by the tensors
 * without hole or overlap.  Whatever safetensors_open accepts can be read
 * without looking at a bound again.
 */
#include "postgres.h"

#include <math.h>

#include "common/int.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/shmem.h"
#include "utils/memutils.h"

#include "kernels/kernels.h"
#include "tower/safetensors.h"

/* The format's own limit of a header. */
#define MAX_HEADER (100 * 1000 * 1000)

/* Bytes that are read and converted between two looks for interrupts. */
#define CHUNK_BYTES 65536

/*
 * Bytes of the rows that are read together when one of them is asked for.  The
 * first call with a history of 50 items, of 78,000 in a table of 20 MB, took
 * 4.2 ms of CPU with pieces of 4 kB, 4.8 with 8, 5.8 with 16 and 6.2 with 32,
 * and 29.5 where the table was read whole; the next ten 0.6 ms each with any.
 */
#define PIECE_BYTES 8192

#define bad_file(...) \
	ereport(ERROR, (errcode(ERRCODE_INVALID_BINARY_REPRESENTATION), \
					errmsg(__VA_ARGS__)))

static void
memory_read(ByteSource *source, uint64 offset, void *bytes, Size length)
{
	memcpy(bytes, ((MemorySource *) source)->bytes + offset, length);
}

void
memory_source_init(MemorySource *source, const char *bytes, Size size)
{
	source->base.size = size;
	source->base.lasts = false;
	source->base.read = memory_read;
	source->bytes = bytes;
}

static uint64
little_endian(const unsigned char *bytes, int width)
{
	uint64		value = 0;

	for (int i = width - 1; i >= 0; i--)
		value = value << 8 | bytes[i];
	return value;
}

static float
float_from_bits(uint32 bits)
{
	float		value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

/* IEEE half precision: 1 sign, 5 exponent and 10 fraction bits. */
static float
float_from_half(uint16 half)
{
	uint32		sign = (uint32) (half & 0x8000) << 16;
	int			exponent = half >> 10 & 31;
	uint32		fraction = half & 0x3ff;

	if (exponent == 31)
		return float_from_bits(sign | 0x7f800000 | fraction << 13);
	if (exponent == 0)
		return (sign ? -1.0f : 1.0f) * ldexpf((float) fraction, -24);
	return float_from_bits(sign | (uint32) (exponent + 112) << 23 |
						   fraction << 13);
}

/*
 * n elements of a type as float4.  A loop for each type: a large model is all
 * of one type, and a backend reads it whole before its first answer.
 */
static void
floats_from_f32(const unsigned char *bytes, int64 n, float *floats)
{
#ifdef WORDS_BIGENDIAN
	for (int64 i = 0; i < n; i++)
		floats[i] = float_from_bits((uint32) little_endian(bytes + 4 * i, 4));
#else
	memcpy(floats, bytes, n * sizeof(float));
#endif
}

static void
floats_from_f16(const unsigned char *bytes, int64 n, float *floats)
{
	for (int64 i = 0; i < n; i++, bytes += 2)
		floats[i] = float_from_half(bytes[0] | bytes[1] << 8);
}

static void
floats_from_bf16(const unsigned char *bytes, int64 n, float *floats)
{
	for (int64 i = 0; i < n; i++, bytes += 2)
		floats[i] = float_from_bits(bytes[0] << 16 | (uint32) bytes[1] << 24);
}

static void
floats_from_f64(const unsigned char *bytes, int64 n, float *floats)
{
	for (int64 i = 0; i < n; i++, bytes += 8)
	{
		uint64		bits = little_endian(bytes, 8);
		double		value;

		memcpy(&value, &bits, sizeof(value));
		floats[i] = (float) value;
	}
}

static const TensorType tensor_types[] = {
	{"F32", 4, floats_from_f32, false},
	{"F16", 2, floats_from_f16, false},
	{"BF16", 2, floats_from_bf16, false},
	{"F64", 8, floats_from_f64, false},
	{"I64", 8, NULL, true},
	{"I32", 4, NULL, true},
};

/* A field of a tensor's entry; other fields than the three are refused. */
static const JsonTree *
entry_field(const char *tensor, const JsonTree *entry, const char *key,
			JsonTreeKind kind)
{
	const JsonTree *field = jsontree_get(entry, key);

	if (field == NULL)
		bad_file("tensor \"%s\" has no \"%s\"", tensor, key);
	if (field->kind != kind)
		bad_file("\"%s\" of tensor \"%s\" is a JSON %s", key, tensor,
				 jsontree_kind_name(field));
	return field;
}

static const TensorType *
entry_type(const char *tensor, const JsonTree *entry)
{
	const JsonTree *dtype = entry_field(tensor, entry, "dtype",
										JSONTREE_STRING);

	for (int i = 0; i < lengthof(tensor_types); i++)
	{
		if (strcmp(tensor_types[i].name, dtype->text) == 0)
			return &tensor_types[i];
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
			 errmsg("tensor \"%s\" has dtype \"%s\", which is not supported",
					tensor, dtype->text),
			 errhint("Supported are F32, F16, BF16, F64, I64 and I32.")));
}

static void
entry_shape(Tensor *tensor, const JsonTree *entry)
{
	const JsonTree *shape = entry_field(tensor->name, entry, "shape",
										JSONTREE_ARRAY);

	if (shape->n > TENSOR_MAX_DIMS)
		bad_file("tensor \"%s\" has %d dimensions, the limit is %d",
				 tensor->name, shape->n, TENSOR_MAX_DIMS);
	tensor->ndims = shape->n;
	tensor->count = 1;
	for (int i = 0; i < shape->n; i++)
	{
		int64		dim;

		if (!jsontree_int64(shape->items[i], &dim) || dim < 1)
			bad_file("dimension %d of tensor \"%s\" is not a positive integer",
					 i + 1, tensor->name);
		if (pg_mul_s64_overflow(tensor->count, dim, &tensor->count))
			bad_file("the shape of tensor \"%s\" is too large", tensor->name);
		tensor->dims[i] = dim;
	}
}

static void
entry_offsets(Tensor *tensor, const JsonTree *entry, uint64 data,
			  uint64 data_size)
{
	const JsonTree *offsets = entry_field(tensor->name, entry, "data_offsets",
										  JSONTREE_ARRAY);
	int64		start;
	int64		end;
	int64		need;

	if (offsets->n != 2 || !jsontree_int64(offsets->items[0], &start) ||
		!jsontree_int64(offsets->items[1], &end) || start < 0 || end < start)
		bad_file("\"data_offsets\" of tensor \"%s\" are not two increasing integers",
				 tensor->name);
	if ((uint64) end > data_size)
		bad_file("tensor \"%s\" ends at byte " INT64_FORMAT " of " UINT64_FORMAT " bytes of data",
				 tensor->name, end, data_size);
	if (pg_mul_s64_overflow(tensor->count, tensor->type->width, &need) ||
		end - start != need)
		bad_file("tensor \"%s\" of shape %s and dtype %s has " INT64_FORMAT " bytes",
				 tensor->name, tensor_shape(tensor), tensor->type->name,
				 end - start);
	tensor->start = data + start;
	tensor->end = data + end;
}

static void
entry_read(Tensor *tensor, const JsonField *field, uint64 data,
		   uint64 data_size)
{
	if (field->value->kind != JSONTREE_OBJECT)
		bad_file("the entry of tensor \"%s\" is a JSON %s", field->key,
				 jsontree_kind_name(field->value));
	if (field->value->n > 3)
		bad_file("the entry of tensor \"%s\" has other keys than \"dtype\", \"shape\" and \"data_offsets\"",
				 field->key);
	tensor->name = field->key;
	tensor->type = entry_type(field->key, field->value);
	entry_shape(tensor, field->value);
	entry_offsets(tensor, field->value, data, data_size);
}

static int
tensor_compare_start(const void *a, const void *b)
{
	const Tensor *ta = *(Tensor *const *) a;
	const Tensor *tb = *(Tensor *const *) b;

	return ta->start < tb->start ? -1 : ta->start > tb->start;
}

/*
 * The tensors must cover the data, which begin at data and have data_size
 * bytes, without hole or overlap.
 */
static void
check_cover(TensorFile *file, uint64 data, uint64 data_size)
{
	Tensor	  **order = palloc(sizeof(Tensor *) * Max(file->ntensors, 1));
	uint64		end = data;

	for (int i = 0; i < file->ntensors; i++)
		order[i] = &file->tensors[i];
	qsort(order, file->ntensors, sizeof(Tensor *), tensor_compare_start);
	for (int i = 0; i < file->ntensors; i++)
	{
		if (order[i]->start < end)
			bad_file("tensor \"%s\" overlaps tensor \"%s\"",
					 order[i]->name, order[i - 1]->name);
		if (order[i]->start > end)
			bad_file("there is a hole before tensor \"%s\"", order[i]->name);
		end = order[i]->end;
	}
	if (end - data != data_size)
		bad_file("the tensors cover " UINT64_FORMAT " of " UINT64_FORMAT " bytes of data",
				 end - data, data_size);
	pfree(order);
}

/* The header as a tree. */
static JsonTree *
read_header(ByteSource *source, uint64 *data)
{
	unsigned char prefix[8];
	uint64		length;
	char	   *text;
	JsonTree   *header;

	if (source->size < sizeof(prefix))
		bad_file("a safetensors file has at least 8 bytes, not " UINT64_FORMAT,
				 source->size);
	source->read(source, 0, prefix, sizeof(prefix));
	length = little_endian(prefix, 8);
	if (length > MAX_HEADER)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("the header has " UINT64_FORMAT " bytes, the limit is %d",
						length, MAX_HEADER),
				 errhint("Is this a safetensors file?")));
	if (length > source->size - sizeof(prefix))
		bad_file("the file is cut: the header has " UINT64_FORMAT " bytes, the file " UINT64_FORMAT,
				 length, source->size);
	text = palloc(length + 1);

	source->read(source, sizeof(prefix), text, length);
	header = jsontree_parse(text, length, "the header");
	if (header->kind != JSONTREE_OBJECT)
		bad_file("the header is a JSON %s", jsontree_kind_name(header));
	pfree(text);
	*data = sizeof(prefix) + length;
	return header;
}

static const char *
metadata_string(const JsonTree *metadata, const char *key)
{
	const JsonTree *value = jsontree_get(metadata, key);

	if (value != NULL && value->kind != JSONTREE_STRING)
		bad_file("\"%s\" of the metadata is a JSON %s", key,
				 jsontree_kind_name(value));
	return value ? value->text : NULL;
}

/*
 * Read and check the directory of a file.  Every tensor that is found later
 * lies within the source, has the size that its shape and dtype ask for, and
 * no empty dimension.  The result lives in the current memory context.
 */
TensorFile *
safetensors_open(ByteSource *source)
{
	TensorFile *file = palloc0(sizeof(TensorFile));
	uint64		data;
	JsonTree   *header;

	file->source = source;
	header = read_header(source, &data);
	file->tensors = palloc0(mul_size(sizeof(Tensor), Max(header->n, 1)));
	for (int i = 0; i < header->n; i++)
	{
		JsonField  *field = &header->fields[i];

		if (strcmp(field->key, "__metadata__") == 0)
		{
			file->spec = metadata_string(field->value, "recsys.spec");
			file->golden = metadata_string(field->value, "recsys.golden");
		}
		else
			entry_read(&file->tensors[file->ntensors++], field, data,
					   source->size - data);
	}
	check_cover(file, data, source->size - data);
	if (file->spec == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("the file's metadata have no \"recsys.spec\""),
				 errhint("Write the file with recsys_export.py.")));
	return file;
}

static int
tensor_compare_name(const void *key, const void *tensor)
{
	return strcmp(key, ((const Tensor *) tensor)->name);
}

/* The tensor of that name, or NULL. */
Tensor *
safetensors_find(TensorFile *file, const char *name)
{
	return bsearch(name, file->tensors, file->ntensors, sizeof(Tensor),
				   tensor_compare_name);
}

/* The shape as text, for errors: (3,4). */
const char *
tensor_shape(const Tensor *tensor)
{
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; i < tensor->ndims; i++)
		appendStringInfo(&out, "%s" INT64_FORMAT, i ? "," : "(",
						 tensor->dims[i]);
	appendStringInfoString(&out, tensor->ndims ? ")" : "()");
	return out.data;
}

/* Raise an error if one of n elements, from first on, is not finite. */
static void
check_finite(const Tensor *tensor, const float *floats, int64 first, int64 n)
{
	/* the usual case at the speed of a kernel; large values are no error */
	if (isfinite(kernels->dot_f32(floats, floats, n)))
		return;
	for (int64 i = 0; i < n; i++)
	{
		if (!isfinite(floats[i]))
			bad_file("element " INT64_FORMAT " of tensor \"%s\" is NaN, infinite or beyond float4",
					 first + i, tensor->name);
	}
}

/* Read and check n elements of a tensor from first on, as float4. */
static void
read_floats(ByteSource *source, const Tensor *tensor, int64 first, int64 n,
			float *floats)
{
	int			width = tensor->type->width;
	int64		step = CHUNK_BYTES / width;
	unsigned char *bytes = palloc(Min(n, step) * width);

	for (int64 end = first + n; first < end; first += n, floats += n)
	{
		n = Min(end - first, step);
		CHECK_FOR_INTERRUPTS();
		source->read(source, tensor->start + first * width, bytes, n * width);
		tensor->type->floats(bytes, n, floats);
		check_finite(tensor, floats, first, n);
	}
	pfree(bytes);
}

static float *
alloc_floats(const Tensor *tensor)
{
	if (tensor->type->integer)
		bad_file("tensor \"%s\" has dtype %s, where floats are needed",
				 tensor->name, tensor->type->name);
	return MemoryContextAllocHuge(CurrentMemoryContext,
								  mul_size(sizeof(float), tensor->count));
}

/*
 * The elements of a tensor as float4, in the current memory context.  Refuses
 * a dtype of integers, NaN, infinity, and what float4 cannot hold.
 */
float *
tensor_floats(TensorFile *file, const Tensor *tensor)
{
	float	   *floats = alloc_floats(tensor);

	read_floats(file->source, tensor, 0, tensor->count, floats);
	return floats;
}

/*
 * The same of a tensor of two dimensions, of which a source that lasts need
 * give no more than what is asked for: a table of embeddings is nearly all of
 * a model, and one row of features needs a few of its rows.  What is not asked
 * for takes address space, but no memory, where the server's allocator leaves
 * large pieces to the system.
 */
TensorRows *
tensor_rows(TensorFile *file, const Tensor *tensor)
{
	TensorRows *rows = palloc0(sizeof(TensorRows));
	int64		row_bytes = tensor->dims[1] * tensor->type->width;
	int64		pieces;

	rows->tensor = *tensor;
	rows->tensor.name = pstrdup(tensor->name);
	rows->source = file->source;
	rows->floats = alloc_floats(tensor);
	if (!file->source->lasts || tensor->end - tensor->start <= CHUNK_BYTES)
	{
		read_floats(file->source, tensor, 0, tensor->count, rows->floats);
		return rows;
	}
	while (row_bytes << (rows->shift + 1) <= PIECE_BYTES)
		rows->shift++;
	pieces = ((tensor->dims[0] - 1) >> rows->shift) + 1;
	rows->missing = MemoryContextAllocHuge(CurrentMemoryContext, pieces);
	memset(rows->missing, true, pieces);
	return rows;
}

/* Read a piece that is missing. */
void
tensor_rows_read(TensorRows *rows, int64 piece)
{
	int64		width = rows->tensor.dims[1];
	int64		first = piece << rows->shift;
	int64		n = Min(rows->tensor.dims[0] - first, INT64CONST(1) << rows->shift);

	read_floats(rows->source, &rows->tensor, first * width, n * width,
				rows->floats + first * width);
	rows->missing[piece] = false;
}

/* The elements of an integer tensor as int64, in the current memory context. */
int64 *
tensor_ints(TensorFile *file, const Tensor *tensor)
{
	int64	   *ints = MemoryContextAllocHuge(CurrentMemoryContext,
											  mul_size(sizeof(int64),
													   tensor->count));
	unsigned char *bytes = palloc(CHUNK_BYTES);
	int			width = tensor->type->width;
	int64		n;

	for (int64 first = 0; first < tensor->count; first += n)
	{
		n = Min(tensor->count - first, CHUNK_BYTES / width);
		CHECK_FOR_INTERRUPTS();
		file->source->read(file->source, tensor->start + first * width, bytes,
						   n * width);
		for (int64 i = 0; i < n; i++)
		{
			uint64		value = little_endian(bytes + i * width, width);

			ints[first + i] = width == 4 ? (int32) value : (int64) value;
		}
	}
	pfree(bytes);
	return ints;
}
