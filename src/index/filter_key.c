/*
 * filter_key.c
 *		Filter columns: their values as 64-bit keys, and blocks of keys.
 *
 * Keys are part of what an index on disk means.  Those that are hashed are the
 * server's extended hashes, which hash indexes and hash partitions rely on too.
 */
#include "postgres.h"

#include <math.h>

#include "access/genam.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "base/compat.h"
#include "index/filter_key.h"
#include "index/metric.h"

/* Bits of a signature that an element sets. */
#define TAG_BITS 3

#define SIGN_BIT (UINT64CONST(1) << 63)

int
filter_columns(Relation index)
{
	int			ncolumns = IndexRelationGetNumberOfKeyAttributes(index);

	for (int i = 0; i < ncolumns; i++)
	{
		if (OidIsValid(index_getprocid(index, i + 1, METRIC_PROC)) == (i == 0))
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("index \"%s\" must have one vector, as its first column",
						RelationGetRelationName(index)),
				 errhint("Other columns follow it, and serve as filters.")));
	}
	if (ncolumns - 1 > FILTER_MAX_COLUMNS)
		ereport(ERROR,
				(errcode(ERRCODE_TOO_MANY_COLUMNS),
				 errmsg("index \"%s\" cannot have %d filter columns, the limit is %d",
						RelationGetRelationName(index), ncolumns - 1,
						FILTER_MAX_COLUMNS)));
	return ncolumns - 1;
}

/* ----- ordered keys ----- */

static uint64
signed_key(int64 value)
{
	return (uint64) value ^ SIGN_BIT;
}

/* In the server's order: -0 equals 0, and all NaNs are equal and the last. */
static uint64
float_key(float8 value)
{
	uint64		bits;

	if (isnan(value))
		return PG_UINT64_MAX;
	value += 0.0;				/* of -0 makes 0 */
	memcpy(&bits, &value, sizeof(bits));
	return bits & SIGN_BIT ? ~bits : bits | SIGN_BIT;
}

static uint64
ordered_key(Oid type, Datum value)
{
	switch (type)
	{
		case BOOLOID:
			return DatumGetBool(value);
		case CHAROID:
			return (uint8) DatumGetChar(value);
		case OIDOID:
			return DatumGetObjectId(value);
		case INT2OID:
			return signed_key(DatumGetInt16(value));
		case INT4OID:
			return signed_key(DatumGetInt32(value));
		case INT8OID:
			return signed_key(DatumGetInt64(value));
		case FLOAT4OID:
			return float_key(DatumGetFloat4(value));
		case FLOAT8OID:
			return float_key(DatumGetFloat8(value));
		case DATEOID:
			return signed_key(DatumGetDateADT(value));
		case TIMESTAMPOID:
			return signed_key(DatumGetTimestamp(value));
		case TIMESTAMPTZOID:
			return signed_key(DatumGetTimestampTz(value));
		default:
			elog(ERROR, "type %u has no ordered filter keys", type);
	}
	return 0;
}

/* ----- hashed keys and tags ----- */

static uint64
hashed_key(FilterColumn *column, Datum value)
{
	return DatumGetUInt64(FunctionCall2Coll(&column->hash, column->collation,
											value, UInt64GetDatum(0)));
}

/* The bits of all elements that are not NULL. */
static uint64
tags_key(FilterColumn *column, Datum value)
{
	ArrayType  *array = DatumGetArrayTypeP(value);
	uint64		signature = 0;
	Datum	   *elements;
	bool	   *isnull;
	int			n;

	deconstruct_array(array, column->element, column->length,
					  column->by_value, column->align, &elements, &isnull, &n);
	for (int i = 0; i < n; i++)
	{
		uint64		hash;

		if (isnull[i])
			continue;
		hash = hashed_key(column, elements[i]);
		for (int bit = 0; bit < TAG_BITS; bit++, hash >>= 6)
			signature |= UINT64CONST(1) << (hash & 63);
	}
	pfree(elements);
	pfree(isnull);
	if ((Pointer) array != DatumGetPointer(value))
		pfree(array);
	return signature;
}

/* ----- rows ----- */

static void
column_init(FilterColumn *column, Relation index, int attribute)
{
	Oid			type = index->rd_opcintype[attribute];
	Oid			hashed;
	TypeCacheEntry *cache;

	/* the class takes any type of a kind: the column's own counts */
	if (type == ANYENUMOID || type == ANYARRAYOID)
		type = getBaseType(TupleDescAttr(RelationGetDescr(index),
										 attribute)->atttypid);
	column->type = type;
	column->collation = index->rd_indcollation[attribute];
	column->element = get_element_type(type);
	/* a class with a < has ordered keys */
	if (OidIsValid(get_opfamily_member(index->rd_opfamily[attribute], type, type,
									   FILTER_LESS)))
	{
		column->kind = FILTER_ORDERED;
		return;
	}
	column->kind = OidIsValid(column->element) ? FILTER_TAGS : FILTER_HASHED;
	if (column->kind == FILTER_TAGS)
		get_typlenbyvalalign(column->element, &column->length,
							 &column->by_value, &column->align);
	hashed = column->kind == FILTER_TAGS ? column->element : type;
	cache = lookup_type_cache(hashed, TYPECACHE_HASH_EXTENDED_PROC_FINFO);
	if (!OidIsValid(cache->hash_extended_proc_finfo.fn_oid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("could not identify an extended hash function for type %s",
						format_type_be(hashed))));
	fmgr_info_copy(&column->hash, &cache->hash_extended_proc_finfo,
				   CurrentMemoryContext);
}

FilterEncoder *
filter_encoder_create(Relation index)
{
	FilterEncoder *encoder = palloc0(sizeof(FilterEncoder));

	encoder->ncolumns = filter_columns(index);
	for (int i = 0; i < encoder->ncolumns; i++)
		column_init(&encoder->columns[i], index, i + 1);
	return encoder;
}

uint64
filter_key(FilterColumn *column, Oid type, Datum value)
{
	switch (column->kind)
	{
		case FILTER_ORDERED:
			return ordered_key(type, value);
		case FILTER_HASHED:
			return hashed_key(column, value);
		case FILTER_TAGS:
			return tags_key(column, value);
	}
	return 0;
}

/*
 * A statement inserts any number of rows in one memory context, and that of a
 * numeric leaves behind what it has unpacked: so hash functions have their own.
 */
static MemoryContext
row_context(FilterEncoder *encoder)
{
	if (encoder->context == NULL)
		encoder->context =
			AllocSetContextCreate(GetMemoryChunkContext(encoder),
								  "recsys filter keys", ALLOCSET_SMALL_SIZES);
	return encoder->context;
}

void
filter_encode(FilterEncoder *encoder, const Datum *values, const bool *isnull,
			  FilterKeys *keys)
{
	MemoryContext old;

	keys->nulls = 0;
	if (encoder->ncolumns == 0)
		return;
	old = MemoryContextSwitchTo(row_context(encoder));
	for (int i = 0; i < encoder->ncolumns; i++)
	{
		FilterColumn *column = &encoder->columns[i];

		keys->keys[i] = 0;
		if (isnull[i + 1])
			keys->nulls |= 1u << i;
		else
			keys->keys[i] = filter_key(column, column->type, values[i + 1]);
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(encoder->context);
}

/* ----- blocks ----- */

void
filter_block_put(uint8 *block, int ncolumns, int lane, const FilterKeys *keys)
{
	for (int i = 0; i < ncolumns; i++)
	{
		uint32	   *nulls = filter_block_nulls(block, ncolumns, i);
		uint32		bit = 1u << lane;

		filter_block_keys(block, i)[lane] = keys->keys[i];
		*nulls = (*nulls & ~bit) | (keys->nulls >> i & 1 ? bit : 0);
	}
}

void
filter_block_get(uint8 *block, int ncolumns, int lane, FilterKeys *keys)
{
	keys->nulls = 0;
	for (int i = 0; i < ncolumns; i++)
	{
		keys->keys[i] = filter_block_keys(block, i)[lane];
		keys->nulls |= (*filter_block_nulls(block, ncolumns, i) >> lane & 1) << i;
	}
}
