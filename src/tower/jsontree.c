/*
 * jsontree.c
 *		JSON as a tree in memory: from text by the server's own parser, or from
 *		a jsonb value.
 *
 * A tree lives in the memory context that was current when it was made, and
 * is never freed by itself.
 */
#include "postgres.h"

#include <math.h>

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonfuncs.h"
#include "utils/numeric.h"

#include "base/compat.h"
#include "tower/jsontree.h"

/* Values of one document; each takes about a hundred bytes. */
#define MAX_VALUES 2000000

/* Where the parser is: the open containers, innermost last. */
typedef struct TreeBuilder
{
	const char *what;			/* the document, for errors */
	JsonTree   *root;
	JsonTree  **open;
	int			depth;
	int			capacity;
	const char *key;			/* of the field to come */
	int			values;			/* so far */
} TreeBuilder;

static JsonTree *
tree_new(JsonTreeKind kind)
{
	JsonTree   *tree = palloc0(sizeof(JsonTree));

	tree->kind = kind;
	return tree;
}

static void
tree_grow(JsonTree *tree)
{
	Size		size = tree->kind == JSONTREE_OBJECT ?
	sizeof(JsonField) : sizeof(JsonTree *);
	void	   *old = tree->kind == JSONTREE_OBJECT ?
	(void *) tree->fields : (void *) tree->items;
	void	   *new;

	tree->capacity = old ? tree->capacity * 2 : 4;
	new = old ? repalloc_huge(old, size * tree->capacity) :
		palloc(size * tree->capacity);
	if (tree->kind == JSONTREE_OBJECT)
		tree->fields = new;
	else
		tree->items = new;
}

/* Put a value where the parser is: into the innermost container, or as root. */
static void
builder_add(TreeBuilder *builder, JsonTree *value)
{
	JsonTree   *parent;

	if (++builder->values > MAX_VALUES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%s has more than %d values", builder->what,
						MAX_VALUES),
				 errhint("Put a large vocabulary of integers into a tensor.")));
	if (builder->depth == 0)
	{
		builder->root = value;
		return;
	}
	parent = builder->open[builder->depth - 1];
	if (parent->n == parent->capacity)
		tree_grow(parent);
	if (parent->kind == JSONTREE_OBJECT)
	{
		parent->fields[parent->n].key = builder->key;
		parent->fields[parent->n].value = value;
	}
	else
		parent->items[parent->n] = value;
	parent->n++;
}

static void
builder_open(TreeBuilder *builder, JsonTreeKind kind)
{
	JsonTree   *container = tree_new(kind);

	builder_add(builder, container);
	if (builder->depth == builder->capacity)
	{
		builder->capacity *= 2;
		builder->open = repalloc(builder->open,
								 sizeof(JsonTree *) * builder->capacity);
	}
	builder->open[builder->depth++] = container;
}

static int
field_compare(const void *a, const void *b)
{
	return strcmp(((const JsonField *) a)->key, ((const JsonField *) b)->key);
}

/* Close the innermost container; an object's keys must differ. */
static void
builder_close(TreeBuilder *builder)
{
	JsonTree   *tree = builder->open[--builder->depth];

	if (tree->kind != JSONTREE_OBJECT || tree->n < 2)
		return;
	qsort(tree->fields, tree->n, sizeof(JsonField), field_compare);
	for (int i = 1; i < tree->n; i++)
	{
		if (strcmp(tree->fields[i - 1].key, tree->fields[i].key) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_JSON_OBJECT_KEY_VALUE),
					 errmsg("key \"%s\" is given twice in %s",
							tree->fields[i].key, builder->what)));
	}
}

static COMPAT_JSON_ACTION
on_object_start(void *state)
{
	builder_open(state, JSONTREE_OBJECT);
	COMPAT_JSON_DONE;
}

static COMPAT_JSON_ACTION
on_array_start(void *state)
{
	builder_open(state, JSONTREE_ARRAY);
	COMPAT_JSON_DONE;
}

static COMPAT_JSON_ACTION
on_end(void *state)
{
	builder_close(state);
	COMPAT_JSON_DONE;
}

static COMPAT_JSON_ACTION
on_field(void *state, char *name, bool isnull)
{
	((TreeBuilder *) state)->key = name;
	COMPAT_JSON_DONE;
}

static COMPAT_JSON_ACTION
on_scalar(void *state, char *token, JsonTokenType type)
{
	JsonTree   *tree = tree_new(JSONTREE_NULL);

	CHECK_FOR_INTERRUPTS();
	if (type == JSON_TOKEN_STRING || type == JSON_TOKEN_NUMBER)
	{
		tree->kind = type == JSON_TOKEN_STRING ?
			JSONTREE_STRING : JSONTREE_NUMBER;
		tree->text = token;
		tree->length = strlen(token);
	}
	else if (type == JSON_TOKEN_TRUE || type == JSON_TOKEN_FALSE)
	{
		tree->kind = JSONTREE_BOOL;
		tree->boolean = type == JSON_TOKEN_TRUE;
	}
	builder_add(state, tree);
	COMPAT_JSON_DONE;
}

/*
 * Parse UTF-8 text, which need not end in a zero byte.  what names the
 * document in errors.  Strings of the tree are in the server's encoding.
 */
JsonTree *
jsontree_parse(const char *text, Size length, const char *what)
{
	TreeBuilder builder = {.what = what,.capacity = 16};
	JsonSemAction actions = {
		.semstate = &builder,
		.object_start = on_object_start,
		.object_end = on_end,
		.array_start = on_array_start,
		.array_end = on_end,
		.object_field_start = on_field,
		.scalar = on_scalar
	};
	char	   *server;
	int			server_length;

	if (memchr(text, '\0', length) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("%s has a zero byte", what)));
	server = pg_any_to_server(text, length, PG_UTF8);
	server_length = server == text ? (int) length : (int) strlen(server);

	builder.open = palloc(sizeof(JsonTree *) * builder.capacity);
	pg_parse_json_or_ereport(compat_json_lex(cstring_to_text_with_len(server,
																	  server_length)),
							 &actions);
	return builder.root;
}

/* A scalar of a jsonb value. */
static JsonTree *
tree_from_jsonb_scalar(const JsonbValue *value)
{
	JsonTree   *tree = tree_new(JSONTREE_NULL);

	switch (value->type)
	{
		case jbvNull:
			break;
		case jbvBool:
			tree->kind = JSONTREE_BOOL;
			tree->boolean = value->val.boolean;
			break;
		case jbvString:
			tree->kind = JSONTREE_STRING;
			tree->text = value->val.string.val;
			tree->length = value->val.string.len;
			break;
		case jbvNumeric:
			tree->kind = JSONTREE_NUMBER;
			tree->text = DatumGetCString(DirectFunctionCall1(numeric_out,
															 NumericGetDatum(value->val.numeric)));
			tree->length = strlen(tree->text);
			break;
		default:
			elog(ERROR, "unexpected jsonb scalar: %d", (int) value->type);
	}
	return tree;
}

/*
 * The tree of a jsonb value.  Its strings point into the value, and are not
 * followed by a zero byte; keys are copies.
 */
JsonTree *
jsontree_from_jsonb(Jsonb *jsonb)
{
	TreeBuilder builder = {.what = "jsonb",.capacity = 16};
	JsonbIterator *it = JsonbIteratorInit(&jsonb->root);
	JsonbIteratorToken token;
	JsonbValue	value;

	builder.open = palloc(sizeof(JsonTree *) * builder.capacity);
	while ((token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE)
	{
		switch (token)
		{
			case WJB_BEGIN_OBJECT:
				builder_open(&builder, JSONTREE_OBJECT);
				break;
			case WJB_BEGIN_ARRAY:
				builder_open(&builder, JSONTREE_ARRAY);
				break;
			case WJB_END_OBJECT:
			case WJB_END_ARRAY:
				builder_close(&builder);
				break;
			case WJB_KEY:
				builder.key = pnstrdup(value.val.string.val,
									   value.val.string.len);
				break;
			default:
				builder_add(&builder, tree_from_jsonb_scalar(&value));
				break;
		}
	}
	return builder.root;
}

/* A copy in the current memory context, for what outlives its document. */
JsonTree *
jsontree_copy(const JsonTree *tree)
{
	JsonTree   *copy = palloc(sizeof(JsonTree));

	check_stack_depth();
	*copy = *tree;
	copy->capacity = tree->n;
	if (tree->text)
		copy->text = pnstrdup(tree->text, tree->length);
	if (tree->kind == JSONTREE_ARRAY)
		copy->items = palloc(sizeof(JsonTree *) * tree->n);
	if (tree->kind == JSONTREE_OBJECT)
		copy->fields = palloc(sizeof(JsonField) * tree->n);
	for (int i = 0; i < tree->n; i++)
	{
		if (tree->kind == JSONTREE_ARRAY)
			copy->items[i] = jsontree_copy(tree->items[i]);
		else
		{
			copy->fields[i].key = pstrdup(tree->fields[i].key);
			copy->fields[i].value = jsontree_copy(tree->fields[i].value);
		}
	}
	return copy;
}

/* The value of a key of an object, or NULL. */
JsonTree *
jsontree_get(const JsonTree *object, const char *key)
{
	JsonField	probe = {.key = key};
	JsonField  *field;

	if (object->kind != JSONTREE_OBJECT || object->n == 0)
		return NULL;
	field = bsearch(&probe, object->fields, object->n, sizeof(JsonField),
					field_compare);
	return field ? field->value : NULL;
}

/* A whole number within int64, written without point or exponent. */
bool
jsontree_int64(const JsonTree *tree, int64 *result)
{
	char	   *end;

	if (tree->kind != JSONTREE_NUMBER)
		return false;
	errno = 0;
	*result = strtoll(tree->text, &end, 10);
	return errno == 0 && *end == '\0';
}

/* A number within the range of float8. */
bool
jsontree_float8(const JsonTree *tree, double *result)
{
	if (tree->kind != JSONTREE_NUMBER)
		return false;
	*result = strtod(tree->text, NULL);
	return isfinite(*result);
}

const char *
jsontree_kind_name(const JsonTree *tree)
{
	static const char *const names[] = {
		[JSONTREE_NULL] = "null",
		[JSONTREE_BOOL] = "boolean",
		[JSONTREE_NUMBER] = "number",
		[JSONTREE_STRING] = "string",
		[JSONTREE_ARRAY] = "array",
		[JSONTREE_OBJECT] = "object"
	};

	return names[tree->kind];
}

static void
print_container(StringInfo out, const JsonTree *tree)
{
	bool		object = tree->kind == JSONTREE_OBJECT;

	check_stack_depth();
	appendStringInfoChar(out, object ? '{' : '[');
	for (int i = 0; i < tree->n; i++)
	{
		if (i > 0)
			appendStringInfoString(out, ", ");
		if (object)
		{
			escape_json(out, tree->fields[i].key);
			appendStringInfoString(out, ": ");
		}
		jsontree_print(out, object ? tree->fields[i].value : tree->items[i]);
	}
	appendStringInfoChar(out, object ? '}' : ']');
}

/* Append the tree as JSON text; its strings must end in zero bytes. */
void
jsontree_print(StringInfo out, const JsonTree *tree)
{
	switch (tree->kind)
	{
		case JSONTREE_NULL:
			appendStringInfoString(out, "null");
			break;
		case JSONTREE_BOOL:
			appendStringInfoString(out, tree->boolean ? "true" : "false");
			break;
		case JSONTREE_NUMBER:
			appendStringInfoString(out, tree->text);
			break;
		case JSONTREE_STRING:
			escape_json(out, tree->text);
			break;
		case JSONTREE_ARRAY:
		case JSONTREE_OBJECT:
			print_container(out, tree);
			break;
	}
}
