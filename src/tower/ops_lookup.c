/*
 * ops_lookup.c
 *		Ops that turn a value into an index, and an index into a vector.
 *
 * The four lookups share one way through: each element of the input, be it a
 * scalar or a list, is found by the op's own function; NULL elements take the
 * padding index and unknown ones the out-of-vocabulary index.
 */
#include "postgres.h"

#include <math.h>

#include "common/hashfn.h"
#include "common/int.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "storage/shmem.h"

#include "tower/ops.h"

#define NOT_FOUND (-1)

typedef struct Lookup
{
	/* The index of element i, or NOT_FOUND. */
	int64		(*find) (const struct Lookup *lookup, const Value *value,
						 int i);
	int64		oov;			/* -1: an unknown value is an error */
	int64		padding;		/* -1: none */
	WireKind	kind;			/* of the input */
} Lookup;

/* An open hash of the values; slots hold positions + 1, 0 where empty. */
typedef struct Vocabulary
{
	Lookup		lookup;
	int64		first;
	int			n;
	int64	   *ints;
	TextRef    *texts;
	uint32	   *slots;
	uint32		mask;
} Vocabulary;

typedef struct Identity
{
	Lookup		lookup;
	int64		offset;
	int64		size;
} Identity;

typedef struct Hash
{
	Lookup		lookup;
	uint64		(*hash) (const char *data, int length, uint32 seed);
	uint32		seed;
	int64		buckets;
	int64		first;
} Hash;

typedef struct Buckets
{
	Lookup		lookup;
	bool		right;			/* a boundary belongs to the bucket above it */
	int			n;
	double	   *boundaries;
} Buckets;

/* An element as text, for an error. */
static char *
element_text(WireKind kind, const Value *value, int i)
{
	if (kind == WIRE_TEXT)
		return psprintf("\"%.*s\"", value->texts[i].length,
						value->texts[i].data);
	if (kind == WIRE_INT)
		return psprintf(INT64_FORMAT, value->ints[i]);
	return psprintf("%g", value->floats[i]);
}

static int64
lookup_element(const TowerNode *node, const Lookup *lookup, const Value *value,
			   int i)
{
	int64		index;

	if (value->nulls && value->nulls[i])
		return lookup->padding;
	index = lookup->find(lookup, value, i);
	if (index != NOT_FOUND)
		return index;
	if (lookup->oov < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("node \"%s\" (%s): value %s is not in the vocabulary",
						node->name, node->op->name,
						element_text(lookup->kind, value, i)),
				 errhint("A model with an oov_index takes unknown values.")));
	return lookup->oov;
}

static void
lookup_run(const TowerNode *node, Batch *batch)
{
	const Lookup *lookup = node->params;

	for (int row = 0; row < batch->rows; row++)
	{
		const Value *in = batch_value(batch, node->inputs[0], row);
		Value	   *out = batch_value(batch, node->output, row);
		double		number;
		Value		whole;

		batch->at = row;
		/* a bucketised integer */
		if (lookup->kind == WIRE_FLOAT &&
			batch->tower->wires[node->inputs[0]].kind == WIRE_INT)
		{
			number = (double) in->ints[0];
			whole = *in;
			whole.floats = &number;
			in = &whole;
		}
		out->n = in->n;
		out->ints = in->n == 1 ? &out->one.integer :
			palloc(sizeof(int64) * in->n);
		for (int i = 0; i < in->n; i++)
			out->ints[i] = lookup_element(node, lookup, in, i);
	}
}

/*
 * What all lookups do last: the indexes for unknown and NULL values, and the
 * output.  size is the bound of the indexes that find gives.
 */
static void
lookup_build(NodeBuild *build, Lookup *lookup, int64 size)
{
	const Wire *in = build_input(build, 0);
	bool		list = in->list;
	Wire	   *out;

	if (in->nulls && lookup->padding < 0)
		node_fault(build->node, "input \"%s\" may have null elements, but padding_index is null",
				   in->name);
	size = Max(size, Max(lookup->oov, lookup->padding) + 1);
	if (size > TOWER_MAX_INDEX)
		node_fault(build->node, "indexes go up to " INT64_FORMAT ", the limit is %d",
				   size - 1, TOWER_MAX_INDEX);
	if (lookup->kind != WIRE_FLOAT)
		lookup->kind = in->kind;
	build->node->params = lookup;
	out = build_output(build, WIRE_INDEX);
	out->list = list;
	out->size = size;
}

static void
lookup_read_padding(NodeBuild *build, Lookup *lookup)
{
	lookup->padding = build_int_or_null(build, "padding_index", 0,
										TOWER_MAX_INDEX - 1);
}

static void
lookup_read_oov(NodeBuild *build, Lookup *lookup)
{
	lookup->oov = build_int_or_null(build, "oov_index", 0,
									TOWER_MAX_INDEX - 1);
	lookup_read_padding(build, lookup);
}

/* The input must be of one of two kinds. */
static const Wire *
lookup_input(NodeBuild *build, WireKind a, WireKind b, const char *what)
{
	const Wire *in = build_input(build, 0);

	if (in->kind != a && in->kind != b)
		node_fault(build->node, "input \"%s\" is not %s", in->name, what);
	return in;
}

/* vocabulary */

static inline uint32
vocabulary_hash(const Vocabulary *vocabulary, const Value *value, int i)
{
	if (vocabulary->ints)
		return hash_bytes((const unsigned char *) &value->ints[i],
						  sizeof(int64));
	return hash_bytes((const unsigned char *) value->texts[i].data,
					  value->texts[i].length);
}

static inline bool
vocabulary_equal(const Vocabulary *vocabulary, int k, const Value *value,
				 int i)
{
	if (vocabulary->ints)
		return vocabulary->ints[k] == value->ints[i];
	return vocabulary->texts[k].length == value->texts[i].length &&
		memcmp(vocabulary->texts[k].data, value->texts[i].data,
			   value->texts[i].length) == 0;
}

/* The slot of an element: the one that holds it, or the empty one for it. */
static uint32
vocabulary_slot(const Vocabulary *vocabulary, const Value *value, int i)
{
	uint32		slot = vocabulary_hash(vocabulary, value, i);

	for (;; slot++)
	{
		uint32		k = vocabulary->slots[slot & vocabulary->mask];

		if (k == 0 || vocabulary_equal(vocabulary, k - 1, value, i))
			return slot & vocabulary->mask;
	}
}

static int64
vocabulary_find(const Lookup *lookup, const Value *value, int i)
{
	const Vocabulary *vocabulary = (const Vocabulary *) lookup;
	uint32		k = vocabulary->slots[vocabulary_slot(vocabulary, value, i)];

	return k == 0 ? NOT_FOUND : vocabulary->first + k - 1;
}

/* Read the values from the field or the tensor "values". */
static void
vocabulary_read(NodeBuild *build, Vocabulary *vocabulary, bool texts)
{
	const JsonTree *list = build_field(build, "values");

	if (list == NULL)
	{
		Tensor	   *tensor = build_tensor(build, "values", 1);

		if (texts || !tensor->type->integer || tensor->count > PG_INT32_MAX / 4)
			node_fault(build->node, "tensor \"%s\" of dtype %s cannot be the vocabulary of %s input",
					   tensor->name, tensor->type->name,
					   texts ? "a text" : "an integer");
		vocabulary->n = tensor->count;
		vocabulary->ints = tensor_ints(build->file, tensor);
		return;
	}
	if (list->kind != JSONTREE_ARRAY)
		node_fault(build->node, "\"values\" is a JSON %s",
				   jsontree_kind_name(list));
	vocabulary->n = list->n;
	if (texts)
		vocabulary->texts = palloc(mul_size(sizeof(TextRef), list->n + 1));
	else
		vocabulary->ints = palloc(mul_size(sizeof(int64), list->n + 1));
	for (int k = 0; k < list->n; k++)
	{
		JsonTree   *item = list->items[k];

		if (texts ? item->kind != JSONTREE_STRING :
			!jsontree_int64(item, &vocabulary->ints[k]))
			node_fault(build->node, "value %d of the vocabulary is not %s", k,
					   texts ? "a string" : "an integer");
		if (texts)
		{
			vocabulary->texts[k].data = memcpy(palloc(item->length + 1),
											   item->text, item->length);
			vocabulary->texts[k].length = item->length;
		}
	}
}

static void
vocabulary_build(NodeBuild *build)
{
	Vocabulary *vocabulary = palloc0(sizeof(Vocabulary));
	const Wire *in = lookup_input(build, WIRE_INT, WIRE_TEXT,
								  "an integer or a text");
	Value		all = {0};

	vocabulary->lookup.find = vocabulary_find;
	vocabulary->first = build_int(build, "first_index", 0, TOWER_MAX_INDEX);
	vocabulary_read(build, vocabulary, in->kind == WIRE_TEXT);
	vocabulary->mask = pg_nextpower2_32(2 * (uint32) vocabulary->n + 1) - 1;
	vocabulary->slots = palloc_extended(mul_size(sizeof(uint32),
												 (Size) vocabulary->mask + 1),
										MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	all.ints = vocabulary->ints;
	all.texts = vocabulary->texts;
	for (int k = 0; k < vocabulary->n; k++)
	{
		uint32		slot = vocabulary_slot(vocabulary, &all, k);

		CHECK_FOR_INTERRUPTS();
		if (vocabulary->slots[slot] != 0)
			node_fault(build->node, "value %s is twice in the vocabulary",
					   element_text(in->kind, &all, k));
		vocabulary->slots[slot] = k + 1;
	}
	lookup_read_oov(build, &vocabulary->lookup);
	lookup_build(build, &vocabulary->lookup,
				 vocabulary->first + vocabulary->n);
}

/* identity */

static int64
identity_find(const Lookup *lookup, const Value *value, int i)
{
	const Identity *identity = (const Identity *) lookup;
	int64		v;

	if (pg_add_s64_overflow(value->ints[i], identity->offset, &v))
		return NOT_FOUND;
	return v >= 0 && v < identity->size ? v : NOT_FOUND;
}

static void
identity_build(NodeBuild *build)
{
	Identity   *identity = palloc0(sizeof(Identity));

	lookup_input(build, WIRE_INT, WIRE_INT, "an integer");
	identity->lookup.find = identity_find;
	identity->size = build_int(build, "size", 1, TOWER_MAX_INDEX);
	identity->offset = build_int(build, "offset", -TOWER_MAX_INDEX,
								 TOWER_MAX_INDEX);
	lookup_read_oov(build, &identity->lookup);
	lookup_build(build, &identity->lookup, identity->size);
}

/* hash */

/* Fowler, Noll and Vo's hash 1a; it has no seed. */
static uint64
fnv1a_64(const char *data, int length, uint32 seed)
{
	uint64		h = UINT64CONST(0xcbf29ce484222325);

	for (int i = 0; i < length; i++)
		h = (h ^ (unsigned char) data[i]) * UINT64CONST(0x100000001b3);
	return h;
}

static inline uint32
murmur3_mix(uint32 k)
{
	return pg_rotate_left32(k * 0xcc9e2d51U, 15) * 0x1b873593U;
}

/* Appleby's MurmurHash3, the x86 variant of 32 bits. */
static uint64
murmur3_32(const char *data, int length, uint32 seed)
{
	const unsigned char *bytes = (const unsigned char *) data;
	uint32		h = seed;
	uint32		k = 0;

	for (int i = 0; i < length; i++)
	{
		k |= (uint32) bytes[i] << (i % 4 * 8);
		if (i % 4 == 3)
		{
			h = pg_rotate_left32(h ^ murmur3_mix(k), 13) * 5 + 0xe6546b64U;
			k = 0;
		}
	}
	if (length % 4 != 0)
		h ^= murmur3_mix(k);
	return murmurhash32(h ^ (uint32) length);
}

static int64
hash_find(const Lookup *lookup, const Value *value, int i)
{
	const Hash *hash = (const Hash *) lookup;
	char		digits[32];
	const char *data = digits;
	int			length;
	uint64		h;

	if (lookup->kind == WIRE_INT)
		length = snprintf(digits, sizeof(digits), INT64_FORMAT,
						  value->ints[i]);
	else
	{
		data = value->texts[i].data;
		length = value->texts[i].length;
		if (GetDatabaseEncoding() != PG_UTF8)
		{
			char	   *utf8 = pg_server_to_any(data, length, PG_UTF8);

			length = utf8 == data ? length : (int) strlen(utf8);
			data = utf8;
		}
	}
	h = hash->hash(data, length, hash->seed);
	return hash->first + (int64) (h % (uint64) hash->buckets);
}

static void
hash_build(NodeBuild *build)
{
	static const char *const functions[] = {"fnv1a_64", "murmur3_32", NULL};
	Hash	   *hash = palloc0(sizeof(Hash));
	bool		murmur;

	lookup_input(build, WIRE_INT, WIRE_TEXT, "an integer or a text");
	hash->lookup.find = hash_find;
	hash->lookup.oov = -1;
	murmur = build_choice(build, "function", functions) == 1;
	hash->hash = murmur ? murmur3_32 : fnv1a_64;
	if (murmur)
		hash->seed = build_int(build, "seed", 0, PG_UINT32_MAX);
	else if (build_field(build, "seed") != NULL)
		node_fault(build->node, "function \"fnv1a_64\" has no seed");
	hash->buckets = build_int(build, "buckets", 1, TOWER_MAX_INDEX);
	hash->first = build_int(build, "first_index", 0, TOWER_MAX_INDEX);
	lookup_read_padding(build, &hash->lookup);
	lookup_build(build, &hash->lookup, hash->first + hash->buckets);
}

/* bucketise */

static int64
buckets_find(const Lookup *lookup, const Value *value, int i)
{
	const Buckets *buckets = (const Buckets *) lookup;
	double		x = value->floats[i];
	int			low = 0;
	int			high = buckets->n;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;
		double		boundary = buckets->boundaries[middle];

		if (buckets->right ? boundary <= x : boundary < x)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void
buckets_build(NodeBuild *build)
{
	static const char *const sides[] = {"left", "right", NULL};
	Buckets    *buckets = palloc0(sizeof(Buckets));
	const JsonTree *list = build_field(build, "boundaries");
	const Wire *in = lookup_input(build, WIRE_INT, WIRE_FLOAT, "a number");

	if (in->list)
		node_fault(build->node, "input \"%s\" is a list", in->name);
	if (list->kind != JSONTREE_ARRAY || list->n == 0)
		node_fault(build->node, "\"boundaries\" is not an array of numbers");
	buckets->lookup.find = buckets_find;
	buckets->lookup.kind = WIRE_FLOAT;
	buckets->lookup.oov = buckets->lookup.padding = -1;
	buckets->right = build_choice(build, "side", sides) == 1;
	buckets->n = list->n;
	buckets->boundaries = palloc(mul_size(sizeof(double), list->n));
	for (int i = 0; i < list->n; i++)
	{
		if (!jsontree_float8(list->items[i], &buckets->boundaries[i]) ||
			(i > 0 && buckets->boundaries[i] <= buckets->boundaries[i - 1]))
			node_fault(build->node, "\"boundaries\" are not increasing numbers at position %d",
					   i);
	}
	lookup_build(build, &buckets->lookup, (int64) buckets->n + 1);
}

/* Tables of vectors. */

typedef struct Table
{
	TensorRows *rows;
	int			width;
	int64		padding;		/* of a bag: left out; -1: none */
	int			max_length;		/* of a bag; -1: none */
	bool		keep_last;
	int			mode;			/* BAG_* */
} Table;

enum
{
	BAG_SUM, BAG_MEAN, BAG_SQRTN
};

/* Read the table, which must have a row for every index of the input. */
static Table *
table_read(NodeBuild *build, bool list)
{
	Table	   *table = palloc0(sizeof(Table));
	const Wire *in = build_input(build, 0);
	Tensor	   *tensor = build_tensor(build, "table", 2);

	if (in->kind != WIRE_INDEX || in->list != list)
		node_fault(build->node, "input \"%s\" is not %s", in->name,
				   list ? "a list of indexes" : "an index");
	if (tensor->dims[0] < in->size)
		node_fault(build->node, "tensor \"%s\" has " INT64_FORMAT " rows, but the indexes of \"%s\" go up to " INT64_FORMAT,
				   tensor->name, tensor->dims[0], in->name, in->size - 1);
	build_output_vector(build, tensor->dims[1]);
	table->width = tensor->dims[1];
	table->rows = tensor_rows(build->file, tensor);
	build->node->params = table;
	return table;
}

static void
embedding_build(NodeBuild *build)
{
	table_read(build, false);
}

static void
embedding_run(const TowerNode *node, Batch *batch)
{
	const Table *table = node->params;

	for (int row = 0; row < batch->rows; row++)
	{
		int64		index = batch_value(batch, node->inputs[0], row)->ints[0];

		memcpy(batch_vector(batch, node->output, row),
			   tensor_row(table->rows, index),
			   sizeof(float) * table->width);
	}
}

static void
bag_build(NodeBuild *build)
{
	static const char *const modes[] = {"sum", "mean", "sqrtn", NULL};
	static const char *const keeps[] = {"first", "last", NULL};
	Table	   *table = table_read(build, true);

	if (build->node->ninputs == 2)
	{
		const Wire *weights = build_input(build, 1);

		if (weights->kind != WIRE_FLOAT || !weights->list)
			node_fault(build->node, "input \"%s\" is not a list of floats",
					   weights->name);
	}
	table->mode = build_choice(build, "mode", modes);
	table->padding = build_int_or_null(build, "padding_index", 0,
									   TOWER_MAX_INDEX);
	table->max_length = build_int_or_null(build, "max_length", 1,
										  PG_INT32_MAX);
	if (table->max_length >= 0)
		table->keep_last = build_choice(build, "keep", keeps) == 1;
}

/* Rows of a bag that are on their way while one is added. */
#define PREFETCH_ROWS 8

/* y += w x, of n elements */
static inline void
add_scaled(float *restrict y, const float *restrict x, float w, int n)
{
	for (int d = 0; d < n; d++)
		y[d] += w * x[d];
}

/* One bag: y = the reduction of the rows of indexes; weights may be NULL. */
static void
bag_reduce(const Table *table, const Value *indexes, const Value *weights,
		   float *y)
{
	int			n = indexes->n;
	int			first = 0;
	double		sum = 0;
	double		square = 0;
	double		divisor;

	if (table->max_length >= 0 && n > table->max_length)
	{
		first = table->keep_last ? n - table->max_length : 0;
		n = table->max_length;
	}
	memset(y, 0, sizeof(float) * table->width);
	for (int i = first; i < first + n; i++)
	{
		float		w = weights ? (float) weights->floats[i] : 1.0f;
		const float *x;

		if (i + PREFETCH_ROWS < first + n)
			tensor_row_prefetch(table->rows, indexes->ints[i + PREFETCH_ROWS]);
		if (indexes->ints[i] == table->padding)
			continue;
		x = tensor_row(table->rows, indexes->ints[i]);
		add_scaled(y, x, w, table->width);
		sum += weights ? weights->floats[i] : 1.0;
		square += weights ? weights->floats[i] * weights->floats[i] : 1.0;
		if (i % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
	}
	divisor = table->mode == BAG_SUM ? 1.0 :
		table->mode == BAG_MEAN ? sum : sqrt(square);
	for (int d = 0; d < table->width; d++)
		y[d] = divisor == 0.0 ? 0.0f : (float) (y[d] / divisor);
}

static void
bag_run(const TowerNode *node, Batch *batch)
{
	for (int row = 0; row < batch->rows; row++)
	{
		const Value *indexes = batch_value(batch, node->inputs[0], row);
		const Value *weights = node->ninputs == 1 ? NULL :
		batch_value(batch, node->inputs[1], row);

		batch->at = row;
		if (node->ninputs > 1 && weights->n != indexes->n)
			node_fault(node, "there are %d indexes and %d weights",
					   indexes->n, weights->n);
		bag_reduce(node->params, indexes, weights,
				   batch_vector(batch, node->output, row));
	}
}

static void
one_hot_build(NodeBuild *build)
{
	const Wire *in = build_input(build, 0);
	int64		size = build_int(build, "size", 1, TOWER_MAX_WIDTH);

	if (in->kind != WIRE_INDEX || in->list)
		node_fault(build->node, "input \"%s\" is not an index", in->name);
	if (size < in->size)
		node_fault(build->node, "size is " INT64_FORMAT ", but the indexes of \"%s\" go up to " INT64_FORMAT,
				   size, in->name, in->size - 1);
	build_output_vector(build, size);
}

static void
one_hot_run(const TowerNode *node, Batch *batch)
{
	int			width = batch->tower->wires[node->output].width;

	for (int row = 0; row < batch->rows; row++)
	{
		float	   *y = batch_vector(batch, node->output, row);

		memset(y, 0, sizeof(float) * width);
		y[batch_value(batch, node->inputs[0], row)->ints[0]] = 1.0f;
	}
}

const OpDef lookup_ops[] = {
	{"vocabulary", 1, 1,
		{{"first_index", OP_FIELD}, {"oov_index", OP_FIELD},
		{"padding_index", OP_FIELD}, {"values", OP_EITHER}},
	vocabulary_build, lookup_run},
	{"identity", 1, 1,
		{{"size", OP_FIELD}, {"offset", OP_FIELD}, {"oov_index", OP_FIELD},
		{"padding_index", OP_FIELD}},
	identity_build, lookup_run},
	{"hash", 1, 1,
		{{"function", OP_FIELD}, {"seed", OP_FIELD_MAYBE},
		{"buckets", OP_FIELD}, {"first_index", OP_FIELD},
		{"padding_index", OP_FIELD}},
	hash_build, lookup_run},
	{"bucketise", 1, 1,
		{{"boundaries", OP_FIELD}, {"side", OP_FIELD}},
	buckets_build, lookup_run},
	{"embedding", 1, 1, {{"table", OP_TENSOR}},
	embedding_build, embedding_run},
	{"embedding_bag", 1, 2,
		{{"mode", OP_FIELD}, {"padding_index", OP_FIELD},
		{"max_length", OP_FIELD}, {"keep", OP_FIELD_MAYBE},
		{"table", OP_TENSOR}},
	bag_build, bag_run},
	{"one_hot", 1, 1, {{"size", OP_FIELD}}, one_hot_build, one_hot_run},
	{NULL, 0, 0, {{NULL, 0}}, NULL, NULL}
};
