/*
 * ops_dense.c
 *		Ops on vectors: layers, activations, norms and their combinations.
 *
 * Weights are float4 and so is the arithmetic, but the sums of a norm are
 * float8.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "storage/shmem.h"
#include "utils/memutils.h"

#include "linalg/blas.h"
#include "tower/ops.h"

#define INPUTS_MAX 1000

/* The result of reading "layout". */
enum
{
	LAYOUT_OUT_IN, LAYOUT_IN_OUT
};

static const char *const layouts[] = {"out_in", "in_out", NULL};

static inline int
node_width(const TowerNode *node, const Batch *batch)
{
	return batch->tower->wires[node->output].width;
}

/* All inputs must have one width, which is also the output's. */
static int
same_width(NodeBuild *build)
{
	int			width = build_input_vector(build, 0);

	for (int k = 1; k < build->node->ninputs; k++)
	{
		int			other = build_input_vector(build, k);

		if (other != width)
			node_fault(build->node, "input %d has %d elements, input 0 has %d",
					   k, other, width);
	}
	build_output_vector(build, width);
	return width;
}

static void
concat_build(NodeBuild *build)
{
	int64		width = 0;

	for (int k = 0; k < build->node->ninputs; k++)
		width += build_input_vector(build, k);
	build_output_vector(build, width);
}

static void
concat_run(const TowerNode *node, Batch *batch)
{
	for (int row = 0; row < batch->rows; row++)
	{
		float	   *y = batch_vector(batch, node->output, row);

		for (int k = 0; k < node->ninputs; k++)
		{
			int			width = batch->tower->wires[node->inputs[k]].width;

			memcpy(y, batch_vector(batch, node->inputs[k], row),
				   sizeof(float) * width);
			y += width;
		}
	}
}

/* linear */

typedef struct Linear
{
	BlasShape	shape;			/* rows is set when it runs */
	float	   *weight;			/* (out, in) */
	float	   *bias;			/* or NULL */
} Linear;

/* A matrix (rows, columns) as (columns, rows). */
static float *
transpose(const float *matrix, int64 rows, int64 columns)
{
	float	   *result = MemoryContextAllocHuge(CurrentMemoryContext,
												sizeof(float) * rows * columns);

	for (int64 i = 0; i < rows; i++)
	{
		CHECK_FOR_INTERRUPTS();
		for (int64 j = 0; j < columns; j++)
			result[j * rows + i] = matrix[i * columns + j];
	}
	return result;
}

/*
 * Read the weight with its layout, for an input of the given width.
 * outputs: what the layer must give, or 0 for whatever the weight says.
 */
static Linear *
linear_read(NodeBuild *build, int inputs, int outputs)
{
	Linear	   *linear = palloc0(sizeof(Linear));
	int			layout = build_choice(build, "layout", layouts);
	Tensor	   *tensor = build_tensor(build, "weight", 2);
	int64		in = tensor->dims[layout == LAYOUT_OUT_IN ? 1 : 0];
	int64		out = tensor->dims[layout == LAYOUT_OUT_IN ? 0 : 1];

	if (in != inputs || out > TOWER_MAX_WIDTH ||
		(outputs != 0 && out != outputs))
		node_fault(build->node, "tensor \"%s\" of shape %s and layout \"%s\" does not fit an input of %d elements",
				   tensor->name, tensor_shape(tensor), layouts[layout],
				   inputs);
	linear->shape.inputs = in;
	linear->shape.outputs = out;
	linear->weight = tensor_floats(build->file, tensor);
	if (layout == LAYOUT_IN_OUT)
	{
		float	   *given = linear->weight;

		linear->weight = transpose(given, in, out);
		pfree(given);
	}
	linear->bias = build_floats(build, "bias", out);
	return linear;
}

static void
linear_apply(const Linear *linear, const float *x, float *y, int rows)
{
	BlasShape	shape = linear->shape;

	shape.rows = rows;
	if (rows == 1)
		blas_gemv(linear->weight, x, linear->bias, y, shape.outputs,
				  shape.inputs);
	else
		blas_gemm(linear->weight, x, linear->bias, y, shape);
}

static void
linear_build(NodeBuild *build)
{
	Linear	   *linear = linear_read(build, build_input_vector(build, 0), 0);

	build_output_vector(build, linear->shape.outputs);
	build->node->params = linear;
}

static void
linear_run(const TowerNode *node, Batch *batch)
{
	linear_apply(node->params, batch_vector(batch, node->inputs[0], 0),
				 batch_vector(batch, node->output, 0), batch->rows);
}

/* activations: y[i] = f(x[i]) */

typedef struct Activation
{
	float		(*function) (float x, float slope);
	float		slope;
} Activation;

/* NaN, the sign of an overflow further up, must not become a 0 here. */
static float
relu(float x, float slope)
{
	return x < 0.0f ? 0.0f : x;
}

static float
leaky_relu(float x, float slope)
{
	return x > 0.0f ? x : slope * x;
}

static float
gelu_erf(float x, float slope)
{
	return (float) (0.5 * x * erfc(-x * M_SQRT1_2));
}

static float
gelu_tanh(float x, float slope)
{
	double		inner = sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x);

	return (float) (0.5 * x * (1.0 + tanh(inner)));
}

static float
sigmoid(float x, float slope)
{
	return 1.0f / (1.0f + expf(-x));
}

static float
silu(float x, float slope)
{
	return x * sigmoid(x, slope);
}

static float
tanh_activation(float x, float slope)
{
	return tanhf(x);
}

static void
activation_build(NodeBuild *build, float (*function) (float x, float slope),
				 float slope)
{
	Activation *activation = palloc(sizeof(Activation));

	activation->function = function;
	activation->slope = slope;
	same_width(build);
	build->node->params = activation;
}

static void
relu_build(NodeBuild *build)
{
	activation_build(build, relu, 0.0f);
}

static void
leaky_relu_build(NodeBuild *build)
{
	activation_build(build, leaky_relu, build_number(build, "slope"));
}

static void
gelu_build(NodeBuild *build)
{
	static const char *const choices[] = {"none", "tanh", NULL};
	bool		approximate = build_choice(build, "approximate", choices) == 1;

	activation_build(build, approximate ? gelu_tanh : gelu_erf, 0.0f);
}

static void
silu_build(NodeBuild *build)
{
	activation_build(build, silu, 0.0f);
}

static void
tanh_build(NodeBuild *build)
{
	activation_build(build, tanh_activation, 0.0f);
}

static void
sigmoid_build(NodeBuild *build)
{
	activation_build(build, sigmoid, 0.0f);
}

/* Inlined where the function is known, so that no element is a call. */
static pg_attribute_always_inline void
activation_apply(const TowerNode *node, Batch *batch,
				 float (*function) (float x, float slope))
{
	const Activation *activation = node->params;
	float		slope = activation->slope;
	const float *x = batch_vector(batch, node->inputs[0], 0);
	float	   *y = batch_vector(batch, node->output, 0);
	Size		n = (Size) batch->rows * node_width(node, batch);

	for (Size i = 0; i < n; i++)
		y[i] = function(x[i], slope);
}

static void
activation_run(const TowerNode *node, Batch *batch)
{
	activation_apply(node, batch,
					 ((const Activation *) node->params)->function);
}

static void
relu_run(const TowerNode *node, Batch *batch)
{
	activation_apply(node, batch, relu);
}

/* norms */

typedef struct Norm
{
	double		epsilon;
	int			clamp;			/* of l2_normalise: CLAMP_* */
	float	   *mean;			/* of batch_norm */
	float	   *scale;			/* or NULL */
	float	   *bias;			/* or NULL */
} Norm;

enum
{
	CLAMP_MAX_NORM, CLAMP_ADD_NORM, CLAMP_MAX_SQUARE, CLAMP_ADD_SQUARE
};

static Norm *
norm_read(NodeBuild *build)
{
	Norm	   *norm = palloc0(sizeof(Norm));

	norm->epsilon = build_number(build, "epsilon");
	if (norm->epsilon < 0.0)
		node_fault(build->node, "epsilon %g is negative", norm->epsilon);
	build->node->params = norm;
	return norm;
}

static void
layer_norm_build(NodeBuild *build)
{
	Norm	   *norm = norm_read(build);
	int			width = same_width(build);

	norm->scale = build_floats(build, "weight", width);
	norm->bias = build_floats(build, "bias", width);
}

/* A constant input with an epsilon of 0 gives 0, and not 0 / 0. */
static void
layer_norm_row(const Norm *norm, const float *x, float *y, int n)
{
	double		mean = 0;
	double		variance = 0;
	double		deviation;

	for (int i = 0; i < n; i++)
		mean += x[i];
	mean /= n;
	for (int i = 0; i < n; i++)
		variance += (x[i] - mean) * (x[i] - mean);
	deviation = sqrt(variance / n + norm->epsilon);
	for (int i = 0; i < n; i++)
	{
		double		z = deviation > 0.0 ? (x[i] - mean) / deviation : 0.0;

		if (norm->scale)
			z *= norm->scale[i];
		y[i] = (float) (norm->bias ? z + norm->bias[i] : z);
	}
}

static void
layer_norm_run(const TowerNode *node, Batch *batch)
{
	for (int row = 0; row < batch->rows; row++)
		layer_norm_row(node->params, batch_vector(batch, node->inputs[0], row),
					   batch_vector(batch, node->output, row),
					   node_width(node, batch));
}

/* Folds the variance into the scale: y = (x - mean) * scale + bias. */
static void
batch_norm_build(NodeBuild *build)
{
	Norm	   *norm = norm_read(build);
	int			width = same_width(build);
	float	   *variance = build_floats(build, "variance", width);
	float	   *weight = build_floats(build, "weight", width);

	norm->mean = build_floats(build, "mean", width);
	norm->bias = build_floats(build, "bias", width);
	norm->scale = palloc(sizeof(float) * width);
	for (int i = 0; i < width; i++)
	{
		double		square = variance[i] + norm->epsilon;

		if (!(square > 0.0))
			node_fault(build->node, "variance %g + epsilon at position %d is not positive",
					   variance[i], i);
		norm->scale[i] = (float) ((weight ? weight[i] : 1.0) / sqrt(square));
	}
}

static void
batch_norm_run(const TowerNode *node, Batch *batch)
{
	const Norm *norm = node->params;
	int			n = node_width(node, batch);

	for (int row = 0; row < batch->rows; row++)
	{
		const float *x = batch_vector(batch, node->inputs[0], row);
		float	   *y = batch_vector(batch, node->output, row);

		for (int i = 0; i < n; i++)
			y[i] = (x[i] - norm->mean[i]) * norm->scale[i] +
				(norm->bias ? norm->bias[i] : 0.0f);
	}
}

static void
l2_normalise_build(NodeBuild *build)
{
	static const char *const clamps[] = {
		"max_norm", "add_norm", "max_square", "add_square", NULL
	};
	Norm	   *norm = norm_read(build);

	norm->clamp = build_choice(build, "clamp", clamps);
	same_width(build);
}

/* What l2_normalise divides by, given |x|^2. */
static double
l2_divisor(const Norm *norm, double square)
{
	switch (norm->clamp)
	{
		case CLAMP_MAX_NORM:
			return Max(sqrt(square), norm->epsilon);
		case CLAMP_ADD_NORM:
			return sqrt(square) + norm->epsilon;
		case CLAMP_MAX_SQUARE:
			return sqrt(Max(square, norm->epsilon));
		default:
			return sqrt(square + norm->epsilon);
	}
}

static void
l2_normalise_run(const TowerNode *node, Batch *batch)
{
	int			n = node_width(node, batch);

	for (int row = 0; row < batch->rows; row++)
	{
		const float *x = batch_vector(batch, node->inputs[0], row);
		float	   *y = batch_vector(batch, node->output, row);
		double		square = 0;
		double		divisor;

		for (int i = 0; i < n; i++)
			square += (double) x[i] * x[i];
		divisor = l2_divisor(node->params, square);
		for (int i = 0; i < n; i++)
			y[i] = divisor > 0.0 ? (float) (x[i] / divisor) : 0.0f;
	}
}

/* combinations */

static void
combine_build(NodeBuild *build)
{
	same_width(build);
}

static void
add_run(const TowerNode *node, Batch *batch)
{
	Size		n = (Size) batch->rows * node_width(node, batch);
	float	   *y = batch_vector(batch, node->output, 0);

	memcpy(y, batch_vector(batch, node->inputs[0], 0), sizeof(float) * n);
	for (int k = 1; k < node->ninputs; k++)
	{
		const float *x = batch_vector(batch, node->inputs[k], 0);

		for (Size i = 0; i < n; i++)
			y[i] += x[i];
	}
}

static void
multiply_run(const TowerNode *node, Batch *batch)
{
	Size		n = (Size) batch->rows * node_width(node, batch);
	float	   *y = batch_vector(batch, node->output, 0);

	memcpy(y, batch_vector(batch, node->inputs[0], 0), sizeof(float) * n);
	for (int k = 1; k < node->ninputs; k++)
	{
		const float *x = batch_vector(batch, node->inputs[k], 0);

		for (Size i = 0; i < n; i++)
			y[i] *= x[i];
	}
}

/* The cross layer of DCN (one row of weights) and DCN v2 (a matrix). */
typedef struct Cross
{
	Linear	   *linear;
	float	   *bias;			/* of the vector form, or NULL */
} Cross;

static void
cross_build(NodeBuild *build)
{
	static const char *const forms[] = {"vector", "matrix", NULL};
	Cross	   *cross = palloc0(sizeof(Cross));
	int			width = same_width(build);

	build->node->params = cross;
	if (build_choice(build, "form", forms) == 1)
	{
		cross->linear = linear_read(build, width, width);
		return;
	}
	if (build_field(build, "layout") != NULL)
		node_fault(build->node, "form \"vector\" has no layout");
	cross->linear = palloc0(sizeof(Linear));
	cross->linear->shape.inputs = width;
	cross->linear->shape.outputs = 1;
	cross->linear->weight = build_floats(build, "weight", width);
	cross->bias = build_floats(build, "bias", width);
}

static void
cross_run(const TowerNode *node, Batch *batch)
{
	const Cross *cross = node->params;
	int			n = node_width(node, batch);
	bool		matrix = cross->linear->shape.outputs == n && n > 1;
	float	   *products = NULL;

	if (!matrix)
		products = palloc(sizeof(float) * batch->rows);
	linear_apply(cross->linear, batch_vector(batch, node->inputs[1], 0),
				 matrix ? batch_vector(batch, node->output, 0) : products,
				 batch->rows);
	for (int row = 0; row < batch->rows; row++)
	{
		const float *x0 = batch_vector(batch, node->inputs[0], row);
		const float *x = batch_vector(batch, node->inputs[1], row);
		float	   *y = batch_vector(batch, node->output, row);

		for (int i = 0; i < n; i++)
			y[i] = x0[i] * (matrix ? y[i] : products[row]) +
				(cross->bias ? cross->bias[i] : 0.0f) + x[i];
	}
}

const OpDef dense_ops[] = {
	{"concat", 1, INPUTS_MAX, {{NULL, 0}}, concat_build, concat_run},
	{"linear", 1, 1,
		{{"layout", OP_FIELD}, {"weight", OP_TENSOR},
		{"bias", OP_TENSOR_MAYBE}},
	linear_build, linear_run},
	{"relu", 1, 1, {{NULL, 0}}, relu_build, relu_run},
	{"leaky_relu", 1, 1, {{"slope", OP_FIELD}},
	leaky_relu_build, activation_run},
	{"gelu", 1, 1, {{"approximate", OP_FIELD}}, gelu_build, activation_run},
	{"silu", 1, 1, {{NULL, 0}}, silu_build, activation_run},
	{"tanh", 1, 1, {{NULL, 0}}, tanh_build, activation_run},
	{"sigmoid", 1, 1, {{NULL, 0}}, sigmoid_build, activation_run},
	{"layer_norm", 1, 1,
		{{"epsilon", OP_FIELD}, {"weight", OP_TENSOR_MAYBE},
		{"bias", OP_TENSOR_MAYBE}},
	layer_norm_build, layer_norm_run},
	{"batch_norm", 1, 1,
		{{"epsilon", OP_FIELD}, {"mean", OP_TENSOR}, {"variance", OP_TENSOR},
		{"weight", OP_TENSOR_MAYBE}, {"bias", OP_TENSOR_MAYBE}},
	batch_norm_build, batch_norm_run},
	{"l2_normalise", 1, 1, {{"epsilon", OP_FIELD}, {"clamp", OP_FIELD}},
	l2_normalise_build, l2_normalise_run},
	{"add", 2, INPUTS_MAX, {{NULL, 0}}, combine_build, add_run},
	{"multiply", 2, INPUTS_MAX, {{NULL, 0}}, combine_build, multiply_run},
	{"dcn_cross", 2, 2,
		{{"form", OP_FIELD}, {"layout", OP_FIELD_MAYBE},
		{"weight", OP_TENSOR}, {"bias", OP_TENSOR_MAYBE}},
	cross_build, cross_run},
	{NULL, 0, 0, {{NULL, 0}}, NULL, NULL}
};
