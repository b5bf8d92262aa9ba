/*
 * spec.c
 *		From the spec in a tower file to a tower that can run.
 *
 * Building a tower is its validation: names are resolved, shapes inferred,
 * tensors read and checked.  A tower that was built runs without reading out
 * of bounds, whatever features it is given.  The functions build_* are what
 * the ops are built with (ops.h).
 */
#include "postgres.h"

#include "common/int.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/shmem.h"
#include "utils/json.h"

#include "tower/features.h"
#include "tower/ops.h"
#include "tower/spec.h"
#include "vector/vector.h"

#define SPEC_FORMAT 1

#define MAX_TOWERS 100
#define MAX_FEATURES 10000
#define MAX_NODES 10000

/* Floats that one row may need. */
#define MAX_ARENA (16 * 1024 * 1024)

#define bad_spec(...) \
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), \
					errmsg(__VA_ARGS__)))

/* Reading JSON */

/* Refuse fields of an object other than those of a NULL-ended list. */
static void
check_keys(const JsonTree *object, const char *what, const char *const *keys)
{
	for (int i = 0; i < object->n; i++)
	{
		int			k = 0;

		while (keys[k] && strcmp(keys[k], object->fields[i].key) != 0)
			k++;
		if (keys[k] == NULL)
			bad_spec("%s has the unknown field \"%s\"", what,
					 object->fields[i].key);
	}
}

/* A field of that kind, or NULL where it is absent and may be. */
static const JsonTree *
get_field(const JsonTree *object, const char *what, const char *key,
		  JsonTreeKind kind, bool required)
{
	const JsonTree *field = jsontree_get(object, key);

	if (field == NULL && required)
		bad_spec("%s has no field \"%s\"", what, key);
	if (field != NULL && field->kind != kind)
		bad_spec("field \"%s\" of %s is a JSON %s", key, what,
				 jsontree_kind_name(field));
	return field;
}

static void
check_object(const JsonTree *tree, const char *what)
{
	if (tree->kind != JSONTREE_OBJECT)
		bad_spec("%s is a JSON %s, not an object", what,
				 jsontree_kind_name(tree));
}

/*
 * May a model or a tower be called so?  1 to 63 bytes, no / or @ and no
 * control characters.
 */
bool
model_name_valid(const char *name, Size length)
{
	if (length < 1 || length > MODEL_NAME_MAX)
		return false;
	for (Size i = 0; i < length; i++)
	{
		unsigned char c = name[i];

		if (c < ' ' || c == 127 || c == '/' || c == '@')
			return false;
	}
	return true;
}

/*
 * Parse the spec and return its towers, an object.  A bundle's towers have
 * names; the only tower of a model may be called "".
 */
JsonTree *
spec_towers(const TensorFile *file)
{
	static const char *const keys[] = {"format", "towers", NULL};
	JsonTree   *spec = jsontree_parse(file->spec, strlen(file->spec),
									  "the spec");
	const JsonTree *format;
	JsonTree   *towers;
	int64		number;

	check_object(spec, "the spec");
	check_keys(spec, "the spec", keys);
	format = get_field(spec, "the spec", "format", JSONTREE_NUMBER, true);
	if (!jsontree_int64(format, &number) || number != SPEC_FORMAT)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the spec has format %s, this version reads format %d",
						format->text, SPEC_FORMAT)));
	(void) get_field(spec, "the spec", "towers", JSONTREE_OBJECT, true);
	towers = jsontree_get(spec, "towers");
	if (towers->n < 1 || towers->n > MAX_TOWERS)
		bad_spec("the spec has %d towers, not 1 to %d", towers->n, MAX_TOWERS);
	for (int i = 0; i < towers->n; i++)
	{
		const char *name = towers->fields[i].key;

		if (!model_name_valid(name, strlen(name)) &&
			!(name[0] == '\0' && towers->n == 1))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_NAME),
					 errmsg("tower name \"%s\" is not valid", name),
					 errhint("Names have 1 to %d bytes and no \"/\" or \"@\"; the tower of a model with one tower may be called \"\".",
							 MODEL_NAME_MAX)));
		check_object(towers->fields[i].value,
					 psprintf("tower \"%s\"", name));
	}
	return towers;
}

/* Wires */

static int
wire_find(const Tower *tower, const char *name)
{
	CHECK_FOR_INTERRUPTS();
	for (int i = 0; i < tower->nwires; i++)
	{
		if (tower->wires[i].name && strcmp(tower->wires[i].name, name) == 0)
			return i;
	}
	return -1;
}

/* A new wire; the tower has room for it.  name is NULL for a conversion. */
static Wire *
wire_add(Tower *tower, const char *name, WireKind kind)
{
	Wire	   *wire;

	if (name && wire_find(tower, name) >= 0)
		bad_spec("tower \"%s\": the name \"%s\" is given twice", tower->name,
				 name);
	wire = &tower->wires[tower->nwires++];
	memset(wire, 0, sizeof(Wire));
	wire->name = name;
	wire->kind = kind;
	wire->vector = -1;
	return wire;
}

static void
wire_set_width(Tower *tower, Wire *wire, int64 width)
{
	if (width < 1 || width > TOWER_MAX_WIDTH)
		bad_spec("tower \"%s\": vector \"%s\" would have " INT64_FORMAT " elements, the limit is %d",
				 tower->name, wire->name, width, TOWER_MAX_WIDTH);
	wire->width = width;
	wire->offset = tower->arena;
	tower->arena += width;
	if (tower->arena > MAX_ARENA)
		bad_spec("tower \"%s\" needs more than %d floats a row", tower->name,
				 MAX_ARENA);
}

/* What the ops are built with */

/* The field, or NULL if the node does not have it. */
const JsonTree *
build_field(NodeBuild *build, const char *key)
{
	return jsontree_get(build->json, key);
}

static const JsonTree *
build_field_kind(NodeBuild *build, const char *key, JsonTreeKind kind)
{
	const JsonTree *field = build_field(build, key);

	if (field == NULL)
		node_fault(build->node, "field \"%s\" is missing", key);
	if (field->kind != kind)
		node_fault(build->node, "field \"%s\" is a JSON %s", key,
				   jsontree_kind_name(field));
	return field;
}

int64
build_int(NodeBuild *build, const char *key, int64 low, int64 high)
{
	const JsonTree *field = build_field_kind(build, key, JSONTREE_NUMBER);
	int64		number;

	if (!jsontree_int64(field, &number) || number < low || number > high)
		node_fault(build->node, "field \"%s\" is %s, not an integer from " INT64_FORMAT " to " INT64_FORMAT,
				   key, field->text, low, high);
	return number;
}

/* The same, with -1 for null. */
int64
build_int_or_null(NodeBuild *build, const char *key, int64 low, int64 high)
{
	const JsonTree *field = build_field(build, key);

	if (field && field->kind == JSONTREE_NULL)
		return -1;
	return build_int(build, key, low, high);
}

double
build_number(NodeBuild *build, const char *key)
{
	const JsonTree *field = build_field_kind(build, key, JSONTREE_NUMBER);
	double		number;

	if (!jsontree_float8(field, &number))
		node_fault(build->node, "field \"%s\" is out of range", key);
	return number;
}

bool
build_bool(NodeBuild *build, const char *key)
{
	return build_field_kind(build, key, JSONTREE_BOOL)->boolean;
}

/* Which of the NULL-ended choices a field names. */
int
build_choice(NodeBuild *build, const char *key, const char *const *choices)
{
	const JsonTree *field = build_field_kind(build, key, JSONTREE_STRING);
	StringInfoData all;

	initStringInfo(&all);
	for (int i = 0; choices[i]; i++)
	{
		if (strcmp(choices[i], field->text) == 0)
			return i;
		appendStringInfo(&all, "%s\"%s\"", i ? ", " : "", choices[i]);
	}
	node_fault(build->node, "field \"%s\" is \"%s\", not one of %s", key,
			   field->text, all.data);
	return -1;
}

static Tensor *
build_tensor_maybe(NodeBuild *build, const char *role)
{
	const JsonTree *name = build->tensors ?
	jsontree_get(build->tensors, role) : NULL;
	Tensor	   *tensor;

	if (name == NULL)
		return NULL;
	if (name->kind != JSONTREE_STRING)
		node_fault(build->node, "the name of tensor \"%s\" is a JSON %s", role,
				   jsontree_kind_name(name));
	tensor = safetensors_find(build->file, name->text);
	if (tensor == NULL)
		node_fault(build->node, "the file has no tensor \"%s\"", name->text);
	tensor->used = true;
	return tensor;
}

/* The tensor of a role, of that many dimensions. */
Tensor *
build_tensor(NodeBuild *build, const char *role, int ndims)
{
	Tensor	   *tensor = build_tensor_maybe(build, role);

	if (tensor == NULL)
		node_fault(build->node, "tensor \"%s\" is missing", role);
	if (tensor->ndims != ndims)
		node_fault(build->node, "tensor \"%s\" has shape %s, not %d dimensions",
				   tensor->name, tensor_shape(tensor), ndims);
	return tensor;
}

/* The n floats of a tensor of shape (n); NULL if the node does not have it. */
float *
build_floats(NodeBuild *build, const char *role, int64 n)
{
	Tensor	   *tensor = build_tensor_maybe(build, role);

	if (tensor == NULL)
		return NULL;
	if (tensor->ndims != 1 || tensor->dims[0] != n)
		node_fault(build->node, "tensor \"%s\" has shape %s, not (" INT64_FORMAT ")",
				   tensor->name, tensor_shape(tensor), n);
	return tensor_floats(build->file, tensor);
}

const Wire *
build_input(NodeBuild *build, int k)
{
	return &build->tower->wires[build->node->inputs[k]];
}

/*
 * The wire as a vector: itself, or the output of a conversion, which is put in
 * once a tower.  -1 if it is neither a vector nor a number.
 */
static int
wire_as_vector(Tower *tower, int number)
{
	Wire	   *wire = &tower->wires[number];
	TowerNode  *node;

	if (wire->kind == WIRE_VECTOR)
		return number;
	if (wire->list || (wire->kind != WIRE_INT && wire->kind != WIRE_FLOAT))
		return -1;
	if (wire->vector < 0)
	{
		node = &tower->nodes[tower->nnodes++];
		node->name = wire->name;
		node->op = &as_vector_op;
		node->ninputs = 1;
		node->inputs = palloc(sizeof(int));
		node->inputs[0] = number;
		node->output = wire->vector = tower->nwires;
		wire_set_width(tower, wire_add(tower, NULL, WIRE_VECTOR), 1);
	}
	return wire->vector;
}

/* Make input k a vector; returns its width. */
int
build_input_vector(NodeBuild *build, int k)
{
	int		   *input = &build->node->inputs[k];
	int			vector = wire_as_vector(build->tower, *input);

	if (vector < 0)
		node_fault(build->node, "input \"%s\" is neither a vector nor a number",
				   build->tower->wires[*input].name);
	*input = vector;
	return build->tower->wires[vector].width;
}

Wire *
build_output(NodeBuild *build, WireKind kind)
{
	build->node->output = build->tower->nwires;
	return wire_add(build->tower, build->node->name, kind);
}

Wire *
build_output_vector(NodeBuild *build, int64 width)
{
	Wire	   *wire = build_output(build, WIRE_VECTOR);

	wire_set_width(build->tower, wire, width);
	return wire;
}

/* Features */

static NullElements
read_null_elements(const JsonTree *json, const char *what,
				   const FeatureType *type)
{
	const JsonTree *field = get_field(json, what, "null_elements",
									  JSONTREE_STRING, false);

	if (field == NULL || strcmp(field->text, "error") == 0)
		return NULL_ELEMENTS_ERROR;
	if (strcmp(field->text, "padding") == 0 && type->list &&
		(type->kind == WIRE_INT || type->kind == WIRE_TEXT))
		return NULL_ELEMENTS_PADDING;
	if (strcmp(field->text, "zero") == 0 &&
		(type->kind == WIRE_VECTOR || (type->list && type->kind == WIRE_FLOAT)))
		return NULL_ELEMENTS_ZERO;
	bad_spec("%s of type %s cannot have null_elements \"%s\"", what,
			 type->name, field->text);
}

static int
read_dim(const JsonTree *json, const char *what, bool vector)
{
	const JsonTree *field = get_field(json, what, "dim", JSONTREE_NUMBER,
									  vector);
	int64		dim;

	if (field != NULL && !vector)
		bad_spec("%s has a field \"dim\", but is no vector", what);
	if (field == NULL)
		return 0;
	if (!jsontree_int64(field, &dim) || dim < 1 || dim > VECTOR_MAX_DIM)
		bad_spec("field \"dim\" of %s is %s, not an integer from 1 to %d",
				 what, field->text, VECTOR_MAX_DIM);
	return dim;
}

static void
read_feature(Tower *tower, Feature *feature, const JsonTree *json)
{
	static const char *const keys[] = {
		"name", "type", "default", "dim", "null_elements", NULL
	};
	char	   *what = psprintf("a feature of tower \"%s\"", tower->name);
	const JsonTree *type;
	Wire	   *wire;

	check_object(json, what);
	feature->name = pstrdup(get_field(json, what, "name", JSONTREE_STRING,
									  true)->text);
	what = psprintf("feature \"%s\"", feature->name);
	check_keys(json, what, keys);
	type = get_field(json, what, "type", JSONTREE_STRING, true);
	feature->type = feature_type_find(type->text);
	if (feature->type == NULL)
		bad_spec("%s has the unknown type \"%s\"", what, type->text);
	feature->dim = read_dim(json, what, feature->type->kind == WIRE_VECTOR);
	feature->null_elements = read_null_elements(json, what, feature->type);
	feature->wire = tower->nwires;
	wire = wire_add(tower, feature->name, feature->type->kind);
	wire->list = feature->type->list;
	wire->nulls = feature->null_elements == NULL_ELEMENTS_PADDING;
	if (wire->kind == WIRE_VECTOR)
		wire_set_width(tower, wire, feature->dim);
	if (jsontree_get(json, "default") != NULL)
	{
		feature->has_default = true;
		if (wire->kind == WIRE_VECTOR)
			feature->fallback_vector = palloc0(sizeof(float) * feature->dim);
		if (jsontree_get(json, "default")->kind == JSONTREE_NULL)
			bad_spec("the default of %s is null", what);
		feature_read_tree(feature,
						  jsontree_copy(jsontree_get(json, "default")),
						  &feature->fallback, feature->fallback_vector);
	}
}

static int
feature_compare_name(const void *a, const void *b)
{
	return strcmp(((const Feature *) a)->name, ((const Feature *) b)->name);
}

/*
 * Read the features and sort them by name.  A default's value points into its
 * feature where it is a scalar, so it is pointed anew after sorting.
 */
static void
read_features(Tower *tower, const JsonTree *list)
{
	tower->features = palloc0(mul_size(sizeof(Feature), Max(list->n, 1)));
	tower->nfeatures = list->n;
	for (int i = 0; i < list->n; i++)
		read_feature(tower, &tower->features[i], list->items[i]);
	qsort(tower->features, tower->nfeatures, sizeof(Feature),
		  feature_compare_name);
	for (int i = 0; i < tower->nfeatures; i++)
	{
		Value	   *value = &tower->features[i].fallback;

		if (value->n != 1)
			continue;
		value->ints = value->ints ? &value->one.integer : NULL;
		value->floats = value->floats ? &value->one.number : NULL;
		value->texts = value->texts ? &value->one.text : NULL;
	}
}

/* Nodes */

static void
check_rule(NodeBuild *build, const OpRule *rule)
{
	bool		field = build_field(build, rule->name) != NULL;
	bool		tensor = build->tensors &&
	jsontree_get(build->tensors, rule->name) != NULL;

	if (rule->presence == OP_FIELD && !field)
		node_fault(build->node, "field \"%s\" is missing", rule->name);
	if (rule->presence == OP_TENSOR && !tensor)
		node_fault(build->node, "tensor \"%s\" is missing", rule->name);
	if (rule->presence == OP_EITHER && field == tensor)
		node_fault(build->node, "\"%s\" must be given as a field or as a tensor, and not as both",
				   rule->name);
}

static bool
rule_allows(const OpDef *op, const char *name, bool tensor)
{
	for (int i = 0; i < OP_MAX_RULES && op->rules[i].name; i++)
	{
		OpPresence	presence = op->rules[i].presence;
		bool		of_kind = tensor ?
		presence == OP_TENSOR || presence == OP_TENSOR_MAYBE :
		presence == OP_FIELD || presence == OP_FIELD_MAYBE;

		if (strcmp(op->rules[i].name, name) == 0 &&
			(of_kind || presence == OP_EITHER))
			return true;
	}
	return false;
}

/* The node must have the fields and tensors that its op asks for, no others. */
static void
check_rules(NodeBuild *build)
{
	static const char *const common[] = {
		"op", "inputs", "output", "tensors", NULL
	};
	const OpDef *op = build->node->op;

	for (int i = 0; i < OP_MAX_RULES && op->rules[i].name; i++)
		check_rule(build, &op->rules[i]);
	for (int i = 0; i < build->json->n; i++)
	{
		const char *key = build->json->fields[i].key;
		int			k = 0;

		while (common[k] && strcmp(common[k], key) != 0)
			k++;
		if (common[k] == NULL && !rule_allows(op, key, false))
			node_fault(build->node, "unknown field \"%s\"", key);
	}
	for (int i = 0; build->tensors && i < build->tensors->n; i++)
	{
		if (!rule_allows(op, build->tensors->fields[i].key, true))
			node_fault(build->node, "unknown tensor \"%s\"",
					   build->tensors->fields[i].key);
	}
}

static void
read_inputs(Tower *tower, TowerNode *node, const JsonTree *inputs)
{
	if (inputs->n < node->op->min_inputs || inputs->n > node->op->max_inputs)
		node_fault(node, "the op takes %d to %d inputs, not %d",
				   node->op->min_inputs, node->op->max_inputs, inputs->n);
	node->ninputs = inputs->n;
	node->inputs = palloc(sizeof(int) * inputs->n);
	for (int k = 0; k < inputs->n; k++)
	{
		if (inputs->items[k]->kind != JSONTREE_STRING)
			node_fault(node, "input %d is a JSON %s", k,
					   jsontree_kind_name(inputs->items[k]));
		node->inputs[k] = wire_find(tower, inputs->items[k]->text);
		if (node->inputs[k] < 0)
			node_fault(node, "input \"%s\" is neither a feature nor the output of an earlier node",
					   inputs->items[k]->text);
	}
}

static void
read_node(TensorFile *file, Tower *tower, const JsonTree *json, int number)
{
	char	   *what = psprintf("node %d of tower \"%s\"", number, tower->name);
	TowerNode	node = {0};
	NodeBuild	build = {file, tower, json, NULL, &node};
	const JsonTree *op;

	check_object(json, what);
	node.name = pstrdup(get_field(json, what, "output", JSONTREE_STRING,
								  true)->text);
	what = psprintf("node \"%s\"", node.name);
	op = get_field(json, what, "op", JSONTREE_STRING, true);
	node.op = op_find(op->text);
	if (node.op == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s has the unknown op \"%s\"", what, op->text)));
	build.tensors = get_field(json, what, "tensors", JSONTREE_OBJECT, false);
	check_rules(&build);
	read_inputs(tower, &node, get_field(json, what, "inputs", JSONTREE_ARRAY,
										true));
	node.op->build(&build);
	tower->nodes[tower->nnodes++] = node;
}

/* The tower as a whole */

static void
read_ignored(Tower *tower, const JsonTree *list)
{
	if (list == NULL)
		return;
	tower->ignored = palloc(mul_size(sizeof(char *), Max(list->n, 1)));
	for (int i = 0; i < list->n; i++)
	{
		if (list->items[i]->kind != JSONTREE_STRING)
			bad_spec("tower \"%s\": item %d of \"ignore\" is a JSON %s",
					 tower->name, i, jsontree_kind_name(list->items[i]));
		tower->ignored[tower->nignored++] = pstrdup(list->items[i]->text);
		if (feature_find(tower, list->items[i]->text))
			bad_spec("tower \"%s\": \"%s\" is a feature and ignored",
					 tower->name, list->items[i]->text);
	}
}

static void
read_output(Tower *tower, const char *name)
{
	tower->output = wire_find(tower, name);
	if (tower->output < 0)
		bad_spec("tower \"%s\": the output \"%s\" is neither a feature nor the output of a node",
				 tower->name, name);
	tower->output = wire_as_vector(tower, tower->output);
	if (tower->output < 0)
		bad_spec("tower \"%s\": the output \"%s\" is neither a vector nor a number",
				 tower->name, name);
	tower->width = tower->wires[tower->output].width;
	if (tower->width > VECTOR_MAX_DIM)
		bad_spec("tower \"%s\": the output has %d dimensions, the limit is %d",
				 tower->name, tower->width, VECTOR_MAX_DIM);
}

static double
read_tolerance(const JsonTree *json, const char *what)
{
	const JsonTree *field = get_field(json, what, "tolerance",
									  JSONTREE_NUMBER, false);
	double		tolerance;

	if (field == NULL)
		return 1e-4;
	if (!jsontree_float8(field, &tolerance) || tolerance < 0.0)
		bad_spec("the tolerance of %s is %s", what, field->text);
	return tolerance;
}

/*
 * Build a tower of the file: a field of what spec_towers returned.  It lives
 * in the current memory context and needs neither file nor spec any longer.
 */
Tower *
spec_build(TensorFile *file, const JsonField *json)
{
	static const char *const keys[] = {
		"features", "ignore", "nodes", "output", "tolerance", NULL
	};
	Tower	   *tower = palloc0(sizeof(Tower));
	char	   *what = psprintf("tower \"%s\"", json->key);
	const JsonTree *features = get_field(json->value, what, "features",
										 JSONTREE_ARRAY, true);
	const JsonTree *nodes = get_field(json->value, what, "nodes",
									  JSONTREE_ARRAY, true);

	check_keys(json->value, what, keys);
	if (features->n > MAX_FEATURES || nodes->n > MAX_NODES)
		bad_spec("%s has %d features and %d nodes, the limits are %d and %d",
				 what, features->n, nodes->n, MAX_FEATURES, MAX_NODES);
	tower->name = pstrdup(json->key);
	/* each feature and each node may need a conversion to a vector */
	tower->wires = palloc(sizeof(Wire) * 2 * (features->n + nodes->n));
	tower->nodes = palloc0(sizeof(TowerNode) * (features->n + 2 * nodes->n));
	read_features(tower, features);
	read_ignored(tower, get_field(json->value, what, "ignore",
								  JSONTREE_ARRAY, false));
	for (int i = 0; i < nodes->n; i++)
		read_node(file, tower, nodes->items[i], i);
	read_output(tower, get_field(json->value, what, "output",
								 JSONTREE_STRING, true)->text);
	tower->tolerance = read_tolerance(json->value, what);
	return tower;
}

/* Once all towers are built, every tensor must be used by one. */
void
spec_check_used(const TensorFile *file)
{
	for (int i = 0; i < file->ntensors; i++)
	{
		if (!file->tensors[i].used)
			bad_spec("no node uses tensor \"%s\"", file->tensors[i].name);
	}
}

static void
summarise_feature(StringInfo out, const JsonTree *feature)
{
	static const char *const keys[] = {
		"name", "type", "dim", "default", "null_elements"
	};

	appendStringInfoChar(out, '{');
	for (int i = 0; i < lengthof(keys); i++)
	{
		const JsonTree *value = jsontree_get(feature, keys[i]);

		if (value == NULL)
			continue;
		appendStringInfo(out, "%s\"%s\": ", i ? ", " : "", keys[i]);
		jsontree_print(out, value);
	}
	appendStringInfoChar(out, '}');
}

/*
 * What the views show of the towers, as JSON: name, dimensions, features.
 * towers is what spec_towers returned, built one tower for each.
 */
char *
spec_summary(const JsonTree *towers, Tower *const *built)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoChar(&out, '[');
	for (int i = 0; i < towers->n; i++)
	{
		const JsonTree *features = jsontree_get(towers->fields[i].value,
												"features");

		appendStringInfo(&out, "%s{\"name\": ", i ? ", " : "");
		escape_json(&out, built[i]->name);
		appendStringInfo(&out, ", \"dim\": %d, \"features\": [",
						 built[i]->width);
		for (int k = 0; k < features->n; k++)
		{
			if (k > 0)
				appendStringInfoString(&out, ", ");
			summarise_feature(&out, features->items[k]);
		}
		appendStringInfoString(&out, "]}");
	}
	appendStringInfoChar(&out, ']');
	return out.data;
}
