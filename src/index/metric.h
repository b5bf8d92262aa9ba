/*
 * metric.h
 *		What an operator class ranks by, and what follows from it.
 *
 * The three metrics differ in a handful of facts; this room holds them in one
 * table, so that search, insert and vacuum have one path.
 */
#ifndef RECSYS_METRIC_H
#define RECSYS_METRIC_H

#include "utils/relcache.h"

/* Support function of the operator classes that returns a Metric as int4. */
#define METRIC_PROC 1

typedef enum Metric
{
	METRIC_IP = 1,				/* <#>, negative inner product */
	METRIC_L2 = 2,				/* <->, Euclidean distance */
	METRIC_COSINE = 3			/* <=>, cosine distance */
} Metric;

/*
 * The measure of closeness that a search or an edge list goes by.  As a key,
 * smaller is closer: the negative inner product, or the squared distance (in
 * the augmented space where the index has one, see mips.h).
 */
typedef enum Measure
{
	MEASURE_IP,
	MEASURE_L2
} Measure;

extern Metric metric_of_index(Relation index);

/* Error unless an index that was built for a metric has a class of that. */
extern void metric_check(Relation index, int stored);
extern const char *metric_name(Metric metric);

/* Whether vectors are scaled to length 1 before they are stored. */
extern bool metric_normalizes(Metric metric);

/* Whether queries are scaled to length 1, which does not change their order. */
extern bool metric_scales_query(Metric metric);

/* The measure in which a query of this metric searches. */
extern Measure metric_query_measure(Metric metric);

/*
 * Facts about one stored vector x^ and a query q, from which the distance that
 * the operator reports is bounded.
 */
typedef struct ScoredVector
{
	double		ip;				/* <q, x^>, q scaled as the metric has it */
	double		norm;			/* |x^| */
	double		err;			/* at least |x - x^| */
	double		query_norm;		/* |q| before it was scaled */
} ScoredVector;

/*
 * A lower bound of the operator's float8 result for the true vector x.  It
 * allows for the rounding of the float4 kernels, so that the executor, which
 * refuses a value below the bound, always agrees.
 */
extern double metric_lower_bound(Metric metric, const ScoredVector *scored);

#endif							/* RECSYS_METRIC_H */
