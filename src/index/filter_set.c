/*
 * filter_set.c
 *		The conditions of a scan on its filter columns.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/array.h"
#include "utils/lsyscache.h"

#include "index/filter_set.h"

/*
 * So many ranges are compared with 32 keys at a time, each in some 10 ns; of
 * more, as of a long list of values, the one for a key is looked up.
 */
#define COMPARED_RANGES 12

/* Of so few lanes for each range, the keys are tested one by one. */
#define FEW_LANES 5

/* Keys that come to the processor's caches together. */
#define KEYS_FETCHED 8

/* ----- making ----- */

static void
condition_add(FilterCondition *condition, uint64 low, uint64 high)
{
	if (low <= high)
		condition->ranges[condition->n++] = (FilterRange)
	{
		low, high
	};
}

/* Add the keys that have an order to a value's. */
static void
condition_add_ordered(FilterCondition *condition, StrategyNumber strategy,
					  uint64 key)
{
	switch (strategy)
	{
		case FILTER_LESS:
			if (key > 0)
				condition_add(condition, 0, key - 1);
			break;
		case FILTER_LESS_EQUAL:
			condition_add(condition, 0, key);
			break;
		case FILTER_EQUAL:
			condition_add(condition, key, key);
			break;
		case FILTER_GREATER_EQUAL:
			condition_add(condition, key, PG_UINT64_MAX);
			break;
		case FILTER_GREATER:
			if (key < PG_UINT64_MAX)
				condition_add(condition, key + 1, PG_UINT64_MAX);
			break;
		default:
			elog(ERROR, "filter strategy %d is unknown", strategy);
	}
}

static int
compare_ranges(const void *a, const void *b)
{
	const FilterRange *x = a;
	const FilterRange *y = b;

	return (x->low > y->low) - (x->low < y->low);
}

/* Ranges that touch become one. */
static void
condition_sort(FilterCondition *condition)
{
	FilterRange *ranges = condition->ranges;
	int			n = 0;

	qsort(ranges, condition->n, sizeof(FilterRange), compare_ranges);
	for (int i = 0; i < condition->n; i++)
	{
		if (n > 0 && (ranges[n - 1].high == PG_UINT64_MAX ||
					  ranges[i].low <= ranges[n - 1].high + 1))
			ranges[n - 1].high = Max(ranges[n - 1].high, ranges[i].high);
		else
			ranges[n++] = ranges[i];
	}
	condition->n = n;
}

/* column operator value, or column operator ANY (values) */
static void
condition_set_values(FilterCondition *condition, FilterColumn *column,
					 const ScanKeyData *key)
{
	Oid			type = OidIsValid(key->sk_subtype) ? key->sk_subtype : column->type;
	Datum		one = key->sk_argument;
	Datum	   *values = &one;
	bool	   *isnull = NULL;
	int			n = 1;

	if (key->sk_flags & SK_SEARCHARRAY)
	{
		ArrayType  *array = DatumGetArrayTypeP(key->sk_argument);
		int16		length;
		bool		by_value;
		char		align;

		type = ARR_ELEMTYPE(array);
		get_typlenbyvalalign(type, &length, &by_value, &align);
		deconstruct_array(array, type, length, by_value, align, &values,
						  &isnull, &n);
	}
	condition->ranges = palloc(sizeof(FilterRange) * Max(n, 1));
	for (int i = 0; i < n; i++)
		if (isnull == NULL || !isnull[i])
			condition_add_ordered(condition, key->sk_strategy,
								  filter_key(column, type, values[i]));
	condition_sort(condition);
}

/* column && array: each element that is not NULL is enough; @>: all are needed */
static void
condition_set_tags(FilterCondition *condition, FilterColumn *column,
				   const ScanKeyData *key)
{
	ArrayType  *array = DatumGetArrayTypeP(key->sk_argument);
	Datum	   *elements;
	bool	   *isnull;
	int			n;

	condition->test = FILTER_HAS_TAGS;
	if (key->sk_strategy == FILTER_CONTAINS)
	{
		condition->ranges = palloc(sizeof(FilterRange));
		condition->ranges[0].low = filter_key(column, column->type,
											  key->sk_argument);
		/* nothing contains a NULL */
		condition->n = array_contains_nulls(array) ? 0 : 1;
		return;
	}
	deconstruct_array(array, column->element, column->length,
					  column->by_value, column->align, &elements, &isnull, &n);
	condition->ranges = palloc(sizeof(FilterRange) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		ArrayType  *single;

		if (isnull[i])
			continue;
		single = construct_array(&elements[i], 1, column->element,
								 column->length, column->by_value,
								 column->align);
		condition->ranges[condition->n++].low =
			filter_key(column, column->type, PointerGetDatum(single));
	}
}

/* The condition of a key of a filter column. */
static void
condition_init(FilterCondition *condition, FilterColumn *column,
			   const ScanKeyData *key)
{
	if (key->sk_flags & SK_SEARCHNULL)
		condition->test = FILTER_IS_NULL;
	else if (key->sk_flags & SK_SEARCHNOTNULL)
		condition->test = FILTER_IS_NOT_NULL;
	else if (key->sk_flags & SK_ISNULL)
		condition->n = 0;		/* a comparison with NULL is not true */
	else if (column->kind == FILTER_TAGS)
		condition_set_tags(condition, column, key);
	else
		condition_set_values(condition, column, key);
}

/* Leave of a condition on ranges what another one on the same column has too. */
static void
condition_intersect(FilterCondition *condition, const FilterCondition *other)
{
	FilterRange *ranges = palloc(sizeof(FilterRange) *
								 (condition->n + other->n + 1));
	int			n = 0;
	int			i = 0;
	int			j = 0;

	while (i < condition->n && j < other->n)
	{
		const FilterRange *a = &condition->ranges[i];
		const FilterRange *b = &other->ranges[j];

		ranges[n].low = Max(a->low, b->low);
		ranges[n].high = Min(a->high, b->high);
		n += ranges[n].low <= ranges[n].high;
		if (a->high < b->high)
			i++;
		else
			j++;
	}
	condition->ranges = ranges;
	condition->n = n;
}

/* The condition on the ranges of a column that a set has already, or NULL. */
static FilterCondition *
filter_set_find(FilterSet *set, int column)
{
	for (int i = 0; i < set->n; i++)
		if (set->conditions[i].column == column &&
			set->conditions[i].test == FILTER_IN_RANGES)
			return &set->conditions[i];
	return NULL;
}

/* Add a condition, or let one that the set has on these ranges be narrower. */
static void
filter_set_add(FilterSet *set, const FilterCondition *condition)
{
	FilterCondition *own = condition->test == FILTER_IN_RANGES ?
	filter_set_find(set, condition->column) : NULL;

	if (own != NULL)
		condition_intersect(own, condition);
	else
	{
		own = &set->conditions[set->n++];
		*own = *condition;
	}
	if (own->test == FILTER_IN_RANGES || own->test == FILTER_HAS_TAGS)
		set->never |= own->n == 0;
}

FilterSet *
filter_set_create(FilterEncoder *encoder, const ScanKeyData *keys, int nkeys)
{
	FilterSet  *set = palloc0(sizeof(FilterSet));

	set->ncolumns = encoder->ncolumns;
	set->conditions = palloc0(sizeof(FilterCondition) * Max(nkeys, 1));
	for (int i = 0; i < nkeys; i++)
	{
		FilterCondition condition = {.column = keys[i].sk_attno - 2};
		FilterColumn *column;

		if (keys[i].sk_attno == 1)
		{
			set->never |= (keys[i].sk_flags & SK_SEARCHNULL) != 0;
			continue;
		}
		column = &encoder->columns[condition.column];
		condition_init(&condition, column, &keys[i]);
		if (condition.test == FILTER_IN_RANGES ||
			condition.test == FILTER_HAS_TAGS)
			set->recheck |= column->kind != FILTER_ORDERED;
		filter_set_add(set, &condition);
	}
	return set;
}

/* ----- testing ----- */

static bool
ranges_have(const FilterCondition *condition, uint64 key)
{
	int			low = 0;
	int			high = condition->n;

	/* the last range that begins at the key or before is at low - 1 */
	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (condition->ranges[middle].low <= key)
			low = middle + 1;
		else
			high = middle;
	}
	return low > 0 && key <= condition->ranges[low - 1].high;
}

static bool
tags_have(const FilterCondition *condition, uint64 key)
{
	for (int i = 0; i < condition->n; i++)
		if ((key & condition->ranges[i].low) == condition->ranges[i].low)
			return true;
	return false;
}

/* Lanes of a mask whose keys pass the test, one by one. */
static uint32
test_lanes(const FilterCondition *condition, const uint64 *keys, uint32 mask)
{
	bool		(*test) (const FilterCondition *, uint64) =
	condition->test == FILTER_HAS_TAGS ? tags_have : ranges_have;
	uint32		passed = 0;

	while (mask != 0)
	{
		int			lane = pg_rightmost_one_pos32(mask);

		mask &= mask - 1;
		passed |= (uint32) test(condition, keys[lane]) << lane;
	}
	return passed;
}

static uint32
test_ranges(const FilterCondition *condition, const uint64 *keys)
{
	uint32		passed = 0;

	for (int i = 0; i < condition->n; i++)
		passed |= kernels->keys_in_range(keys, condition->ranges[i].low,
										 condition->ranges[i].high);
	return passed;
}

uint32
filter_set_block(const FilterSet *set, uint8 *block, uint32 mask)
{
	for (int i = 0; i < set->n && mask != 0; i++)
	{
		const FilterCondition *condition = &set->conditions[i];
		const uint64 *keys = filter_block_keys(block, condition->column);
		uint32		nulls = *filter_block_nulls(block, set->ncolumns,
												condition->column);

		if (condition->test == FILTER_IS_NULL)
		{
			mask &= nulls;
			continue;
		}
		mask &= ~nulls;
		if (condition->test == FILTER_IS_NOT_NULL)
			continue;
		if (condition->test == FILTER_IN_RANGES &&
			condition->n <= COMPARED_RANGES &&
			pg_popcount32(mask) > condition->n * FEW_LANES)
			mask &= test_ranges(condition, keys);
		else
			mask = test_lanes(condition, keys, mask);
	}
	return mask;
}

void
filter_set_prefetch(const FilterSet *set, const uint8 *block, uint32 mask)
{
	for (int i = 0; i < set->n; i++)
	{
		int			column = set->conditions[i].column;
		const uint64 *keys = filter_block_keys((uint8 *) block, column);

		__builtin_prefetch(filter_block_nulls((uint8 *) block, set->ncolumns,
											  column));
		for (int lane = 0; lane < FASTSCAN_LANES; lane += KEYS_FETCHED)
			if (mask >> lane & ((1 << KEYS_FETCHED) - 1))
				__builtin_prefetch(keys + lane);
	}
}

bool
filter_set_row(const FilterSet *set, const uint64 *keys, uint32 nulls)
{
	for (int i = 0; i < set->n; i++)
	{
		const FilterCondition *condition = &set->conditions[i];
		bool		is_null = nulls >> condition->column & 1;
		uint64		key = keys[condition->column];

		if (is_null != (condition->test == FILTER_IS_NULL))
			return false;
		if (condition->test == FILTER_IN_RANGES && !ranges_have(condition, key))
			return false;
		if (condition->test == FILTER_HAS_TAGS && !tags_have(condition, key))
			return false;
	}
	return true;
}
