/*
 * hnsw_saturation.c
 *		When a scan has found enough for the rows that it has promised.
 *
 * A scan has found enough when what it finds is no longer among the best.
 * Teofili and Lin, "Patience in Proximity" (ECIR 2025), stop a search for k
 * rows when its queue of results has not changed by more than a share for a
 * number of steps.  Here the steps are a share of those made so far, too: the
 * harder a query, the longer the pauses between what it still finds.
 *
 * Only nodes that have rows to return are counted, so the rule holds for a scan
 * that walks through others.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/memutils.h"

#include "base/guc.h"
#include "hnsw/hnsw_saturation.h"

/*
 * Enough has been found when the window, WINDOW_SHARE of the nodes and some
 * more, those found last, holds few that were among the best when found: no
 * more than FRESH_SHARE of the rows promised.  MAX_PER_ROW ends the hardest
 * scans.
 *
 * Recall and visits, inner product, 200 queries, with the stages of
 * hnsw_scan.c:
 *
 *						 41k x 128, ALS		  made, 300k		   made, 1M
 *		K				  10   100	1000	  10   100	1000	  10   100	1000
 *		a fixed number of visits for each row and 40 more
 *		2.2				.997  .998	.986	.990  .967	.946	.960  .936	.903
 *						  58   277	2317	  58   278	2329	  58   278	2358
 *		3.5				.998  .999	.993	.992  .980	.971	.965  .955	.941
 *						  68   417	3661	  68   418	3671	  68   418	3687
 *		4.5				.998 1.000	.995	.993  .984	.979	.969  .963	.954
 *						  76   525	4695	  76   526	4704	  76   526	4716
 *		WINDOW_SHARE, FRESH_SHARE
 *		0.25 0.02		.998  .997	.984	.990  .969	.956	.968  .946	.936
 *						  49   201	2040	  50   285	2578	  55   320	3429
 *		0.25 0.01		.998  .997	.989	.990  .973	.969	.968  .951	.954
 *						  49   214	2457	  50   332	3451	  55   373	4674
 *		0.35 0.02		.998  .998	.990	.992  .977	.971	.970  .956	.955
 *						  57   234	2541	  58   366	3432	  63   408	4581
 *		0.35 0.01		.998  .998	.994	.992  .980	.979	.970  .961	.962
 *						  57   248	3065	  58   430	4555	  63   481	5318
 *		0.35 0.02 and MAX_PER_ROW 5.0
 *						.998  .998	.990	.992  .977	.971	.970  .955	.951
 *						  57   234	2528	  58   362	3405	  62   398	4188
 *		0.35 0.02 and MAX_PER_ROW 7.0
 *						.998  .998	.990	.992  .977	.971	.970  .956	.957
 *						  57   234	2541	  58   367	3438	  64   413	4858
 *
 * and where the scan knows its LIMIT, so that no row is late, 500 and 300
 * queries:
 *
 *		0.35 0.02		.998  .998	.990						.974  .965	.970
 *						  56   221	2743						  62   403	4635
 *		0.3 0.02		.998  .997	.988						.971  .959	.966
 *						  52   205	2461						  58   351	4182
 *		0.25 0.02		.998  .997	.985						.969  .953	.959
 *						  49   190	2216						  54   304	3673
 *		0.2 0.02		.998  .996	.982						.967  .947	.946
 *						  45   178	2014						  50   263	2996
 */
#define WINDOW_SHARE 0.3
#define FRESH_SHARE 0.02
#define MAX_PER_ROW 6.0

/*
 * Nodes that the window has beyond its share: ten rows need most of these.
 * Where few visits find a node, few nodes are as many visits, but of too few
 * chance decides.  Recall, visits and CPU time with a filter that a random
 * share of the rows satisfies, made, 300k, 100 queries; one in twenty and K=100
 * ends in the exact way:
 *
 *						K=10, share 0.2	   0.1	 0.05		K=100, share 0.2	   0.1
 *		20 * pass_rate			   .976	  .968	 .953				   .965	  .958
 *									186	   329	  635				   1860	  3398
 *								 0.51ms	0.71ms 1.11ms				  4.2ms	 6.2ms
 *		20						   .994	  .989	 .976				   .976	  .973
 *									362	   713	 1465				   2077	  3860
 *								 0.74ms	1.23ms 2.63ms				  4.9ms	 7.6ms
 *
 * and, 60 queries, share 0.1: 20 * pass_rate .982 and 309 visits, 20 *
 * sqrt(pass_rate) .990 and 405; K=100 .968 and 3071, .974 and 3275.
 */
#define WINDOW_MORE(ef, pass_rate) ((ef) / 2 * sqrt(pass_rate))

/*
 * With a filter the nodes that count lie farther apart on the way, and the
 * window is longer, the more so where the filter goes against the query: where
 * visits find less than half the nodes that the filter's selectivity promises,
 * the best rows are not the first that are found.  Recall and visits of 1M made
 * rows, 24 to 30 queries; rows drawn at random, near one of the rows, and at the
 * end that the queries point away from:
 *
 *						  half, random		one in ten, random	near	away, half
 *		K				  10	 100		  10	 100		  10		  10
 *		0.35, 0.5		.970	.950		.970	.941		.920		.927
 *						 113	 841		 432	4033		5440		7083
 *		0.5, 0.6		.992	.963		.979	.957		.942		.917
 *						 148	1251		 686	5707		1527		9013
 *		0.5, 0.75		  as above			  as above			.942		.925
 *																1708		9622
 */
#define FILTER_WINDOW_SHARE 0.5
#define AGAINST_WINDOW_SHARE 0.6
#define AGAINST_RATE 0.5

/*
 * By how much ef_search changes the window's share, and the most of it.  Recall
 * and visits, 300 queries of a million made rows, without the long list:
 *
 *		ef_search  5		 10			20		   40		  80		 160
 *		K=10	   .928   18 .946	25	.955   36  .970   58  .976	107  .986  232
 *		K=100	   .907  156 .923  185	.943  241  .960  345  .972	508  .979  740
 *		K=1000	   .912 1798 .931 2212	.951 2957  .967 4070  .975 5099  .978 5906
 *
 * With a share that ef_search does not change, 1 found .950 for K=100 with 282
 * visits, 160 found .971 with 490.
 */
#define SHARE_FACTOR(ef_search) sqrt((ef_search) / (double) GUC_HNSW_EF_SEARCH)
#define MOST_WINDOW_SHARE 0.9

/*
 * Where the best are long, the long list has shown most of them before the first
 * visit, and what is not found soon is not there: ef_search then counts for less.
 * Recall and visits, 300 queries, inner product:
 *
 *					   41k x 128, ALS			   made, 1M
 *		K			   10	 100	1000		   10	 100	1000
 *		no list		 .998  .998	.990		 .969  .958	.970
 *					   52	 208	2625		   61	 338	4046
 *		0			 .999 1.000	.991		 .996  .990	.988
 *					   49	 208	2544		   51	 270	2811
 *		0.7			 .999  .999	.989		 .991  .985	.985
 *					   26	 178	2327		   25	 200	2473
 *		0.8			 .999  .998	.989		 .992  .983	.984
 *					   23	 172	2312		   21	 190	2391
 *		0.9			 .997  .998	.989		 .990  .979	.983
 *					   19	 167	2283		   17	 175	2331
 *
 * That is not all: where a condition above the scan throws hundreds of the best
 * rows away, a scan that stops soon in each of its stages misses more.  20 of 60,000
 * packages, without the 505 on average that a machine has (make demo): with 0
 * 0.9998 of the best are found, with 0.5 0.9996, 0.7 0.9979, 0.8 0.993, 0.9 0.966.
 *
 * With 0.7 by ef_search, made, 1M:
 *
 *		ef_search  5		 10			20		   40		  80		 160
 *		K=10	   .975   14 .982	16	.988   19  .991   25  .992	 37  .993	69
 *		K=100	   .955  138 .971  154	.979  174  .985  200  .990  248  .993  347
 *		K=1000	   .957 1600 .970 1793	.978 2069  .985 2473  .990 3131  .994 4269
 */
#define LONG_SURE 0.7

/* Nodes that there is room for at first. */
#define FIRST_ROOM 512

void
saturation_init(Saturation *s, int ef_search, double expected_rate)
{
	memset(s, 0, sizeof(Saturation));
	s->context = CurrentMemoryContext;
	s->ef_search = ef_search;
	s->expected_rate = expected_rate;
}

/* Put a key into the place of the worst, which it may be itself. */
static void
best_replace_first(Saturation *s, float key)
{
	Size		place = 0;

	for (;;)
	{
		Size		child = 2 * place + 1;

		if (child >= s->nbest)
			break;
		if (child + 1 < s->nbest && s->best[child + 1] > s->best[child])
			child++;
		if (s->best[child] <= key)
			break;
		s->best[place] = s->best[child];
		place = child;
	}
	s->best[place] = key;
}

/* Let a key be among the best; false where it is not. */
static bool
best_add(Saturation *s, float key)
{
	Size		place;

	if (s->nbest == s->nrows)
	{
		if (key >= s->best[0])
			return false;
		best_replace_first(s, key);
		return true;
	}
	for (place = s->nbest++;
		 place > 0 && s->best[(place - 1) / 2] < key;
		 place = (place - 1) / 2)
		s->best[place] = s->best[(place - 1) / 2];
	s->best[place] = key;
	return true;
}

/*
 * How sure the long list has made the scan: the share of what has been found that
 * is long, and less of it where a filter goes against the query, which the list
 * does not know.
 */
static double
long_assurance(const Saturation *s)
{
	return LONG_SURE * s->nlong / s->nfound *
		Min(s->pass_rate / Max(s->expected_rate, 1e-9), 1.0);
}

/* The window's length, where n nodes have been found. */
static double
window_size(const Saturation *s, Size n)
{
	double		share = WINDOW_SHARE;
	double		ef = s->ef_search * (1.0 - long_assurance(s));

	if (s->expected_rate < 1.0)
		share = s->pass_rate < AGAINST_RATE * s->expected_rate ?
			AGAINST_WINDOW_SHARE : FILTER_WINDOW_SHARE;
	return Min(share * SHARE_FACTOR(ef), MOST_WINDOW_SHARE) * n +
		WINDOW_MORE(ef, s->pass_rate);
}

/* Move the window's end to the n-th node, which is new to it. */
static void
window_move(Saturation *s, Size n)
{
	double		size = window_size(s, n);

	s->fresh[n - 1] = best_add(s, s->keys[n - 1]);
	s->nfresh += s->fresh[n - 1];
	while (s->window_start + size < n)
		s->nfresh -= s->fresh[s->window_start++];
}

/*
 * What was found before is found again, as it were, with the new number of
 * rows in mind.
 */
void
saturation_promise(Saturation *s, double nrows, double most)
{
	s->nrows = (Size) nrows;
	s->most = (Size) Min(most, s->ef_search + MAX_PER_ROW * nrows);
	if (s->nrows > s->max_best)
	{
		if (s->best != NULL)
			pfree(s->best);
		s->best = MemoryContextAllocHuge(s->context, sizeof(float) * s->nrows);
		s->max_best = s->nrows;
	}
	s->nbest = 0;
	s->nfresh = 0;
	s->window_start = 0;
	for (Size n = 1; n <= s->nfound; n++)
	{
		CHECK_FOR_INTERRUPTS();
		window_move(s, n);
	}
}

void
saturation_add(Saturation *s, float key, bool is_long, double pass_rate)
{
	s->pass_rate = pass_rate;
	s->nlong += is_long;
	if (s->nfound == s->max_found)
	{
		s->max_found = Max(s->max_found * 2, FIRST_ROOM);
		s->keys = s->keys == NULL ?
			MemoryContextAlloc(s->context, sizeof(float) * s->max_found) :
			repalloc_huge(s->keys, sizeof(float) * s->max_found);
		s->fresh = s->fresh == NULL ?
			MemoryContextAlloc(s->context, sizeof(bool) * s->max_found) :
			repalloc_huge(s->fresh, sizeof(bool) * s->max_found);
	}
	s->keys[s->nfound++] = key;
	window_move(s, s->nfound);
}

bool
saturation_reached(const Saturation *s)
{
	return s->nfound >= s->most ||
		(s->nbest == s->nrows && s->nfresh <= FRESH_SHARE * s->nrows);
}
