/*
 * ops.h
 *		The table of ops, and what an op is made of.
 *
 * An op is one entry of a table: its name, the fields and tensors that a node
 * of it must and may have, a function that builds a node from the spec, and
 * one that runs it.  build reads the node's fields and tensors through the
 * functions below, which raise errors that name the node; it declares the
 * output wire, and leaves in node->params whatever run needs.  What build
 * accepts, run can execute without reading out of bounds.
 */
#ifndef RECSYS_OPS_H
#define RECSYS_OPS_H

#include "tower/safetensors.h"
#include "tower/tower.h"

#define OP_MAX_RULES 6

/* The widest vector inside a tower; the largest index of a lookup. */
#define TOWER_MAX_WIDTH 1000000
#define TOWER_MAX_INDEX PG_INT32_MAX

typedef enum OpPresence
{
	OP_FIELD,					/* a field that must be there */
	OP_FIELD_MAYBE,
	OP_TENSOR,					/* a tensor that must be there */
	OP_TENSOR_MAYBE,
	OP_EITHER					/* a field or a tensor, and not both */
} OpPresence;

typedef struct OpRule
{
	const char *name;
	OpPresence	presence;
} OpRule;

/* A node that is being built. */
typedef struct NodeBuild
{
	TensorFile *file;
	Tower	   *tower;
	const JsonTree *json;
	const JsonTree *tensors;	/* role to name, or NULL */
	TowerNode  *node;
} NodeBuild;

typedef struct OpDef
{
	const char *name;
	int			min_inputs;
	int			max_inputs;
	OpRule		rules[OP_MAX_RULES];
	void		(*build) (NodeBuild *build);
	void		(*run) (const TowerNode *node, Batch *batch);
} OpDef;

/* The tables, each ended by an entry without a name. */
extern const OpDef lookup_ops[];
extern const OpDef scalar_ops[];
extern const OpDef dense_ops[];

/* Makes a scalar a vector of one element; put in by build_input_vector. */
extern const OpDef as_vector_op;

extern const OpDef *op_find(const char *name);

/* Raise an error that names the node. */
#define node_fault(node, ...) \
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), \
					errmsg("node \"%s\" (%s): %s", (node)->name, \
						   (node)->op->name, psprintf(__VA_ARGS__))))

/* spec.c: what build functions call */
extern const JsonTree *build_field(NodeBuild *build, const char *key);
extern int64 build_int(NodeBuild *build, const char *key, int64 low,
					   int64 high);
extern int64 build_int_or_null(NodeBuild *build, const char *key, int64 low,
							   int64 high);
extern double build_number(NodeBuild *build, const char *key);
extern bool build_bool(NodeBuild *build, const char *key);
extern int	build_choice(NodeBuild *build, const char *key,
						 const char *const *choices);
extern Tensor *build_tensor(NodeBuild *build, const char *role, int ndims);
extern float *build_floats(NodeBuild *build, const char *role, int64 n);
extern const Wire *build_input(NodeBuild *build, int k);
extern int	build_input_vector(NodeBuild *build, int k);
extern Wire *build_output(NodeBuild *build, WireKind kind);
extern Wire *build_output_vector(NodeBuild *build, int64 width);

#endif							/* RECSYS_OPS_H */
