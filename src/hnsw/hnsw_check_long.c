/*
 * hnsw_check_long.c
 *		The part of recsys.check_index that looks at the long list.
 *
 * A node that is missing there is no fault: an insert that was interrupted, or
 * for which there was no room, leaves it out.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/pg_bitutils.h"

#include "hnsw/hnsw_check.h"
#include "hnsw/hnsw_longlist.h"

/* What goes through the list. */
typedef struct LongCheck
{
	HnswCheck  *check;
	LongLayout	layout;
	AddrSet    *listed;			/* nodes met so far */
} LongCheck;

/* Whether a code is that of the node that it leads to. */
static bool
code_agrees(const LongCheck *list, NodeAddr addr, const TapeCode *code)
{
	GraphStore *store = &list->check->store.base;
	const GraphNode *node = store->ops->read(store, addr);
	OwnVector	own = {node->scale, node->norm, node->err,
	node_own(&store->layout, node), NULL};
	LongNode	expected;

	long_node_init(&list->layout, store->unit, addr, &own, &expected);
	store->ops->read_end(store);
	return tape_code_hash(&list->layout.code, code) ==
		tape_code_hash(&list->layout.code, &expected.code);
}

static void
check_long_lane(LongCheck *list, const uint8 *block, IndexPlace at)
{
	HnswCheck  *check = list->check;
	int			lane = at.slot % FASTSCAN_LANES;
	NodeAddr	addr = long_block_addrs(&list->layout, block)[lane];
	const char *fault = NULL;
	TapeCode	code;

	tape_code_get(&list->layout.code, block, lane, &code);
	if (!inspection_holds(&check->inspection, addr) ||
		!addr_set_has(check->nodes, addr))
		fault = "it has block %u slot %d on the long list, which is no node";
	else if (addr_set_has(list->listed, addr))
		fault = "it has block %u slot %d on the long list, which is there already";
	else if (!code_agrees(list, addr, &code))
		fault = "it has another code of block %u slot %d on the long list than its node";
	if (fault != NULL)
	{
		index_check_standby(&check->base);
		index_check_fault(&check->base, at, fault, node_addr_block(addr),
						  node_addr_slot(addr));
	}
	addr_set_add(list->listed, addr);
}

static void
check_long_page(LongCheck *list, BlockNumber block)
{
	HnswCheck  *check = list->check;
	IndexPlace	at = {block, 0};
	Page		page = check->inspection.page.data;

	if (block >= check->inspection.nblocks ||
		inspection_read_page(&check->inspection, block) != HNSW_PAGE_LONG)
		index_check_fault(&check->base, at, "it is no page of the long list");
	for (int i = 0; i < LONG_PAGE_MAX_BLOCKS; i++)
	{
		uint32		live = long_page(page)->live[i];

		for (; live != 0; live &= live - 1)
		{
			at.slot = i * FASTSCAN_LANES + pg_rightmost_one_pos32(live);
			if (i >= list->layout.blocks_per_page)
				index_check_fault(&check->base, at,
								  "a page of the long list has no such place");
			check_long_lane(list, long_page_block(&list->layout, page, i), at);
		}
	}
}

void
check_long_list(HnswCheck *check)
{
	const HnswMeta *meta = &check->inspection.meta;
	LongCheck	list = {.check = check};

	long_layout_init(&list.layout, check->inspection.layout.padded_dim);
	list.listed = addr_set_create(&check->inspection);
	for (uint32 i = 0; i < long_list_npages(meta); i++)
	{
		CHECK_FOR_INTERRUPTS();
		check_long_page(&list, long_list_block(meta, i));
	}
	pfree(list.listed);
}
