/*
 * vector_io.c
 *		Text and binary form of the type vector, its type modifier, and the
 *		checks that every new value passes.
 *
 * Both forms are those of pgvector, so that its client libraries work
 * unchanged.  Text: [1,2,3], white space allowed around the brackets and the
 * elements; an element is anything that strtof reads, and like there a value
 * too small for float4 becomes zero.  Binary: int16 dim, int16 0, float4[dim],
 * all big-endian.
 */
#include "postgres.h"

#include <math.h>

#include "common/shortest_dec.h"
#include "libpq/pqformat.h"
#include "nodes/nodes.h"
#include "utils/array.h"

#include "base/compat.h"
#include "vector/vector.h"

/* Where the text input stands. */
typedef struct VectorParser
{
	const char *literal;		/* the whole input, for messages */
	const char *at;				/* the next character */
	Node	   *escontext;		/* takes soft errors, or NULL */
} VectorParser;

PG_FUNCTION_INFO_V1(recsys_vector_in);
PG_FUNCTION_INFO_V1(recsys_vector_out);
PG_FUNCTION_INFO_V1(recsys_vector_recv);
PG_FUNCTION_INFO_V1(recsys_vector_send);
PG_FUNCTION_INFO_V1(recsys_vector_typmod_in);

Vector *
vector_new(int dim)
{
	Vector	   *v = palloc0(VECTOR_SIZE(dim));

	SET_VARSIZE(v, VECTOR_SIZE(dim));
	v->dim = (int16) dim;
	return v;
}

void
vector_check_same_dim(const Vector *a, const Vector *b)
{
	if (a->dim != b->dim)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("expected %d dimensions, not %d", a->dim, b->dim)));
}

bool
vector_check_dim(int dim, Node *escontext)
{
	if (dim < 1)
		ereturn(escontext, false,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("vector must have at least 1 dimension")));
	if (dim > VECTOR_MAX_DIM)
		ereturn(escontext, false,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("vector cannot have more than %d dimensions",
						VECTOR_MAX_DIM),
				 errdetail("The value has %d dimensions.", dim)));
	return true;
}

bool
vector_check_typmod(int dim, int32 typmod, Node *escontext)
{
	if (typmod != -1 && typmod != dim)
		ereturn(escontext, false,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("expected %d dimensions, not %d", (int) typmod, dim)));
	return true;
}

bool
vector_check_finite(const Vector *v, Node *escontext)
{
	for (int i = 0; i < v->dim; i++)
	{
		if (likely(isfinite(v->x[i])))
			continue;
		ereturn(escontext, false,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 isnan(v->x[i]) ?
				 errmsg("NaN not allowed in vector") :
				 errmsg("infinite value not allowed in vector"),
				 errdetail("Element %d of %d is not finite.", i + 1, v->dim)));
	}
	return true;
}

/* White space as the server's lexer has it, whatever the locale. */
static const char *
skip_space(const char *s)
{
	while (*s == ' ' || (*s >= '\t' && *s <= '\r'))
		s++;
	return s;
}

/*
 * Step over white space and the character wanted, which follows the given
 * number of elements.  False after a (soft) error.
 */
static bool
parse_delimiter(VectorParser *p, char wanted, int elements)
{
	p->at = skip_space(p->at);
	if (*p->at != wanted)
		ereturn(p->escontext, false,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid input syntax for type vector: \"%s\"",
						p->literal),
				 elements == 0 ?
				 errdetail("Vector contents must start with \"[\".") :
				 errdetail("Expected \"%c\" after element %d.",
						   wanted, elements)));
	p->at++;
	return true;
}

/* Read element number (from 1) into *x.  False after a (soft) error. */
static bool
parse_element(VectorParser *p, int number, float *x)
{
	char	   *end;

	p->at = skip_space(p->at);
	errno = 0;
	/* strtof as float4in does; strtod and a cast would round twice */
	*x = strtof(p->at, &end);
	if (end == p->at)
		ereturn(p->escontext, false,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid input syntax for type vector: \"%s\"",
						p->literal),
				 errdetail("Element %d is not a number.", number)));
	if (errno == ERANGE && isinf(*x))
		ereturn(p->escontext, false,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("\"%s\" is out of range for type vector",
						pnstrdup(p->at, end - p->at))));
	p->at = end;
	return true;
}

/*
 * The elements between the brackets; p stands behind the opening one and is
 * left behind the closing one.  NULL after a soft error.
 */
static Vector *
parse_elements(VectorParser *p)
{
	Vector	   *v;
	int			dim = 1;

	if (*skip_space(p->at) == ']')
		dim = 0;
	else
		for (const char *s = p->at; *s; s++)
			dim += (*s == ',');
	if (!vector_check_dim(dim, p->escontext))
		return NULL;

	v = vector_new(dim);
	for (int i = 0; i < dim; i++)
	{
		if (!parse_element(p, i + 1, &v->x[i]) ||
			!parse_delimiter(p, i + 1 < dim ? ',' : ']', i + 1))
			return NULL;
	}
	return v;
}

Datum
recsys_vector_in(PG_FUNCTION_ARGS)
{
	int32		typmod = PG_GETARG_INT32(2);
	VectorParser p = {PG_GETARG_CSTRING(0), PG_GETARG_CSTRING(0),
	fcinfo->context};
	Vector	   *v;

	if (!parse_delimiter(&p, '[', 0) || (v = parse_elements(&p)) == NULL)
		PG_RETURN_NULL();
	if (*skip_space(p.at) != '\0')
		ereturn(p.escontext, (Datum) 0,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid input syntax for type vector: \"%s\"",
						p.literal),
				 errdetail("Junk after closing right bracket.")));
	if (!vector_check_finite(v, p.escontext) ||
		!vector_check_typmod(v->dim, typmod, p.escontext))
		PG_RETURN_NULL();
	PG_RETURN_VECTOR_P(v);
}

/* Shortest decimal form that reads back as the same float4. */
Datum
recsys_vector_out(PG_FUNCTION_ARGS)
{
	Vector	   *v = PG_GETARG_VECTOR_P(0);
	char	   *text = palloc((Size) v->dim * FLOAT_SHORTEST_DECIMAL_LEN + 3);
	char	   *end = text;

	*end++ = '[';
	for (int i = 0; i < v->dim; i++)
	{
		if (i > 0)
			*end++ = ',';
		end += float_to_shortest_decimal_bufn(v->x[i], end);
	}
	*end++ = ']';
	*end = '\0';

	PG_FREE_IF_COPY(v, 0);
	PG_RETURN_CSTRING(text);
}

Datum
recsys_vector_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buf = (StringInfo) PG_GETARG_POINTER(0);
	int32		typmod = PG_GETARG_INT32(2);
	int			dim = (int) pq_getmsgint(buf, sizeof(int16));
	int			unused = (int) pq_getmsgint(buf, sizeof(int16));
	int			rest = buf->len - buf->cursor;
	Vector	   *v;

	vector_check_dim(dim, NULL);
	vector_check_typmod(dim, typmod, NULL);
	if (unused != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("expected unused to be 0, not %d", unused)));
	if (rest != dim * (int) sizeof(float))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("expected %d bytes for %d dimensions, not %d",
						dim * (int) sizeof(float), dim, rest)));

	v = vector_new(dim);
	for (int i = 0; i < dim; i++)
		v->x[i] = pq_getmsgfloat4(buf);
	vector_check_finite(v, NULL);
	PG_RETURN_VECTOR_P(v);
}

Datum
recsys_vector_send(PG_FUNCTION_ARGS)
{
	Vector	   *v = PG_GETARG_VECTOR_P(0);
	StringInfoData buf;

	pq_begintypsend(&buf);
	enlargeStringInfo(&buf, VECTOR_SIZE(v->dim));
	pq_sendint16(&buf, v->dim);
	pq_sendint16(&buf, 0);
	for (int i = 0; i < v->dim; i++)
		pq_sendfloat4(&buf, v->x[i]);
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

/* vector(n): the modifier is n itself. */
Datum
recsys_vector_typmod_in(PG_FUNCTION_ARGS)
{
	int			n;
	int32	   *typmods = ArrayGetIntegerTypmods(PG_GETARG_ARRAYTYPE_P(0), &n);

	if (n != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("type vector takes 1 modifier, not %d", n),
				 errhint("Write vector(n), n being the dimensions.")));
	if (typmods[0] < 1 || typmods[0] > VECTOR_MAX_DIM)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("dimensions for type vector must be between 1 and %d, not %d",
						VECTOR_MAX_DIM, (int) typmods[0])));
	PG_RETURN_INT32(typmods[0]);
}
