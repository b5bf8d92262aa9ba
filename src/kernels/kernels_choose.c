/*
 * kernels_choose.c
 *		Picks the table of kernels for this CPU, once, at load.
 */
#include "kernels/kernels.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

typedef const Kernels *(*TableFunction) (void);

/* Best first; kernels_scalar never returns NULL, so it ends every search. */
static const TableFunction tables[] = {
	kernels_avx512,
	kernels_avx2,
	kernels_neon,
	kernels_scalar,
};

/* Is name one of the comma-separated words of list, which may be NULL? */
static bool
list_contains(const char *list, const char *name)
{
	size_t		len = strlen(name);

	while (list != NULL && *list != '\0')
	{
		size_t		word = strcspn(list, ", ");

		if (word == len && strncmp(list, name, len) == 0)
			return true;
		list += word;
		list += strspn(list, ", ");
	}
	return false;
}

/*
 * Points kernels at the first table that the CPU supports and that
 * RECSYS_DISABLE_CPU does not name.  The scalar table cannot be disabled.
 */
void
kernels_init(void)
{
	const char *disabled = getenv("RECSYS_DISABLE_CPU");

	kernels = kernels_scalar();
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
	{
		const Kernels *table = tables[i] ();

		if (table != NULL && !list_contains(disabled, table->name))
		{
			kernels = table;
			return;
		}
	}
}
