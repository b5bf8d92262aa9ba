/*
 * ivf_page.h
 *		Pages of recsys_ivfpq: kinds, layouts, and the lanes of a block.
 *
 * Block 0 is the metapage (ivf_meta.h).  The model (ivf_model.h) and the
 * directory of lists (ivf_directory.h) lie in consecutive blocks.  A list is a
 * chain of list pages, the newest first:
 *
 *		| ListPage | block | block | ...
 *
 * and each block holds 32 slots column by column, so that a scan reads codes
 * and nothing else:
 *
 *		| codes, nsub x 16 | t, 32 x float16 | f, 32 x float16 | 32 TIDs | keys |
 *
 * The keys are those of filter columns (filter_key.h), 260 bytes a column.  At
 * 128 dimensions, without them, that is 832 bytes, nine blocks or 288 slots a
 * page.  The
 * finer codes of the same slots lie on tape pages, which belong to their list
 * page: slot s is record s % tape_slots of tape page s / tape_slots.
 */
#ifndef RECSYS_IVF_PAGE_H
#define RECSYS_IVF_PAGE_H

#include "storage/itemptr.h"

#include "index/filter_key.h"
#include "index/index_page.h"
#include "index/metric.h"
#include "ivfpq/ivf_codebook.h"
#include "kernels/kernels.h"

#define IVF_MAGIC 0x4956
#define IVF_FORMAT 1

typedef enum IvfPageKind
{
	IVF_PAGE_META = 1,
	IVF_PAGE_MODEL = 2,
	IVF_PAGE_DIRECTORY = 3,
	IVF_PAGE_LIST = 4,
	IVF_PAGE_TAPE = 5,
	IVF_PAGE_FREE = 6			/* in the free space map, or soon */
} IvfPageKind;

static inline PageTag
ivf_tag(IvfPageKind kind)
{
	PageTag		tag = {IVF_MAGIC, IVF_FORMAT, (uint8) kind, 0};

	return tag;
}

/*
 * Dimensions that can be indexed: an entry of the directory holds a centroid
 * in float16, and a record of the tape a whole vector.
 */
#define IVF_MAX_DIM 4032

#define LIST_MAX_BLOCKS 24
#define LIST_MAX_TAPES 32

/* The finer form of a vector, by which candidates are put into order. */
typedef enum Refine
{
	REFINE_SQ8,					/* int8 digits */
	REFINE_FLOAT16,
	REFINE_NONE					/* the table's own rows */
} Refine;

/* Head of a list page. */
typedef struct ListPage
{
	BlockNumber next;			/* the page made before this one, or invalid */
	uint32		list;
	uint32		seq;			/* decreases along the chain */
	uint16		nslots;			/* slots that have ever been used */
	uint16		nlive;
	uint16		ncounted;		/* rows that the directory has counted */
	uint16		nput;			/* rows ever put here, at most 65535 */
	float		unit;			/* scale of the float16 columns, a power of 2 */
	float		width2;			/* mean of |x - c|^2 over these rows */
	BlockNumber tapes[LIST_MAX_TAPES];	/* invalid where not yet needed */
	uint32		live[LIST_MAX_BLOCKS];	/* a bit a slot */
} ListPage;

StaticAssertDecl(sizeof(ListPage) == 252, "ListPage is part of the disk format");

#define LIST_BLOCKS_OFFSET 256

/* Head of a tape page: 8 bytes, then records. */
typedef struct TapePage
{
	BlockNumber owner;			/* the list page whose slots these are */
	uint32		first_slot;
} TapePage;

StaticAssertDecl(sizeof(TapePage) == 8, "TapePage is part of the disk format");

/* Sizes and offsets, which follow from dimensions, nsub and refine. */
typedef struct IvfLayout
{
	int			dim;			/* of the user's vectors */
	int			padded_dim;		/* of rotated vectors, multiple of 64 */
	int			nsub;
	Refine		refine;
	int			nfilters;		/* filter columns */
	Size		t_off;			/* in a block */
	Size		f_off;
	Size		tids_off;
	Size		keys_off;
	Size		block_size;
	int			blocks_per_page;
	int			slots_per_page;
	Size		tape_record;	/* bytes of a record, 0 without a tape */
	int			tape_slots;		/* records a tape page */
	int			tapes;			/* tape pages a full list page has */
	Size		list_size;		/* bytes of an entry of the directory */
	int			lists_per_page;
} IvfLayout;

extern void ivf_layout_init(IvfLayout *layout, int dim, int nsub,
							Refine refine, int nfilters);

/* The most codes a row for which a block fits a page. */
extern int	ivf_layout_max_nsub(int nfilters);

/* What a list page keeps of a row. */
typedef struct IvfRow
{
	float		t;				/* see ivf_coder.h */
	float		f;
	float		distance2;		/* |x - c|^2 */
	uint8	   *codes;			/* nsub */
	void	   *record;			/* of the tape, or NULL */
	FilterKeys	keys;
	ItemPointerData tid;
} IvfRow;

static inline ListPage *
list_page(Page page)
{
	return (ListPage *) page_content(page);
}

static inline TapePage *
tape_page(Page page)
{
	return (TapePage *) page_content(page);
}

/* Block i of a list page. */
static inline uint8 *
list_page_block(const IvfLayout *layout, Page page, int i)
{
	return (uint8 *) page_content(page) + LIST_BLOCKS_OFFSET +
		i * layout->block_size;
}

static inline ItemPointer
list_page_tid(const IvfLayout *layout, Page page, int slot)
{
	uint8	   *block = list_page_block(layout, page, slot / FASTSCAN_LANES);

	return (ItemPointer) (block + layout->tids_off) + slot % FASTSCAN_LANES;
}

/* The keys of a block. */
static inline uint8 *
list_page_keys(const IvfLayout *layout, Page page, int block)
{
	return list_page_block(layout, page, block) + layout->keys_off;
}

static inline bool
list_page_is_live(Page page, int slot)
{
	return (list_page(page)->live[slot / 32] >> (slot % 32)) & 1;
}

/* Record of the tape for a slot of the owning list page. */
static inline void *
tape_page_record(const IvfLayout *layout, Page page, int slot)
{
	return page_content(page) + sizeof(TapePage) +
		(slot % layout->tape_slots) * layout->tape_record;
}

extern void list_page_init(Page page, uint32 list, uint32 seq,
						   BlockNumber next);
extern void tape_page_init(Page page, BlockNumber owner, int first_slot);

/* Whether the counts of a page that may be damaged agree with its bits. */
extern bool list_page_is_valid(const IvfLayout *layout, Page page);
extern int	list_page_free_slot(const IvfLayout *layout, Page page);
extern float list_page_unit(float f);

/*
 * t as a page with this head keeps it: for L2 in squared units.  What is too
 * large for float16 is cut off there, which makes a poor estimate, but one.
 */
extern float list_page_scale_t(const ListPage *head, Metric metric, float t);
extern void list_page_put(const IvfLayout *layout, Metric metric, Page page,
						  int slot, const IvfRow *row);
extern void list_page_codes(const IvfLayout *layout, Page page, int slot,
							uint8 *codes);
extern void list_page_remove(Page page, int slot);

#endif							/* RECSYS_IVF_PAGE_H */
