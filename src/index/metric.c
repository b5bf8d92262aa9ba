/*
 * metric.c
 *		What an operator class ranks by, and what follows from it.
 */
#include "postgres.h"

#include <math.h>

#include "access/genam.h"
#include "fmgr.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "index/metric.h"

/*
 * Rounding of a float4 dot product of up to a few thousand terms, relative to
 * |q||x|.  The kernels add in at least eight partial sums, so the true error
 * stays well below.
 */
#define METRIC_ROUNDING 1e-5

PG_FUNCTION_INFO_V1(recsys_metric_ip);
PG_FUNCTION_INFO_V1(recsys_metric_l2);
PG_FUNCTION_INFO_V1(recsys_metric_cosine);

Datum
recsys_metric_ip(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(METRIC_IP);
}

Datum
recsys_metric_l2(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(METRIC_L2);
}

Datum
recsys_metric_cosine(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(METRIC_COSINE);
}

static double lower_bound_ip(const ScoredVector *s);
static double lower_bound_l2(const ScoredVector *s);
static double lower_bound_cosine(const ScoredVector *s);

static const struct
{
	const char *name;
	bool		normalizes;
	bool		scales_query;
	Measure		query_measure;
	double		(*lower_bound) (const ScoredVector *s);
}			metrics[] =

{
	[METRIC_IP] = {"inner product", false, true, MEASURE_IP, lower_bound_ip},
	[METRIC_L2] = {"l2", false, false, MEASURE_L2, lower_bound_l2},
	[METRIC_COSINE] = {"cosine", true, true, MEASURE_L2, lower_bound_cosine},
};

/* The metric of an index of one of our access methods. */
Metric
metric_of_index(Relation index)
{
	FmgrInfo   *proc = index_getprocinfo(index, 1, METRIC_PROC);
	int			metric = DatumGetInt32(FunctionCall0Coll(proc, InvalidOid));

	if (metric < METRIC_IP || metric > METRIC_COSINE)
		elog(ERROR, "operator class of index \"%s\" has unknown metric %d",
			 RelationGetRelationName(index), metric);
	return (Metric) metric;
}

void
metric_check(Relation index, int stored)
{
	Metric		metric = metric_of_index(index);

	if (stored != (int) metric)
		ereport(ERROR,
				(errcode(ERRCODE_INDEX_CORRUPTED),
				 errmsg("index \"%s\" was built for metric %d, its operator class has metric %d",
						RelationGetRelationName(index), stored, metric),
				 errhint("REINDEX the index.")));
}

const char *
metric_name(Metric metric)
{
	return metrics[metric].name;
}

bool
metric_normalizes(Metric metric)
{
	return metrics[metric].normalizes;
}

bool
metric_scales_query(Metric metric)
{
	return metrics[metric].scales_query;
}

Measure
metric_query_measure(Metric metric)
{
	return metrics[metric].query_measure;
}

double
metric_lower_bound(Metric metric, const ScoredVector *scored)
{
	return metrics[metric].lower_bound(scored);
}

/* <q,x> <= <q,x^> + |q| |x - x^|. */
static double
lower_bound_ip(const ScoredVector *s)
{
	double		rounding = METRIC_ROUNDING * (s->norm + s->err);

	return -s->query_norm * (s->ip + s->err + rounding);
}

/* |q - x| >= |q - x^| - |x - x^|; the square suffers from cancellation. */
static double
lower_bound_l2(const ScoredVector *s)
{
	double		squares = s->query_norm * s->query_norm + s->norm * s->norm;
	double		distance2 = squares - 2.0 * s->ip - METRIC_ROUNDING * squares;
	double		bound = sqrt(Max(distance2, 0.0)) * (1.0 - METRIC_ROUNDING)
	- s->err;

	return Max(bound, 0.0);
}

/*
 * The stored vector has length 1 and the query is divided by its own length.
 * The distance from or to a zero vector is NaN, which sorts last: a zero item
 * may come after all others, and a zero query has no order to keep.
 */
static double
lower_bound_cosine(const ScoredVector *s)
{
	if (s->query_norm == 0.0)
		return 0.0;
	if (s->norm == 0.0)
		return INFINITY;
	return 1.0 - s->ip - s->err - METRIC_ROUNDING;
}
