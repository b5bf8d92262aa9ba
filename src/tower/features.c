/*
 * features.c
 *		From a record or a JSON object to the feature values of a row.
 *
 * Both come down to elements, read one by one and stored by one function,
 * which knows about NULLs and refuses what is not finite.  Values may point
 * into the record or the object they were read from; what is allocated is in
 * the current memory context.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/shmem.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#include "base/compat.h"
#include "tower/features.h"
#include "vector/vector.h"

/* Elements that a list may have: as many texts as one piece of memory holds. */
#define MAX_LIST_ELEMENTS ((int) (MaxAllocSize / sizeof(TextRef)))

/* What a feature accepts, of a column or of an array's elements. */
enum
{
	ACCEPT_INT = 1, ACCEPT_BOOL = 2, ACCEPT_FLOAT = 4, ACCEPT_TEXT = 8,
	ACCEPT_REAL = 16
};

static const FeatureType feature_types[] = {
	{"int", WIRE_INT, false, ACCEPT_INT},
	{"bool", WIRE_INT, false, ACCEPT_BOOL},
	{"float", WIRE_FLOAT, false, ACCEPT_FLOAT},
	{"text", WIRE_TEXT, false, ACCEPT_TEXT},
	{"int[]", WIRE_INT, true, ACCEPT_INT},
	{"text[]", WIRE_TEXT, true, ACCEPT_TEXT},
	{"float[]", WIRE_FLOAT, true, ACCEPT_FLOAT | ACCEPT_BOOL},
	{"vector", WIRE_VECTOR, false, ACCEPT_REAL},
};

/* One value on its way into a feature. */
typedef struct Element
{
	bool		isnull;
	int64		integer;
	double		number;
	TextRef text;
} Element;

/* A type that a column, or an array column's elements, may have. */
typedef struct ColumnType
{
	Oid			type;
	Oid			array;
	int			accepts;
	int16		length;
	bool		by_value;
	char		align;
	void		(*read) (Datum datum, Element *element);
} ColumnType;

typedef struct ColumnBinding
{
	const Feature *feature;
	int			column;
	const ColumnType *type;		/* NULL for a column of type vector */
} ColumnBinding;

struct RecordBinding
{
	const Tower *tower;
	TupleDesc	desc;
	Datum	   *values;
	bool	   *nulls;
	ColumnBinding *columns;		/* one a feature */
};

#define feature_mismatch(...) \
	ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH), errmsg(__VA_ARGS__)))

const FeatureType *
feature_type_find(const char *name)
{
	for (int i = 0; i < lengthof(feature_types); i++)
	{
		if (strcmp(feature_types[i].name, name) == 0)
			return &feature_types[i];
	}
	return NULL;
}

static int
feature_compare(const void *name, const void *feature)
{
	return strcmp(name, ((const Feature *) feature)->name);
}

/* The feature of that name, or NULL. */
Feature *
feature_find(const Tower *tower, const char *name)
{
	return bsearch(name, tower->features, tower->nfeatures, sizeof(Feature),
				   feature_compare);
}

/* The feature of that name, NULL if it is to be ignored, else an error. */
static Feature *
feature_of(const Tower *tower, const char *name)
{
	Feature    *feature = feature_find(tower, name);
	StringInfoData names;

	if (feature)
		return feature;
	for (int i = 0; i < tower->nignored; i++)
	{
		if (strcmp(tower->ignored[i], name) == 0)
			return NULL;
	}
	initStringInfo(&names);
	for (int i = 0; i < tower->nfeatures; i++)
		appendStringInfo(&names, "%s%s", i ? ", " : "",
						 tower->features[i].name);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("unknown feature \"%s\"", name),
			 errdetail("The tower's features are: %s.", names.data),
			 errhint("Leave the column out, or name it in the \"ignore\" list of the tower's spec.")));
}

static void
feature_missing(const Feature *feature)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("feature \"%s\" is missing", feature->name),
			 errhint("A feature that is not known is given as NULL, if it has a default.")));
}

static void
list_check_length(const Feature *feature, int n)
{
	if (n > MAX_LIST_ELEMENTS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("feature \"%s\" has %d elements, the limit is %d",
						feature->name, n, MAX_LIST_ELEMENTS),
				 errhint("Give fewer elements, for instance the latest.")));
}

/* Make room for n elements. */
static void
value_begin(const Feature *feature, Value *value, int n)
{
	WireKind	kind = feature->type->kind;

	value->n = n;
	value->nulls = NULL;
	if (kind == WIRE_VECTOR)
	{
		if (n != feature->dim)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("feature \"%s\": expected %d dimensions, not %d",
							feature->name, feature->dim, n)));
		return;
	}
	list_check_length(feature, n);
	if (kind == WIRE_INT)
		value->ints = n == 1 ? &value->one.integer :
			palloc(mul_size(sizeof(int64), n));
	else if (kind == WIRE_FLOAT)
		value->floats = n == 1 ? &value->one.number :
			palloc(mul_size(sizeof(double), n));
	else
		value->texts = n == 1 ? &value->one.text :
			palloc(mul_size(sizeof(TextRef), n));
}

/* A NULL among the elements of an array. */
static void
value_null_element(const Feature *feature, Value *value, int i,
				   Element *element)
{
	if (feature->null_elements == NULL_ELEMENTS_ERROR)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("feature \"%s\" has a null element", feature->name),
				 errhint("The field \"null_elements\" of the feature's spec can allow it.")));
	memset(element, 0, sizeof(*element));
	if (feature->null_elements == NULL_ELEMENTS_ZERO)
		return;
	if (value->nulls == NULL)
		value->nulls = palloc0(value->n);
	value->nulls[i] = true;
}

/* Store element i. */
static inline void
value_element(const Feature *feature, Value *value, float *vector, int i,
			  Element *element)
{
	if (element->isnull)
		value_null_element(feature, value, i, element);
	switch (feature->type->kind)
	{
		case WIRE_INT:
			value->ints[i] = element->integer;
			break;
		case WIRE_TEXT:
			value->texts[i] = element->text;
			break;
		default:
			if (!isfinite(element->number))
				ereport(ERROR,
						(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
						 errmsg("feature \"%s\" is NaN or infinite",
								feature->name)));
			if (feature->type->kind == WIRE_FLOAT)
				value->floats[i] = element->number;
			else
				vector[i] = (float) element->number;
	}
}

/* A whole feature is NULL: its default. */
static void
value_default(const Feature *feature, Value *value, float *vector)
{
	if (!feature->has_default)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("feature \"%s\" is null and has no default",
						feature->name)));
	*value = feature->fallback;
	if (feature->type->kind == WIRE_VECTOR)
		memcpy(vector, feature->fallback_vector, sizeof(float) * feature->dim);
}

/* JSON */

/* Read an element; false if it has a kind that the feature does not accept. */
static bool
element_read_tree(int accepts, const JsonTree *tree, Element *element)
{
	element->isnull = false;
	switch (tree->kind)
	{
		case JSONTREE_NULL:
			element->isnull = true;
			return true;
		case JSONTREE_BOOL:
			element->integer = tree->boolean;
			element->number = tree->boolean;
			return accepts & ACCEPT_BOOL;
		case JSONTREE_STRING:
			element->text.data = tree->text;
			element->text.length = tree->length;
			return accepts & ACCEPT_TEXT;
		case JSONTREE_NUMBER:
			if (accepts & ACCEPT_INT)
				return jsontree_int64(tree, &element->integer);
			return (accepts & (ACCEPT_FLOAT | ACCEPT_REAL)) &&
				jsontree_float8(tree, &element->number);
		default:
			return false;
	}
}

/*
 * Read a feature from JSON.  value or, for a vector, its dim floats are set.
 * A null is an error here.
 */
void
feature_read_tree(const Feature *feature, const JsonTree *tree, Value *value,
				  float *vector)
{
	bool		array = feature->type->list ||
	feature->type->kind == WIRE_VECTOR;
	Element		element;

	if (array && tree->kind != JSONTREE_ARRAY)
		feature_mismatch("feature \"%s\" is a JSON %s, but has type %s",
						 feature->name, jsontree_kind_name(tree),
						 feature->type->name);
	value_begin(feature, value, array ? tree->n : 1);
	for (int i = 0; i < value->n; i++)
	{
		const JsonTree *item = array ? tree->items[i] : tree;

		CHECK_FOR_INTERRUPTS();
		if (!element_read_tree(feature->type->accepts, item, &element))
			feature_mismatch("feature \"%s\" of type %s cannot take the JSON %s%s%.40s",
							 feature->name, feature->type->name,
							 jsontree_kind_name(item),
							 item->kind == JSONTREE_NUMBER ? " " : "",
							 item->kind == JSONTREE_NUMBER ? item->text : "");
		value_element(feature, value, vector, i, &element);
	}
}

/* Read a row's features from a JSON object. */
void
features_read_tree(Batch *batch, int row, const JsonTree *object)
{
	const Tower *tower = batch->tower;

	if (object->kind != JSONTREE_OBJECT)
		feature_mismatch("the features are a JSON %s, not an object",
						 jsontree_kind_name(object));
	for (int i = 0; i < object->n; i++)
		(void) feature_of(tower, object->fields[i].key);
	for (int i = 0; i < tower->nfeatures; i++)
	{
		const Feature *feature = &tower->features[i];
		const JsonTree *tree = jsontree_get(object, feature->name);
		Value	   *value = batch_value(batch, feature->wire, row);
		float	   *vector = batch_vector(batch, feature->wire, row);

		if (tree == NULL)
			feature_missing(feature);
		else if (tree->kind == JSONTREE_NULL)
			value_default(feature, value, vector);
		else
			feature_read_tree(feature, tree, value, vector);
	}
}

/* Columns */

static void
read_bool(Datum datum, Element *element)
{
	element->integer = DatumGetBool(datum);
	element->number = element->integer;
}

static void
read_int2(Datum datum, Element *element)
{
	element->integer = DatumGetInt16(datum);
	element->number = element->integer;
}

static void
read_int4(Datum datum, Element *element)
{
	element->integer = DatumGetInt32(datum);
	element->number = element->integer;
}

static void
read_int8(Datum datum, Element *element)
{
	element->integer = DatumGetInt64(datum);
	element->number = element->integer;
}

static void
read_float4(Datum datum, Element *element)
{
	element->number = DatumGetFloat4(datum);
}

static void
read_float8(Datum datum, Element *element)
{
	element->number = DatumGetFloat8(datum);
}

static void
read_numeric(Datum datum, Element *element)
{
	datum = DirectFunctionCall1(numeric_float8_no_overflow, datum);
	element->number = DatumGetFloat8(datum);
}

static void
read_text(Datum datum, Element *element)
{
	struct varlena *text = PG_DETOAST_DATUM_PACKED(datum);

	element->text.data = VARDATA_ANY(text);
	element->text.length = VARSIZE_ANY_EXHDR(text);
}

/* char(n) as its cast to text: without the blanks at the end. */
static void
read_bpchar(Datum datum, Element *element)
{
	read_text(datum, element);
	element->text.length = bpchartruelen(unconstify(char *, element->text.data),
										 element->text.length);
}

static void
read_name(Datum datum, Element *element)
{
	element->text.data = NameStr(*DatumGetName(datum));
	element->text.length = strlen(element->text.data);
}

static const ColumnType column_types[] = {
	{BOOLOID, BOOLARRAYOID, ACCEPT_BOOL, 1, true, TYPALIGN_CHAR, read_bool},
	{INT2OID, INT2ARRAYOID, ACCEPT_INT | ACCEPT_FLOAT,
	2, true, TYPALIGN_SHORT, read_int2},
	{INT4OID, INT4ARRAYOID, ACCEPT_INT | ACCEPT_FLOAT,
	4, true, TYPALIGN_INT, read_int4},
	{INT8OID, INT8ARRAYOID, ACCEPT_INT | ACCEPT_FLOAT,
	8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, read_int8},
	{FLOAT4OID, FLOAT4ARRAYOID, ACCEPT_FLOAT | ACCEPT_REAL,
	4, true, TYPALIGN_INT, read_float4},
	{FLOAT8OID, FLOAT8ARRAYOID, ACCEPT_FLOAT | ACCEPT_REAL,
	8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, read_float8},
	{NUMERICOID, NUMERICARRAYOID, ACCEPT_FLOAT,
	-1, false, TYPALIGN_INT, read_numeric},
	{TEXTOID, TEXTARRAYOID, ACCEPT_TEXT, -1, false, TYPALIGN_INT, read_text},
	{VARCHAROID, VARCHARARRAYOID, ACCEPT_TEXT,
	-1, false, TYPALIGN_INT, read_text},
	{BPCHAROID, BPCHARARRAYOID, ACCEPT_TEXT,
	-1, false, TYPALIGN_INT, read_bpchar},
	{NAMEOID, NAMEARRAYOID, ACCEPT_TEXT,
	NAMEDATALEN, false, TYPALIGN_CHAR, read_name},
};

/* Bind one column to its feature; the types must fit. */
static void
column_bind(ColumnBinding *column, const Feature *feature,
			Form_pg_attribute attribute, Oid vector_type)
{
	Oid			type = getBaseType(attribute->atttypid);
	bool		array = feature->type->list ||
	feature->type->kind == WIRE_VECTOR;

	if (column->feature != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_COLUMN),
				 errmsg("feature \"%s\" is given twice", feature->name)));
	column->feature = feature;
	column->column = attribute->attnum - 1;
	if (feature->type->kind == WIRE_VECTOR && type == vector_type)
		return;
	for (int i = 0; i < lengthof(column_types); i++)
	{
		column->type = &column_types[i];
		if (type == (array ? column->type->array : column->type->type) &&
			(feature->type->accepts & column->type->accepts))
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("feature \"%s\" of type %s cannot take a column of type %s",
					feature->name, feature->type->name,
					format_type_be(attribute->atttypid))));
}

/*
 * Bind the columns of a record type to a tower's features, by name.
 * vector_type is the type vector.  The binding lives in the current memory
 * context and points to the tower and to desc, which must outlive it.
 */
RecordBinding *
record_bind(const Tower *tower, TupleDesc desc, Oid vector_type)
{
	RecordBinding *binding = palloc(sizeof(RecordBinding));

	binding->tower = tower;
	binding->desc = desc;
	binding->values = palloc(sizeof(Datum) * desc->natts);
	binding->nulls = palloc(sizeof(bool) * desc->natts);
	binding->columns = palloc0(sizeof(ColumnBinding) * tower->nfeatures);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		Feature    *feature;

		if (attribute->attisdropped)
			continue;
		feature = feature_of(tower, NameStr(attribute->attname));
		if (feature)
			column_bind(&binding->columns[feature - tower->features],
						feature, attribute, vector_type);
	}
	for (int i = 0; i < tower->nfeatures; i++)
	{
		if (binding->columns[i].feature == NULL)
			feature_missing(&tower->features[i]);
	}
	return binding;
}

static void
column_read_array(const ColumnBinding *column, Datum datum, Value *value,
				  float *vector)
{
	const ColumnType *type = column->type;
	ArrayType  *array = DatumGetArrayTypeP(datum);
	Element		element;
	Datum	   *datums;
	bool	   *nulls;
	int			n;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("feature \"%s\" is an array of %d dimensions, not of one",
						column->feature->name, ARR_NDIM(array))));
	list_check_length(column->feature,
					  ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)));
	deconstruct_array(array, type->type, type->length, type->by_value,
					  type->align, &datums, &nulls, &n);
	value_begin(column->feature, value, n);
	for (int i = 0; i < n; i++)
	{
		element.isnull = nulls[i];
		if (!nulls[i])
			type->read(datums[i], &element);
		value_element(column->feature, value, vector, i, &element);
	}
}

static void
column_read(const ColumnBinding *column, Datum datum, Value *value,
			float *vector)
{
	const Feature *feature = column->feature;
	Element		element = {.isnull = false};

	if (column->type == NULL)
	{
		Vector	   *given = DatumGetVector(datum);

		value_begin(feature, value, given->dim);
		memcpy(vector, given->x, sizeof(float) * given->dim);
	}
	else if (feature->type->list || feature->type->kind == WIRE_VECTOR)
		column_read_array(column, datum, value, vector);
	else
	{
		value_begin(feature, value, 1);
		column->type->read(datum, &element);
		value_element(feature, value, vector, 0, &element);
	}
}

/* Read a row's features from a record of the binding's type. */
void
features_read_record(RecordBinding *binding, Batch *batch, int row,
					 HeapTupleHeader record)
{
	HeapTupleData tuple = {0};

	tuple.t_len = HeapTupleHeaderGetDatumLength(record);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = record;
	heap_deform_tuple(&tuple, binding->desc, binding->values, binding->nulls);
	for (int i = 0; i < binding->tower->nfeatures; i++)
	{
		const ColumnBinding *column = &binding->columns[i];
		Value	   *value = batch_value(batch, column->feature->wire, row);
		float	   *vector = batch_vector(batch, column->feature->wire, row);

		if (binding->nulls[column->column])
			value_default(column->feature, value, vector);
		else
			column_read(column, binding->values[column->column], value,
						vector);
	}
}
