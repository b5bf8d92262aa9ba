/*
 * ops.c
 *		The table of ops as a whole.
 */
#include "postgres.h"

#include "tower/ops.h"

static const OpDef *const op_tables[] = {lookup_ops, scalar_ops, dense_ops};

/* The op of that name, or NULL. */
const OpDef *
op_find(const char *name)
{
	for (int i = 0; i < lengthof(op_tables); i++)
	{
		for (const OpDef *op = op_tables[i]; op->name != NULL; op++)
		{
			if (strcmp(op->name, name) == 0)
				return op;
		}
	}
	return NULL;
}
