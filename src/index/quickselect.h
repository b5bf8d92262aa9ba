/*
 * quickselect.h
 *		A template: order an array as far as one place needs (Hoare 1961).
 *
 * Before including this file define
 *
 *		SELECT_NAME			the function
 *		SELECT_TYPE			of the elements
 *		SELECT_BEFORE(a, b)	whether element *a comes before *b
 *
 * which makes
 *
 *		static void SELECT_NAME(SELECT_TYPE *items, int64 lo, int64 hi, int64 k)
 *
 * It orders the items from lo to hi, bounds included, so that the one at k has
 * its place, those before it come before it or are equal, and those behind it
 * come after it or are equal.  It may be interrupted.  The macros are undefined
 * again.
 */
#include "miscadmin.h"

#define SELECT_SWAP(a, b) \
	do { \
		SELECT_TYPE swapped_ = (a); \
		(a) = (b); \
		(b) = swapped_; \
	} while (0)

static void
SELECT_NAME(SELECT_TYPE * items, int64 lo, int64 hi, int64 k)
{
	while (lo < hi)
	{
		int64		middle = lo + (hi - lo) / 2;
		int64		i = lo - 1;
		int64		j = hi + 1;
		SELECT_TYPE pivot;

		CHECK_FOR_INTERRUPTS();

		/*
		 * of three: the first comes to middle, the last to hi, the other to
		 * lo
		 */
		if (SELECT_BEFORE(&items[lo], &items[middle]))
			SELECT_SWAP(items[lo], items[middle]);
		if (SELECT_BEFORE(&items[hi], &items[middle]))
			SELECT_SWAP(items[hi], items[middle]);
		if (SELECT_BEFORE(&items[hi], &items[lo]))
			SELECT_SWAP(items[hi], items[lo]);
		pivot = items[lo];
		for (;;)
		{
			do
				i++;
			while (SELECT_BEFORE(&items[i], &pivot));
			do
				j--;
			while (SELECT_BEFORE(&pivot, &items[j]));
			if (i >= j)
				break;
			SELECT_SWAP(items[i], items[j]);
		}
		if (k <= j)
			hi = j;
		else
			lo = j + 1;
	}
}

#undef SELECT_SWAP
#undef SELECT_NAME
#undef SELECT_TYPE
#undef SELECT_BEFORE
