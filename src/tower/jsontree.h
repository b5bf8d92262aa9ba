/*
 * jsontree.h
 *		JSON as a tree in memory: the header and the spec of a tower file, its
 *		golden rows, and the features of recsys.embed(text, jsonb).
 *
 * Parsing is the server's own; on top of it an object with a key given twice
 * is refused, and numbers keep their text, so that no digit is lost.
 */
#ifndef RECSYS_JSONTREE_H
#define RECSYS_JSONTREE_H

#include "lib/stringinfo.h"
#include "utils/jsonb.h"

typedef enum JsonTreeKind
{
	JSONTREE_NULL,
	JSONTREE_BOOL,
	JSONTREE_NUMBER,
	JSONTREE_STRING,
	JSONTREE_ARRAY,
	JSONTREE_OBJECT
} JsonTreeKind;

typedef struct JsonTree JsonTree;

/* A field of an object; fields stand in the byte order of their keys. */
typedef struct JsonField
{
	const char *key;
	JsonTree   *value;
} JsonField;

struct JsonTree
{
	JsonTreeKind kind;
	bool		boolean;
	const char *text;			/* of a string or a number */
	int			length;			/* of text */
	int			n;				/* items or fields */
	int			capacity;
	JsonTree  **items;			/* of an array */
	JsonField  *fields;			/* of an object */
};

extern JsonTree *jsontree_parse(const char *text, Size length,
								const char *what);
extern JsonTree *jsontree_from_jsonb(Jsonb *jsonb);
extern JsonTree *jsontree_copy(const JsonTree *tree);
extern JsonTree *jsontree_get(const JsonTree *object, const char *key);
extern bool jsontree_int64(const JsonTree *tree, int64 *result);
extern bool jsontree_float8(const JsonTree *tree, double *result);
extern const char *jsontree_kind_name(const JsonTree *tree);
extern void jsontree_print(StringInfo out, const JsonTree *tree);

#endif							/* RECSYS_JSONTREE_H */
