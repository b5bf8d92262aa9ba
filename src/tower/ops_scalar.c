/*
 * ops_scalar.c
 *		Ops that scale numbers: z-score, min-max, log1p.
 *
 * They take a scalar and give a scalar, computed in float8, or take a vector
 * and give a vector.
 */
#include "postgres.h"

#include <math.h>

#include "tower/ops.h"

/* y = (x - shift) / scale, element by element; then cut to [0, 1] or not. */
typedef struct Scaling
{
	int			n;				/* elements of shift and scale: 1 or width */
	double	   *shift;
	double	   *scale;
	bool		clip;
} Scaling;

enum
{
	NEGATIVE_ERROR, NEGATIVE_CLAMP, NEGATIVE_SIGNED
};

/* A function of one number; k is its place in the vector. */
typedef double (*ScalarFn) (const TowerNode *node, double x, int k);

static inline double
scalar_number(const Batch *batch, int wire, int row)
{
	const Value *value = batch_value(batch, wire, row);

	return batch->tower->wires[wire].kind == WIRE_INT ?
		(double) value->ints[0] : value->floats[0];
}

/* Run a function over the input, be it a scalar or a vector. */
static void
scalar_run(const TowerNode *node, Batch *batch, ScalarFn function)
{
	const Wire *out = &batch->tower->wires[node->output];

	for (int row = 0; row < batch->rows; row++)
	{
		batch->at = row;
		if (out->kind == WIRE_VECTOR)
		{
			const float *x = batch_vector(batch, node->inputs[0], row);
			float	   *y = batch_vector(batch, node->output, row);

			for (int k = 0; k < out->width; k++)
				y[k] = (float) function(node, x[k], k);
		}
		else
		{
			Value	   *value = batch_value(batch, node->output, row);

			value->n = 1;
			value->floats = &value->one.number;
			value->one.number =
				function(node, scalar_number(batch, node->inputs[0], row), 0);
		}
	}
}

/* Declare the output: of the input's kind.  Returns the input's width. */
static int
scalar_output(NodeBuild *build, bool vector)
{
	const Wire *in = build_input(build, 0);
	int			width;

	if (in->list || in->kind == WIRE_TEXT || in->kind == WIRE_INDEX)
		node_fault(build->node, "input \"%s\" is neither a number nor a vector",
				   in->name);
	if (in->kind != WIRE_VECTOR && !vector)
	{
		build_output(build, WIRE_FLOAT);
		return 1;
	}
	width = build_input_vector(build, 0);
	build_output_vector(build, width);
	return width;
}

/* A number, or one number for each element: from a field or a tensor. */
static double *
scaling_read(NodeBuild *build, const char *name, int n)
{
	double	   *numbers = palloc(sizeof(double) * n);
	float	   *floats = NULL;
	double		number = 0;

	if (build_field(build, name) != NULL)
		number = build_number(build, name);
	else
		floats = build_floats(build, name, n);
	for (int k = 0; k < n; k++)
		numbers[k] = floats ? floats[k] : number;
	return numbers;
}

static double
scaling_apply(const TowerNode *node, double x, int k)
{
	const Scaling *scaling = node->params;
	double		y = (x - scaling->shift[k]) / scaling->scale[k];

	if (!scaling->clip)
		return y;
	return y < 0.0 ? 0.0 : y > 1.0 ? 1.0 : y;
}

static void
scaling_run(const TowerNode *node, Batch *batch)
{
	scalar_run(node, batch, scaling_apply);
}

/* What both have: two parameters, the first being the shift. */
static Scaling *
scaling_build(NodeBuild *build, const char *shift, const char *scale)
{
	Scaling    *scaling = palloc0(sizeof(Scaling));
	bool		tensors = build_field(build, shift) == NULL ||
	build_field(build, scale) == NULL;

	scaling->n = scalar_output(build, tensors);
	scaling->shift = scaling_read(build, shift, scaling->n);
	scaling->scale = scaling_read(build, scale, scaling->n);
	build->node->params = scaling;
	return scaling;
}

static void
zscore_build(NodeBuild *build)
{
	Scaling    *scaling = scaling_build(build, "mean", "std");

	for (int k = 0; k < scaling->n; k++)
	{
		if (!(scaling->scale[k] > 0.0))
			node_fault(build->node, "std %g at position %d is not positive",
					   scaling->scale[k], k);
	}
}

static void
min_max_build(NodeBuild *build)
{
	Scaling    *scaling = scaling_build(build, "min", "max");

	for (int k = 0; k < scaling->n; k++)
	{
		if (!(scaling->scale[k] > scaling->shift[k]))
			node_fault(build->node, "max %g at position %d is not above min %g",
					   scaling->scale[k], k, scaling->shift[k]);
		scaling->scale[k] -= scaling->shift[k];
	}
	scaling->clip = build_bool(build, "clip");
}

static double
log1p_apply(const TowerNode *node, double x, int k)
{
	int			negative = *(const int *) node->params;

	if (x >= 0.0)
		return log1p(x);
	if (negative == NEGATIVE_ERROR)
		node_fault(node, "input %g is negative", x);
	return negative == NEGATIVE_CLAMP ? 0.0 : -log1p(-x);
}

static void
log1p_run(const TowerNode *node, Batch *batch)
{
	scalar_run(node, batch, log1p_apply);
}

static void
log1p_build(NodeBuild *build)
{
	static const char *const choices[] = {"error", "clamp", "signed", NULL};
	int		   *negative = palloc(sizeof(int));

	*negative = build_choice(build, "negative", choices);
	scalar_output(build, false);
	build->node->params = negative;
}

/* A scalar as a vector of one element. */
static void
as_vector_run(const TowerNode *node, Batch *batch)
{
	for (int row = 0; row < batch->rows; row++)
		*batch_vector(batch, node->output, row) =
			(float) scalar_number(batch, node->inputs[0], row);
}

const OpDef as_vector_op = {
	"as_vector", 1, 1, {{NULL, 0}}, NULL, as_vector_run
};

const OpDef scalar_ops[] = {
	{"zscore", 1, 1, {{"mean", OP_EITHER}, {"std", OP_EITHER}},
	zscore_build, scaling_run},
	{"min_max", 1, 1,
		{{"min", OP_EITHER}, {"max", OP_EITHER}, {"clip", OP_FIELD}},
	min_max_build, scaling_run},
	{"log1p", 1, 1, {{"negative", OP_FIELD}}, log1p_build, log1p_run},
	{NULL, 0, 0, {{NULL, 0}}, NULL, NULL}
};
