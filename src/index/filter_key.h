/*
 * filter_key.h
 *		Filter columns: their values as 64-bit keys, and blocks of keys.
 *
 * The columns of an index that follow its vector are filter columns.  A value
 * of one becomes a key, and a condition on the column becomes ranges of keys
 * (filter_set.h), which an instruction compares many at a time.
 *
 *		ordered		booleans, numbers, dates and times: keys are ordered as
 *					the values are, and different for different values
 *		hashed		text, uuid, numeric, enums ...: keys tell whether values
 *					may be equal
 *		tags		arrays: a Bloom filter of the elements
 *
 * A row that satisfies a condition on hashed keys or tags is to be rechecked.
 */
#ifndef RECSYS_FILTER_KEY_H
#define RECSYS_FILTER_KEY_H

#include "access/itup.h"
#include "fmgr.h"
#include "utils/relcache.h"

#include "kernels/kernels.h"

#define FILTER_MAX_COLUMNS 16

/* Strategies of the operators on filter columns, as in sql/install. */
#define FILTER_LESS 1
#define FILTER_LESS_EQUAL 2
#define FILTER_EQUAL 3
#define FILTER_GREATER_EQUAL 4
#define FILTER_GREATER 5
#define FILTER_OVERLAP 6
#define FILTER_CONTAINS 7

typedef enum FilterKind
{
	FILTER_ORDERED,
	FILTER_HASHED,
	FILTER_TAGS
} FilterKind;

typedef struct FilterColumn
{
	FilterKind	kind;
	Oid			type;
	Oid			collation;
	Oid			element;		/* type of tags */
	int16		length;			/* of an element */
	bool		by_value;
	char		align;
	FmgrInfo	hash;			/* of values, or of elements */
} FilterColumn;

typedef struct FilterEncoder
{
	int			ncolumns;
	MemoryContext context;		/* of hash functions, reset by each row */
	FilterColumn columns[FILTER_MAX_COLUMNS];
} FilterEncoder;

/* The keys of a row. */
typedef struct FilterKeys
{
	uint32		nulls;			/* a bit a column */
	uint64		keys[FILTER_MAX_COLUMNS];	/* 0 where NULL */
} FilterKeys;

/* The number of filter columns.  Error where the columns are not as they must
 * be: a vector first, and only there. */
extern int	filter_columns(Relation index);

/* In the current memory context. */
extern FilterEncoder *filter_encoder_create(Relation index);

/* The key of one value; it may be of any type of the column's family. */
extern uint64 filter_key(FilterColumn *column, Oid type, Datum value);

/* The keys of a row, whose values are those of all columns of the index. */
extern void filter_encode(FilterEncoder *encoder, const Datum *values,
						  const bool *isnull, FilterKeys *keys);

/*
 * Keys of 32 rows lie column by column:
 *
 *		| keys of column 0, 32 x uint64 | column 1 ... | nulls, uint32 a column |
 */
#define FILTER_COLUMN_BYTES (sizeof(uint64) * FASTSCAN_LANES)

static inline Size
filter_block_size(int ncolumns)
{
	return MAXALIGN(ncolumns * (FILTER_COLUMN_BYTES + sizeof(uint32)));
}

static inline uint64 *
filter_block_keys(uint8 *block, int column)
{
	return (uint64 *) (block + column * FILTER_COLUMN_BYTES);
}

static inline uint32 *
filter_block_nulls(uint8 *block, int ncolumns, int column)
{
	return (uint32 *) (block + ncolumns * FILTER_COLUMN_BYTES) + column;
}

extern void filter_block_put(uint8 *block, int ncolumns, int lane,
							 const FilterKeys *keys);
extern void filter_block_get(uint8 *block, int ncolumns, int lane,
							 FilterKeys *keys);

#endif							/* RECSYS_FILTER_KEY_H */
